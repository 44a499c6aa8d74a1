"""Many things at once, their results in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt.asking import in_order
from cpt.asking.ordered import AHEAD

from .clock import in_no_time


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 9))
def test_results_come_in_the_order_of_the_items(delays: list[float], at_once: int) -> None:
    running = 0

    async def work(delay: float) -> float:
        nonlocal running
        running += 1
        assert running <= at_once
        await asyncio.sleep(delay)
        running -= 1
        return delay

    async def all_of_them() -> list[float]:
        return [result async for result in in_order(delays, work, at_once)]

    assert in_no_time(all_of_them()) == delays


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(10_000):
            taken = item
            yield item

    async def first_is_slow(item: int) -> int:
        await asyncio.sleep(1000 if item == 0 else 0.001)
        return item

    async def first() -> int:
        results = in_order(items(), first_is_slow, 4)
        first = await anext(results)
        await results.aclose()
        return first

    assert in_no_time(first()) == 0
    assert taken <= 4 * AHEAD, "what waits for a slow one is bounded"


@given(st.integers(0, 30), st.integers(1, 5))
def test_an_exception_comes_in_its_place(bad: int, at_once: int) -> None:
    begun: list[int] = []

    async def work(item: int) -> int:
        begun.append(item)
        await asyncio.sleep(random.random())
        if item == bad:
            raise ValueError(item)
        return item

    async def some() -> list[int]:
        results = []
        with pytest.raises(ValueError, match=str(bad)):
            async for result in in_order(range(1000), work, at_once):
                results.append(result)
        return results

    assert in_no_time(some()) == list(range(bad))
    assert len(begun) < 1000, "nothing more is begun after a failure"


def test_after_an_exception_nothing_more_is_begun() -> None:
    begun: list[int] = []

    async def one(item: int) -> int:
        begun.append(item)
        await asyncio.sleep(100 if item == 0 else 0.1)
        if item == 1:
            raise ValueError
        return item

    async def results() -> list[int]:
        return [result async for result in in_order(range(50), one, 4)]

    with pytest.raises(ValueError):
        in_no_time(results())
    assert len(begun) <= 8, "it is raised only after the slow one before it"


def test_a_broken_source_is_told_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("gone")

    async def work(item: int) -> int:
        return item

    async def some() -> list[int]:
        results = []
        with pytest.raises(OSError, match="gone"):
            async for result in in_order(items(), work, 2):
                results.append(result)
        return results

    assert in_no_time(some()) == [0, 1, 2]


def test_what_is_left_alone_is_cancelled() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(item)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    async def two() -> None:
        results = in_order(range(100), work, 5)
        assert [await anext(results), await anext(results)] == [0, 1]
        await results.aclose()

    in_no_time(two())
    assert set(cancelled) >= {2, 3, 4}
