"""What callers send: for each flow many different requests, and which flows each kind of caller uses how much.

All pictures and videos are those in samples/.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from httpx import Request

from deployments.roles import FaceSeed
from graphs.face_token import encode
from loadtests.cases import Case

PERSONS = tuple(f"persons/{name}.jpg" for name in ("ana", "ken", "leo", "mei", "nia", "sam"))
GARMENTS = ("g01_tee_breton_women", "g03_tee_coral_women", "g05_shirt_blue_stripe_men", "g06_blouse_ivory_women")
SKETCHES = ("dress_plain", "skirt_green", "trousers_blue", "tshirt_red")
SUITS = ("m_suit_navy", "m_suit_charcoal", "f_suit_black")
SEEDS = range(3)
"""Virtual faces asked for by token; a server draws each once and keeps it."""

SCENARIOS: Mapping[str, Mapping[str, float]] = {
    # A shop's own pipelines: every flow that answers at once.
    "platform": {
        "virtual_model": 0.30, "anonymize": 0.30, "sketch_search": 0.25, "id_photo": 0.08, "virtual_faces": 0.05,
        "try_on": 0.02,
    },
    # Visitors of partners' shops: they draw, and look at models with other faces.
    "storefront": {"sketch_search": 0.6, "virtual_model": 0.4},
    # By night, for the archive: pictures in bulk, and videos as jobs.
    "batch": {"anonymize": 0.9, "anonymize_video": 0.1},
}  # fmt: skip
"""By scenario: shares of flows. Every flow is a scenario of its own, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An HTTP request's body and type, as a browser's form would send it."""

    path: str
    content_type: str
    body: bytes


def shares(scenario: str) -> Mapping[str, float]:
    """raises: ValueError where there is none of the name"""
    if scenario in SCENARIOS:
        return SCENARIOS[scenario]
    if scenario not in requests():
        raise ValueError(f"expected one of {sorted({*SCENARIOS, *requests()})}, got {scenario!r}")
    return {scenario: 1.0}


@cache
def requests() -> Mapping[str, tuple[Case, ...]]:
    """By flow: different requests, all of which are answered."""
    tokens = [encode(FaceSeed(seed=seed, truncation=0.6)) for seed in SEEDS]
    people = (*PERSONS, "portraits/astronaut.jpg")
    return {
        "virtual_faces": tuple(Case(options={"n": 1, "seed": seed}) for seed in range(20)),
        "virtual_model": tuple(
            Case(files={"photo": photo}, options={"face": token}) for photo, token in itertools.product(people, tokens)
        ),
        "try_on": tuple(
            Case(files={"person": person, "garment": f"garments/{garment}.jpg"})
            for person, garment in itertools.product(PERSONS, GARMENTS)
        ),
        "anonymize": tuple(Case(files={"image": photo}) for photo in people),
        "anonymize_video": tuple(
            Case(files={"video": f"video/{clip}.mp4"}) for clip in ("head_turn_one", "head_turn_two")
        ),
        "id_photo": tuple(
            Case(files={"portrait": "portraits/astronaut.jpg"}, options={"suit": suit}) for suit in SUITS
        ),
        "sketch_search": tuple(
            Case(files={"sketch": f"sketches/{sketch}.png"}, options={"category": "auto", "k": count})
            for sketch, count in itertools.product(SKETCHES, (4, 6))
        ),
    }


def message(flow: str, case: Case) -> Message:
    files: dict[str, tuple[str | None, str | bytes]] = {"options": (None, json.dumps(dict(case.options)))}
    files |= {name: (case.files[name].rpartition("/")[2], content) for name, content in case.read().items()}
    form = Request("POST", "http://-/", files=files)
    return Message(path=f"/v1/flows/{flow}", content_type=form.headers["Content-Type"], body=form.read())
