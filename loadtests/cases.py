"""One typical request for each flow, on the pictures in samples/."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.roles import FaceSeed
from graphs.face_token import encode

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """files: upload field -> path under samples/; options: as JSON."""

    files: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> dict[str, bytes]:
        return {name: (SAMPLES / path).read_bytes() for name, path in self.files.items()}


def cases() -> dict[str, Case]:
    """By flow."""
    token = encode(FaceSeed(seed=7, truncation=0.6))
    person = "persons/ana.jpg"
    return {
        "virtual_faces": Case(options={"n": 2, "seed": 1}),
        "virtual_model": Case(files={"photo": person}, options={"face": token}),
        "try_on": Case(files={"person": person, "garment": "garments/g03_tee_coral_women.jpg"}),
        "anonymize": Case(files={"image": person}),
        "anonymize_video": Case(files={"video": "video/head_turn_one.mp4"}),
        "id_photo": Case(files={"portrait": "portraits/astronaut.jpg"}),
        "sketch_search": Case(files={"sketch": "sketches/tshirt_red.png"}, options={"category": "auto"}),
    }
