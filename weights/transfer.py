"""What every way of fetching shares: progress, the failure worth another attempt, and the attempts."""

from collections.abc import Callable
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from modiste.errors import WeightsUnavailable
from weights.manifest import WeightFile

Progress = Callable[[str, int, int], None]
"""Called with what is fetched, bytes so far, and bytes in all."""

Fetch = Callable[[WeightFile, Path, Progress], Path]
"""Called with a file, a scratch folder that outlives failed attempts, and progress; returns where it is."""


class Unreachable(WeightsUnavailable):
    """A source that did not answer, or broke off; it is asked again a few times."""


again = retry(
    retry=retry_if_exception_type(Unreachable),
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=0.5, max=8),
    reraise=True,
)
