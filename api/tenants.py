"""Who may use the server: tenants with their keys, from the TOML file of MODISTE_TENANTS.

[[tenant]]
name = "storefront"
key_sha256 = ["..."]        # of each key that is good; two while one replaces the other
tier = "interactive"
concurrency = 20
"""

import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.errors import Unauthorized
from modiste.telemetry import log

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class Tenant(BaseModel):
    """tier: batch work gives way to interactive work; concurrency: requests at once through one proxy"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=NAME)
    tier: Literal["interactive", "batch"] = "interactive"
    concurrency: int = Field(ge=1)


class _Entry(Tenant):
    key_sha256: tuple[str, ...] = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenant: tuple[_Entry, ...] = Field(min_length=1)


PUBLIC = Tenant(name="public", concurrency=1_000_000)
"""Everybody, where no tenants are configured."""

PROBE = Tenant(name="probe", concurrency=1_000_000)
"""The server's own golden requests."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """by_key: tenants by the SHA-256 of their keys; empty: everybody is welcome. probe_key: for golden requests."""

    by_key: Mapping[str, Tenant]
    probe_key: str

    def of(self, authorization: str | None) -> Tenant:
        """Whose the `Authorization: Bearer <key>` is.

        raises: Unauthorized
        """
        if not self.by_key:
            return PUBLIC
        scheme, _, key = (authorization or "").partition(" ")
        found = self.by_key.get(sha256(key.strip().encode()).hexdigest()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Unauthorized("expected the header Authorization: Bearer with a valid key, got none")
        return found


def load_tenants(path: Path | None) -> Tenants:
    """raises: OSError, ValueError where the file is not as it should be"""
    if path is None:
        return Tenants({}, "")
    content = path.read_bytes()
    entries = _File.model_validate(tomllib.loads(content.decode())).tenant
    # Every ingress replica derives the same key for its golden requests; who can read the file may know it.
    probe_key = hmac.digest(content, b"golden request", "sha256").hex()
    by_key = {sha256(probe_key.encode()).hexdigest(): PROBE}
    for entry in entries:
        for digest in entry.key_sha256:
            if digest in by_key:
                raise ValueError(f"expected each key once, got one of {entry.name} twice")
            by_key[digest] = Tenant(name=entry.name, tier=entry.tier, concurrency=entry.concurrency)
    return Tenants(by_key, probe_key)


class CurrentTenants:
    """The tenants as their file has them now, for processes that outlive its changes.

    raises: OSError, ValueError where the file is not as it should be at the start; later, what it last said holds
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read = path.stat().st_mtime_ns if path else 0
        self._tenants = load_tenants(path)

    def __call__(self) -> Tenants:
        if self._path is None:
            return self._tenants
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read:
                self._read = changed
                self._tenants = load_tenants(self._path)
        except (OSError, ValueError) as error:
            log.error("tenants_not_read", reason=type(error).__name__)
        return self._tenants
