"""Stages of long work that run side by side, and stop together."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def ahead(items: AsyncGenerator[T, None], *, by: int = 1) -> AsyncGenerator[T, None]:
    """The same items, made ahead of their use in a task of their own: up to `by` of them wait.

    Closing it stops that task and waits until it has stopped. Raises what `items` raises.
    """
    waiting: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue(by)

    async def make() -> None:
        end: Exception | None = None
        try:
            async with aclosing(items):
                async for item in items:
                    await waiting.put((item,))
        except Exception as error:
            end = error
        await waiting.put(end)

    maker = asyncio.create_task(make())
    try:
        while isinstance(made := await waiting.get(), tuple):
            yield made[0]
        if made is not None:
            raise made
    finally:
        maker.cancel()
        await asyncio.gather(maker, return_exceptions=True)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; when cancelled, wait for the thread first, so that nothing is closed under its feet."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
