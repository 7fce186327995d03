"""Each model as a Ray Serve application of its own, and how one application calls another."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments import model_class
from deployments.base import array_bytes
from deployments.placement import gathers, gpu_share, mps_limits
from deployments.replica import LAST_WORDS_S, Call, Replica
from deployments.scaling import autoscaling
from modiste.errors import Busy, ModisteError, NotDeployed, OutOfMemory
from modiste.metrics import RETRIES, record
from modiste.spec import Resources
from modiste.telemetry import Context, log, onward

CPU_SHARE = 0.06
"""Cores that Ray reserves per core a spec asks for. A request visits its models one after the other, so most
replicas idle; at this share all models, all flows and a few more replicas fit on two cores, and no machine
starts more than about 16 replicas per core."""

LOST = (RayActorError, ObjectLostError)
"""What a call ends with whose replica died: before it had answered, or with the answer still on its node."""

SENT_DIRECTLY = 1_000_000
"""Bytes of arrays up to which a call goes straight to the replica's own port (gRPC), at half of the CPU time that Ray's
actor calls and object store take; larger ones take longer that way (`loadtests/hops.py`)."""

ONGOING = 32
"""Calls that a replica takes on at once, above the expected concurrency: a caller whose replica is full waits in
back-off steps."""


class GatheringReplica(Replica):
    """Takes concurrent calls together, as many as the engines' profiles know, where engines run batches at once."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        of = model_class(model_id)
        self._room = of.max_batch()
        self._together.set_max_batch_size(min(of.max_batch(), ONGOING))
        self._together.set_batch_wait_timeout_s(of.spec.resources.batch_wait_ms / 1000)

    async def __call__(self, inputs: Sequence[Any], given: Context) -> list[Any] | ModisteError:
        if not inputs:
            return []
        with self._load.taken(len(inputs)):
            answered: list[Any] | ModisteError = await self._together(Call(inputs, given))
            return answered

    @serve.batch
    async def _together(self, calls: list[Call]) -> list[list[Any] | ModisteError]:
        return await self.answers(calls)


class ModelArguments(BaseModel):
    """Of the application, in configuration files."""

    model_config = ConfigDict(extra="forbid")
    model: str


def application(arguments: ModelArguments) -> serve.Application:
    """For configuration files: `import_path: deployments.app:application`."""
    return bind(arguments.model)


def bind(model_id: str) -> serve.Application:
    """The model as an application whose one deployment has its name."""
    resources = model_class(model_id).spec.resources
    replica = GatheringReplica if gathers(model_class(model_id)) else Replica
    return serve.deployment(replica).options(name=model_id, **options(model_id, resources)).bind(model_id)


def options(name: str, resources: Resources) -> dict[str, Any]:
    """Serve's deployment options for the declared resources of a model or a flow."""
    actor: dict[str, Any] = {"num_cpus": resources.cpus * CPU_SHARE, "num_gpus": gpu_share(resources)}
    if limits := mps_limits(resources):
        actor["runtime_env"] = {"env_vars": limits}
    return {
        "ray_actor_options": actor,
        "autoscaling_config": autoscaling(name, resources),
        "max_ongoing_requests": ONGOING,
        "max_queued_requests": 64,
        "health_check_period_s": 10.0,
        "health_check_timeout_s": 30.0,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": 5.0,
    }


def handle_of(name: str) -> DeploymentHandle[Any]:
    """Reaches the application of that name. Asks Serve's controller, and so blocks: not for the event loop.

    raises: NotDeployed
    """
    try:
        handle: DeploymentHandle[Any] = serve.get_deployment_handle(name, app_name=name)
        return handle
    except RayServeException as error:
        raise NotDeployed(f"expected the application {name} to be deployed, got none") from error


async def call_model(handle: DeploymentHandle[Any], inputs: Sequence[Any]) -> list[Any]:
    """Results of a model for several inputs, in order."""
    given = onward()
    way = handle.options(_by_reference=array_bytes(inputs) > SENT_DIRECTLY)
    results: list[Any] = await answer(lambda: way.remote(list(inputs), given), handle.deployment_name)
    return results


async def answer(call: Callable[[], DeploymentResponse[Any]], deployment: str) -> Any:
    """Send a call to the deployment of that name and await its result; raise the refusal where it answers with one.

    Sent once more if the replica dies or its GPU has no room; models and flows are free of side effects, so that is
    safe.
    raises: Busy where the queue is full; OutOfMemory where two replicas had no room
    """
    try:
        result = await _answer_once(call)
        if isinstance(result, OutOfMemory):
            record(RETRIES, deployment=deployment)
            await asyncio.sleep(2 * LAST_WORDS_S)  # by then that replica has ended, and is not asked again
            result = await _answer_once(call)
    except LOST as death:
        if isinstance(death, RayTaskError):  # a replica further on died, twice, and its caller said so
            raise
        record(RETRIES, deployment=deployment)
        log.warning("replica_died", called=deployment, reason=str(death).partition("\n")[0])
        result = await _answer_once(call)
    if isinstance(result, ModisteError):
        raise result
    return result


async def _answer_once(call: Callable[[], DeploymentResponse[Any]]) -> Any:
    response = call()
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()  # Serve would leave it running
        raise
    except BackPressureError as error:
        raise busy() from error
    except DeploymentUnavailableError as error:
        raise NotDeployed("expected a replica, got none that starts; send the request again later") from error


def busy() -> Busy:
    return Busy("expected a free place in the queue, got a full one; send the request again later")
