"""A virtual face as a few letters, from which it can be made again without a database.

Bytes in URL-safe base64 without padding: version, three bytes that name the generator, seed, truncation in steps of
1/200, and three bytes of checksum over the rest. That is version 1 and sixteen letters. Version 2 has the centre's code
before the checksum, for faces that are not drawn around the mean face: 102 letters for 64 coordinates. The first letter
is always one that no shell or URL minds.
"""

import base64
import binascii
import hashlib
import struct

from deployments import model_class, model_for
from deployments.roles import FaceCode, FaceSeed
from modiste.errors import InvalidOption, UnknownFace
from weights.manifest import entry, files_digest

PLAIN, CENTRED = 1, 2
"""Versions: without a centre, and with one."""
STEPS = 200
"""Steps of truncation from 0 to 1."""
LEAST_AROUND = 0.2
"""Truncation of a face around a centre, at least: a centre may be somebody's code, and is itself nobody's face."""
LENGTH = 16
"""Letters of a token without a centre."""
MOST = 2048
"""Letters of the longest token that is looked at."""

_LAYOUT = struct.Struct(">B3sIB")
_CHECKSUM = 3


def encode(face: FaceSeed) -> str:
    """The token of a face; its truncation is rounded to the nearest 1/200.

    raises: InvalidOption where seed or truncation are outside their ranges, or the centre is empty
    """
    if not 0 <= face.seed < 2**32 or not 0 <= face.truncation <= 1:
        raise InvalidOption(
            f"expected a seed from 0 to {2**32 - 1} and a truncation from 0 to 1, got {face.seed} and {face.truncation}"
        )
    if face.centre is not None and face.truncation < LEAST_AROUND:
        raise InvalidOption(
            f"expected a truncation of at least {LEAST_AROUND} for a face around a centre, got {face.truncation}"
        )
    if face.centre == b"":
        raise InvalidOption("expected a centre with coordinates, or None, got one without")
    version = PLAIN if face.centre is None else CENTRED
    body = _LAYOUT.pack(version, generator(), face.seed, round(face.truncation * STEPS)) + (face.centre or b"")
    return _letters(body + _checksum(body))


def decode(token: str) -> FaceSeed:
    """The face that a token stands for.

    raises: UnknownFace for anything that `encode` did not make with the generator in use
    """
    packed = _bytes(token) if LENGTH <= len(token) <= MOST else b""
    body, checksum = packed[:-_CHECKSUM], packed[-_CHECKSUM:]
    if len(body) < _LAYOUT.size or checksum != _checksum(body) or token != _letters(packed):
        raise UnknownFace(
            f"expected a face token as virtual_faces returns it, {LENGTH} letters or more, got {token[:40]!r}"
        )
    version, made_by, seed, steps = _LAYOUT.unpack_from(body)
    centre = body[_LAYOUT.size :]
    if version != (CENTRED if centre else PLAIN) or steps > STEPS:
        raise UnknownFace(
            f"expected a face token of version {PLAIN}, or {CENTRED} with a centre, got version {version} ({token!r})"
        )
    if centre and steps < round(LEAST_AROUND * STEPS):
        raise UnknownFace(
            f"expected a truncation of at least {LEAST_AROUND} around a centre, got {steps / STEPS} ({token!r})"
        )
    if made_by != generator():
        raise UnknownFace(
            f"expected a face token of the generator in use ({generator().hex()}), "
            f"got one of {made_by.hex()} ({token!r})"
        )
    return FaceSeed(seed=seed, truncation=steps / STEPS, centre=FaceCode(centre) if centre else None)


def generator() -> bytes:
    """Three bytes that name the generator in use: its model id and its weights as published."""
    model = model_for("FaceGeneration")
    ids = sorted({engine.weights for engine in model_class(model).spec.engines.values()})
    names = "\n".join([model, *(files_digest(entry(identifier)) for identifier in ids)])
    return hashlib.sha256(names.encode()).digest()[:3]


def _letters(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _bytes(token: str) -> bytes:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"modiste face" + body).digest()[:_CHECKSUM]
