"""A graph's run as a stream: progress while it works, the outcome at the end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from graphs.base import Graph
from graphs.report import Outcome, run
from modiste.telemetry import Context, Trace, within


async def watch(
    name: str, graph: Graph[Any, Any], request: object, given: Context
) -> AsyncGenerator[float | Outcome[Any], None]:
    """Progress (0-1, the latest where several came at once), then the outcome of the work, done in the given context.

    Closing the iterator cancels the graph and returns when it has stopped. Raises what the graph raises.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    latest = 0.0

    def on_progress(fraction: float) -> None:
        nonlocal latest
        latest = fraction
        loop.call_soon_threadsafe(news.set)  # graphs may report from threads

    async def work() -> Outcome[Any]:
        with within(given):
            return await run(name, graph, request, Trace(on_progress=on_progress))

    task = asyncio.create_task(work())
    task.add_done_callback(lambda _: news.set())
    try:
        while not task.done():
            await news.wait()
            news.clear()
            if not task.done():
                yield latest
        yield task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
