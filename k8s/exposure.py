"""More of what has to hold between rendered manifests: nothing runs with rights, is open, or is told a secret."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from graphs import GRAPHS
from k8s import guards, pods
from k8s.edge import body_bytes, takes_video
from k8s.invariants import MIB, Manifest, Rendered
from k8s.network import NEVER_PUBLIC, RAY
from k8s.serve_config import PORT, app_settings
from k8s.served import model_settings, under

SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)

RESTRICTED_POD: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}


def pod_specs(of: Rendered) -> Iterator[tuple[str, Manifest]]:
    """Every pod that comes of the documents, by whose it is."""
    for document in of.documents:
        match document["kind"]:
            case "RayService":
                cluster = document["spec"]["rayClusterConfig"]
                yield "head", cluster["headGroupSpec"]["template"]["spec"]
                for group in cluster["workerGroupSpecs"]:
                    yield group["groupName"], group["template"]["spec"]
            case "Job":
                yield document["metadata"]["name"], document["spec"]["template"]["spec"]
            case "CronJob":
                yield document["metadata"]["name"], document["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def pods_are_restricted(of: Rendered) -> Iterator[str]:
    """As Pod Security's level "restricted" asks, with a root file system that nobody can write besides."""
    for whose, spec in pod_specs(of):
        for field, wanted in RESTRICTED_POD.items():
            if spec.get("securityContext", {}).get(field) != wanted:
                yield f"{whose}: expected {field}: {wanted}"
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for field, wanted in RESTRICTED_CONTAINER.items():
                if container.get("securityContext", {}).get(field) != wanted:
                    yield f"{whose}/{container['name']}: expected {field}: {wanted}"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield f"{whose}: expected no {field}"
        for volume in spec.get("volumes", ()):
            if not {"emptyDir", "persistentVolumeClaim", "secret"} & set(volume):
                yield f"{whose}: expected no volume such as {volume['name']}"
        if whose != "head" and spec.get("automountServiceAccountToken") is not False:
            yield f"{whose}: expected no token of its service account"


def pods_declare_what_they_take(of: Rendered) -> Iterator[str]:
    for whose, spec in pod_specs(of):
        for container in spec["containers"]:
            for bound in ("requests", "limits"):
                if not {"cpu", "memory"} <= set(container.get("resources", {}).get(bound, ())):
                    yield f"{whose}/{container['name']}: expected {bound} of cpu and memory"
        if not spec.get("priorityClassName"):
            yield f"{whose}: expected a priority class"


def images_are_ours(of: Rendered) -> Iterator[str]:
    """Names that the overlay's `images` replaces, by a digest where it is not one's own machine."""
    for whose, spec in pod_specs(of):
        for container in spec["containers"]:
            if container["image"] not in {pods.CPU_IMAGE, pods.GPU_IMAGE}:
                yield f"{whose}/{container['name']}: expected an image that is pinned, got {container['image']}"


def secrets_are_referred_to(of: Rendered) -> Iterator[str]:
    for document in of.of_kind("Secret"):
        yield f"{document['metadata']['name']}: expected no Secret among the manifests"
    for whose, spec in pod_specs(of):
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                if SECRET_NAME.search(variable["name"]) and "value" in variable:
                    yield f"{whose}: expected {variable['name']} from a Secret, got a value"
        for name, key in referred(spec):
            if key not in guards.SECRETS.get(name, ()):
                yield f"{whose}: expected a key of a known Secret, got {name}/{key}"


def referred(spec: Manifest) -> Iterator[tuple[str, str]]:
    """Secrets and their keys that a pod's environment refers to."""
    for container in spec["containers"]:
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]


