"""Tenants of a run: keys for a server of one's own, or those of a server that runs already."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

KEYS = "MODISTE_LOAD_KEYS"
"""Environment variable with the keys of a running server's tenants, as JSON {"tenant": "key"}."""
BATCH = ("batch", "archive")
"""Tenants of the batch tier; all others are interactive."""
CONCURRENCY = 64
"""Of each tenant: so many that flows' own limits come first."""


def make_tenants(names: Sequence[str], path: Path) -> dict[str, str]:
    """Write the tenants' file of a server; returns their keys."""
    keys = {name: secrets.token_urlsafe(24) for name in names}
    path.write_text(
        "\n".join(
            f'[[tenant]]\nname = "{name}"\nkey_sha256 = ["{sha256(key.encode()).hexdigest()}"]\n'
            f'tier = "{"batch" if name in BATCH else "interactive"}"\nconcurrency = {CONCURRENCY}\n'
            for name, key in keys.items()
        )
    )
    return keys


def given_keys(names: Sequence[str]) -> Mapping[str, str]:
    """Keys for a server that runs already; none where it asks for none.

    raises: KeyError where keys are given, and one that is needed is not among them
    """
    keys: dict[str, str] = json.loads(os.environ.get(KEYS, "{}"))
    if keys and (missing := sorted(set(names) - set(keys))):
        raise KeyError(f"expected keys of {missing} in {KEYS}, got those of {sorted(keys)}")
    return keys
