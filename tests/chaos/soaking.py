"""A long, even load, and what is left behind by it."""

import asyncio
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

import numpy as np
from arrivals import Sent, steadily
from processes import memory_mb, open_files, zombies
from requests_of import CLIP, FACE, SKETCH
from servers import Server

EVERY_S = 10.0
MIX = (SKETCH, FACE, SKETCH, SKETCH, FACE, SKETCH, SKETCH, FACE, SKETCH, CLIP)
RATE = 1.2


@dataclass(frozen=True, slots=True)
class Sample:
    """minute: since the load began; memory_mb: proportional set size of all processes, shared memory included"""

    minute: float
    memory_mb: float
    open_files: int
    zombies: int


async def soak(server: Server, minutes: float) -> tuple[list[Sent], dict[str, Any]]:
    """Answers, and figures: samples, the level before and after, and the trend of the second half in MB an hour."""
    level = await asyncio.to_thread(memory_mb, server.root)
    load = asyncio.create_task(steadily(server.port, MIX, rate=RATE, seconds=60 * minutes, tries=2))
    started, samples = monotonic(), []
    while not load.done():
        samples.append(await asyncio.to_thread(_sample, server, started))
        await asyncio.wait([load], timeout=EVERY_S)
    answers = load.result()
    await asyncio.sleep(20)
    half = samples[len(samples) // 2 :]
    slope = float(np.polyfit([s.minute for s in half], [s.memory_mb for s in half], 1)[0]) if len(half) > 2 else 0.0
    return answers, {
        "minutes": minutes,
        "level_before_mb": level,
        "level_after_mb": await asyncio.to_thread(memory_mb, server.root),
        "peak_mb": max(sample.memory_mb for sample in samples),
        "trend_mb_per_hour": round(60 * slope, 1),
        "zombies": max(sample.zombies for sample in samples),
        "samples": [asdict(sample) for sample in samples],
    }


def _sample(server: Server, started: float) -> Sample:
    return Sample(
        round((monotonic() - started) / 60, 2), memory_mb(server.root), open_files(server.root), zombies(server.root)
    )
