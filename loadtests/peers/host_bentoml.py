"""Both flows in BentoML: `python -m loadtests.peers.host_bentoml PORT`."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from loadtests.peers.pipeline import AT_ONCE, FLOWS, WORKERS, Pipeline

JPEG, JSON = ContentType("image/jpeg"), ContentType("application/json")


@bentoml.service(workers=WORKERS, traffic={"timeout": 600}, logging={"access": {"enabled": False}})
class Flows:
    def __init__(self) -> None:
        self._pipelines = {flow: Pipeline(flow) for flow in FLOWS}
        self._places = asyncio.Semaphore(AT_ONCE)

    @bentoml.api(route="/v1/flows/virtual_model")
    async def virtual_model(self, photo: Path, options: dict[str, Any]) -> Annotated[Path, JPEG]:
        return await self._answer("virtual_model", {"photo": photo}, options)

    @bentoml.api(route="/v1/flows/sketch_search")
    async def sketch_search(self, sketch: Path, options: dict[str, Any]) -> Annotated[Path, JSON]:
        return await self._answer("sketch_search", {"sketch": sketch}, options)

    async def _answer(self, flow: str, files: dict[str, Path], options: dict[str, Any]) -> Path:
        uploads = {name: path.read_bytes() for name, path in files.items()}
        async with self._places:
            content, _ = await self._pipelines[flow](uploads, json.dumps(options))  # parsed already
        answer = next(iter(files.values())).with_suffix(".answer")
        answer.write_bytes(content)
        return answer


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", "loadtests.peers.host_bentoml:Flows"]
    # In the place of this process, so that who ends it ends BentoML.
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[1]])  # noqa: S606
