"""What is known of each built engine, written when it passed the gate, beside its blob."""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from compile.cache import folder
from compile.gate import Check
from modiste.spec import Precision, Target
from modiste.telemetry import log


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """engine:    "model" or "model.engine"
    runtime:   exact versions, device and options that it was built with
    build_s:   seconds to build, open_s to open it from its blob
    bytes:     of the blob
    memory_mb: what opening and running it added to this process, or takes of the GPU
    ms:        milliseconds per call by batch size, as medians
    checks:    of the gate, all passed
    int8_share: for precision int8, the share of multiplications that are
    """

    engine: str
    target: Target
    precision: Precision
    runtime: dict[str, str]
    build_s: float
    open_s: float
    bytes: int
    memory_mb: float
    ms: dict[int, float]
    checks: tuple[Check, ...]
    int8_share: float | None = None

    @property
    def worst(self) -> Check:
        """The one that is nearest to its limit."""
        return max(self.checks, key=lambda check: check.error / check.limit)


_REPORT, REPORTS = TypeAdapter(Report), TypeAdapter(list[Report])


def as_json(report: Report) -> bytes:
    return _REPORT.dump_json(report, indent=1)


def reports() -> list[Report]:
    """The newest of each engine, target, precision and device in this machine's cache; what is none, or of another
    version of Modiste, is logged."""
    found: dict[tuple[str, ...], Report] = {}
    for path in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime):
        try:
            of = _REPORT.validate_json(path.read_bytes())
        except ValidationError as error:
            log.warning("engine_report_unreadable", path=str(path), reason=str(error))
        else:
            found[of.engine, of.target, of.precision, of.runtime.get("device", "")] = of
    return [found[key] for key in sorted(found)]
