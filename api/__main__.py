"""`python -m api serve` and `python -m api wait`."""

import signal
import sys
import threading
import time

import httpx
import typer

from api.tenants import load_tenants
from deployments import model_class, model_for
from deployments.environment import prepare
from graphs import GRAPHS, graph_class
from modiste.errors import ModisteError
from modiste.logs import configure, share_stderr
from modiste.settings import settings
from weights.licences import licence_report, require_commercial
from weights.store import fetch

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def weights_in_use() -> list[str]:
    """Manifest ids of the weights that the flows open under the current settings."""
    models = {model_for(role) for name in GRAPHS for role in graph_class(name).roles()}
    return sorted({engine.weights for model in models for engine in model_class(model).spec.engines.values()})


@main.command()
def serve() -> None:
    """Start Ray Serve and answer HTTP until told to stop (SIGTERM, Ctrl-C)."""
    prepare()
    from api.app import Server, address

    try:
        load_tenants(settings().tenants)  # or every part of the server would fail by itself, again and again
    except (OSError, ValueError) as error:
        sys.exit(f"invalid_tenants: expected a file of tenants in MODISTE_TENANTS, got {error}")
    try:
        used = weights_in_use()
        require_commercial(used)
        fetch(used)
        typer.echo(licence_report(used), err=True)
        if settings().logs is None:
            share_stderr()
        configure("server", "")
        with Server():
            stop = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):  # after Ray has set its own
                signal.signal(number, lambda *_: stop.set())
            typer.echo(f"Modiste answers on {address()} (documentation at {address()}/docs)", err=True)
            stop.wait()
            typer.echo("Stopping", err=True)
    except ModisteError as error:
        sys.exit(f"{error.code}: {error.detail}")


@main.command()
def wait(timeout: float = typer.Option(120.0, min=0.0, help="seconds")) -> None:
    """Return when the server is ready; exit 1 if it is not in time."""
    host = "127.0.0.1" if settings().host == "0.0.0.0" else settings().host  # noqa: S104 - compared, not bound
    started = time.monotonic()
    last = "nothing answers"
    while time.monotonic() - started < timeout:
        try:
            answer = httpx.get(f"http://{host}:{settings().port}/readyz", timeout=30.0)
            if answer.status_code == 200:
                typer.echo(f"ready after {time.monotonic() - started:.1f} s", err=True)
                return
            last = answer.text[:300]
        except httpx.HTTPError as error:
            last = str(error)
        time.sleep(0.25)
    sys.exit(f"not ready after {timeout:.0f} s: {last}")


if __name__ == "__main__":
    main()
