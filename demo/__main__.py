"""`python -m demo`: starts the server, runs every case over HTTP, writes out/demo/index.html, stops the server."""

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import httpx
from rich.console import Console

from demo.cases import CASES
from demo.client import ask
from demo.page import write
from demo.server import running_server

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "demo"
console = Console()


def main() -> int:
    """Exit code 1 where a case was refused or failed; the page shows the others."""
    environment = os.environ | {"MODISTE_STATE": str(OUT / "state")}
    feed = ROOT / "samples" / "catalogue" / "feed.csv"
    subprocess.run([sys.executable, "-m", "api.catalogue", "import", str(feed)], env=environment, check=True)
    failed = 0
    started = perf_counter()
    with running_server(environment) as server, httpx.Client(base_url=server.address, timeout=300) as client:
        console.print(f"server ready after {perf_counter() - started:.1f} s")
        answers = []
        tokens: dict[str, str] = {}
        for case in CASES:
            try:
                answers.append(ask(client, case, ROOT / "samples", tokens))
                console.print(f"{case.flow:14} {answers[-1].seconds:6.2f} s  {case.title}")
            except (httpx.HTTPStatusError, RuntimeError) as error:
                failed += 1
                console.print(f"[red]{case.flow:14} failed    {case.title}: {error}")
    console.print(f"written: {write(answers, OUT).relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
