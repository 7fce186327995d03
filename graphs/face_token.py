"""A virtual face as sixteen letters, from which it can be made again without a database.

Twelve bytes in URL-safe base64: version, three bytes that name the generator, seed, truncation in steps of 1/200,
and three bytes of checksum over the rest. The first letter is always one that no shell or URL minds.
"""

import base64
import binascii
import hashlib
import struct

from deployments import model_class, model_for
from deployments.roles import FaceSeed
from modiste.errors import InvalidOption, UnknownFace
from weights.manifest import entry, files_digest

VERSION = 1
STEPS = 200
"""Steps of truncation from 0 to 1."""
LENGTH = 16

_LAYOUT = struct.Struct(">B3sIB")


def encode(face: FaceSeed) -> str:
    """The token of a face; its truncation is rounded to the nearest 1/200.

    raises: InvalidOption where seed or truncation are outside their ranges
    """
    if not 0 <= face.seed < 2**32 or not 0 <= face.truncation <= 1:
        raise InvalidOption(
            f"expected a seed from 0 to {2**32 - 1} and a truncation from 0 to 1, got {face.seed} and {face.truncation}"
        )
    body = _LAYOUT.pack(VERSION, generator(), face.seed, round(face.truncation * STEPS))
    return base64.urlsafe_b64encode(body + _checksum(body)).decode()


def decode(token: str) -> FaceSeed:
    """The face that a token stands for.

    raises: UnknownFace for anything that `encode` did not make with the generator in use
    """
    try:
        packed = base64.b64decode(token, altchars=b"-_", validate=True) if len(token) == LENGTH else b""
    except (binascii.Error, ValueError):
        packed = b""
    body, checksum = packed[: _LAYOUT.size], packed[_LAYOUT.size :]
    if len(body) != _LAYOUT.size or checksum != _checksum(body):
        raise UnknownFace(f"expected a face token as virtual_faces returns it, {LENGTH} letters, got {token[:40]!r}")
    version, made_by, seed, steps = _LAYOUT.unpack(body)
    if version != VERSION or steps > STEPS:
        raise UnknownFace(f"expected a face token of version {VERSION}, got version {version} ({token!r})")
    if made_by != generator():
        raise UnknownFace(
            f"expected a face token of the generator in use ({generator().hex()}), "
            f"got one of {made_by.hex()} ({token!r})"
        )
    return FaceSeed(seed=seed, truncation=steps / STEPS)


def generator() -> bytes:
    """Three bytes that name the generator in use: its model id and its weights as published."""
    model = model_for("FaceGeneration")
    ids = sorted({engine.weights for engine in model_class(model).spec.engines.values()})
    names = "\n".join([model, *(files_digest(entry(identifier)) for identifier in ids)])
    return hashlib.sha256(names.encode()).digest()[:3]


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"modiste face" + body).digest()[:3]
