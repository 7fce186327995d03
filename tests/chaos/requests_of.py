"""Requests to the flows that the failure tests use, on the pictures in samples/."""

import json

from arrivals import Ask, ask

from loadtests.cases import cases


def real(flow: str, **options: object) -> Ask:
    case = cases()[flow]
    return ask(flow, case.read(), {**case.options, **options})


SKETCH, FACE = real("sketch_search"), real("virtual_model")
ONE = real("virtual_faces", n=1)
HEAVY = real("virtual_faces", n=8)
"""Seconds of one model, in one call."""
CLIP = real("anonymize_video")


def job_of(body: bytes) -> str:
    """The path of the job that an answer tells of."""
    return str(json.loads(body)["url"])
