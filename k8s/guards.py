"""What stands around the pods: namespace, identity, priorities, budgets for disruptions, volumes, names of secrets."""

from k8s import pods
from k8s.environments import Environment
from k8s.pods import Manifest

SECRETS = {
    "modiste-redis": ("password",),
    "modiste-engines": ("secret",),
    "modiste-object-store": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"),
    "modiste-tenants": ("tenants.toml",),
    "modiste-tls": ("tls.crt", "tls.key"),
}
"""Keys by name of secret; no value of any is in this repository."""


def namespace(environment: Environment) -> Manifest:
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": environment.namespace, "labels": {**pods.labels("namespace"), **levels}},
    }


def service_account() -> Manifest:
    """Of workers and Jobs: bound to no role, and its token is not mounted."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": pods.metadata(pods.SERVICE_ACCOUNT, "identity"),
        "automountServiceAccountToken": False,
    }


def priority_classes() -> list[Manifest]:
    """Who waits for a user comes first, and may displace what can be done later."""
    return [
        _priority(pods.INTERACTIVE, 100_000, "PreemptLowerPriority", "answers a waiting user"),
        _priority(pods.BATCH, 1_000, "Never", "builds, imports, prefetches"),
    ]


def _priority(name: str, value: int, preemption: str, meaning: str) -> Manifest:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": pods.metadata(name, "priority"),
        "value": value,
        "globalDefault": False,
        "preemptionPolicy": preemption,
        "description": meaning,
    }


def disruption_budgets(environment: Environment) -> list[Manifest]:
    """One worker of a pool at a time, down from its least number.

    As a number that stays: Ray's pods belong to a RayCluster, which cannot be scaled the way that `maxUnavailable`
    needs. A pool of one has no budget, which would keep its machine from ever being emptied; nor has the head, whose
    workers go on serving without it.
    """
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": pods.metadata(f"{pods.NAME}-{pool.name}", "worker"),
            "spec": {
                "minAvailable": pool.nodes[0] - 1,
                "selector": {"matchLabels": {pods.COMPONENT: "worker", pods.POOL_LABEL: pool.name}},
            },
        }
        for pool in environment.pools
        if pool.nodes[0] > 1
    ]


def claims(environment: Environment) -> list[Manifest]:
    """Volumes that all pods share; on a single machine one that can be mounted there alone will do."""
    site = environment.site
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": pods.metadata(name, "storage"),
            "spec": {
                "accessModes": ["ReadWriteMany" if site is not None else "ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{size}Gi"}},
                **({"storageClassName": site.storage_class} if site is not None else {}),
            },
        }
        for name, size in (("modiste-weights", environment.weights_gb), ("modiste-state", environment.state_gb))
    ]


def secret_templates() -> list[Manifest]:
    """What to fill in and apply by other means; nothing refers to the file."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": pods.metadata(name, "secret"),
            "type": "kubernetes.io/tls" if name == "modiste-tls" else "Opaque",
            "stringData": dict.fromkeys(keys, ""),
        }
        for name, keys in SECRETS.items()
    ]
