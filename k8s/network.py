"""Who may talk to whom: nobody, then exactly what Ray, its operator, users, monitoring and the stores need."""

from typing import Any

from k8s import pods
from k8s.cluster import CLIENT, DASHBOARD, GCS, METRICS
from k8s.environments import Environment, Site
from k8s.pods import Manifest
from k8s.serve_config import PORT

OPERATOR_NAMESPACE, MONITORING_NAMESPACE, GATEWAY_NAMESPACE = "kuberay-system", "monitoring", "istio-system"
NEVER_PUBLIC = (GCS, DASHBOARD, CLIENT)
AUTOSCALER_METRICS, DASHBOARD_METRICS = 44217, 44227
TRACES = 4318
"""OTLP over HTTP."""

PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""Addresses within the cluster and its site, the clouds' metadata services among them."""

GATEWAY = f"{pods.NAME}-gateway"
"""The name that KubeRay gives to the gateway of the RayService."""

RAY = {"matchExpressions": [{"key": pods.COMPONENT, "operator": "In", "values": ["head", "worker"]}]}
HEAD: Manifest = {"matchLabels": {pods.COMPONENT: "head"}}
WORKERS: Manifest = {"matchLabels": {pods.COMPONENT: "worker"}}
GATEWAYS: Manifest = {"matchLabels": {"gateway.networking.k8s.io/gateway-name": GATEWAY}}


def policies(environment: Environment) -> list[Manifest]:
    """Those of every environment, and of a site also those towards its stores and its users."""
    operator = _namespace(OPERATOR_NAMESPACE)
    monitoring = _namespace(MONITORING_NAMESPACE)
    cluster_dns = {**_namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    found = [
        _policy("deny", {}, ingress=[], egress=[]),
        _policy("dns", {}, egress=[{"to": [cluster_dns], "ports": [*_ports(53, protocol="UDP"), *_ports(53)]}]),
        # Within one Ray cluster every process may run code on every node anyway, and workers' ports are chosen as
        # they start. Clusters of one upgrade share the policy.
        _policy("ray", RAY, ingress=[{"from": [{"podSelector": RAY}]}], egress=[{"to": [{"podSelector": RAY}]}]),
        # Serve's applications are sent to the dashboard's address; that is the operator's only way in.
        _policy("operator", HEAD, ingress=[{"from": [operator], "ports": _ports(DASHBOARD)}]),
        _policy(
            "metrics",
            RAY,
            ingress=[{"from": [monitoring], "ports": _ports(METRICS, AUTOSCALER_METRICS, DASHBOARD_METRICS)}],
            egress=[{"to": [monitoring], "ports": _ports(TRACES)}],
        ),
        # Feeds' pictures and weights come from anywhere; nothing of the site is reached this way.
        _policy("fetch", {"matchLabels": {pods.COMPONENT: "job"}}, egress=[_outside()]),
    ]
    if environment.site is None:
        # On one machine the API server is one of the machine's own addresses.
        return [*found, _policy("autoscaler", HEAD, egress=[{"ports": _ports(443, 6443)}])]
    return found + _of_site(environment.site)


def _of_site(site: Site) -> list[Manifest]:
    redis = {"to": [_namespace(site.redis_namespace)], "ports": _ports(int(site.redis.rpartition(":")[2]))}
    store = {"to": [_range(cidr) for cidr in site.object_store], "ports": _ports(443)}
    api = {"to": [_range(cidr) for cidr in site.api_server], "ports": _ports(443, 6443)}
    engines = {"matchExpressions": [{"key": pods.COMPONENT, "operator": "In", "values": ["worker", "job"]}]}
    edge = _namespace(site.edge_namespace)
    return [
        _policy(
            "redis", HEAD, egress=[redis]
        ),  # also of the Job that clears it, which is made from the head's template
        _policy("object-store", engines, egress=[store]),
        _policy("autoscaler", HEAD, egress=[api]),
        _policy("serve", WORKERS, ingress=[{"from": [{"podSelector": GATEWAYS}], "ports": _ports(PORT)}]),
        _policy(
            "gateway",
            GATEWAYS,
            ingress=[{"from": [edge], "ports": _ports(80)}],
            egress=[
                {"to": [{"podSelector": WORKERS}], "ports": _ports(PORT)},
                {"to": [_namespace(GATEWAY_NAMESPACE)], "ports": _ports(15012)},
            ],
        ),
    ]


def _policy(
    name: str, selector: Manifest, *, ingress: list[Any] | None = None, egress: list[Any] | None = None
) -> Manifest:
    given = {"ingress": ingress, "egress": egress}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": pods.metadata(f"{pods.NAME}-{name}", "network"),
        "spec": {
            "podSelector": selector,
            "policyTypes": [way.capitalize() for way, rules in given.items() if rules is not None],
            **{way: rules for way, rules in given.items() if rules},
        },
    }


def _namespace(name: str) -> Manifest:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _range(cidr: str) -> Manifest:
    return {"ipBlock": {"cidr": cidr}}


def _outside() -> Manifest:
    return {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}}], "ports": _ports(443)}


def _ports(*numbers: int, protocol: str = "TCP") -> list[Manifest]:
    return [{"port": number, "protocol": protocol} for number in numbers]
