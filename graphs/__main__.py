"""`python -m graphs FLOW --FIELD file --option value -o out.png`: any flow, in this process, without a server.

The report is printed as JSON. Bad input is one line and exit status 2.
"""

import argparse
import asyncio
import json
import shutil
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import structlog
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from graphs import GRAPHS
from graphs.base import VideoFile
from graphs.local import LocalRunner
from graphs.report import Outcome
from graphs.signature import Signature, Slot, explain, jsonable, read_picture, resolution, signature
from graphs.watch import watch
from modiste.errors import InvalidOption, ModisteError
from modiste.image import Format, encode
from modiste.telemetry import context

FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser(of: Signature) -> argparse.ArgumentParser:
    """The flow's own command line: a file for each upload, an option for each parameter."""
    made = Parser(prog=f"python -m graphs {of.flow}", description=of.description, allow_abbrev=False)
    for slot in of.uploads:
        made.add_argument(_flag(slot.name), type=Path, required=slot.required, metavar="FILE", help=slot.kind)
    for name, found in of.options.model_fields.items():
        made.add_argument(
            _flag(name),
            dest=f"option.{name}",
            nargs="+" if _is_tuple(found) else None,
            required=found.is_required(),
            metavar="VALUE",
            help=_help(found),
        )
    made.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="where the result goes")
    return made


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_tuple(found: FieldInfo) -> bool:
    return get_origin(found.annotation) is tuple


def _help(found: FieldInfo) -> str:
    choices = get_args(found.annotation) if all(isinstance(a, str) for a in get_args(found.annotation)) else ()
    parts = [found.description or "", f"one of {', '.join(choices)}" if choices else ""]
    parts += [] if found.is_required() else [f"default {found.default!r}"]
    return "; ".join(part for part in parts if part).replace("%", "%%")


def options(of: Signature, given: dict[str, Any]) -> BaseModel:
    """raises: InvalidOption"""
    values = {name: _value(text) for name, text in given.items() if text is not None}
    try:
        return of.options.model_validate(values)
    except ValidationError as error:
        found = explain(list(error.errors()))
        raise InvalidOption("; ".join(f"{_flag(e['field'])}: {e['message']}" for e in found)) from error


def _value(text: str | list[str]) -> Any:
    """Lists within an option are written as JSON; everything else is text that pydantic reads."""
    return json.loads(text) if isinstance(text, str) and text.startswith("[") else text


def uploads(of: Signature, given: dict[str, Path | None]) -> dict[str, Any]:
    """raises: InvalidOption for a file that cannot be read, and what decoding raises"""
    read: dict[str, Any] = {}
    for slot in of.uploads:
        path = given[slot.name]
        if path is None:
            continue
        if not path.is_file():
            raise InvalidOption(f"{_flag(slot.name)}: expected a file, got {path}")
        read[slot.name] = VideoFile(path.resolve()) if slot.kind == "video" else read_picture(slot, path.read_bytes())
    return read


async def run(of: Signature, request: object) -> Outcome[Any]:
    """Run the flow; progress goes to a terminal's standard error."""
    with LocalRunner() as runner:
        async with aclosing(watch(of.flow, runner.graph(of.flow), request, context())) as stream:
            async for news in stream:
                if isinstance(news, Outcome):
                    return news
                if sys.stderr.isatty():
                    sys.stderr.write(f"\r{news:4.0%} ")
    raise RuntimeError(f"{of.flow} ended without an outcome")


def write(of: Signature, request: object, result: object, out: Path) -> dict[str, list[str]]:
    """Write the result's files; returns their paths by field.

    One file goes to `out` itself; several beside it, as out_0.png, out_1.png or, of several fields, out_FIELD.png.
    """
    held = {s.name: (s, _values(s, getattr(result, s.name))) for s in of.results if s.kind != "json"}
    several = sum(len(values) > 0 for _, values in held.values()) > 1
    out.parent.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[str]] = {}
    for name, (slot, values) in held.items():
        for index, value in enumerate(values):
            parts = [out.stem, *([name] if several else []), *([str(index)] if slot.many else [])]
            target = out.with_stem("_".join(parts))
            if slot.kind == "video":
                target = target.with_suffix(Path(value).suffix)
                shutil.move(value, target)
            else:
                target.write_bytes(encode(value, FORMATS[out.suffix.lower()], dpi=resolution(request)))
            written.setdefault(name, []).append(str(target))
    return written


def _values(slot: Slot, value: Any) -> list[Any]:
    return [] if value is None else list(value) if slot.many else [value]


def main(arguments: list[str]) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if not arguments or arguments[0] not in GRAPHS:
        wanted = arguments[:1] in (["-h"], ["--help"])
        text = f"usage: python -m graphs FLOW ... ; FLOW is one of {', '.join(GRAPHS)}; FLOW --help says more\n"
        (sys.stdout if wanted else sys.stderr).write(text)
        sys.exit(0 if wanted else 2)
    of = signature(arguments[0])
    given = vars(parser(of).parse_args(arguments[1:]))
    out: Path = given.pop("out")
    try:
        if not of.takes_video and out.suffix.lower() not in FORMATS:
            raise InvalidOption(f"-o: expected a name that ends in {', '.join(FORMATS)}, got {out}")
        wanted_options = {name.removeprefix("option."): v for name, v in given.items() if name.startswith("option.")}
        request = of.request(uploads(of, given), options(of, wanted_options))
        outcome = asyncio.run(run(of, request))
    except ModisteError as error:
        sys.exit(_refuse(error))
    files = write(of, request, outcome.result, out)
    content = {s.name: jsonable(getattr(outcome.result, s.name)) for s in of.results if s.kind == "json"}
    print(json.dumps(files | content | {"report": jsonable(outcome.report)}, indent=2))


def _refuse(error: ModisteError) -> int:
    print(f"{error.code}: {error.detail}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
