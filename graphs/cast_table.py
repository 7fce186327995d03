"""Makes the table of `graphs.casting`: `python -m graphs.cast_table`, once per generator and identity network.

It takes a second and a half per face on a CPU thread, and runs under the settings of the server: edition and models.
"""

import asyncio
from pathlib import Path

import numpy as np
import typer
from rich.progress import track

from deployments.roles import FaceSeed
from graphs.casting import TRUNCATION, Look, table_file
from graphs.face_exchange import FaceExchange
from graphs.local import LocalRunner


class _Casting(FaceExchange[FaceSeed, Look]):
    async def __call__(self, request: FaceSeed) -> Look:
        return (await self.virtual_face(request)).look


def main(count: int = 160) -> None:
    """Generate the faces of seeds 0 to count - 1 and write down how they look."""
    with LocalRunner() as runner:
        write_table(runner, count, table_file())
    typer.echo(f"{count} faces in {table_file()}")


def write_table(runner: LocalRunner, count: int, file: Path) -> None:
    graph = _Casting(runner.calls(_Casting))
    looks = [
        asyncio.run(graph(FaceSeed(seed=seed, truncation=TRUNCATION)))
        for seed in track(range(count), description="Casting")
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        file,
        seeds=np.arange(count, dtype=np.uint32),
        tones=np.array([look.tone for look in looks], np.float16),
        yaws=np.array([look.yaw for look in looks], np.float16),
        embeddings=np.array([look.embedding for look in looks], np.float16),
    )


if __name__ == "__main__":
    typer.run(main)