def ray_is_not_public(of: Rendered) -> Iterator[str]:
    """State, dashboard and client are for Ray itself and, of the dashboard, for KubeRay; all else is denied first."""
    for document in of.of_kind("Service"):
        if document["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{document['metadata']['name']}: expected no Service that is reached from outside"
    if of.service["spec"]["rayClusterConfig"]["headGroupSpec"].get("serviceType") != "ClusterIP":
        yield "expected a head service within the cluster"
    denied = False
    for document in of.of_kind("NetworkPolicy"):
        name, spec = document["metadata"]["name"], document["spec"]
        denied |= spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"} and len(spec) == 2
        for rule in spec.get("ingress", ()):
            yield from _opened(name, rule)
    if not denied:
        yield "expected a policy that denies everything first"
    for document in of.of_kind("Ingress"):
        for port in _backend_ports(document):
            if port in NEVER_PUBLIC:
                yield f"{document['metadata']['name']}: expected no way to port {port}"


def _opened(name: str, rule: Manifest) -> Iterator[str]:
    peers = rule.get("from", [])
    within = bool(peers) and all(peer == {"podSelector": RAY} for peer in peers)
    operator = peers == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}}}]
    ports = [port["port"] for port in rule.get("ports", ())]
    if not peers:
        yield f"{name}: expected to whom it opens, got everybody"
    elif not within and not ports:
        yield f"{name}: expected the ports that it opens, got all"
    for port in ports:
        if port in NEVER_PUBLIC and not within and not (operator and port == NEVER_PUBLIC[1]):
            yield f"{name}: expected port {port} for Ray itself, got {peers}"


def _backend_ports(ingress: Manifest) -> Iterator[int]:
    for rule in ingress["spec"].get("rules", ()):
        for path in rule.get("http", {}).get("paths", ()):
            yield path["backend"]["service"]["port"]["number"]


def limits_agree(of: Rendered) -> Iterator[str]:
    """Deadline < Serve's timeout < the ingress's and the pod's grace; bodies that the application takes pass, by 1 MiB
    at most too much; every flow that takes videos is under their limit.
    """
    app, serve = app_settings(of.environment), of.serve["http_options"]
    if not app.deadline_s < serve["request_timeout_s"]:
        yield f"expected Serve to wait longer than {app.deadline_s} s, got {serve['request_timeout_s']}"
    if serve["port"] != PORT:
        yield f"expected Serve on port {PORT}, got {serve['port']}"
    for group in of.groups:
        grace = group["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        if not serve["request_timeout_s"] < grace:
            yield f"{group['groupName']}: expected a grace over {serve['request_timeout_s']} s, got {grace}"
    for ingress in of.of_kind("Ingress"):
        annotations: dict[str, Any] = ingress["metadata"]["annotations"]
        if annotations["nginx.org/mergeable-ingress-type"] == "master":
            if not ingress["spec"].get("tls"):
                yield "expected TLS at the edge"
            continue
        yield from _limits(of, ingress, annotations)


def _limits(of: Rendered, ingress: Manifest, annotations: Manifest) -> Iterator[str]:
    name = ingress["metadata"]["name"]
    paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    with under(model_settings(of.environment)):
        videos = {flow for flow in GRAPHS if takes_video(flow)}
        flows = {path.rpartition("/")[2] for path in paths} if "/" not in paths else set(GRAPHS) - videos
        most = body_bytes(app_settings(of.environment), sorted(flows))
    given = int(annotations["nginx.org/client-max-body-size"].removesuffix("m")) * MIB
    if not most <= given < most + MIB:
        yield f"{name}: expected bodies of {most} bytes, got {given}"
    if "/" not in paths and flows != videos:
        yield f"{name}: expected the flows {sorted(videos)}, got {sorted(flows)}"
    for annotation in ("nginx.org/proxy-read-timeout", "nginx.org/proxy-send-timeout"):
        wait = int(annotations[annotation].removesuffix("s"))
        if not wait > of.serve["http_options"]["request_timeout_s"]:
            yield f"{name}: expected to wait longer than Serve, got {wait} s"


RULES: tuple[Callable[[Rendered], Iterator[str]], ...] = (
    pods_are_restricted,
    pods_declare_what_they_take,
    images_are_ours,
    secrets_are_referred_to,
    ray_is_not_public,
    limits_agree,
)
