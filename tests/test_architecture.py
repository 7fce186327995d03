"""Rules that every model, flow and file follows, tested over the tables so that a new one is tested by its existing."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_args

import pytest

from deployments import EDITIONS, MODELS, model_class, model_folder
from deployments import roles as roles_module
from deployments.base import Model
from graphs import GRAPHS, graph_class
from graphs.base import MayUse
from weights.manifest import load_manifest

ROOT = Path(__file__).resolve().parent.parent
ROLES = {name for name, found in vars(roles_module).items() if isinstance(found, type) and issubclass(found, Model)} - {
    "Model"
}


@pytest.mark.parametrize("model_id", MODELS)
def test_a_model_is_declared_whole(model_id: str) -> None:
    found = model_class(model_id)
    assert found.spec.id == model_id
    assert found.spec.role in ROLES
    assert any(base.__name__ == found.spec.role for base in found.__mro__)
    assert found.spec.resources.min_replicas <= found.spec.resources.max_replicas
    for engine in found.spec.engines.values():
        assert engine.weights in load_manifest()
        assert all(tensor.shape[0] == "N" for tensor in (*engine.inputs, *engine.outputs))
    card = (ROOT / "deployments" / model_folder(model_id) / "README.md").read_text()
    assert "licence" in card.lower()


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_edition_plays_every_role_with_the_right_model(edition: str) -> None:
    steps = [step for name in GRAPHS for step in vars(graph_class(name)).values()]
    needless = {step.role for step in steps if isinstance(step, MayUse)}
    assert ROLES - needless <= set(EDITIONS[edition]) <= ROLES
    for role, model in EDITIONS[edition].items():
        assert of_what(role) == of_what(model_class(model).spec.role)


def of_what(role: str) -> tuple[type, ...]:
    """What a role takes and gives: models of several roles that are alike in this can play all of them."""
    return get_args(vars(getattr(roles_module, role))["__orig_bases__"][0])


@pytest.mark.parametrize("name", GRAPHS)
def test_a_flow_is_declared_whole(name: str) -> None:
    graph = graph_class(name)
    assert set(graph.roles()) <= ROLES
    options = graph.request.__annotations__.get("options")
    assert options is not None
    for field, described in options.model_fields.items():
        assert described.description, f"{name}.{field} has no description"


def test_serving_never_imports_torch_and_a_model_never_imports_the_api() -> None:
    modules = [path.partition(":")[0] for path in (*MODELS.values(), *GRAPHS.values())]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "fastapi", "tensorrt"} & set(loaded)


def test_a_classical_model_does_not_pay_for_openvino() -> None:
    code = "import sys, deployments; deployments.open_model('line_art'); print('openvino' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_our_top_level_names_belong_to_us_alone() -> None:
    ours = {"modiste", "weights", "compile", "deployments", "graphs", "api"}
    for name, owners in packages_distributions().items():
        if name in ours:
            assert set(owners) == {"modiste"}, f"{name} also comes from {owners}"


def test_nothing_imports_the_package_over_the_builtin() -> None:
    """A bare `import compile` would hide Python's own `compile`."""
    for path in ROOT.glob("*/**/*.py"):
        if ".venv" not in str(path):
            assert "\nimport compile\n" not in f"\n{path.read_text()}", path


LONGER = {"compile/eager.py": 350}
"""Tables that are read as one."""


def test_modules_stay_short() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    long = {}
    for name in tracked:
        limit = 800 if name.endswith("network.py") or name.startswith("tests/") else LONGER.get(name, 300)
        lines = len((ROOT / name).read_text().splitlines()) if (ROOT / name).exists() else 0
        if lines > limit:
            long[name] = lines
    assert not long


def test_no_committed_file_is_large() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [n for n in tracked if (ROOT / n).exists() and (ROOT / n).stat().st_size > 20_000_000] == []


def test_the_model_page_is_current() -> None:
    page = subprocess.run(
        [sys.executable, "-m", "deployments", "models"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / "docs" / "models.md").read_text() == page, "run `make models`"


def test_the_lock_files_pin_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {d.partition("=")[0].partition(">")[0].partition("[")[0].lower() for d in project["dependencies"]}
    for lock in ("serve", "dev"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        pinned = {
            line.partition("==")[0] for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))
        }
        assert asked <= pinned
        assert "--hash=sha256:" in text and "://" not in text
