"""Long work on the event loop, a piece at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TURN = 200
"""How many rows, of which each takes some µs, are worked on before others have their turn."""


async def in_turns(items: Sequence[Item], size: int = TURN) -> AsyncIterator[Sequence[Item]]:
    """The items in pieces; between two of them, whatever else is due on the loop is done."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        await asyncio.sleep(0)


async def take_steps(steps: Generator[Callable[[], None] | None, None, Result]) -> Result:
    """Does work that is written in steps, with a turn for others after each.

    What a step yields is called before the next, on another thread.
    """
    while True:
        try:
            away = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        await (asyncio.to_thread(away) if away else asyncio.sleep(0))
