"""Errors a caller can act on. Each has a stable `code` and an HTTP status; the api turns them into problem documents.

The detail is one sentence that names what was expected and what came.
"""

from typing import ClassVar


class ModisteError(Exception):
    """Base of everything that is reported to a caller by code."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __reduce__(self) -> tuple[type["ModisteError"], tuple[str]]:
        """Travel between processes as (class, detail)."""
        return type(self), (self.detail,)


class BadInput(ModisteError):
    """The request itself is at fault; sending it again unchanged cannot succeed."""

    code = "bad_input"
    status = 422


class InvalidOption(BadInput):
    code = "invalid_option"


class UnsupportedType(BadInput):
    code = "unsupported_type"
    status = 415


class FileTooLarge(BadInput):
    code = "file_too_large"
    status = 413


class TooManyPixels(BadInput):
    code = "too_many_pixels"
    status = 413


class BrokenFile(BadInput):
    code = "broken_file"


class AnimatedImage(BadInput):
    code = "animated_image"


class NoFace(BadInput):
    code = "no_face"


class SeveralFaces(BadInput):
    """One person was expected; the request must say or show which."""

    code = "several_faces"


class TooAlike(BadInput):
    """Too few faces could be made that nobody would take for the person in the photo."""

    code = "too_alike"


class UnsuitablePortrait(BadInput):
    """A face, but not seen as an ID photo needs it: too small, turned away, or cut off."""

    code = "unsuitable_portrait"


class UnsuitableSuit(BadInput):
    code = "unsuitable_suit"


class NoPerson(BadInput):
    code = "no_person"


class PersonTooSmall(BadInput):
    code = "person_too_small"


class NoGarment(BadInput):
    code = "no_garment"


class CannotFit(BadInput):
    """The garment cannot be put on this person well; said instead of done badly."""

    code = "cannot_fit"


class NoSketch(BadInput):
    code = "no_sketch"


class EmptyVideo(BadInput):
    code = "empty_video"


class UnknownFace(BadInput):
    """A face token that this generator did not issue or cannot read."""

    code = "unknown_face"


class NotFound(BadInput):
    code = "not_found"
    status = 404


class Busy(ModisteError):
    """Every replica is occupied and the queue is full; the same request may be sent again later."""

    code = "busy"
    status = 503


class OutOfMemory(Busy):
    """A GPU had no room for the request; the replica ends, and the request may be sent again to another."""

    code = "out_of_memory"


class NotDeployed(Busy):
    """What the request needs is not there, yet or for a moment."""

    code = "not_deployed"


class DeadlineExceeded(ModisteError):
    """The work was not done in time; what was left of it is not done at all."""

    code = "deadline_exceeded"
    status = 504


class Cancelled(ModisteError):
    """The caller asked for the work to stop."""

    code = "cancelled"
    status = 409


class LicenceRefused(ModisteError):
    """A weight that the configured policy does not allow."""

    code = "licence_refused"


class WeightsUnavailable(ModisteError):
    """A weight file that is absent, unreachable or not the one its digest names."""

    code = "weights_unavailable"
    status = 503


class EngineStoreUnavailable(ModisteError):
    """The store that machines share engines in does not answer or refuses."""

    code = "engine_store_unavailable"
    status = 503


class CastUnavailable(ModisteError):
    """The table of virtual faces for the models in use was never made."""

    code = "cast_unavailable"
    status = 503
