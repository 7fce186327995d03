"""A small but real model and two small but real flows, for tests of what carries models and flows."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from compile.engine import Engine, GPUOutOfMemory, Tensors
from deployments import EDITIONS, MODELS, gpu_device
from deployments.base import Model
from graphs import GRAPHS
from graphs.base import Graph, VideoFile, uses
from modiste.errors import NoFace
from modiste.image import RGBImage
from modiste.spec import ModelSpec, Resources
from modiste.telemetry import progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """seconds: how long the work takes; die_once, exhaust_once: files whose absence makes the process end in mid-call,
    or the GPU have no room."""

    image: RGBImage
    seconds: float = 0.0
    die_once: str = ""
    exhaust_once: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """calls: how many inputs came together; pid: of the process that did it; gpu, limits: what it was given."""

    image: RGBImage
    calls: int
    pid: int
    gpu: str
    limits: tuple[str | None, str | None]


FREE_MB = 2500
"""What the fake GPUs say is free."""


class Inversion(Model[Plate, Negative]):
    """The negative of a picture."""


class Inverter(Inversion):
    spec = ModelSpec(
        id="inverter",
        role="Inversion",
        paper="classical: 255 - x",
        licence="ours",
        resources=Resources(gpu_memory_mb=2000, min_replicas=1, max_replicas=2),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._calls = 0

    def outcomes(self, batch: Any) -> Any:
        self._calls = len(batch)
        return super().outcomes(batch)

    def postprocess(self, outputs: Tensors, x: Plate) -> Negative:
        if x.die_once and not Path(x.die_once).exists():
            with suppress(OSError):
                Path(x.die_once).touch()
            os._exit(1)
        if x.exhaust_once and not Path(x.exhaust_once).exists():
            with suppress(OSError):
                Path(x.exhaust_once).touch()
            raise GPUOutOfMemory("expected 10 MB, got none")
        if not x.image.any():
            raise NoFace("expected a picture with something in it, got black")
        sleep(x.seconds)
        return Negative(
            image=RGBImage(255 - x.image),
            calls=self._calls,
            pid=os.getpid(),
            gpu=gpu_device.visible(),
            limits=(
                os.environ.get("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"),
                os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"),
            ),
        )


class GatheringInverter(Inverter):
    """As if its engine took four at once. It waits long for the fourth, so that tests know who comes together."""

    spec = replace(
        Inverter.spec,
        id="gathering_inverter",
        resources=Resources(gpu_memory_mb=1000, min_replicas=1, max_replicas=1, batch_wait_ms=300),
    )

    @classmethod
    def max_batch(cls) -> int:
        return 4


class PairedInverter(Inverter):
    """Always two replicas."""

    spec = replace(
        Inverter.spec,
        id="paired_inverter",
        resources=Resources(gpu_memory_mb=2000, min_replicas=2, max_replicas=2),
    )


class LargeInverter(Inverter):
    """Fits the GPUs, yet is larger than what the planted reading says is free."""

    spec = replace(Inverter.spec, id="large_inverter", resources=Resources(gpu_memory_mb=FREE_MB + 1, min_replicas=1))


class TinyOptions(BaseModel):
    """Options of the small flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(default=1, ge=1, le=1000, description="how often to invert")
    seconds: float = Field(default=0.0, ge=0, le=10, description="how long each time takes, s")
    die_once: str = Field(default="", description="see Plate")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyRequest:
    picture: RGBImage
    extra: RGBImage | None = None
    options: TinyOptions = field(default_factory=TinyOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyResult:
    """image: inverted `steps` times; mean: of its values."""

    image: RGBImage
    mean: float
    pids: tuple[int, ...]


class Tiny(Graph[TinyRequest, TinyResult]):
    """Inverts a picture."""

    request = TinyRequest
    result = TinyResult
    invert = uses(Inversion)

    async def __call__(self, request: TinyRequest) -> TinyResult:
        image, options, pids = request.picture, request.options, []
        for number in range(options.steps):
            plate = Plate(image=image, seconds=options.seconds, die_once=options.die_once)
            negative = await self.invert(plate)
            image = negative.image
            pids.append(negative.pid)
            progress((number + 1) / options.steps)
        return TinyResult(image=image, mean=float(np.mean(image)), pids=tuple(pids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRequest:
    video: VideoFile
    options: TinyOptions = field(default_factory=TinyOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult:
    video: VideoFile
    frames: tuple[RGBImage, ...]


class TinyClip(Graph[ClipRequest, ClipResult]):
    """Copies a video, slowly, leaving a trace of each step beside it."""

    request = ClipRequest
    result = ClipResult
    invert = uses(Inversion)

    async def __call__(self, request: ClipRequest) -> ClipResult:
        image = RGBImage(np.full((4, 6, 3), 10, np.uint8))
        trace = Path(os.environ["TINY_TRACE"])
        for number in range(request.options.steps):
            image = (await self.invert(Plate(image=image))).image
            await asyncio.sleep(request.options.seconds)
            await asyncio.to_thread(trace.write_text, str(number))
            progress((number + 1) / request.options.steps)
        target = trace.with_suffix(".mp4")
        shutil.copy(request.video, target)
        return ClipResult(video=VideoFile(target), frames=(image, image))


FLOWS = {"tiny": "tiny:Tiny", "tiny_clip": "tiny:TinyClip"}


def register() -> None:
    """Make the tables name the small model and flows, and no other flow."""
    for of in (Inverter, GatheringInverter, PairedInverter, LargeInverter):
        MODELS[of.spec.id] = f"tiny:{of.__name__}"  # type: ignore[index]
    # There is no driver to ask about GPUs that are only declared.
    gpu_device.free_mb = lambda: FREE_MB
    EDITIONS["default"]["Inversion"] = "inverter"  # type: ignore[index]
    GRAPHS.clear()  # type: ignore[attr-defined]
    GRAPHS.update(FLOWS)  # type: ignore[attr-defined]
