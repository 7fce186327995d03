"""Lines of serving processes: JSON, whose they are, and nothing that people sent."""

import ast
import io
import json
import logging
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog

from modiste import logs
from modiste.settings import settings
from modiste.telemetry import Context, log, within

ROOT = Path(__file__).parents[2]
PACKAGES = ("modiste", "weights", "compile", "deployments", "graphs", "api")
FIELDS = {
    *("job", "flow", "tenant", "model", "called", "code", "method", "route", "status", "state", "exc_info"),
    *("ms", "queue_ms", "inputs", "steps", "attempts", "key", "claim", "since", "path", "reason"),
}
"""What an event may say besides whose it is. None of it comes from users: `path` and `key` are of engines' files,
`reason` is of the platform (why a replica died, why a file of ours is not as it should be)."""

Lines = list[dict[str, Any]]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Generator[io.StringIO, None, None]:
    monkeypatch.setenv("MODISTE_LOG_LEVEL", "info")
    settings.cache_clear()
    handlers, level = logging.root.handlers[:], logging.root.level
    found = io.StringIO()
    logs.configure("try_on", "r1", found)
    yield found
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level
    settings.cache_clear()


def read(sink: io.StringIO) -> Lines:
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def test_a_line_says_whose_work_it_is_about(sink: io.StringIO) -> None:
    given = Context(request="r" * 32, tenant="shop", flow="try_on", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    with within(given):
        log.info("flow_ran", code="ok", ms=12.5)
    log.debug("too little")
    (line,) = read(sink)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "flow_ran", "level": "info", "code": "ok", "ms": 12.5, "deployment": "try_on", "replica": "r1",
        "request": "r" * 32, "tenant": "shop", "flow": "try_on", "trace": "a" * 32,
    }  # fmt: skip


def test_an_exception_is_told_by_type_and_place_and_not_by_its_words(sink: io.StringIO) -> None:
    try:
        int("somebody@example.org")
    except ValueError as error:
        log.error("request_failed", exc_info=error)
        logging.getLogger("ray.serve").error("Request failed.", exc_info=True)
    for line in read(sink):
        assert line["exception"] == "ValueError"
        assert "test_logs.py" in line["frames"][-1]
    assert "somebody" not in sink.getvalue()


def test_of_a_job_only_the_beginning_of_its_id_is_shown(sink: io.StringIO) -> None:
    with within(Context(job="0123456789abcdefghij")):
        log.info("job_ended", state="succeeded")
    log.info("job_queued", job="0123456789abcdefghij")
    assert [line["job"] for line in read(sink)] == ["0123456789ab"] * 2


def test_loggers_of_libraries_write_json_too(sink: io.StringIO) -> None:
    with within(Context(request="abcdefgh")):
        logging.getLogger("somebody").warning("so %s", "it is")
        logging.getLogger("somebody").info("too little")
    (line,) = read(sink)
    assert (line["event"], line["logger"], line["level"]) == ("so it is", "somebody", "warning")
    assert (line["request"], line["deployment"]) == ("abcdefgh", "try_on")


def test_events_say_nothing_but_what_is_listed() -> None:
    """A field must be in the list, where it was thought about; an event's name is a word, not a sentence."""
    calls = 0
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                of, level = node.func.value, node.func.attr
                if isinstance(of, ast.Name) and of.id == "log" and level in ("debug", "info", "warning", "error"):
                    calls += 1
                    assert {word.arg for word in node.keywords} <= FIELDS, f"{path}:{node.lineno}"
                    assert isinstance(node.args[0], ast.Constant | ast.JoinedStr), f"{path}:{node.lineno}"
    assert calls > 10


def test_processes_share_the_standard_error_of_the_one_that_starts_them(tmp_path: Path) -> None:
    """Nobody writes over anybody, though the file was not opened for appending."""
    child = "from modiste import logs; from modiste.telemetry import log; logs.configure('child', 'r'); log.info('hi')"
    code = (
        "import subprocess, sys; from modiste import logs; from modiste.telemetry import log\n"
        "logs.share_stderr(); logs.configure('server', ''); log.info('before')\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True, stderr=subprocess.DEVNULL)\n"
        "log.info('after')"
    )
    written = tmp_path / "log"
    with written.open("wb") as sink:
        subprocess.run([sys.executable, "-c", code], check=True, stderr=sink)
    told = [json.loads(line) for line in written.read_text().splitlines()]
    assert [(line["deployment"], line["event"]) for line in told] == [
        ("server", "before"),
        ("child", "hi"),
        ("server", "after"),
    ]
