"""The summary in one datagram, over real sockets."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.reports import NOW, clock_at, make_key, record, store

from beast.accounts.types import NewKey
from beast.base.tasks import Tasks
from beast.reports.service import Reports
from beast.reports.sources import Sources
from beast.reports.store import Summary
from beast.reports.summary import write_summary
from beast.reports.types import Period
from beast.reports.udp import ANSWER_MAX, QUEUE, ReportDatagrams
from beast.storage.database import Database

pytestmark = pytest.mark.integration

SILENCE_S = 0.3


class Door:
    """The UDP port of reports."""

    def __init__(self, database: Database, key: NewKey) -> None:
        self.clock = clock_at()
        self.counted: Counter[str] = Counter()
        self.key = key
        self.database = database
        self.reports = Reports(database, self.clock, Tasks(), node="test")
        self.sources = Sources(self.clock, 5)
        self.datagrams = ReportDatagrams(
            self.reports, self.sources, self.clock, node="test", count=lambda name: self.counted.update([name])
        )
        self.port = 0

    async def raw(self, datagram: bytes, within_s: float = 5.0) -> bytes:
        """The answer; nothing when there is none in time."""
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            sock.connect(("127.0.0.1", self.port))
            await loop.sock_sendall(sock, datagram)
            try:
                async with asyncio.timeout(within_s):
                    return await loop.sock_recv(sock, 4096)
            except TimeoutError:
                return b""

    async def ask(self, **members: Any) -> dict[str, Any]:
        answer = await self.raw(json.dumps({"api_key": self.key.api_key, **members}).encode())
        return dict(json.loads(answer))

    async def made(self) -> int:
        key = await self.reports.who(self.key.api_key.encode(), "127.0.0.1")
        return (await self.reports.limiter.check(key)).in_month


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    made = Door(database, await make_key(database))
    made.port = await made.datagrams.start("127.0.0.1", 0)
    yield made
    await made.datagrams.stop()


@pytest.mark.anyio
async def test_a_summary(door: Door) -> None:
    rows = [
        record(n, key_id=door.key.id, asset=f"A{n % 7}", tier=1 + n % 3, latency_ns=n * 1000) for n in range(1, 101)
    ]
    await store(door.database, [*rows, record(500, key_id=99)])
    told = await door.ask(period="30d", id="a1")
    assert list(told) == [
        *("period", "from", "to", "answers", "prices", "hit_rate", "tiers", "p50_us", "p95_us", "p99_us", "assets"),
        *("top", "node", "id"),
    ]
    assert (told["answers"], told["prices"], told["assets"], told["id"]) == (100, 100, 7, "a1")
    assert (told["p50_us"], told["p95_us"], told["p99_us"]) == (50.5, 95.05, 99.01)
    assert told["tiers"] == [33, 34, 33]
    assert told["hit_rate"] == 0.67
    assert [(each["asset"], each["answers"]) for each in told["top"]] == [
        ("A1", 15),
        ("A2", 15),
        ("A0", 14),
        ("A3", 14),
        ("A4", 14),
    ]
    assert door.counted == {"lrs_requests": 1}


@pytest.mark.anyio
async def test_a_summary_of_nothing(door: Door) -> None:
    told = await door.ask(id=7)
    assert (told["answers"], told["hit_rate"], told["p50_us"], told["top"], told["id"]) == (0, None, None, [], 7)


@pytest.mark.anyio
async def test_a_repeated_datagram_is_answered_again_and_counted_once(door: Door) -> None:
    answers = await asyncio.gather(*(door.ask(period="7d", id=n) for n in range(8)))
    assert [answer.pop("id") for answer in answers] == list(range(8))
    assert all(answer == answers[0] for answer in answers)
    assert await door.made() == 1
    door.clock.advance(61)
    await door.ask(period="7d")
    assert await door.made() == 2


@pytest.mark.anyio
async def test_the_limit_holds_here_too(door: Door) -> None:
    for days in range(1, 11):
        assert "answers" in await door.ask(period=f"{days}d")
    refused = await door.ask(period="11d", id="x")
    assert (refused["error"], refused["id"]) == ("rate_limited", "x")
    assert refused["retry_after_ms"] == (4 * 86_400 + 6 * 3600 + 30 * 60) * 1000
    assert await door.made() == 10


@pytest.mark.anyio
async def test_a_period_that_is_none_is_told_and_not_counted(door: Door) -> None:
    for period in ("soon", 30, "401d", "x" * 500):
        assert (await door.ask(period=period))["error"] == "bad_request"
    assert await door.made() == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "datagram",
    [
        b"{",
        b"{}",
        b'{"id":1}',
        b'{"api_key":"tb_wrong"}',
        b'{"api_key":"tb_wrong","id":"abcdefgh"}',
        b'{"api_key":"tb_wrong_and_somewhat_longer_so_that_there_is_room_for_a_message","id":"abcdefgh"}',
        b'{"api_key":"tb_wrong","api_key":"tb_wrong","id":"' + b"y" * 64 + b'"}',
        b"\xff" * 1400,
    ],
)
async def test_who_proves_no_key_gets_no_more_than_it_sent(door: Door, datagram: bytes) -> None:
    answer = await door.raw(datagram, SILENCE_S)
    assert len(answer) <= len(datagram)
    if len(datagram) > 50:
        assert json.loads(answer)["error"] in {"unauthorized", "bad_request"}


@pytest.mark.anyio
async def test_who_proves_no_key_too_often_is_not_heard(door: Door) -> None:
    wrong = json.dumps({"api_key": "tb_" + "x" * 80}).encode()
    answers = [await door.raw(wrong, SILENCE_S) for _ in range(6)]
    assert [bool(answer) for answer in answers] == [True] * 5 + [False]
    door.clock.advance(1)
    assert "answers" in await door.ask()


@pytest.mark.anyio
async def test_a_full_queue_says_so_within_the_request_s_length(database: Database) -> None:
    door = Door(database, await make_key(database))
    sent: list[bytes] = []

    class Wire(asyncio.DatagramTransport):
        def sendto(self, data: Any, addr: Any = None) -> None:  # noqa: ARG002 - the address is always the same
            sent.append(bytes(data))

        def is_closing(self) -> bool:
            return False

    door.datagrams.connection_made(Wire())
    datagram = json.dumps({"api_key": door.key.api_key}).encode()
    for _ in range(QUEUE + 3):
        door.datagrams.datagram_received(datagram, ("192.0.2.1", 5))
    assert [json.loads(each)["error"] for each in sent] == ["unavailable"] * 3
    assert all(len(each) <= len(datagram) for each in sent)


@given(names=st.lists(st.text(max_size=300), max_size=5))
def test_a_summary_always_fits(names: list[str]) -> None:
    found = Summary(
        answers=10**15,
        prices=10**15,
        tier_1=10**15,
        tier_2=0,
        tier_3=0,
        assets=10**6,
        ns=[1e9, 1e9, 1e9],
        top=names,
        top_answers=[10**14] * len(names),
    )
    body = write_summary(found, Period(NOW, NOW, "x" * 32), node="n" * 64, room=ANSWER_MAX - 80)
    assert len(body) <= ANSWER_MAX - 80
