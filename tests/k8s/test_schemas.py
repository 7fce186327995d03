"""Every document by the schema of its kind, unknown fields refused; and what Kustomize makes of them."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray._common.utils import import_attr
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve.schema import ServeDeploySchema

from k8s.edge import gateway_class
from k8s.environments import ENVIRONMENTS
from k8s.guards import SECRETS
from k8s.invariants import Rendered
from k8s.render import HERE
from k8s.render import rendered as render
from k8s.serve_schema import ServeConfig
from k8s.served import model_settings, under

KUBERNETES = "1.31"
"""The oldest that KubeRay 1.7 and the manifests are meant for."""

SCHEMA = json.loads((Path(__file__).parent / "rayservice_v1_strict.json").read_text())


FILES = render()
"""As they are rendered now, by their paths under k8s/."""


class Labelled(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    labels: dict[str, str]


class ClassSpec(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    controllerName: str = Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9/_.~-]+$")


class GatewayClass(BaseModel):
    """Of gateway.networking.k8s.io/v1, what we use. Registries carry its schema as validators in JavaScript only."""

    model_config = ConfigDict(extra="forbid", strict=True)
    apiVersion: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["GatewayClass"]
    metadata: Labelled
    spec: ClassSpec


def validate(document: dict[str, Any]) -> None:
    match document["kind"]:
        case "RayService":
            jsonschema.validate(document, SCHEMA)
        case "GatewayClass":
            GatewayClass.model_validate(document)
        case "Kustomization":
            pass  # `kubectl kustomize` reads it below
        case _:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", FILES)
def test_each_committed_file_is_what_would_be_rendered_now(name: str) -> None:
    assert (HERE / name).exists(), "run `make render`"
    assert (HERE / name).read_text() == FILES[name], "run `make render`"


def test_no_rendered_file_is_left_over() -> None:
    there = {
        str(path.relative_to(HERE))
        for folder in ("base", "prerequisites", "overlays")
        for path in (HERE / folder).rglob("*.yaml")
    }
    assert there == set(FILES) - {"secrets.example.yaml"}


@pytest.mark.parametrize("name", FILES)
def test_each_document_is_valid(name: str) -> None:
    for document in yaml.safe_load_all(FILES[name]):
        validate(document)


def test_an_unknown_field_is_refused(production: Rendered) -> None:
    documents = {document["kind"]: document for document in [*production.documents, *gateway_class()]}
    assert {"RayService", "Job", "CronJob", "Ingress", "NetworkPolicy", "PodDisruptionBudget"} <= set(documents)
    for document in documents.values():
        broken = json.loads(json.dumps(document))
        broken.setdefault("spec", broken)["replikas"] = 1
        with pytest.raises((jsonschema.ValidationError, ValidationError, kubernetes_validate.ValidationError)):
            validate(broken)


def test_serve_takes_its_configuration(rendered: Rendered) -> None:
    ServeDeploySchema.model_validate(rendered.serve)
    ServeConfig.model_validate(rendered.serve)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("http_options", "timeout"), 3),
        (("applications", 0, "deployments", 0, "max_replicas"), 3),
        (("applications", 0, "deployments", 0, "autoscaling_config", "upscale_delay"), 3),
        (("applications", 0, "deployments", 0, "ray_actor_options", "num_gpu"), 1),
        (("applications", 0, "deployments", 0, "autoscaling_config", "upscale_delay_s"), 1.0),
        (("applications", 0, "deployments", 0, "name"), "another"),
        (("applications", 0, "name"), "http"),
        (("applications", 0, "route_prefix"), "/"),
        (("applications", 0, "route"), "/models"),
    ],
)
def test_what_ray_would_ignore_is_refused(production: Rendered, where: tuple[Any, ...], value: object) -> None:
    config = json.loads(json.dumps(production.serve))
    inner = config
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    with pytest.raises(ValidationError):
        ServeConfig.model_validate(config)


@cache
def kubectl() -> str | None:
    """Why Kustomize cannot be tried here."""
    if shutil.which("kubectl") is None:
        return "no kubectl here"
    told = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"Kustomize Version: v(\d+)", told)
    if version is None or int(version[1]) < 5:
        return "this kubectl has no Kustomize 5"
    return None


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("part", ["", "jobs"])
def test_kustomize_builds_it(name: str, part: str) -> None:
    if why := kubectl():
        pytest.skip(why)
    built = subprocess.run(
        ["kubectl", "kustomize", str(HERE / "overlays" / name / part)], capture_output=True, text=True, check=True
    )
    assert not built.stderr, built.stderr  # it warns of what it will not take any longer
    documents = list(yaml.safe_load_all(built.stdout))
    for document in documents:
        validate(document)
        if document["kind"] not in {"Namespace", "PriorityClass"}:
            assert document["metadata"]["namespace"] == f"modiste-{name}"
    images = re.findall(r"image: (\S+)", built.stdout)
    pinned = r".+/modiste-(cpu|gpu)@sha256:[0-9a-f]{64}" if name != "dev" else r"modiste-(cpu|gpu):dev"
    assert images
    assert all(re.fullmatch(pinned, image) for image in images)


def test_the_secrets_are_a_form_without_values() -> None:
    documents = list(yaml.safe_load_all((HERE / "secrets.example.yaml").read_text()))
    assert {document["metadata"]["name"] for document in documents} == set(SECRETS)
    for document in documents:
        assert set(document["stringData"]) == set(SECRETS[document["metadata"]["name"]])
        assert not any(document["stringData"].values())
        assert "data" not in document


def test_each_builder_builds_its_application(rendered: Rendered) -> None:
    """As Serve does it on a node: the module, the function, the arguments, checked by the function's own type. What the
    configuration does not say otherwise is what the builder would choose.
    """
    for application in rendered.serve["applications"]:
        (configured,) = application["deployments"]
        with under(model_settings(rendered.environment)):
            builder = import_attr(application["import_path"])
            built = call_user_app_builder_with_args_if_necessary(builder, application["args"])
        deployment = built._bound_deployment
        assert deployment.name == application["name"] == configured["name"]
        chosen = deployment._deployment_config
        for option in ("max_ongoing_requests", "max_queued_requests", "health_check_timeout_s"):
            assert configured[option] == getattr(chosen, option)
        policy = configured["autoscaling_config"]["policy"]["policy_function"]
        assert policy == chosen.autoscaling_config.policy.policy_function
        import_attr(policy)
