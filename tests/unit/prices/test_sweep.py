import asyncio

import pytest

from beast.base.clock import SystemClock
from beast.prices import sweep as room

pytestmark = pytest.mark.anyio


class Swept:
    """An engine that remembers when it was swept."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.twice = asyncio.Event()

    def sweep(self, now_ns: int) -> None:
        self.at.append(now_ns)
        if len(self.at) == 2:
            self.twice.set()


async def test_the_table_is_swept_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SWEEP_S", 0)
    engine = Swept()
    task = asyncio.create_task(room.sweep(engine, SystemClock()))
    async with asyncio.timeout(5):
        await engine.twice.wait()
    task.cancel()
    assert engine.at == sorted(engine.at)
