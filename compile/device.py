"""A GPU through CUDA's own runtime API: memory, a stream, graphs. No torch, and nothing imported before it is used."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from ctypes import c_uint8
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from compile.engine import GPUOutOfMemory

ALIGNED = 256
"""Bytes, as cudaMalloc's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """cuda: major version of the runtime; sm: compute capability, "90"; free, total: bytes"""

    name: str
    sm: str
    cuda: int
    free: int
    total: int


def _cuda() -> Any:
    from cuda.bindings import runtime

    return runtime


def call(function: str, *arguments: Any) -> Any:
    """What a function of the runtime API gives besides its error code.

    raises: GPUOutOfMemory, RuntimeError with the function and the code
    """
    cuda = _cuda()
    code, *given = getattr(cuda, function)(*arguments)
    if code != cuda.cudaError_t.cudaSuccess:
        cuda.cudaGetLastError()  # else the next to look for errors finds this one again
        kind = GPUOutOfMemory if code == cuda.cudaError_t.cudaErrorMemoryAllocation else RuntimeError
        raise kind(f"{function}: {code.name} ({int(code)})")
    return given[0] if len(given) == 1 else tuple(given)


def current_device() -> Device:
    """raises: RuntimeError where no GPU answers"""
    properties = call("cudaGetDeviceProperties", call("cudaGetDevice"))
    free, total = call("cudaMemGetInfo")
    return Device(
        name=properties.name.decode().strip("\0"),
        sm=f"{properties.major}{properties.minor}",
        cuda=call("cudaRuntimeGetVersion") // 1000,
        free=free,
        total=total,
    )


class Memory:
    """Bytes on the GPU."""

    def __init__(self, size: int) -> None:
        self.size = max(size, ALIGNED)
        self.address = int(call("cudaMalloc", self.size))

    def close(self) -> None:
        call("cudaFree", self.address)


class Transfer:
    """Arrays side by side in pinned memory and on the GPU, so that one copy moves them all.

    arrays:    in pinned memory, by name
    addresses: on the GPU
    """

    def __init__(self, kinds: Mapping[str, tuple[Sequence[int], DTypeLike]]) -> None:
        offsets, size = {}, 0
        for name, (shape, dtype) in kinds.items():
            offsets[name] = size
            size += -(-prod(shape) * np.dtype(dtype).itemsize // ALIGNED) * ALIGNED
        with ExitStack() as owned:
            self._memory = Memory(size)
            owned.callback(self._memory.close)
            self._host = int(call("cudaHostAlloc", self._memory.size, _cuda().cudaHostAllocDefault))
            owned.callback(call, "cudaFreeHost", self._host)
            self._owned = owned.pop_all()
        pinned = np.ctypeslib.as_array((c_uint8 * self._memory.size).from_address(self._host))
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in kinds.items():
            size = prod(shape) * np.dtype(dtype).itemsize
            self.arrays[name] = pinned[offsets[name] :][:size].view(dtype).reshape(shape)
        self.addresses = {name: self._memory.address + offset for name, offset in offsets.items()}

    def to_device(self, stream: int) -> None:
        kind = _cuda().cudaMemcpyKind.cudaMemcpyHostToDevice
        call("cudaMemcpyAsync", self._memory.address, self._host, self._memory.size, kind, stream)

    def to_host(self, stream: int) -> None:
        kind = _cuda().cudaMemcpyKind.cudaMemcpyDeviceToHost
        call("cudaMemcpyAsync", self._host, self._memory.address, self._memory.size, kind, stream)

    def close(self) -> None:
        self.arrays.clear()
        self._owned.close()


class Stream:
    """In order with itself alone."""

    def __init__(self) -> None:
        self._stream = call("cudaStreamCreateWithFlags", _cuda().cudaStreamNonBlocking)
        self.handle = int(self._stream)

    def wait(self) -> None:
        call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        call("cudaStreamDestroy", self._stream)


class Graph:
    """Work that was recorded once and is started as a whole."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Records `work`, which runs nothing meanwhile. raises: RuntimeError where it cannot be recorded"""
        cuda = _cuda()
        call("cudaStreamBeginCapture", stream.handle, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            _, recorded = cuda.cudaStreamEndCapture(stream.handle)  # its error tells only that there was one
            if recorded is not None:
                cuda.cudaGraphDestroy(recorded)
            raise
        recorded = call("cudaStreamEndCapture", stream.handle)
        try:
            self._graph = call("cudaGraphInstantiate", recorded, 0)
        finally:
            call("cudaGraphDestroy", recorded)
        self._stream = stream

    def launch(self) -> None:
        call("cudaGraphLaunch", self._graph, self._stream.handle)

    def close(self) -> None:
        call("cudaGraphExecDestroy", self._graph)
