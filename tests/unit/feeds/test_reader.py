"""Frames without trades: in order, a turn at a time, long ones elsewhere."""

import asyncio

import pytest

from beast.feeds.link.reader import FRAME_COST, READ_MAX, READ_TURN, Reader
from beast.feeds.rows.classify import Answer

pytestmark = pytest.mark.anyio


class Desk:
    def __init__(self, *, at_once: bool = False) -> None:
        self.done: list[bytes] = []
        self.passed: list[int] = []
        self.reader = Reader(lambda frame: Answer("ack", reply_id=frame[:4].decode()), self.act, at_once=at_once)

    def act(self, frame: bytes, _kind: int, answer: Answer | None) -> None:
        if answer is None:
            self.passed.append(len(frame))
        else:
            assert answer.reply_id.encode() == frame[:4]
            self.done.append(frame[:4])

    async def all(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.done) < count:  # noqa: ASYNC110 - a thread comes back when it does
                await asyncio.sleep(0)


def numbered(count: int, size: int = 4) -> list[bytes]:
    return [b"%04d" % number + b"x" * (size - 4) for number in range(count)]


async def test_what_comes_at_once_is_read_over_several_turns_in_order() -> None:
    desk = Desk()
    frames = numbered(1000)
    for frame in frames:
        desk.reader.read(frame, 0)
    assert len(desk.done) == -(-READ_TURN // (FRAME_COST + 4))
    await desk.all(1000)
    assert desk.done == frames


async def test_a_long_frame_keeps_its_place() -> None:
    desk = Desk()
    for frame in (b"0000", b"0001" + b"x" * READ_TURN, b"0002"):
        desk.reader.read(frame, 0)
    assert desk.done == [b"0000"]
    await desk.all(3)
    assert desk.done == [b"0000", b"0001", b"0002"]


async def test_what_is_too_long_is_passed_over() -> None:
    desk = Desk()
    desk.reader.read(b"x" * (READ_MAX + 1), 0)
    assert (desk.done, desk.passed) == ([], [READ_MAX + 1])


async def test_numbers_that_trades_depend_on_do_not_wait() -> None:
    desk = Desk(at_once=True)
    for frame in numbered(1000):
        desk.reader.read(frame, 0)
    assert len(desk.done) == 1000
