"""An event loop whose time is a clock's: nobody waits for it, and the same work takes the same course each time."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Any, TypeVar

from beast.base.clock import ManualClock

Result = TypeVar("Result")


class _Timer(selectors.SelectSelector):
    """Lets time pass where another selector would wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nobody will ever wake anybody")
        if timeout > 0:
            self._clock.advance(ns=ceil(timeout * 1e9))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what is due, then moves the clock to what is due next. Work for other threads is done at once."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_Timer(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.monotonic_ns() / 1e9

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done


def run(work: Coroutine[Any, Any, Result], clock: ManualClock) -> Result:
    """Runs to the end of `work`, as asyncio.run() does."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(work)
