"""What the GPU of this process has free, asked before anything is put on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MB = 2**20


def require_free(memory_mb: int) -> None:
    """raises: RuntimeError where this process's GPU has less free memory, or cannot be asked"""
    free = free_mb()
    if free < memory_mb:
        raise RuntimeError(
            f"expected {memory_mb} MB free on GPU {visible()}, got {free} MB: others take more than they declared, "
            "or MODISTE_GPU_MEMORY_MB is more than the GPU has"
        )


def visible() -> str:
    """The one GPU that this process may use, as Ray or the operator says: an index or a UUID."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def free_mb() -> int:
    """Free memory of this process's GPU, over all processes on it.

    The driver's management library is asked: CUDA itself would first make a context, which takes hundreds of MB of
    what is to be counted, and under the multi-process service it tells the process's own limit instead.
    raises: RuntimeError where there is no driver or no such GPU
    """
    from cuda.bindings import nvml

    with _device() as handle:
        return int(nvml.device_get_memory_info_v2(handle).free) // MB


def own_bytes() -> int | None:
    """Memory of its GPU that this process takes, as the driver counts; None where the driver does not name this
    process: it knows the machine's process ids, and a container may have others.

    raises: RuntimeError as `free_mb`
    """
    from cuda.bindings import nvml

    with _device() as handle:
        for running in nvml.device_get_compute_running_processes_v3(handle):
            if int(running.pid) == os.getpid():
                return int(running.used_gpu_memory)
    return None


@contextmanager
def _device() -> Iterator[Any]:
    from cuda.bindings import nvml

    device = visible()
    try:
        nvml.init_v2()
        try:
            by = nvml.device_get_handle_by_index_v2 if device.isdigit() else nvml.device_get_handle_by_uuid
            yield by(int(device) if device.isdigit() else device)
        finally:
            nvml.shutdown()
    except (nvml.NvmlError, RuntimeError) as error:
        raise RuntimeError(f"expected an NVIDIA GPU {device} with its driver, got: {error}") from error
