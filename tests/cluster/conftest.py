"""A real Ray cluster with declared (fake) GPUs, and the small model and flows as deployments on it."""

import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
import tiny

from deployments import EDITIONS, MODELS, gpu_device
from deployments.environment import prepare
from graphs import GRAPHS
from graphs.signature import signature
from modiste.settings import settings

GPUS = 2
GPU_MEMORY_MB, RESERVE_MB = 8500, 500


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path, None, None]:
    """Runs the small flows; gives a folder that all its processes see."""
    folder = tmp_path_factory.mktemp("cluster")
    prepare()
    environment = {
        "MODISTE_TARGET": "cuda",
        "MODISTE_GPU_MEMORY_MB": str(GPU_MEMORY_MB),
        "MODISTE_GPU_RESERVE_MB": str(RESERVE_MB),
        "MODISTE_MPS": "true",
        "MODISTE_STATE": str(folder / "state"),
        "MODISTE_PORT": str(_free_port()),
        "TINY_TRACE": str(folder / "trace"),
    }
    os.environ |= environment
    settings.cache_clear()
    free_mb = gpu_device.free_mb
    before = [(table, dict(table)) for table in (MODELS, EDITIONS["default"], GRAPHS)]
    tiny.register()
    signature.cache_clear()

    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions

    from api.app import deploy

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=GPUS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
        runtime_env={
            "worker_process_setup_hook": "tiny.register",
            "env_vars": {"PYTHONPATH": str(Path(tiny.__file__).parent)},
        },
    )
    try:
        serve.start(http_options=HTTPOptions(host=settings().host, port=settings().port))
        deploy()
        yield folder
    finally:
        serve.shutdown()
        ray.shutdown()
        gpu_device.free_mb = free_mb
        for table, entries in before:
            table.clear()  # type: ignore[attr-defined]
            table.update(entries)  # type: ignore[attr-defined]
        for name in environment:
            del os.environ[name]
        settings.cache_clear()
        signature.cache_clear()
