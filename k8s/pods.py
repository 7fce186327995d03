"""What every pod of ours has: identity, security, environment, volumes, probes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from api.app import INLINE_BYTES
from deployments.environment import prepare
from k8s.environments import Environment, Pool
from k8s.served import model_settings

USER = 10001
"""Of the images; owns what it writes to volumes."""

PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
POOL_LABEL = "modiste.dev/pool"
NAME = "modiste"
SERVICE_ACCOUNT = "modiste"
INTERACTIVE, BATCH = "modiste-interactive", "modiste-batch"

CPU_IMAGE, GPU_IMAGE = "modiste-cpu", "modiste-gpu"
"""Names that Kustomize replaces by a registry's, with a digest."""

CACHE, STATE, SCRATCH = "/cache", "/state", "/tmp"  # noqa: S108 - each pod's own
TENANTS = "/etc/modiste/tenants.toml"

Manifest = dict[str, Any]

VOLUMES: Mapping[str, tuple[str, Manifest]] = {
    "cache": (CACHE, {"persistentVolumeClaim": {"claimName": "modiste-weights"}}),
    "state": (STATE, {"persistentVolumeClaim": {"claimName": "modiste-state"}}),
    "scratch": (SCRATCH, {"emptyDir": {"sizeLimit": "20Gi"}}),
    # The folder and not the file in it, which would stay as it was when the secret changes.
    "tenants": (TENANTS.rpartition("/")[0], {"secret": {"secretName": "modiste-tenants"}}),
}


def labels(component: str, **more: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, PART_OF: NAME, COMPONENT: component, **more}


def metadata(name: str, component: str, **more: Any) -> Manifest:
    return {"name": name, "labels": labels(component), **more}


def pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",  # or each start would walk through all files
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Complete by itself: KubeRay gives it to the container that it adds, and Pod Security checks each of them."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources(cpus: int, memory_mb: int, *, gpu: bool = False) -> Manifest:
    """Limits equal requests: the pod is the last to be evicted, and Ray promises what is there."""
    amounts = {"cpu": str(cpus), "memory": f"{memory_mb}Mi", **({"nvidia.com/gpu": "1"} if gpu else {})}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def runtime_environment() -> dict[str, str]:
    """What `python -m api serve` sets before it starts a Ray of its own, and so inherit its replicas."""
    before = dict(os.environ)
    os.environ.clear()
    try:
        prepare()
        prepared = dict(os.environ)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return prepared | {
        "RAY_LOG_TO_STDERR": "1",  # to the container's, where logs are collected; Ray's own tell warnings only
        "RAY_BACKEND_LOG_LEVEL": "warning",
        "RAY_max_direct_call_object_size": str(INLINE_BYTES),
        "RAY_task_rpc_inlined_bytes_limit": str(4 * INLINE_BYTES),
    }


def environment_variables(environment: Environment, pool: Pool | None, mounted: Sequence[str]) -> list[Manifest]:
    """Sorted by name. mounted: names of volumes; engines are opened, from their store, where the cache is."""
    values = {
        **runtime_environment(),
        **model_settings(environment, pool),
        "HOME": SCRATCH,
        **{f"MODISTE_{name.upper()}": VOLUMES[name][0] for name in ("cache", "state") if name in mounted},
        "MODISTE_HOST": "0.0.0.0",  # noqa: S104 - network policies say who may reach it
    }
    secrets: dict[str, tuple[str, str]] = {}
    if environment.site is not None:
        values["OTEL_EXPORTER_OTLP_ENDPOINT"] = environment.site.traces
        if "tenants" in mounted:
            values["MODISTE_TENANTS"] = TENANTS
        if "cache" in mounted:
            values["MODISTE_ENGINE_STORE"] = environment.site.engine_store
            secrets["MODISTE_ENGINE_SECRET"] = ("modiste-engines", "secret")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
                secrets[name] = ("modiste-object-store", name)
    plain = [{"name": name, "value": value} for name, value in values.items()]
    referred = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in secrets.items()
    ]
    return sorted(plain + referred, key=lambda variable: str(variable["name"]))


def volumes(environment: Environment, names: Sequence[str]) -> tuple[list[Manifest], list[Manifest]]:
    """Volumes of a pod, and where its container mounts them."""
    secrets = {name for name in names if "secret" in VOLUMES[name][1]}
    there = [name for name in names if environment.site is not None or name not in secrets]  # at home are none
    made = [{"name": name, **VOLUMES[name][1]} for name in there]
    mounts: list[Manifest] = [
        {"name": name, "mountPath": VOLUMES[name][0], **({"readOnly": True} if name in secrets else {})}
        for name in there
    ]
    return made, mounts


ASK = "import sys, urllib.request as r; [r.urlopen(url, timeout=float(sys.argv[1])) for url in sys.argv[2:]]"
"""A probe's program: exits with 1 where an address does not answer with 200. The image has no wget, which KubeRay's own
probes would call."""


def ask(timeout_s: int, *urls: str) -> Manifest:
    return {"exec": {"command": ["python", "-c", ASK, str(timeout_s), *urls]}, "timeoutSeconds": timeout_s + 2}


def spread(environment: Environment, matching: Mapping[str, str]) -> list[Manifest]:
    """Over zones and machines as evenly as there is room: GPUs of a type are often in one zone only."""
    if environment.site is None:
        return []
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(matching)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def on_gpu_nodes(pool: Pool) -> Manifest:
    """Where pods of a pool with GPUs are placed; nothing for others."""
    if pool.gpu is None:
        return {}
    return {
        "nodeSelector": {"nvidia.com/gpu.product": pool.gpu.product},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
