"""Logs of a serving process: one JSON object a line, to standard error.

Every line has `timestamp`, `level`, `event`, `deployment` and `replica`, and, where work is done for somebody,
`request`, `tenant`, `flow`, `job` and `trace`. Never in a line: pictures, names of files, options, keys, and messages
that quote them: refusals are told by their code, exceptions by type and place.

Commands that people run keep structlog's own output.
"""

import fcntl
import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from modiste.settings import settings
from modiste.spans import trace_id
from modiste.telemetry import context

FRAMES = 12
"""Of an exception, the innermost."""

JOB_SHOWN = 12
"""Of a job's id: enough to find it, too little to fetch its result, which whoever knows the id may."""

Event = MutableMapping[str, Any]


def configure(deployment: str, replica: str, out: TextIO | None = None) -> None:
    """Log as JSON from now on: our own events, and those of the standard library's loggers (Ray Serve's among them).

    out: instead of what the settings say
    """
    stream = out or _stream()

    def named(_logger: object, _method: str, event: Event) -> Event:
        event["deployment"], event["replica"] = deployment, replica
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _whose,
        named,
        _place,
    ]
    write = structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[*shared, write],
        wrapper_class=structlog.make_filtering_bound_logger(settings().log_level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    foreign = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _place, write],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(foreign)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for kept in logging.getLogger("ray.serve").handlers:  # its files have a form of their own
        if type(kept) is logging.StreamHandler:
            kept.setFormatter(foreign)


def _stream() -> TextIO:
    if (shared := settings().logs) is not None:
        return shared.open("a", buffering=1)
    assert sys.__stderr__ is not None
    return sys.__stderr__  # Serve may have put something of its own in place of sys.stderr


def share_stderr() -> None:
    """Have the processes that this one starts write their lines to its standard error by themselves. Else Ray relays
    what they write to theirs, which takes about a millisecond of CPU time a line."""
    path = f"/proc/{os.getpid()}/fd/2"
    try:
        Path(path).open("ab").close()
    except OSError:  # a socket, as systemd gives, cannot be opened: Ray relays
        return
    # Or this process would write over what others have appended to a file.
    fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_APPEND)
    os.environ["MODISTE_LOGS"] = path
    settings.cache_clear()


def of_controller() -> None:
    """For Serve's controller, which calls what RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names."""
    configure("controller", "")


def _whose(_logger: object, _method: str, event: Event) -> Event:
    now = context()
    known = {
        "request": now.request,
        "tenant": now.tenant,
        "flow": now.flow,
        "job": now.job,
        "trace": trace_id() or now.traceparent[3:35],
    }
    for key, value in known.items():
        if value:
            event.setdefault(key, value)
    if "job" in event:
        event["job"] = event["job"][:JOB_SHOWN]
    return event


def _place(_logger: object, _method: str, event: Event) -> Event:
    """An exception as its type and frames; its message may quote what a caller sent."""
    told = event.pop("exc_info", None)
    if told is True:
        told = sys.exc_info()
    error = told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        event["exception"] = type(error).__qualname__
        event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event
