"""The RayService: Serve's configuration on a Ray cluster with a head that only governs, and pools of workers."""

from importlib.metadata import version
from typing import Any

import yaml

from k8s import pods
from k8s.environments import GI, Environment, Pool
from k8s.pods import Manifest
from k8s.serve_config import PORT, request_timeout_s, serve_config
from k8s.served import POOL

GCS, DASHBOARD, CLIENT, METRICS, AGENT = 6379, 8265, 10001, 8080, 52365
RAY_ITSELF_MB = 1 * GI
"""Of a worker's memory: raylet, agents, proxy."""

DRAIN_S = 30
"""Beyond the deadline of the requests that a node still answers: to notice, and for others to start."""

LOCAL = "http://127.0.0.1"
RAYLET = f"{LOCAL}:{AGENT}/api/local_raylet_healthz"


def rayservice(environment: Environment) -> Manifest:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": pods.metadata(pods.NAME, "service"),
        "spec": {
            "serveConfigV2": as_yaml(serve_config(environment)),
            "excludeHeadPodFromServeSvc": True,
            "rayClusterDeletionDelaySeconds": grace_s(environment),  # the old cluster answers what it has taken on
            "upgradeStrategy": _upgrade(environment),
            "rayClusterConfig": {
                "rayVersion": version("ray"),
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": _autoscaler(),
                **_fault_tolerance(environment),
                "headGroupSpec": _head(environment),
                "workerGroupSpecs": [_workers(environment, pool) for pool in environment.pools],
            },
        },
    }


def as_yaml(document: Any) -> str:
    return str(yaml.safe_dump(document, sort_keys=True, width=110, allow_unicode=True))


def _upgrade(environment: Environment) -> Manifest:
    of = environment.upgrade
    if of is None:
        return {"type": "NewCluster"}
    return {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": {
            "gatewayClassName": of.gateway_class,
            "maxSurgePercent": of.surge_percent,
            "stepSizePercent": of.step_percent,
            "intervalSeconds": of.interval_s,
        },
    }


def _autoscaler() -> Manifest:
    return {
        "version": "v2",
        "idleTimeoutSeconds": 300,
        "upscalingMode": "Default",
        "imagePullPolicy": "IfNotPresent",
        "resources": pods.resources(1, 1 * GI),
        "securityContext": pods.container_security(),
        "volumeMounts": [{"name": "scratch", "mountPath": pods.SCRATCH}],
    }


def _fault_tolerance(environment: Environment) -> Manifest:
    """With it the head may die and come back while the workers go on serving; its own machine needs none."""
    if environment.site is None:
        return {}
    password = {"valueFrom": {"secretKeyRef": {"name": "modiste-redis", "key": "password"}}}
    return {"gcsFaultToleranceOptions": {"redisAddress": environment.site.redis, "redisPassword": password}}


def _head(environment: Environment) -> Manifest:
    """Runs no replica. It names no service account, so that KubeRay makes one for each cluster with a role over pods
    and Ray clusters of the namespace, which the autoscaler beside the head needs, and which changes with KubeRay's
    version; it is the only pod with a token.
    """
    made, mounts = pods.volumes(environment, ["scratch"])
    container = {
        "name": "ray-head",
        "image": pods.CPU_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": pods.environment_variables(environment, None, ["scratch"]),
        "ports": _ports(gcs=GCS, dashboard=DASHBOARD, client=CLIENT, metrics=METRICS),
        "resources": pods.resources(environment.head_cpus, environment.head_memory_mb),
        "securityContext": pods.container_security(),
        "volumeMounts": mounts,
        **_probes(RAYLET, f"{LOCAL}:{DASHBOARD}/api/gcs_healthz"),
        "readinessProbe": {**pods.ask(5, f"{LOCAL}:{DASHBOARD}/api/gcs_healthz"), "periodSeconds": 10},
    }
    return {
        "serviceType": "ClusterIP",
        "rayStartParams": {
            "num-cpus": "0",
            "num-gpus": "0",
            "dashboard-host": "0.0.0.0",  # noqa: S104 - KubeRay asks it; network policies let nobody else in
            "metrics-export-port": str(METRICS),
        },
        "template": {
            "metadata": {"labels": pods.labels("head")},
            "spec": {
                "priorityClassName": pods.INTERACTIVE,
                "securityContext": pods.pod_security(),
                "containers": [container],
                "volumes": made,
            },
        },
    }


def _workers(environment: Environment, pool: Pool) -> Manifest:
    # Flows and HTTP keep files; every worker has a proxy, which is where tenants' limits hold.
    mounted = ["cache", "scratch", "tenants"] if pool.gpu else ["cache", "state", "scratch", "tenants"]
    made, mounts = pods.volumes(environment, mounted)
    least, most = pool.nodes
    labels = pods.labels("worker", **{pods.POOL_LABEL: pool.name})
    container = {
        "name": "ray-worker",
        "image": pods.GPU_IMAGE if pool.gpu else pods.CPU_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": pods.environment_variables(environment, pool, mounted),
        "ports": _ports(serve=PORT, metrics=METRICS),
        "resources": pods.resources(pool.cpus, pool.memory_mb, gpu=pool.gpu is not None),
        "securityContext": pods.container_security(),
        "volumeMounts": mounts,
        **_probes(RAYLET),
        # The user's way: this node's proxy, the application, a flow, its model. The proxy of a node without replicas
        # does not run, and such a node is not sent requests. Longer than the golden request may take.
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "serve"},
            "timeoutSeconds": 25,
            "periodSeconds": 10,
            "failureThreshold": 3,
        },
        "lifecycle": {"preStop": {"exec": {"command": ["python", "-m", "k8s.drain", str(grace_s(environment) - 10)]}}},
    }
    return {
        "groupName": pool.name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "labels": {POOL: pool.name},
        "rayStartParams": {
            "num-cpus": str(pool.cpus),
            "num-gpus": "1" if pool.gpu else "0",
            "memory": str(schedulable_mb(pool) * 2**20),
            "object-store-memory": str(pool.object_store_mb * 2**20),
            "metrics-export-port": str(METRICS),
        },
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "priorityClassName": pods.INTERACTIVE,
                "serviceAccountName": pods.SERVICE_ACCOUNT,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": grace_s(environment),
                "securityContext": pods.pod_security(),
                "topologySpreadConstraints": pods.spread(environment, {pods.POOL_LABEL: pool.name}),
                "containers": [container],
                "volumes": made,
                **pods.on_gpu_nodes(pool),
            },
        },
    }


def schedulable_mb(pool: Pool) -> int:
    """Of a node's memory, what replicas may take."""
    return pool.memory_mb - pool.object_store_mb - RAY_ITSELF_MB


def grace_s(environment: Environment) -> int:
    return request_timeout_s(environment) + DRAIN_S


def _ports(**named: int) -> list[Manifest]:
    return [{"name": name, "containerPort": port} for name, port in named.items()]


def _probes(*urls: str) -> Manifest:
    """Ray itself, and not what it serves: a node whose replicas fail is repaired by Serve and not by a restart."""
    return {
        "startupProbe": {**pods.ask(5, *urls), "periodSeconds": 5, "failureThreshold": 60},
        "livenessProbe": {**pods.ask(5, *urls), "periodSeconds": 15, "failureThreshold": 6},
    }
