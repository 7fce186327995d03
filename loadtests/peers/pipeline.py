"""A flow for hosts other than Ray Serve: bytes of an upload in, bytes of an answer out; all of it in one process.

The same graphs, models, engines, decoding and encoding as under our own server, opened when the host starts.
"""

import asyncio
import base64
import json
import os
from collections.abc import Mapping

import cv2

from deployments import threads_of
from graphs import graph_class
from graphs.local import LocalRunner
from graphs.report import run
from graphs.signature import jsonable, read_picture, signature
from modiste.image import encode
from modiste.spec import Resources

FLOWS = ("virtual_model", "sketch_search")
WORKERS = int(os.environ.get("PEER_WORKERS", "2"))
"""Processes."""
AT_ONCE = int(os.environ.get("PEER_AT_ONCE", "1"))
"""Requests that one process works on at once."""


class Pipeline:
    """One flow, its models open."""

    def __init__(self, flow: str) -> None:
        cv2.setNumThreads(threads_of(Resources()))
        self._of = signature(flow)
        self._runner = LocalRunner()
        self._runner.open(graph_class(flow))
        self._graph = self._runner.graph(flow)

    async def __call__(self, uploads: Mapping[str, bytes], options: str) -> tuple[bytes, str]:
        """The answer and its media type: one picture as it is; several beside each other in JSON."""
        of = self._of
        slots = [slot for slot in of.uploads if slot.name in uploads]
        decoded = await asyncio.gather(*(asyncio.to_thread(read_picture, slot, uploads[slot.name]) for slot in slots))
        pictures = {slot.name: picture for slot, picture in zip(slots, decoded, strict=True)}
        outcome = await run(of.flow, self._graph, of.request(pictures, of.options.model_validate_json(options)))
        if of.single_picture is not None:
            image = getattr(outcome.result, of.single_picture.name)
            return await asyncio.to_thread(encode, image, "jpeg"), "image/jpeg"
        content = {}
        for slot in of.results:
            value = getattr(outcome.result, slot.name)
            if slot.kind != "picture":
                content[slot.name] = jsonable(value)
                continue
            images = value if slot.many else [value]
            encoded = await asyncio.gather(*(asyncio.to_thread(encode, image, "jpeg") for image in images))
            texts = [base64.b64encode(one).decode() for one in encoded]
            content[slot.name] = texts if slot.many else texts[0]
        return json.dumps(content | {"report": jsonable(outcome.report)}).encode(), "application/json"
