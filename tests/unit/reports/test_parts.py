"""Turns, sources and flows: who may, how often, and what happens when somebody leaves."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.base.clock import ManualClock
from beast.base.tasks import Tasks
from beast.reports.flow import Flow, State
from beast.reports.sources import KEPT, Sources, source_of
from beast.reports.turns import BusyError, Turns
from beast.reports.udp import good_id, read_request, with_id

pytestmark = pytest.mark.anyio


async def test_one_customer_has_half_of_the_turns() -> None:
    turns = Turns(4, wait_s=0.01)
    await turns.take(1)
    await turns.take(1)
    with pytest.raises(BusyError):
        await turns.take(1)
    await turns.take(2)
    await turns.take(None)
    with pytest.raises(BusyError):
        await turns.take(3)
    assert turns.taken == 4
    waiting = asyncio.create_task(Turns.take(turns, 3))
    await turns.leave(1)
    await waiting
    assert turns.taken == 4


async def test_a_single_turn_is_anybodys() -> None:
    turns = Turns(1, wait_s=0.01)
    await turns.take(1)
    with pytest.raises(BusyError):
        await turns.take(2)
    turns.tune(2)
    await turns.take(2)


def test_who_is_wrong_too_often_is_not_answered_for_a_second() -> None:
    clock = ManualClock()
    sources = Sources(clock, 10)
    for _ in range(10):
        assert sources.allow("192.0.2.1")
        sources.count("192.0.2.1")
    assert not sources.allow("192.0.2.1")
    assert sources.allow("192.0.2.2")
    clock.advance(ms=99)
    assert not sources.allow("192.0.2.1")
    clock.advance(ms=1)
    assert sources.allow("192.0.2.1")
    sources.tune(10, "192.0.2.0/24")
    sources.count("192.0.2.1")
    assert sources.allow("192.0.2.1")
    sources.tune(0, "")
    assert sources.allow("192.0.2.1")


def test_sources_are_networks_and_bounded() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff") == "2001:db8::/64"
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("fe80::1%eth0") == "fe80::/64"
    sources = Sources(ManualClock(), 1)
    for number in range(KEPT + 10):
        sources.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(sources._buckets) == KEPT
    assert sources.allow("10.0.0.1")


class Ended:
    """What a flow tells at its end."""

    def __init__(self) -> None:
        self.told: asyncio.Future[tuple[State, int]] = asyncio.get_running_loop().create_future()
        self.closed = False

    async def __call__(self, state: State, taken: int) -> None:
        self.told.set_result((state, taken))

    async def source(self, count: int, fail_at: int = -1) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(count):
                if number == fail_at:
                    raise RuntimeError("broken")
                yield b"x" * 10
        finally:
            await asyncio.sleep(0)
            self.closed = True


async def test_a_flow_is_taken_whole() -> None:
    ended = Ended()
    flow = Flow(ended.source(9), Tasks(), ended)
    await flow.begin()
    assert [chunk async for chunk in flow.chunks()] == [b"x" * 10] * 9
    assert await ended.told == ("made", 90)
    assert ended.closed


async def test_an_error_before_the_first_byte_is_told_at_once() -> None:
    ended = Ended()
    flow = Flow(ended.source(9, fail_at=0), Tasks(), ended)
    with pytest.raises(RuntimeError, match="broken"):
        await flow.begin()
    assert await ended.told == ("failed", 0)


async def test_an_error_on_the_way_is_told_after_what_was_made() -> None:
    ended = Ended()
    flow = Flow(ended.source(9, fail_at=3), Tasks(), ended)
    await flow.begin()
    chunks = flow.chunks()
    assert [await anext(chunks) for _ in range(3)] == [b"x" * 10] * 3
    with pytest.raises(RuntimeError, match="broken"):
        await anext(chunks)
    assert (await ended.told)[0] == "failed"


async def test_a_taker_who_leaves_ends_the_source_and_waits_for_nothing() -> None:
    ended = Ended()
    flow = Flow(ended.source(1000), Tasks(), ended)
    await flow.begin()
    chunks = flow.chunks()
    await anext(chunks)
    await chunks.aclose()
    assert await ended.told == ("aborted", 10)
    assert ended.closed


@pytest.mark.parametrize("pieces", [5, 1000])
async def test_what_was_made_ahead_holds_nobody_up(pieces: int) -> None:
    ended = Ended()
    flow = Flow(ended.source(pieces), Tasks(), ended)
    await flow.begin()
    for _ in range(100):
        await asyncio.sleep(0)  # until the queue is full
    chunks = flow.chunks()
    await anext(chunks)
    await chunks.aclose()
    async with asyncio.timeout(5):
        state, taken = await ended.told
    assert (state, taken) == ("made" if pieces == 5 else "aborted", 10)


async def test_a_taker_who_is_cancelled_while_it_waits_ends_the_source() -> None:
    ended = Ended()
    never: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def stuck() -> AsyncGenerator[bytes, None]:
        yield await never

    flow = Flow(stuck(), Tasks(), ended)
    waiting = asyncio.create_task(flow.begin())
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await ended.told)[0] == "aborted"


@pytest.mark.parametrize(
    ("datagram", "fault"),
    [
        (b"", "SYNTAX"),
        (b"{}", "NONE"),
        (b'{"api_key":"k","id":7}', "NONE"),
        (b'{"api_key":"k","unknown":{"a":[1,{"b":null}]}}', "NONE"),
        (b'{"api_key":"k","api_key":"k"}', "TWICE"),
        (b'{"api_key":"k"} x', "SYNTAX"),
        (b'{"api_key":5}', "API_KEY"),
        (b'{"id":1.5}', "ID"),
        (b'{"id":"' + b"x" * 65 + b'"}', "ID"),
        (b'{"id":{}}', "ID"),
        (b"\xff", "UTF8"),
        (b'{"x":[[[[[[[[[1]]]]]]]]]}', "DEPTH"),
        (b'{"api_key":"' + b"k" * 1300 + b'"}', "TOO_LARGE"),
        (b'{"api_key":"\\ud800"}', "UTF8"),
    ],
)
def test_a_datagram_is_read_as_a_price_request_is(datagram: bytes, fault: str) -> None:
    assert read_request(datagram).fault == fault


def test_what_a_datagram_says() -> None:
    request = read_request(b' {"id" : "a\\u00e9" ,"period":"7d","api_key":"t\\u0062_x"} ')
    assert (request.key, request.period, request.echo) == (b"tb_x", "7d", b'"a\\u00e9"')
    assert read_request(b'{"period":null,"id":null}').period == "30d"
    assert read_request(b'{"period":7}').period == "?"


@given(st.binary(max_size=200))
def test_reading_never_raises(datagram: bytes) -> None:
    request = read_request(datagram)
    assert request.echo == b"" or good_id(request.echo)


def test_an_id_is_echoed_as_it_came() -> None:
    assert with_id(b'{"a":1}', b'"x"') == b'{"a":1,"id":"x"}'
    assert with_id(b'{"a":1}', b"") == b'{"a":1}'
    assert [good_id(raw) for raw in (b"", b"-1", b"7", b"--1", b'"x"', b"1e3")] == [
        False,
        True,
        True,
        False,
        True,
        False,
    ]
