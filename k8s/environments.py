"""What differs between dev, staging and production, as tables; the rest of the manifests derives from the specs.

What a new installation sets before its first rollout is in `SITE` of its environment, and in images/digests.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployments.app import CPU_SHARE
from modiste.spec import Target

GI = 1024
"""MB in a GiB; memory is in MB of 2**20 bytes everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPU:
    """One GPU of a pool's pods.

    product:   value of the node label nvidia.com/gpu.product
    memory_mb: what the driver reports
    models_mb: models that declare at least so much run on this type, unless a later one in the table takes them
    """

    product: str
    memory_mb: int
    models_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A group of equal Ray nodes. KubeRay adds groups at the end of the list to a running cluster; any other change of
    a group, of its place too, makes a new cluster.

    cpus, memory_mb: of one pod, requested and limited
    object_store_mb: of the memory, for pictures on their way between processes
    cpu_share:  cores that Ray reserves for each core that a replica declares
    replica_mb: memory that Ray sets aside for a replica
    nodes:      least and most
    """

    name: str
    cpus: int
    memory_mb: int
    object_store_mb: int
    cpu_share: float
    replica_mb: int
    nodes: tuple[int, int]
    gpu: GPU | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What becomes of the replicas that specs declare.

    least:  of deployments that always have one
    factor: on the most; cap: the most of all
    single: more or fewer, by name
    """

    least: int = 1
    factor: int = 1
    cap: int | None = None
    single: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """How a changed Ray cluster replaces the running one (percent of capacity, percent of traffic, seconds)."""

    gateway_class: str
    surge_percent: int
    step_percent: int
    interval_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What only the place knows.

    registry:     where the images are pulled from
    host:         under which users reach the service
    redis:        of the Ray head's state; its namespace, for the network policy
    engine_store: where engines are shared
    object_store: address ranges of that store
    api_server:   address ranges of the Kubernetes API, as the network plugin sees them after translation
    traces:       where spans are sent (OTLP over HTTP)
    edge_namespace: of the Ingress controller
    """

    registry: str
    host: str
    redis: str
    redis_namespace: str
    engine_store: str
    object_store: tuple[str, ...]
    api_server: tuple[str, ...]
    storage_class: str
    traces: str = "http://opentelemetry-collector.monitoring.svc.cluster.local:4318"
    edge_namespace: str = "nginx-ingress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """settings: MODISTE_* by their names in modiste/settings.py; site: None on one's own machine

    rolled: when single applications were last restarted by hand, by name; another date restarts one
    """

    name: Literal["dev", "staging", "production"]
    edition: str
    target: Target
    pools: tuple[Pool, ...]
    replicas: Replicas
    head_cpus: int
    head_memory_mb: int
    weights_gb: int
    state_gb: int
    settings: Mapping[str, str] = field(default_factory=dict)
    rolled: Mapping[str, str] = field(default_factory=dict)
    upgrade: Upgrade | None = None
    site: Site | None = None

    @property
    def namespace(self) -> str:
        return f"modiste-{self.name}"


L4 = GPU(product="NVIDIA-L4", memory_mb=23_034, models_mb=1)
H200 = GPU(product="NVIDIA-H200", memory_mb=143_771, models_mb=1_300)

DEV = Environment(
    name="dev",
    edition="default",
    target="openvino",
    pools=(
        Pool(
            name="cpu",
            cpus=4,
            memory_mb=14 * GI,
            object_store_mb=1 * GI,
            cpu_share=CPU_SHARE,
            replica_mb=384,
            nodes=(1, 1),
        ),
    ),
    replicas=Replicas(cap=1),
    head_cpus=1,
    head_memory_mb=3 * GI,
    weights_gb=5,
    state_gb=5,
)

STAGING = Environment(
    name="staging",
    edition="default",
    target="tensorrt",
    pools=(
        Pool(
            name="cpu",
            cpus=8,
            memory_mb=32 * GI,
            object_store_mb=4 * GI,
            cpu_share=0.5,
            replica_mb=1024,
            nodes=(2, 5),
        ),
        Pool(
            name="l4",
            cpus=8,
            memory_mb=32 * GI,
            object_store_mb=4 * GI,
            cpu_share=0.25,
            replica_mb=2048,
            nodes=(1, 3),
            gpu=L4,
        ),
    ),
    replicas=Replicas(),
    head_cpus=2,
    head_memory_mb=8 * GI,
    weights_gb=50,
    state_gb=100,
    upgrade=Upgrade(gateway_class="modiste", surge_percent=50, step_percent=25, interval_s=60),
    site=Site(
        registry="registry.example.com/modiste",
        host="staging.modiste.example.com",
        redis="redis.modiste-data.svc.cluster.local:6379",
        redis_namespace="modiste-data",
        engine_store="s3://modiste-engines/staging",
        object_store=("203.0.113.0/24",),
        api_server=("192.0.2.1/32",),
        storage_class="shared-files",
    ),
)

PRODUCTION = Environment(
    name="production",
    edition="default",
    target="tensorrt",
    pools=(
        Pool(
            name="cpu",
            cpus=16,
            memory_mb=64 * GI,
            object_store_mb=8 * GI,
            cpu_share=1.0,
            replica_mb=1024,
            nodes=(3, 16),
        ),
        Pool(
            name="l4",
            cpus=8,
            memory_mb=32 * GI,
            object_store_mb=4 * GI,
            cpu_share=0.5,
            replica_mb=2048,
            nodes=(2, 8),
            gpu=L4,
        ),
        Pool(
            name="h200",
            cpus=16,
            memory_mb=128 * GI,
            object_store_mb=8 * GI,
            cpu_share=0.5,
            replica_mb=2048,
            nodes=(2, 4),
            gpu=H200,
        ),
    ),
    replicas=Replicas(least=2, factor=3),
    head_cpus=4,
    head_memory_mb=16 * GI,
    weights_gb=100,
    state_gb=1000,
    upgrade=Upgrade(gateway_class="modiste", surge_percent=20, step_percent=10, interval_s=60),
    site=Site(
        registry="registry.example.com/modiste",
        host="modiste.example.com",
        redis="redis.modiste-data.svc.cluster.local:6379",
        redis_namespace="modiste-data",
        engine_store="s3://modiste-engines/production",
        object_store=("203.0.113.0/24",),
        api_server=("192.0.2.1/32",),
        storage_class="shared-files",
    ),
)

ENVIRONMENTS: Mapping[str, Environment] = {of.name: of for of in (DEV, STAGING, PRODUCTION)}
