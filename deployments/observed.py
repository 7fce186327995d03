"""What a replica tells of itself and its engines: logs, metrics and spans, under the name of its deployment."""

import os
from time import perf_counter

from ray import serve
from ray.serve.exceptions import RayServeException

from compile.engine import Engine, Tensors
from deployments import metrics
from modiste import logs, spans
from modiste.metrics import ENGINE_SECONDS, record

PROXY = "proxy"


def start(deployment: str) -> None:
    """To be called once in each replica, before it does anything that is worth telling."""
    replica = serve.get_replica_context().replica_id.unique_id
    logs.configure(deployment, replica)
    metrics.export()
    spans.start(deployment, f"{replica}-{os.getpid()}")


def start_proxy() -> None:
    """The same for Serve's proxies. Replicas that HAProxy reaches call it, too, and keep their names."""
    try:
        serve.get_replica_context()
    except RayServeException:
        logs.configure(PROXY, "")
        metrics.export()
        spans.start(PROXY, str(os.getpid()))


class TimedEngine:
    """An engine whose inferences are recorded."""

    def __init__(self, model_id: str, name: str, engine: Engine) -> None:
        self.spec = engine.spec
        self._engine, self._model, self._name = engine, model_id, name

    def __call__(self, feeds: Tensors) -> Tensors:
        started = perf_counter()
        with spans.span(f"engine {self._name}", model=self._model, engine=self._name):
            outputs = self._engine(feeds)
        record(ENGINE_SECONDS, perf_counter() - started, model=self._model, engine=self._name)
        return outputs

    def close(self) -> None:
        self._engine.close()
