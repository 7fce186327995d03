"""The manifests as files: a base that all environments share, an overlay for each, and what is installed once."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from k8s import batch, edge, guards, network, pods
from k8s.cluster import rayservice
from k8s.environments import ENVIRONMENTS, Environment
from k8s.invariants import Rendered
from k8s.pods import Manifest

HERE = Path(__file__).resolve().parent
DIGESTS = HERE / "images" / "digests.toml"
HEADER = "# Written by `make render` from the tables and functions in k8s/*.py; change those.\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are read, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dump(documents: Sequence[Manifest]) -> str:
    """Sorted keys, so that a diff shows what changed."""
    return HEADER + str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=110, allow_unicode=True))


def base() -> dict[str, list[Manifest]]:
    """Files of the base, by name."""
    return {"service-account.yaml": [guards.service_account()], "priorities.yaml": guards.priority_classes()}


def overlay(environment: Environment) -> dict[str, list[Manifest]]:
    """Files of an environment, by name; those without content are left out."""
    found = {
        "namespace.yaml": [guards.namespace(environment)],
        "rayservice.yaml": [rayservice(environment)],
        "network.yaml": network.policies(environment),
        "edge.yaml": edge.ingresses(environment),
        "disruption.yaml": guards.disruption_budgets(environment),
        "storage.yaml": guards.claims(environment),
        "catalogue.yaml": [batch.catalogue(environment)],
    }
    return {name: documents for name, documents in found.items() if documents}


def manifests(environment: Environment) -> Rendered:
    """All documents of an environment, its Jobs included."""
    files = [*base().values(), *overlay(environment).values(), batch.jobs(environment)]
    return Rendered(environment, [document for file in files for document in file])


def images(environment: Environment) -> list[Manifest]:
    """Registries and digests in place of the images' names."""
    names = (pods.CPU_IMAGE, pods.GPU_IMAGE)
    if environment.site is None:
        return [{"name": name, "newTag": "dev"} for name in names]
    digests = tomllib.loads(DIGESTS.read_text())
    return [{"name": name, "newName": f"{environment.site.registry}/{name}", "digest": digests[name]} for name in names]


def _kustomization(files: Sequence[str], **more: Any) -> list[Manifest]:
    return [
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(files),
            **more,
        }
    ]


def rendered() -> dict[str, str]:
    """Every file with its path under k8s/."""
    return {str(path): dump(documents) for path, documents in _rendered()}


def _rendered() -> Iterator[tuple[Path, Sequence[Manifest]]]:
    yield Path("secrets.example.yaml"), guards.secret_templates()
    yield from _folder(Path("prerequisites"), {"gateway.yaml": edge.gateway_class()})
    yield from _folder(Path("base"), base())
    for name, environment in ENVIRONMENTS.items():
        folder = Path("overlays") / name
        placed: dict[str, Any] = {"namespace": environment.namespace, "images": images(environment)}
        yield from _folder(folder, overlay(environment), ["../../base"], **placed)
        yield from _folder(folder / "jobs", {"jobs.yaml": batch.jobs(environment)}, **placed)


def _folder(
    folder: Path, files: Mapping[str, Sequence[Manifest]], beside: Sequence[str] = (), **more: Any
) -> Iterator[tuple[Path, Sequence[Manifest]]]:
    for name, documents in files.items():
        yield folder / name, documents
    yield folder / "kustomization.yaml", _kustomization([*beside, *files], **more)
