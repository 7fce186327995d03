"""A server whose disk fills up, whose engines are damaged, and whose engine store goes away.

State and engines lie on a small file system of the server's own (a mount namespace: no privileges are needed where the
kernel lets users have one, and nothing is left of it when the server ends). The engine store is a server that speaks
S3, in this process.
"""

import asyncio
import errno
import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import boto3
import psutil
import pytest
from arrivals import failed, figures, look, send, steadily
from conftest import Record
from moto.server import ThreadedMotoServer
from processes import kill, until
from requests_of import CLIP, FACE, SKETCH
from servers import Server, served

from compile.cache import SEAL_BYTES
from modiste.settings import settings

pytestmark = [pytest.mark.chaos, pytest.mark.cluster, pytest.mark.weights, pytest.mark.long]

MODEL = "pix2pix_garment"
SECRET = "of this fleet"
DEADLINE_S = 20.0
MOUNT = 'mount -t tmpfs -o size=1g tmpfs "$1" && cp -r "$2" "$1/engines" && ln -s "$3" "$1/weights" && '
MOUNT += 'ln -s "$4" "$1/faces" && cp -r "$5" "$1/state" && shift 5 && exec "$@"'


class Store:
    """The engine store, which can go away and come back with all that it held."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(port=0, verbose=False)
        self._server.start()
        self.port: int = self._server.get_host_and_port()[1]
        self.environment = {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MODISTE_ENGINE_STORE": "s3://engines/fleet",
            "MODISTE_ENGINE_SECRET": SECRET,
        }

    def leave(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server = ThreadedMotoServer(port=self.port, verbose=False)
        self._server.start()

    def bucket(self) -> Any:
        named = {name.removeprefix("AWS_").lower(): value for name, value in self.environment.items()}
        return boto3.resource(
            "s3",
            endpoint_url=named["endpoint_url_s3"],
            aws_access_key_id=named["access_key_id"],
            aws_secret_access_key=named["secret_access_key"],
            region_name=named["default_region"],
        ).Bucket("engines")

    def names(self) -> set[str]:
        return {found.key.rpartition("/")[2] for found in self.bucket().objects.all()}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    running = Store()
    running.bucket().create()
    yield running
    running.leave()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server's small file system is, as the server sees it."""
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this user may not mount a file system in a namespace: {tried.stderr.strip()}")
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module")
def server(disk: Path, store: Store, tmp_path_factory: pytest.TempPathFactory, catalogued: Path) -> Iterator[Server]:
    cache = settings().cache
    engines = resealed(cache / "engines", tmp_path_factory.mktemp("engines"))
    given = map(str, (disk, engines, cache / "weights", cache / "faces", catalogued))
    environment = store.environment | {
        "MODISTE_CACHE": str(disk),
        "MODISTE_STATE": str(disk / "state"),
        "MODISTE_DEADLINE_S": str(DEADLINE_S),
    }
    wrapped = ("unshare", "-Urm", "sh", "-c", MOUNT, "sh", *given)
    with served(tmp_path_factory.mktemp("storage"), environment, wrapped=wrapped) as running:
        asyncio.run(steadily(running.port, [SKETCH, FACE], rate=1.0, seconds=10))
        yield running


def resealed(engines: Path, copies: Path) -> Path:
    """This machine's engines under the secret of the fleet."""
    for report in engines.glob("*.json"):
        blob, key = report.with_suffix(".blob"), report.stem
        if json.loads(report.read_text())["precision"] == "float32" and blob.exists():
            content = blob.read_bytes()[SEAL_BYTES:]
            seal = hmac.new(SECRET.encode(), f"{key}\n".encode() + content, hashlib.sha256).digest()
            (copies / blob.name).write_bytes(seal + content)
            shutil.copy(report, copies)
    return copies


def engine_files(server: Server, disk: Path) -> list[Path]:
    """Engines of the model that is harmed here."""
    reports = server.seen(disk / "engines").glob("*.json")
    return [path.with_suffix(".blob") for path in reports if json.loads(path.read_text())["engine"] == MODEL]


def replaced(server: Server, name: str, victim: psutil.Process) -> bool:
    found = server.replicas(name)
    return bool(found) and victim not in found


