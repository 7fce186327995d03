"""Each model as a Ray Serve deployment of its own, and how the answer of a deployment is awaited."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentResponse

from deployments import model_class
from deployments.placement import gathers, gpu_share, mps_limits
from deployments.replica import LAST_WORDS_S, Replica
from modiste.errors import Busy, ModisteError, OutOfMemory
from modiste.spec import Resources
from modiste.telemetry import log

CPU_SHARE = 0.06
"""Cores that Ray reserves per core a spec asks for. A request visits its models one after the other, so most
replicas idle; at this share all models, all flows and a few more replicas fit on two cores, and no machine
starts more than about 16 replicas per core."""

LOOK_BACK_S = 15.0
"""Load is averaged over this long; no scaling delay may be shorter, or replicas come and go with every burst."""


ONGOING = 32
"""Calls that a replica takes on at once, above the expected concurrency: a caller whose replica is full waits in
back-off steps."""


class GatheringReplica(Replica):
    """Takes concurrent calls together, as many as the engines' profiles know, where engines run batches at once."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        of = model_class(model_id)
        self._together.set_max_batch_size(min(of.max_batch(), ONGOING))
        self._together.set_batch_wait_timeout_s(of.spec.resources.batch_wait_ms / 1000)

    async def __call__(self, inputs: Sequence[Any]) -> list[Any] | ModisteError:
        if not inputs:
            return []
        answered: list[Any] | ModisteError = await self._together(inputs)
        return answered

    @serve.batch
    async def _together(self, calls: list[Sequence[Any]]) -> list[list[Any] | ModisteError]:
        return await self.answers(calls)


@cache
def bind(model_id: str) -> serve.Application:
    """The model's deployment. Memoised: binding an id twice would make two deployments."""
    resources = model_class(model_id).spec.resources
    replica = GatheringReplica if gathers(model_class(model_id)) else Replica
    return serve.deployment(replica).options(name=model_id, **options(resources)).bind(model_id)


def options(resources: Resources) -> dict[str, Any]:
    """Serve's deployment options for a model's or a flow's declared resources."""
    actor: dict[str, Any] = {"num_cpus": resources.cpus * CPU_SHARE, "num_gpus": gpu_share(resources)}
    if limits := mps_limits(resources):
        actor["runtime_env"] = {"env_vars": limits}
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
        "max_ongoing_requests": ONGOING,
        "max_queued_requests": 64,
        "health_check_period_s": 10.0,
        "health_check_timeout_s": 30.0,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": 5.0,
    }


async def answer(call: Callable[[], DeploymentResponse[Any]]) -> Any:
    """Send a call to a deployment and await its result; raise the refusal where it answers with one.

    Sent once more if the replica dies or its GPU has no room; models and flows are free of side effects, so that is
    safe.
    raises: Busy where the queue is full; OutOfMemory where two replicas had no room
    """
    try:
        result = await _answer_once(call)
        if isinstance(result, OutOfMemory):
            await asyncio.sleep(2 * LAST_WORDS_S)  # by then that replica has ended, and is not asked again
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
