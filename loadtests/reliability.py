"""`python -m loadtests.reliability`: docs/reliability.md from what `make chaos` left in loadtests/results/chaos/."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "loadtests" / "results" / "chaos"
PAGE = ROOT / "docs" / "reliability.md"


def results() -> dict[str, dict[str, Any]]:
    """What each test measured, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def rendered() -> str:
    """raises: FileNotFoundError where the tests have not run yet"""
    found = results()
    if not found:
        raise FileNotFoundError("expected results of `make chaos` in loadtests/results/chaos, got none")
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown
    )
    return templates.get_template("reliability.md.j2").render(found=found, any=next(iter(found.values()))) + "\n"


def main() -> None:
    PAGE.write_text(rendered())


if __name__ == "__main__":
    main()