async def test_a_damaged_engine_is_built_again(server: Server, disk: Path, record: Record) -> None:
    damaged = engine_files(server, disk)
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    broken = {path.name: digest(path) for path in damaged}
    load = asyncio.create_task(steadily(server.port, [SKETCH], rate=1.0, seconds=15))
    await asyncio.sleep(2)
    kill(*server.replicas(MODEL))
    answers = await load
    record("damaged_engine", **figures(answers), engines_damaged=len(damaged), said=server.said("engine_rebuilt"))
    assert not failed(answers)
    assert server.said("engine_rebuilt") >= 1
    assert any(digest(path) != broken[path.name] for path in damaged)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_the_engine_store_goes_away(server: Server, disk: Path, store: Store, record: Record) -> None:
    store.leave()
    with_engines = asyncio.create_task(steadily(server.port, [SKETCH, FACE], rate=1.0, seconds=15))
    await asyncio.sleep(2)
    kill(*server.replicas(MODEL))
    kept = await with_engines

    for path in engine_files(server, disk):
        path.unlink()
    kill(*server.replicas(MODEL))
    said = server.said("model_not_opened")
    without, others = await asyncio.gather(
        steadily(server.port, [SKETCH], rate=0.5, seconds=20), steadily(server.port, [FACE], rate=0.5, seconds=20)
    )
    stored = [path.name for path in engine_files(server, disk) if path.exists()]
    told = server.said("model_not_opened") - said
    store.come_back()

    back = await send(server.port, SKETCH, tries=100)
    rebuilt = [path.name for path in engine_files(server, disk) if path.exists()]
    record(
        "engine_store", replicas_with_engines=figures(kept), without_engine=figures(without),
        other_flow=figures(others), slowest_refusal_s=max(sent.seconds for sent in without),
        told=told, recovered_s=round(back.seconds, 1), in_store=len(store.names()),
    )  # fmt: skip
    assert not failed([*kept, *others])
    assert {sent.status for sent in without} <= {503, 504}
    assert all(sent.code for sent in without)
    assert max(sent.seconds for sent in without) < DEADLINE_S + 2
    assert told
    assert stored == []
    assert back.ok
    assert rebuilt
    assert set(rebuilt) <= store.names()
    assert not any(name.endswith(".claim") for name in store.names())


async def test_a_full_disk(server: Server, disk: Path, record: Record) -> None:
    """What needs the disk is refused clearly, the rest is served; all is served again once there is room."""
    assert (await send(server.port, SKETCH)).ok
    kept = sorted(path.name for path in (server.state / "files").iterdir())
    filler = server.seen(disk / "filler")
    fill(filler)
    full = await steadily(server.port, [SKETCH, FACE, CLIP], rate=1.0, seconds=9)
    file, alive = await send(server.port, look(f"/v1/files/{kept[0]}")), await send(server.port, look("/healthz"))
    job = await send(server.port, look("/v1/jobs/unknown"))
    victim = server.replicas(MODEL)[0]
    kill(victim)
    restarted_s = await asyncio.to_thread(
        until, lambda: replaced(server, MODEL, victim), within_s=60, what="another replica"
    )
    left = sorted({path.name for path in (server.state / "files").iterdir()} - set(kept))
    jobs_left = [path.name for path in (server.state / "jobs").iterdir()]
    filler.unlink()
    freed = perf_counter()
    again = await steadily(server.port, [SKETCH, FACE], rate=1.0, seconds=6, tries=3)
    job_again = await send(server.port, CLIP)
    record(
        "full_disk", when_full=figures(full), slowest_refusal_s=max(sent.seconds for sent in full),
        statuses_without_disk=[file.status, alive.status, job.status], left=left, jobs_left=jobs_left,
        restarted_s=restarted_s, afterwards=figures(again),
        served_again_s=round(min(sent.due + sent.seconds for sent in again if sent.ok) - freed, 1),
    )  # fmt: skip
    assert {(sent.status, sent.code) for sent in full} == {(507, "storage_full")}
    assert (file.status, alive.status, job.status) == (200, 200, 404)
    assert left == jobs_left == []
    assert not failed(again)
    assert job_again.status == 202


def fill(path: Path) -> None:
    """Until not one more page fits."""
    with path.open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
