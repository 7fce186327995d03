"""Both flows in LitServe: `python -m loadtests.peers.host_litserve PORT`."""

import asyncio
import sys
from typing import Any

import litserve as ls
from fastapi import Request, Response

from loadtests.peers.pipeline import AT_ONCE, FLOWS, WORKERS, Pipeline


class Alone(ls.LitAPI):
    """A worker takes one request at a time."""

    def __init__(self, flow: str) -> None:
        super().__init__(api_path=f"/v1/flows/{flow}")
        self._flow = flow

    def setup(self, device: str) -> None:
        self._pipeline = Pipeline(self._flow)
        self._loop = asyncio.new_event_loop()

    def decode_request(self, request: Request) -> tuple[dict[str, bytes], str]:
        return _fields(request)

    def predict(self, x: tuple[dict[str, bytes], str]) -> tuple[bytes, str]:
        return self._loop.run_until_complete(self._pipeline(*x))

    def encode_response(self, output: tuple[bytes, str]) -> Response:
        return Response(output[0], media_type=output[1])


class Together(ls.LitAPI):
    """A worker takes several at once."""

    def __init__(self, flow: str) -> None:
        super().__init__(api_path=f"/v1/flows/{flow}", enable_async=True)
        self._flow = flow

    def setup(self, device: str) -> None:
        self._pipeline = Pipeline(self._flow)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def decode_request(self, request: Request) -> tuple[dict[str, bytes], str]:
        return _fields(request)

    async def predict(self, x: tuple[dict[str, bytes], str]) -> tuple[bytes, str]:
        async with self._places:
            return await self._pipeline(*x)

    async def encode_response(self, output: tuple[bytes, str]) -> Response:
        return Response(output[0], media_type=output[1])


def _fields(form: Any) -> tuple[dict[str, bytes], str]:
    uploads = {name: value.file.read() for name, value in form.items() if name != "options"}
    return uploads, str(form["options"])


if __name__ == "__main__":
    api = Alone if AT_ONCE == 1 else Together
    server = ls.LitServer(
        [api(flow) for flow in FLOWS],
        accelerator="cpu",
        devices=1,
        workers_per_device=WORKERS,
        timeout=False,  # as many wait as are sent; ours refuses
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
