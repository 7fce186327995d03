"""The engines of models: what each is built from, with which target and precision, and what it is judged by."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from compile.backend import Source
from compile.build import open_engine
from compile.engine import Case, Engine
from compile.openvino import has_matrix_units
from compile.source import graph_file
from deployments import engine_name, model_class, threads_of
from deployments.calibration import calibration_inputs
from deployments.golden import golden_digest, golden_inputs
from modiste.settings import settings
from modiste.spec import EngineSpec, ModelSpec, Precision, Target
from weights.manifest import entry


def open_engines(model_id: str) -> dict[str, Engine]:
    """All engines of a model under the current settings, by their names in its spec."""
    of = model_class(model_id).spec
    target = target_of(of)
    try:
        return {
            name: open_engine_of(model_id, name, target=target, precision=served_precision(model_id, spec, target))
            for name, spec in of.engines.items()
        }
    finally:
        cases.cache_clear()  # a replica lives long; its engines are judged once


def open_engine_of(model_id: str, name: str, *, target: Target, precision: Precision) -> Engine:
    """raises: EngineRefused where it had to be built and is too far from float32"""
    of = model_class(model_id).spec
    spec = of.engines[name]
    return open_engine(
        engine_name(model_id, name),
        spec,
        source(spec, threads_of(of.resources)),
        lambda: cases(model_id)[name],
        lambda: calibration_cases(model_id)[name],
        judges=golden_digest(),
        target=target,
        precision=precision,
    )


def target_of(of: ModelSpec) -> Target:
    """What the settings ask for; OpenVINO for models that never run on a GPU."""
    return settings().target if of.resources.gpu_memory_mb else "openvino"


def served_precision(model_id: str, spec: EngineSpec, target: Target) -> Precision:
    """What the settings ask for, else the lowest that the spec allows; on CPUs without matrix units bfloat16 takes
    longer than float32."""
    if model_id in settings().precisions:
        return settings().precisions[model_id]
    if target != "openvino":
        return spec.gpu_precision
    return spec.precision if spec.precision != "bfloat16" or has_matrix_units() else "float32"


def source(spec: EngineSpec, threads: int = 1) -> Source:
    return Source(graph=lambda: graph_file(spec), module=lambda: _module(spec), threads=threads)


def _module(spec: EngineSpec) -> Any:
    """The published network itself, or the graph in eager torch where only that was published."""
    if entry(spec.weights).network is None:
        from compile.eager import graph_module

        return graph_module(spec, graph_file(spec))
    from deployments.exporting import load_part

    return load_part(spec)


@cache
def cases(model_id: str) -> Mapping[str, Sequence[Case]]:
    """By engine: noise, and what the model asks of its engines for the golden pictures of its role."""
    return _recorded(model_id, golden_inputs(model_class(model_id).spec.role), noise=0)


@cache
def calibration_cases(model_id: str) -> Mapping[str, Sequence[Case]]:
    """By engine: other noise, and what the model asks of its engines for other pictures, which int8 is fitted to.

    raises: InvalidOption for a role that is not offered int8
    """
    return _recorded(model_id, calibration_inputs(model_class(model_id).spec.role), noise=1)


def _recorded(model_id: str, inputs: list[Any], *, noise: int) -> Mapping[str, Sequence[Case]]:
    from compile.reference import ReferenceEngine

    of = model_class(model_id)
    references = {name: ReferenceEngine(spec, source(spec)) for name, spec in of.spec.engines.items()}
    of(references)(inputs)
    found = {name: [engine.noise(seed=noise), *engine.cases] for name, engine in references.items()}
    for engine in references.values():
        engine.close()
    return found
