"""Stages that run ahead of each other keep order, pass errors on, and stop when they are closed."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from graphs.pipeline import ahead, in_thread


async def count(to: int, made: list[int]) -> AsyncGenerator[int, None]:
    try:
        for i in range(to):
            made.append(i)
            yield i
    finally:
        made.append(-1)


async def test_everything_comes_in_order_and_is_made_ahead() -> None:
    made: list[int] = []
    got = []
    async with aclosing(ahead(count(6, made), by=2)) as items:
        async for item in items:
            await asyncio.sleep(0.001)
            assert len(made) > item + 1 or item == 5
            got.append(item)
    assert got == list(range(6))


async def test_an_error_arrives_after_what_was_made_before_it() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("no more")

    got = []
    with pytest.raises(ValueError, match="no more"):
        async for item in ahead(broken()):
            got.append(item)
    assert got == [1]


async def test_closing_stops_the_maker() -> None:
    made: list[int] = []
    async with aclosing(ahead(count(1000, made))) as items:
        async for item in items:
            if item == 3:
                break
    assert made[-1] == -1
    assert len(made) < 10


async def test_cancellation_waits_for_the_thread() -> None:
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        may_end.wait(5)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(started.wait, 5)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
