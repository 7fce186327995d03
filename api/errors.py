"""Problem documents (RFC 9457): every answer that is not a success, in one shape with a stable `code`."""

import errno
import sqlite3
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import State
from starlette.exceptions import HTTPException

from api.observed import HEADER
from graphs.signature import explain
from modiste.errors import BadInput, Busy, InvalidOption, ModisteError


class Problem(BaseModel):
    """What went wrong, as application/problem+json."""

    type: str = Field(description="urn:modiste:problem:<code>")
    title: str = Field(description="the HTTP status in words")
    status: int
    detail: str = Field(description="one sentence: what was expected and what came")
    code: str = Field(description="stable; programs decide by this")
    errors: list[dict[str, str]] = Field(default=[], description="each option that is wrong: field, message")


class MissingFile(BadInput):
    code = "missing_file"


class UnexpectedField(BadInput):
    code = "unexpected_field"


class BrokenRequest(BadInput):
    """The multipart body itself cannot be read."""

    code = "broken_request"
    status = 400


class NotReady(ModisteError):
    code = "not_ready"
    status = 503


class Unauthorized(ModisteError):
    code = "unauthorized"
    status = 401


class Overloaded(Busy):
    """Refused at the door. retry_after: seconds"""

    code = "overloaded"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooManyRequests(Overloaded):
    """One tenant's, at once."""

    code = "too_many_requests"
    status = 429


class StorageFull(ModisteError):
    """What needs no disk is still served."""

    code = "storage_full"
    status = 507


class InvalidOptions(InvalidOption):
    """Options that do not fit; `errors` says for each what is wrong."""

    def __init__(self, detail: str, errors: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = list(errors)


def invalid_options(error: ValidationError | RequestValidationError) -> InvalidOptions:
    """Pydantic's findings as one sentence and a list."""
    errors = explain(list(error.errors()))
    return InvalidOptions("; ".join(f"{e['field']}: {e['message']}" for e in errors), errors)


RETRY_AFTER_S = 5
"""Where nothing better is known."""


def problem(code: str, status: int, detail: str, errors: Sequence[dict[str, str]] = ()) -> Problem:
    return Problem(
        type=f"urn:modiste:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors),
    )


def describe(error: Exception) -> Problem:
    """An exception as a problem document. What is not ours says nothing of its inside."""
    if is_full(error):
        error = StorageFull("expected room on the server's disk, got none; the request may be sent again later")
    if isinstance(error, ModisteError):
        return problem(error.code, error.status, error.detail, getattr(error, "errors", ()))
    return problem("internal", 500, "the server failed; the request may be sent again")


def is_full(error: Exception) -> bool:
    """Whether a disk had no room, in this process or in the one that answered it."""
    of = getattr(error, "cause", error)
    if isinstance(of, sqlite3.OperationalError):
        return "disk is full" in str(of)
    return isinstance(of, OSError) and of.errno in (errno.ENOSPC, errno.EDQUOT)


def respond(document: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    content = document.model_dump(exclude_defaults=True)
    return JSONResponse(content, document.status, media_type="application/problem+json", headers=headers)


def refuse(state: State, error: Exception) -> JSONResponse:
    """The answer to a request that ends with this exception. state: the request's; is left the problem's code"""
    document = describe(error)
    state.code = document.code
    headers: dict[str, str] = {}
    if document.status in (429, 503):
        headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER_S))
    if document.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return respond(document, headers)


_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def install(app: FastAPI) -> None:
    """Answer every exception with a problem document."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return refuse(request.state, error)

    async def http(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            raise TypeError(f"expected an HTTPException, got {error!r}")
        details: dict[int, str] = {
            404: f"there is nothing at {request.url.path}",
            405: f"{request.url.path} does not take {request.method}",
        }
        code = _HTTP_CODES.get(error.status_code, "bad_request")
        detail = details.get(error.status_code, str(error.detail))
        headers: Any = error.headers
        request.state.code = code
        return respond(problem(code, error.status_code, detail), headers)

    async def parameters(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):
            raise TypeError(f"expected a RequestValidationError, got {error!r}")
        document = describe(invalid_options(error))
        request.state.code = document.code
        return respond(document)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        # Starlette calls it outside of all else, `Observed` too, and raises the error on.
        return respond(describe(error), {HEADER: request.state.request})

    app.add_exception_handler(ModisteError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(Exception, unforeseen)
