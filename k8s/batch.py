"""Work that ends: weights into the shared volume, engines for each kind of node, feeds into the catalogue."""

from collections.abc import Sequence

from api.__main__ import weights_in_use
from deployments import MODELS, model_class
from k8s import pods
from k8s.environments import GI, Environment, Pool
from k8s.pods import Manifest
from k8s.served import model_settings, served, under

FEED = f"{pods.STATE}/feeds/catalogue.csv"
NIGHTLY = "17 3 * * *"
KEPT_S = 24 * 3600


def jobs(environment: Environment) -> list[Manifest]:
    """To be run before a rollout: a Job cannot be changed, so a new one replaces the one of before."""
    with under(model_settings(environment)):
        weights = weights_in_use()
    fetch = _job("weights", _pod(environment, "weights", ["weights", "fetch", *weights]), hours=2)
    return [fetch, *(_engines(environment, pool) for pool in environment.pools)]


def _engines(environment: Environment, pool: Pool) -> Manifest:
    """Builds what models on this kind of node lack, judges it, and leaves it in the store; exit 1 where an engine is
    refused. It fetches the weights that it needs where the other Job has not done so yet; who is first, fetches.
    """
    here = [of.name for of in served(environment) if of.pool is pool and of.name in MODELS]
    models = [word for name in here if model_class(name).spec.engines for word in ("--model", name)]
    pod = _pod(environment, f"engines-{pool.name}", ["compile", "build", *models], pool, cpus=4, memory_mb=32 * GI)
    return _job(f"engines-{pool.name}", pod, hours=4)


def catalogue(environment: Environment) -> Manifest:
    """Brings the catalogue up to date with the feed that its owner leaves on the state volume. An article that could
    not be used makes it exit with 1; trying again would not help, the log says which.
    """
    pod = _pod(environment, "catalogue", ["api.catalogue", "import", FEED], volumes=["cache", "scratch", "state"])
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": pods.metadata(f"{pods.NAME}-catalogue", "job"),
        "spec": {
            "schedule": NIGHTLY,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": _job_spec(pod, hours=3, retries=0)},
        },
    }


def _job(name: str, pod: Manifest, *, hours: int) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": pods.metadata(f"{pods.NAME}-{name}", "job"),
        "spec": _job_spec(pod, hours=hours, retries=2),
    }


def _job_spec(pod: Manifest, *, hours: int, retries: int) -> Manifest:
    return {
        "backoffLimit": retries,
        "activeDeadlineSeconds": hours * 3600,
        "ttlSecondsAfterFinished": KEPT_S,
        "template": pod,
    }


def _pod(
    environment: Environment,
    name: str,
    module: Sequence[str],
    pool: Pool | None = None,
    *,
    volumes: Sequence[str] = ("cache", "scratch"),
    cpus: int = 2,
    memory_mb: int = 8 * GI,
) -> Manifest:
    """pool: whose nodes it runs on, with a GPU of theirs; none: anywhere."""
    gpu = pool is not None and pool.gpu is not None
    made, mounts = pods.volumes(environment, volumes)
    container = {
        "name": name,
        "image": pods.GPU_IMAGE if gpu else pods.CPU_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", *module],
        "env": pods.environment_variables(environment, pool or environment.pools[0], volumes),
        "resources": pods.resources(*_sized(environment, cpus, memory_mb), gpu=gpu),
        "securityContext": pods.container_security(),
        "volumeMounts": mounts,
    }
    return {
        "metadata": {"labels": pods.labels("job")},
        "spec": {
            "restartPolicy": "Never",
            "priorityClassName": pods.BATCH,
            "serviceAccountName": pods.SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "securityContext": pods.pod_security(),
            "containers": [container],
            "volumes": made,
            **(pods.on_gpu_nodes(pool) if pool is not None else {}),
        },
    }


def _sized(environment: Environment, cpus: int, memory_mb: int) -> tuple[int, int]:
    """One's own machine has room for little beside the service."""
    return (cpus, memory_mb) if environment.site is not None else (1, 4 * GI)
