"""Engines shared between machines: objects in S3, and claims that let one machine build what the others wait for.

    s3://<bucket>/<prefix>/<key>.blob     sealed (compile/cache.py)
    s3://<bucket>/<prefix>/<key>.json     the engine's report
    s3://<bucket>/<prefix>/<key>.claim    somebody builds it, until STALE_AFTER

Endpoint, region and credentials are those that boto3 finds in its environment; they need GetObject, PutObject and
DeleteObject on the prefix, and ListBucket, without which S3 calls absent objects forbidden. The store must know
conditional writes (AWS since 2024, MinIO). An object is whole or absent; one put takes up to 5 GB. Nothing here
removes old engines: give the bucket a lifecycle rule.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from modiste.errors import EngineStoreUnavailable
from modiste.telemetry import log

STALE_AFTER = timedelta(minutes=45)
"""Longer than any build takes: a claim of this age was left by a machine that died, and is taken over."""

_ABSENT = {"NoSuchKey", "404"}
_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict"}


class Unreachable(EngineStoreUnavailable):
    """No answer, or one that says to come again; it is asked again a few times."""


again = retry(
    retry=retry_if_exception_type(Unreachable),
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=0.5, max=8),
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class Stored:
    content: bytes
    etag: str


class SharedStore:
    """One folder of a bucket. Every method raises EngineStoreUnavailable: after three attempts where the store does
    not answer, at once where it refuses."""

    def __init__(self, url: str) -> None:
        """url: s3://bucket or s3://bucket/prefix"""
        self._url = url.rstrip("/")
        self._bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        # botocore's own attempts would multiply ours.
        options = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
        with self._told("opened"):
            self._s3 = boto3.client("s3", config=options)

    @again
    def get(self, name: str, unless: str | None = None) -> Stored | None:
        """An object; None where it is absent or, given an ETag, still the one with that ETag."""
        condition: dict[str, Any] = {"IfNoneMatch": unless} if unless else {}
        with self._told(name):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT | {"304", "NotModified"}:
                    return None
                raise
            return Stored(answer["Body"].read(), answer["ETag"])

    @again
    def put(self, name: str, content: bytes) -> None:
        with self._told(name):
            self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def claim(self, key: str) -> str | None:
        """The ETag of a claim that is now ours; None where another machine has one that is not stale."""
        return self._claim(f"{key}.claim", uuid4().hex.encode())

    @again
    def _claim(self, name: str, ours: bytes) -> str | None:
        if etag := self._put_where(name, ours, IfNoneMatch="*"):
            return etag
        with self._told(name):
            try:
                held = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    return None  # released meanwhile; the caller comes again
                raise
            if held["Body"].read() == ours:
                return held["ETag"]  # an earlier attempt got it, and its answer was lost
            # Both times are the store's: clocks of machines differ.
            now = parsedate_to_datetime(held["ResponseMetadata"]["HTTPHeaders"]["date"])
        if now - held["LastModified"] < STALE_AFTER:
            return None
        log.warning("engine_claim_taken_over", claim=f"{self._url}/{name}", since=held["LastModified"].isoformat())
        return self._put_where(name, ours, IfMatch=held["ETag"])

    @again
    def release(self, key: str, claim: str) -> None:
        """Give up our claim, unless another machine has taken it over."""
        with self._told(f"{key}.claim"):
            try:
                self._s3.delete_object(Bucket=self._bucket, Key=f"{self._prefix}{key}.claim", IfMatch=claim)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _ABSENT | _CONDITION_FAILED:
                    raise

    def _put_where(self, name: str, content: bytes, **condition: Any) -> str | None:
        """The new object's ETag; None where the condition does not hold."""
        with self._told(name):
            try:
                answer = self._s3.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT | _CONDITION_FAILED:
                    return None
                raise
            return answer["ETag"]

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Errors of boto3 as ours, with the place."""
        place = f"{self._url}/{name}"
        try:
            yield
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            kind = Unreachable if status >= 500 or status == 429 else EngineStoreUnavailable
            raise kind(f"Expected the engine store to answer for {place}; got {status}: {error}.") from error
        except BotoCoreError as error:
            raise Unreachable(f"Expected the engine store to answer for {place}; got none: {error}.") from error
