"""The rules hold in every environment, and each of them notices what it is about."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from api import uploads
from deployments import MODELS, model_class
from deployments.placement import gpu_share
from graphs import GRAPHS
from graphs.signature import signature
from k8s import exposure, invariants
from k8s.__main__ import main as command
from k8s.edge import body_bytes, takes_video
from k8s.environments import ENVIRONMENTS, PRODUCTION, Replicas
from k8s.invariants import Rendered
from k8s.render import HERE, manifests
from k8s.served import POOL, model_settings, scaled, served, under
from modiste.settings import settings
from modiste.spec import Resources

RULES = {rule.__name__: rule for rule in (*invariants.RULES, *exposure.RULES)}
Broken = Callable[[Rendered], object]


@contextmanager
def serving(of: Rendered) -> Iterator[dict[str, Any]]:
    """Serve's configuration, to be changed in place: deployments by name, and `applications`."""
    config = dict(of.serve)
    config["by_name"] = {each["name"]: each["deployments"][0] for each in config["applications"]}
    yield config
    del config["by_name"]
    of.service["spec"]["serveConfigV2"] = yaml.safe_dump(config)


def change(name: str, *keys: str, to: object) -> Broken:
    """Of one deployment."""

    def broken(of: Rendered) -> None:
        with serving(of) as config:
            inner = config["by_name"][name]
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = to

    return broken


def without(name: str) -> Broken:
    def broken(of: Rendered) -> None:
        with serving(of) as config:
            config["applications"] = [each for each in config["applications"] if each["name"] != name]

    return broken


def twice(name: str) -> Broken:
    def broken(of: Rendered) -> None:
        with serving(of) as config:
            config["applications"] += [each for each in config["applications"] if each["name"] == name]

    return broken


def swap_arguments(of: Rendered) -> None:
    with serving(of) as config:
        for each in config["applications"]:
            if each["name"] == "try_on":
                each["args"] = {"flow": "id_photo"}


def group(name: str, *keys: Any, to: object) -> Broken:
    def broken(of: Rendered) -> None:
        put(next(each for each in of.groups if each["groupName"] == name), keys, to)

    return broken


def document(kind: str, name: str, *keys: Any, to: object) -> Broken:
    def broken(of: Rendered) -> None:
        (found,) = (each for each in of.of_kind(kind) if each["metadata"]["name"] == name)
        put(found, keys, to)

    return broken


def put(inner: Any, keys: tuple[Any, ...], to: object) -> None:
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to


def add(found: dict[str, Any]) -> Broken:
    return lambda of: of.documents.append(found)


def drop(kind: str, name: str) -> Broken:
    def broken(of: Rendered) -> None:
        of.documents[:] = [each for each in of.documents if (each["kind"], each["metadata"]["name"]) != (kind, name)]

    return broken


POD = ("template", "spec")
CONTAINER = (*POD, "containers", 0)
HEAD = ("spec", "rayClusterConfig", "headGroupSpec")
OPEN: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "more"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def policy(*rules: dict[str, Any]) -> Broken:
    return add({**OPEN, "spec": {**OPEN["spec"], "ingress": list(rules)}})


