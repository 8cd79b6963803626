"""Which assets are asked for so often that they are subscribed."""

import pytest

from beast.base.errors import BeastError
from beast.prices.prewarm import SLICES, Prewarming

pytestmark = pytest.mark.anyio


class Desk:
    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.subscribed: list[str] = []
        self.away = False
        self.prewarming = Prewarming(self.take, {1: "ZEC", 2: "ZEC", 3: "GRT"}.get, self.prewarm)
        self.prewarming.after = 30

    def take(self) -> dict[int, int]:
        taken, self.answers = self.answers, {}
        return taken

    async def prewarm(self, asset: str) -> int:
        if self.away:
            raise BeastError("the database is away")
        self.subscribed.append(asset)
        return 1

    async def look(self, **answers: int) -> None:
        self.answers = {int(name.removeprefix("i")): count for name, count in answers.items()}
        await self.prewarming.look()


async def test_the_answers_of_a_minute_count_over_all_its_markets() -> None:
    desk = Desk()
    for _ in range(4):
        await desk.look(i1=4, i2=3, i3=1, i9=1000)
    assert desk.subscribed == []
    await desk.look(i1=2)
    assert desk.subscribed == ["ZEC"]
    await desk.look(i1=29)
    assert desk.subscribed == ["ZEC"]


async def test_what_is_longer_ago_than_a_minute_is_forgotten() -> None:
    desk = Desk()
    await desk.look(i1=29)
    for _ in range(SLICES - 1):
        await desk.look()
    await desk.look(i1=29)
    assert desk.subscribed == []


async def test_zero_is_off() -> None:
    desk = Desk()
    desk.prewarming.after = 0
    await desk.look(i1=10**9)
    assert desk.subscribed == []


async def test_it_is_tried_again_when_the_database_is_back() -> None:
    desk = Desk()
    desk.away = True
    await desk.look(i1=40)
    desk.away = False
    await desk.look(i1=1)
    assert desk.subscribed == ["ZEC"]
