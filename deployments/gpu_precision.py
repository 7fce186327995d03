"""In what precision the default edition's engines may compute on GPUs: `python -m deployments.gpu_precision`.

Every engine runs on torch on the CPU, under the rules of compile/islands.py, which are the same on a GPU, and is judged
as the parity gate judges: on noise and on the golden pictures. float16 is preferred, then bfloat16. The specs hold what
comes out, a test compares them. On a GPU the gate has the last word. Needs torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compile.gate import Check, checks
from deployments import EDITIONS, engine_name, model_class
from deployments.engines import cases, source
from modiste.spec import EngineSpec, Precision

FIGURES = Path(__file__).with_name("gpu_precision.json")
TRIED: tuple[Precision, ...] = ("float16", "bfloat16")
MARGIN = 2
"""How many times smaller than its limit an error must be: kernels of GPUs sum in another order."""


def measured() -> dict[str, Any]:
    """By engine: what it may compute in, and for each precision the check that comes nearest to its limit."""
    found: dict[str, Any] = {}
    for model in dict.fromkeys(EDITIONS["default"].values()):
        for name, spec in model_class(model).spec.engines.items():
            nearest = {precision: _nearest(model, name, spec, precision) for precision in TRIED}
            chosen = next((precision for precision, check in nearest.items() if passes(check)), "float32")
            found[engine_name(model, name)] = {"chosen": chosen, "nearest": _rounded(nearest)}
    return found


def passes(check: Check) -> bool:
    return check.error * MARGIN <= check.limit


def _nearest(model: str, name: str, spec: EngineSpec, precision: Precision) -> Check:
    from compile.cuda import on_cpu

    engine = on_cpu(spec, source(spec).module(), precision)
    # What is no number is the furthest.
    return min(checks(spec, engine, cases(model)[name]), key=lambda check: (check.passed, -check.error / check.limit))


def _rounded(nearest: Mapping[Precision, Check]) -> dict[str, Any]:
    return {precision: asdict(check) | {"error": float(f"{check.error:.2g}")} for precision, check in nearest.items()}


if __name__ == "__main__":
    FIGURES.write_text(json.dumps(measured(), indent=1) + "\n")
