"""Ray Serve's configuration: one application per model and per flow, `jobs`, and `http`, the only one with a route."""

from math import ceil
from typing import Any

from api.app import HTTP
from k8s.environments import Environment
from k8s.served import Served, model_settings, served, under
from modiste.settings import Settings, settings

PORT = 8000
"""Of the proxies, on every node that has a replica."""

MARGIN_S = 5.0
"""By how much each hop towards the user waits longer than the one behind it, so that the inner one's answer counts."""

IDLE_S = 90
"""How long a proxy keeps an idle connection; longer than those before it, or they would reuse what is just closed."""


def app_settings(environment: Environment) -> Settings:
    """What the application reads in this environment."""
    with under(model_settings(environment)):
        return settings()


def request_timeout_s(environment: Environment) -> int:
    return ceil(app_settings(environment).deadline_s + MARGIN_S)


def serve_config(environment: Environment) -> dict[str, Any]:
    return {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": "0.0.0.0",  # noqa: S104 - network policies say who may reach it
            "port": PORT,
            "request_timeout_s": request_timeout_s(environment),
            "keep_alive_timeout_s": IDLE_S,
        },
        "logging_config": {"encoding": "JSON", "log_level": "WARNING", "enable_access_log": False},
        "applications": [_application(of) for of in served(environment)],
    }


def _application(of: Served) -> dict[str, Any]:
    return {
        "name": of.name,
        "import_path": of.import_path,
        "args": dict(of.args),
        "route_prefix": "/" if of.name == HTTP else None,
        "deployments": [{"name": of.name, **of.options}],
    }
