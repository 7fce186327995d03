"""Each model as a Ray Serve deployment of its own, and how the answer of a deployment is awaited."""

from collections.abc import Callable
from functools import cache
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentResponse

from deployments import model_class
from deployments.replica import Replica
from modiste.errors import Busy, ModisteError
from modiste.settings import settings
from modiste.spec import Resources
from modiste.telemetry import log

CPU_SHARE = 0.06
"""Cores that Ray reserves per core a spec asks for. A request visits its models one after the other, so most
replicas idle; at this share all models, all flows and a few more replicas fit on two cores, and no machine
starts more than about 16 replicas per core."""

LOOK_BACK_S = 15.0
"""Load is averaged over this long; no scaling delay may be shorter, or replicas come and go with every burst."""


@cache
def bind(model_id: str) -> serve.Application:
    """The model's deployment. Memoised: binding an id twice would make two deployments."""
    resources = model_class(model_id).spec.resources
    return serve.deployment(Replica).options(name=model_id, **options(resources)).bind(model_id)


def options(resources: Resources) -> dict[str, Any]:
    """Serve's deployment options for a model's or a flow's declared resources."""
    actor = {"num_cpus": resources.cpus * CPU_SHARE, "num_gpus": gpu_share(resources)}
    return {
        "ray_actor_options": actor,
        "autoscaling_config": {
            "min_replicas": resources.min_replicas,
            "max_replicas": resources.max_replicas,
            "target_ongoing_requests": resources.target_ongoing_requests,
            "look_back_period_s": LOOK_BACK_S,
            "upscale_delay_s": LOOK_BACK_S,
            "downscale_delay_s": 300.0,
            "downscale_to_zero_delay_s": 600.0,
        },
        # Above the expected concurrency: a caller whose replica is full waits in back-off steps.
        "max_ongoing_requests": 32,
        "max_queued_requests": 64,
        "health_check_period_s": 10.0,
        "health_check_timeout_s": 30.0,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": 5.0,
    }


def gpu_share(resources: Resources) -> float:
    """Fraction of a GPU that one replica is placed on; 0 where no GPU is configured or the model never uses one.

    raises: ValueError for a model that does not fit a GPU
    """
    total = settings().gpu_memory_mb
    if not total or not resources.gpu_memory_mb:
        return 0.0
    if resources.gpu_memory_mb > total:
        raise ValueError(f"expected at most {total} MB of GPU memory, got a model of {resources.gpu_memory_mb} MB")
    # Ray counts in ten-thousandths; rounding up keeps the sum of what is placed within the memory.
    return -(-resources.gpu_memory_mb * 10_000 // total) / 10_000


async def answer(call: Callable[[], DeploymentResponse[Any]]) -> Any:
    """Send a call to a deployment and await its result; raise the refusal where it answers with one.

    Sent once more if the replica dies; models and flows are free of side effects, so that is safe.
    raises: Busy where the queue is full
    """
    try:
        result = await _answer_once(call)
    except RayActorError as death:
        if isinstance(death, RayTaskError):  # a replica further on died, twice, and its caller said so
            raise
        log.warning("replica_died", reason=str(death).partition("\n")[0])
        result = await _answer_once(call)
    if isinstance(result, ModisteError):
        raise result
    return result


async def _answer_once(call: Callable[[], DeploymentResponse[Any]]) -> Any:
    try:
        return await call()
    except BackPressureError as error:
        raise busy() from error


def busy() -> Busy:
    return Busy("expected a free place in the queue, got a full one; send the request again later")
