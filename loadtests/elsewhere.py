"""Who keeps the cores of this machine busy while a figure is taken."""

import resource
from time import perf_counter

import psutil


def cpu_seconds(root: int) -> float:
    """Spent so far by a process and all that it started."""
    spent = 0.0
    of = psutil.Process(root)
    for process in (of, *of.children(recursive=True)):
        try:
            times = process.cpu_times()
            spent += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return spent


class Elsewhere:
    """Counts from its making on. Figures taken meanwhile are worth nothing where others keep many cores busy.

    root: the process whose tree is measured; what this process waited for does not count as others' either
    """

    def __init__(self, root: int) -> None:
        self._root, self._began = root, perf_counter()
        self._own, self._others = cpu_seconds(root), self._spent_by_others()

    def _spent_by_others(self) -> float:
        times, waited_for = psutil.cpu_times(), resource.getrusage(resource.RUSAGE_CHILDREN)
        whole = float(times.user + times.nice + times.system + times.steal)
        return whole - cpu_seconds(self._root) - waited_for.ru_utime - waited_for.ru_stime

    def passed_s(self) -> float:
        return perf_counter() - self._began

    def spent_s(self) -> float:
        """CPU seconds of the tree."""
        return cpu_seconds(self._root) - self._own

    def cores(self) -> float:
        """That others kept busy."""
        return round(max(0.0, self._spent_by_others() - self._others) / self.passed_s(), 2)
