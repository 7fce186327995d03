"""Images: linted, and their install steps executed, as no image can be built without a daemon."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "k8s" / "images"
DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))


@dataclass(slots=True)
class Stage:
    """Instructions of one stage, in order."""

    instructions: list[tuple[str, str]] = field(default_factory=list)

    def of(self, keyword: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == keyword]


def stages(path: Path) -> list[Stage]:
    found: list[Stage] = []
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            found.append(Stage())
        if keyword and found:
            found[-1].instructions.append((keyword, rest.strip()))
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(path: Path) -> None:
    found = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "--no-color", path], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_the_last_stage_runs_as_nobody_and_answers_for_itself(path: Path) -> None:
    last = stages(path)[-1]
    assert last.of("USER") == ["10001:10001"]
    assert len(last.of("HEALTHCHECK")) == 1
    assert not last.of("RUN")  # nothing is installed beside what the first stage checked
    assert all(copied.startswith("--from=build") for copied in last.of("COPY"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_bases_are_arguments_without_a_default(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert re.findall(r"^ARG PYTHON_IMAGE.*$", text, re.MULTILINE) == ["ARG PYTHON_IMAGE"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_every_package_is_checked_by_its_hash(path: Path) -> None:
    """The vendor's own are the exception, and what the lock file holds bounds them."""
    installs = [run for run in stages(path)[0].of("RUN") if "pip install" in run]
    assert "--require-hashes -r requirements/serve.lock" in installs[0]
    assert "--no-build-isolation" in installs[1]
    assert ("--constraint" in installs[1]) == (path.stem == "gpu")
    assert ("--no-deps" in installs[1]) == (path.stem == "cpu")


def test_the_context_holds_what_is_copied_and_no_secrets() -> None:
    kept = {line[1:].split("/")[0] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {
        source.split("/")[0]
        for path in DOCKERFILES
        for rest in stages(path)[0].of("COPY")
        for source in rest.split()[:-1]
    }
    assert copied == kept


def test_the_install_steps_of_the_cpu_image(tmp_path: Path) -> None:
    """Executed in a folder in place of the image's root; about a minute. Then the server is imported, and what is
    installed is all that it takes.
    """
    environment = {"HOME": str(Path.home()), "PATH": os.environ["PATH"]}
    if "PIP_CONFIG_FILE" in os.environ:
        environment["PIP_CONFIG_FILE"] = os.environ["PIP_CONFIG_FILE"]
    folder = tmp_path

    def inside(text: str) -> str:
        return re.sub(r"(?<![\w./])/(opt/venv|app|tmp)\b", rf"{tmp_path}/\1", text)

    for keyword, rest in stages(IMAGES / "cpu.Dockerfile")[0].instructions:
        match keyword:
            case "ENV":
                found = dict(re.findall(r"(\w+)=(\S+)", rest))
                found.pop("PIP_NO_CACHE_DIR")  # for the size of layers; here the user's own spares a download
                for name, value in found.items():
                    environment[name] = inside(value) + (":" + environment["PATH"] if name == "PATH" else "")
            case "WORKDIR":
                folder = Path(inside(rest))
                folder.mkdir(parents=True)
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    copy(ROOT / source, folder / (Path(source).name if target == "./" else target))
            case "RUN":
                command = inside(rest)
                ran = subprocess.run(
                    ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    code = (
        "import sys, deployments.environment as e; e.prepare(); import api.app, k8s.drain;"
        "print(len(api.app.applications())); assert not {'torch', 'tensorrt', 'pytest'} & set(sys.modules);"
        f"assert api.app.__file__.startswith('{tmp_path}/app/')"
    )
    python = f"{environment['VIRTUAL_ENV']}/bin/python"
    environment |= {"MODISTE_CACHE": str(tmp_path / "cache"), "MODISTE_STATE": str(tmp_path / "state")}
    ran = subprocess.run([python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout.split()[-1]) > 20
    listed = subprocess.run([python, "-m", "pip", "list"], env=environment, capture_output=True, text=True, check=True)
    assert "torch" not in {line.split()[0] for line in listed.stdout.splitlines()}


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
