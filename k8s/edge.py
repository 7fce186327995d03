"""Where users come in: TLS, and limits that agree with the application's own.

The outer limit is never the one that a user meets: it is a little wider, so that refusals are the application's problem
documents. Annotations are those of F5's NGINX Ingress Controller; the community's ingress-nginx is no longer kept up.
"""

from collections.abc import Sequence
from math import ceil

from api.routes.flows import TWINS
from api.uploads import OPTIONS_LIMIT
from graphs import GRAPHS
from graphs.signature import signature
from k8s import pods
from k8s.environments import Environment, Site
from k8s.network import GATEWAY
from k8s.pods import Manifest
from k8s.serve_config import MARGIN_S, app_settings, request_timeout_s
from k8s.served import model_settings, under
from modiste.settings import Settings

MEBI = 2**20
CONTROLLER = "istio.io/gateway-controller"


def takes_video(flow: str) -> bool:
    return signature(flow).takes_video or flow in TWINS


def body_bytes(of: Settings, flows: Sequence[str]) -> int:
    """What the application takes at most in one request to one of the flows: see api/uploads.py."""
    most = 0
    for flow in flows:
        names = {slot.name for name in (flow, TWINS.get(flow)) if name for slot in signature(name).uploads}
        file = max(of.max_video_bytes, of.max_upload_bytes) if takes_video(flow) else of.max_upload_bytes
        most = max(most, 2 * OPTIONS_LIMIT + max(1, len(names)) * file)
    return most


def ingresses(environment: Environment) -> list[Manifest]:
    """One host in parts with limits of their own: everything, and the flows that take videos."""
    site = environment.site
    if site is None:
        return []  # `kubectl port-forward` reaches it
    of = app_settings(environment)
    with under(model_settings(environment)):
        videos = sorted(name for name in GRAPHS if takes_video(name))
        pictures = sorted(set(GRAPHS) - set(videos))
        limits = {"pictures": body_bytes(of, pictures), "videos": body_bytes(of, videos)}
    wait = f"{ceil(request_timeout_s(environment) + MARGIN_S)}s"
    return [
        _master(site),
        _minion(site, "pictures", limits["pictures"], wait, [("/", "Prefix")]),
        _minion(site, "videos", limits["videos"], wait, [(f"/v1/flows/{name}", "Exact") for name in videos]),
    ]


def _master(site: Site) -> Manifest:
    annotations = {
        "nginx.org/mergeable-ingress-type": "master",
        "nginx.org/redirect-to-https": "True",
        "nginx.org/hsts": "True",
    }
    return _ingress(
        "edge",
        annotations,
        {"tls": [{"hosts": [site.host], "secretName": "modiste-tls"}], "rules": [{"host": site.host}]},
    )


def _minion(site: Site, name: str, most: int, wait: str, paths: Sequence[tuple[str, str]]) -> Manifest:
    annotations = {
        "nginx.org/mergeable-ingress-type": "minion",
        "nginx.org/client-max-body-size": f"{ceil(most / MEBI)}m",
        "nginx.org/proxy-read-timeout": wait,
        "nginx.org/proxy-send-timeout": wait,
        "nginx.org/proxy-buffering": "False",  # events of jobs are to arrive as they happen
    }
    # KubeRay moves traffic between clusters behind this name: the gateway's, and the name of its class.
    backend = {"service": {"name": f"{GATEWAY}-{pods.NAME}", "port": {"number": 80}}}
    rule = {
        "host": site.host,
        "http": {"paths": [{"path": path, "pathType": kind, "backend": backend} for path, kind in paths]},
    }
    return _ingress(name, annotations, {"rules": [rule]})


def _ingress(name: str, annotations: Manifest, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": pods.metadata(f"{pods.NAME}-{name}", "edge", annotations=annotations),
        "spec": {"ingressClassName": "nginx", **spec},
    }


def gateway_class() -> list[Manifest]:
    """Once for a Kubernetes cluster. KubeRay makes the gateway and its routes; of this class its service stays within
    the cluster, as the gateway speaks plain HTTP and the Ingress in front of it TLS.
    """
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": pods.metadata(pods.NAME, "edge"),
            "spec": {"controllerName": CONTROLLER},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "modiste-gateway-defaults",
                "namespace": "istio-system",
                "labels": {**pods.labels("edge"), "gateway.istio.io/defaults-for-class": pods.NAME},
            },
            "data": {"service": "spec:\n  type: ClusterIP\n", "deployment": "spec:\n  replicas: 2\n"},
        },
    ]