BROKEN: list[tuple[str, Broken, str]] = [
    ("every_application_once", without("u2net"), "u2net"),
    ("every_application_once", twice("try_on"), "try_on"),
    ("every_application_once", swap_arguments, "try_on"),
    ("every_call_has_a_target", without("blazepose"), "blazepose"),
    ("every_call_has_a_target", without("jobs"), "http calls jobs"),
    ("every_call_has_a_target", without("id_photo"), "http calls id_photo"),
    ("delays_outlast_the_look_back", change("u2net", "autoscaling_config", "upscale_delay_s", to=5.0), "u2net"),
    ("every_replica_has_a_pool", change("u2net", "ray_actor_options", "label_selector", to={POOL: "a100"}), "a100"),
    ("every_replica_has_a_pool", change("u2net", "ray_actor_options", "label_selector", to={}), "None"),
    ("nodes_are_what_their_pods_hold", group("cpu", "rayStartParams", "num-cpus", to="64"), "64"),
    ("nodes_are_what_their_pods_hold", group("h200", "rayStartParams", "num-gpus", to="8"), "8"),
    ("nodes_are_what_their_pods_hold", group("l4", "rayStartParams", "memory", to=str(32 * 2**30)), "l4"),
    ("gpu_shares_fit", change("u2net", "ray_actor_options", "num_gpus", to=0.001), "u2net"),
    ("gpu_shares_fit", change("mobile_stylegan", "autoscaling_config", "max_replicas", to=500), "mobile_stylegan"),
    ("gpu_shares_fit", change("face_mesh", "ray_actor_options", "num_gpus", to=0.1), "face_mesh"),
    ("replicas_are_placeable", change("try_on", "autoscaling_config", "max_replicas", to=5000), "try_on"),
    ("replicas_are_placeable", change("try_on", "autoscaling_config", "min_replicas", to=90), "try_on"),
    ("replicas_are_placeable", change("try_on", "ray_actor_options", "num_cpus", to=17.0), "try_on"),
    ("replicas_are_placeable", group("cpu", "maxReplicas", to=1), "cpu"),
    ("every_proxy_knows_the_tenants", group("l4", *CONTAINER, "env", to=[]), "l4"),
    ("every_proxy_knows_the_tenants", group("cpu", *CONTAINER, "volumeMounts", to=[]), "cpu"),
    ("pods_are_restricted", group("cpu", *POD, "securityContext", "runAsNonRoot", to=False), "runAsNonRoot"),
    ("pods_are_restricted", group("cpu", *POD, "hostNetwork", to=True), "hostNetwork"),
    ("pods_are_restricted", group("cpu", *POD, "automountServiceAccountToken", to=True), "token"),
    ("pods_are_restricted", group("cpu", *CONTAINER, "securityContext", to={}), "readOnlyRootFilesystem"),
    ("pods_are_restricted", group("cpu", *POD, "volumes", 0, to={"name": "root", "hostPath": {}}), "root"),
    ("pods_declare_what_they_take", group("l4", *CONTAINER, "resources", "limits", to={"cpu": "1"}), "l4"),
    ("pods_declare_what_they_take", group("l4", *POD, "priorityClassName", to=""), "l4"),
    ("images_are_ours", group("cpu", *CONTAINER, "image", to="rayproject/ray:latest"), "rayproject/ray"),
    (
        "secrets_are_referred_to",
        group("cpu", *CONTAINER, "env", 0, to={"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}),
        "AWS_SECRET",
    ),
    ("secrets_are_referred_to", add({"kind": "Secret", "metadata": {"name": "modiste-redis"}}), "modiste-redis"),
    ("ray_is_not_public", document("RayService", "modiste", *HEAD, "serviceType", to="LoadBalancer"), "head service"),
    ("ray_is_not_public", drop("NetworkPolicy", "modiste-deny"), "denies"),
    ("ray_is_not_public", policy({"from": [MONITORING], "ports": [{"port": 8265}]}), "8265"),
    ("ray_is_not_public", policy({"from": [MONITORING]}), "all"),
    ("ray_is_not_public", policy({"ports": [{"port": 8000}]}), "everybody"),
    (
        "ray_is_not_public",
        add({"kind": "Service", "metadata": {"name": "open"}, "spec": {"type": "NodePort"}}),
        "reached from outside",
    ),
    (
        "ray_is_not_public",
        document(
            "Ingress", "modiste-videos", "spec", "rules", 0, "http", "paths", 0, "backend", "service", "port",
            "number", to=8265,
        ),
        "8265",
    ),
    (
        "limits_agree",
        document(
            "Ingress", "modiste-pictures", "metadata", "annotations", "nginx.org/client-max-body-size", to="20m"
        ),
        "bodies",
    ),
    (
        "limits_agree",
        document("Ingress", "modiste-videos", "metadata", "annotations", "nginx.org/proxy-read-timeout", to="60s"),
        "wait longer",
    ),
    ("limits_agree", document("Ingress", "modiste-edge", "spec", "tls", to=[]), "TLS"),
    ("limits_agree", group("cpu", *POD, "terminationGracePeriodSeconds", to=30), "grace"),
    (
        "limits_agree",
        document("Ingress", "modiste-videos", "spec", "rules", 0, "http", "paths", 0, "path", to="/v1/flows/try_on"),
        "flows",
    ),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_hold(rendered: Rendered, rule: str) -> None:
    assert list(RULES[rule](rendered)) == []


@pytest.mark.parametrize(("rule", "broken", "told"), BROKEN, ids=[f"{rule}: {told}" for rule, _, told in BROKEN])
def test_a_rule_notices(production: Rendered, rule: str, broken: Broken, told: str) -> None:
    broken(production)
    found = list(RULES[rule](production))
    assert any(told in violation for violation in found), found


def test_every_rule_is_seen_to_notice() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize("target", ["tensorrt", "cuda"])
def test_the_paper_edition_would_run_in_production(target: Any) -> None:
    """Its models take many times the memory: the tables hold for them too."""
    environment = replace(PRODUCTION, edition="paper", target=target)
    of = manifests(environment)
    assert [violation for rule in RULES.values() for violation in rule(of)] == []


def test_a_pool_takes_the_models_of_its_size() -> None:
    pools = {each.name: each.pool.name for each in served(PRODUCTION)}
    assert pools["face_mesh"] == pools["try_on"] == pools["http"] == "cpu"
    assert (pools["mobile_stylegan"], pools["centerface"]) == ("l4", "h200")


def test_a_share_is_of_the_pools_own_type() -> None:
    for pool in PRODUCTION.pools:
        if pool.gpu is not None:
            with under(model_settings(PRODUCTION, pool)):
                assert settings().gpu_memory_mb == pool.gpu.memory_mb
                assert 0 < gpu_share(model_class("u2net").spec.resources) < 0.1


def test_a_date_rolls_one_application_and_no_other() -> None:
    before, after = (served(replace(PRODUCTION, rolled=rolled)) for rolled in ({}, {"http": "2026-11-22"}))
    assert [new.name for old, new in zip(before, after, strict=True) if old.options != new.options] == ["http"]


def test_a_table_of_replicas() -> None:
    declared = Resources(min_replicas=1, max_replicas=4)
    rare = Resources(min_replicas=0, max_replicas=4)
    alone = Resources(min_replicas=1, max_replicas=1)
    wide = Replicas(least=2, factor=3, single={"hot": (5, 50)})

    def of(resources: Resources, table: Replicas, name: str = "any") -> tuple[int, int]:
        found = scaled(resources, table, name)
        return found.min_replicas, found.max_replicas

    assert [of(each, wide) for each in (declared, rare, alone)] == [(2, 12), (0, 12), (1, 1)]
    assert of(declared, wide, "hot") == (5, 50)
    assert of(declared, Replicas(cap=1)) == (1, 1)


def test_the_edge_takes_what_the_application_takes() -> None:
    """The formula of api/uploads.py, whose parts are not public."""
    with under({}):
        for flow in GRAPHS:
            names = {slot.name for name in (flow, twin_of(flow)) if name for slot in signature(name).uploads}
            file = uploads._file_limit(takes_video(flow))
            allowed = uploads._FRAMING + uploads.OPTIONS_LIMIT + max(1, len(names)) * file
            assert body_bytes(settings(), [flow]) == allowed


def twin_of(flow: str) -> str | None:
    from api.routes.flows import TWINS

    return TWINS.get(flow)


def test_settings_of_another_environment_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_EDITION", "paper")
    settings.cache_clear()
    with under({"MODISTE_DEADLINE_S": "7"}):
        assert (settings().edition, settings().deadline_s) == ("default", 7)
    assert settings().edition == "paper"
    monkeypatch.undo()
    settings.cache_clear()


def test_environments_are_known_by_their_names() -> None:
    assert all(name == of.name for name, of in ENVIRONMENTS.items())
    assert all(of.pools[0].gpu is None for of in ENVIRONMENTS.values())  # where all that needs none runs
    assert set(MODELS).isdisjoint({*GRAPHS, "http", "jobs"})


def test_prometheus_finds_the_ports_that_it_scrapes(rendered: Rendered) -> None:
    monitor = yaml.safe_load((HERE / "monitoring" / "pod-monitor.yaml").read_text())
    scraped = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for whose, spec in exposure.pod_specs(rendered):
        if whose == "head" or whose in {each["groupName"] for each in rendered.groups}:
            assert scraped <= {port["name"] for port in spec["containers"][0]["ports"]}


@pytest.mark.parametrize(("name", "told"), [("dev", ""), ("production", "modiste-gpu: expected the digest")])
def test_a_rollout_is_checked_before(name: str, told: str) -> None:
    ran = CliRunner().invoke(command, ["check", name])
    assert ran.exit_code == bool(told), ran.output
    assert told in ran.output


def test_every_process_can_read_its_settings(rendered: Rendered) -> None:
    """Those that contradict each other would end it as it starts."""
    known = {f"MODISTE_{name}".upper() for name in type(settings()).model_fields} | {"MODISTE_ROLLED"}
    for whose, spec in exposure.pod_specs(rendered):
        for container in spec["containers"]:
            given = {variable["name"]: variable.get("value", "secret") for variable in container["env"]}
            assert {name for name in given if name.startswith("MODISTE_")} <= known, whose
            with under(given):
                assert settings().target == rendered.environment.target
                assert settings().edition == rendered.environment.edition
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {given[name] for name in ("MODISTE_CACHE", "MODISTE_STATE", "HOME") if name in given} <= mounted
