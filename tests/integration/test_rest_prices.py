"""Tier 3 against the simulator and against an exchange that behaves badly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import httpx
import msgspec
import pytest
from tests.fixtures.http_peer import HttpPeer, http_peer

from beast._fast import monotonic_ns
from beast.base.clock import SystemClock
from beast.feeds.following import load_rows
from beast.feeds.rest.exchanges import BODY_MAX, RestPrices
from beast.feeds.rows.files import Exchange
from beast.feeds.rows.rest import read_products
from beast.feeds.simulator.server import Simulator
from beast.feeds.store import FeedStore
from beast.feeds.types import Condition, Feed, Mapping
from beast.prices.types import Market, Quote
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SECOND = 10**9
MAPPINGS = {name: Mapping(exchange="x", asset=name, symbol=name.lower(), currency="USD") for name in ("BTC", "ETH")}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    made = Simulator()
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def asking(
    rows: list[Exchange], urls: Callable[[str, str], str], per_second: float | None = None
) -> AsyncIterator[RestPrices]:
    found = {
        (each.feed.name, mapping.asset): (
            each.feed if per_second is None else msgspec.structs.replace(each.feed, rest_per_second=per_second),
            mapping,
        )
        for each in rows
        for mapping in each.assets
    }
    prices = RestPrices(lambda exchange, asset: found.get((exchange, asset)), clock=SystemClock(), urls=urls)
    try:
        yield prices
    finally:
        await prices.close()


def market(exchange: str, asset: str = "BTC") -> Market:
    return Market(exchange=exchange, asset=asset, currency="USD")


async def test_every_seeded_market_is_priced_with_its_own_digits(database: Database, simulator: Simulator) -> None:
    rows, unreadable = await load_rows(FeedStore(database))
    assert not unreadable
    assert len(rows) == 6
    async with asking(rows, simulator.url, per_second=1000) as prices:
        for each in rows:
            for mapping in each.assets:
                quote = await prices.fetch([market(each.feed.name, mapping.asset)], monotonic_ns() + 5 * SECOND)
                assert quote is not None, mapping
                instrument = simulator.exchanges[each.feed.name].instruments[mapping.symbol]
                assert quote.price.decode() in {instrument.last.price, *(trade.price for trade in instrument.history)}
                assert quote.volume_24h == instrument.volume_24h
                assert abs(quote.time_ns - SystemClock().wall_ns()) < 60 * SECOND


async def test_every_seeded_list_of_products_reads(database: Database, simulator: Simulator) -> None:
    rows, _ = await load_rows(FeedStore(database))
    async with httpx.AsyncClient(trust_env=False) as client:
        for each in rows:
            answer = await client.get(simulator.url(each.feed.name, each.feed.rest_products_url))
            listed = set(read_products(each.feed, answer.content))
            halted = {product.symbol for product in simulator.exchanges[each.feed.name].halted}
            assert len(listed) >= len(each.assets)
            if each.feed.name != "kraken":  # it lists XBT/USD, and wants BTC/USD
                assert listed >= {mapping.symbol for mapping in each.assets}
            if each.feed.name != "gemini":  # it lists names and nothing else
                assert not listed & halted


FEED = Feed(
    name="x",
    ws_url="wss://x/",
    trade_filter=(Condition(path="p", op="present"),),
    price_path="p",
    symbol_path="s",
    rest_ticker_url="https://x/{SYMBOL}",
    rest_price_path="p",
    rest_per_second=1000,
    rest_timeout_ms=200,
)
GOOD = b'{"p":"1.50"}'


@pytest.fixture
async def peer() -> AsyncIterator[HttpPeer]:
    async with http_peer() as made:
        yield made


@pytest.fixture
async def second() -> AsyncIterator[HttpPeer]:
    async with http_peer() as made:
        made.answer(b'{"p":"2"}')
        yield made


@pytest.fixture
async def prices(peer: HttpPeer, second: HttpPeer) -> AsyncIterator[RestPrices]:
    other = msgspec.structs.replace(FEED, name="y")
    assets = tuple(MAPPINGS.values())

    def urls(name: str, original: str) -> str:
        return original.replace("https://x", (peer if name == "x" else second).url)

    async with asking([Exchange(FEED, assets), Exchange(other, assets)], urls) as made:
        yield made


async def fetch(prices: RestPrices, *exchanges: str, asset: str = "BTC", wait_s: float = 1.0) -> Quote | None:
    return await prices.fetch([market(name, asset) for name in exchanges], monotonic_ns() + int(wait_s * SECOND))


async def test_the_first_exchange_that_tells_is_believed(prices: RestPrices, peer: HttpPeer, second: HttpPeer) -> None:
    peer.answer(GOOD)
    quote = await fetch(prices, "x", "y")
    assert quote is not None
    assert (quote.exchange, quote.asset, quote.price) == ("x", "BTC", b"1.50")
    assert (peer.asked, second.asked) == (["/btc"], [])
    assert monotonic_ns() - SECOND < quote.received_ns <= monotonic_ns()


async def test_many_who_want_the_same_cost_one_request(prices: RestPrices, peer: HttpPeer) -> None:
    peer.answer(GOOD)
    peer.delay_s = 0.05
    quotes = await asyncio.gather(*(fetch(prices, "x") for _ in range(50)))
    assert {quote.price for quote in quotes if quote} == {b"1.50"}
    assert peer.asked == ["/btc"]


async def test_a_market_that_is_refused_is_left_alone_and_its_exchange_is_not(
    prices: RestPrices, peer: HttpPeer, second: HttpPeer
) -> None:
    peer.answer(b"{}", status="404 Not Found")
    for _ in range(3):
        assert (await fetch(prices, "x", "y")) is not None
    peer.answer(GOOD)
    quote = await fetch(prices, "x", asset="ETH")
    assert quote is not None
    assert peer.asked == ["/btc", "/eth"]
    assert second.asked == ["/btc"] * 3


@pytest.mark.parametrize("fault", ["status", "slow", "text", "long", "closed", "redirect"])
async def test_an_exchange_that_fails_is_passed_by_then_left_alone(
    prices: RestPrices, peer: HttpPeer, fault: str
) -> None:
    if fault == "closed":
        peer._answer = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
        peer.delay_s = 0.21
    elif fault == "slow":
        peer.delay_s = 0.3
    else:
        status = {"status": "503 Service Unavailable", "redirect": "302 Found"}.get(fault, "200 OK")
        peer.answer(b"x" * (BODY_MAX + 1 if fault == "long" else 3), status=status)
    for _ in range(5):
        quote = await fetch(prices, "x", "y")
        assert quote is not None
        assert quote.exchange == "y"
    assert len(peer.asked) == 3
    assert [tuple(status) for status in prices.status()] == [("x", "open"), ("y", "closed")]


async def test_one_probe_brings_it_back(prices: RestPrices, peer: HttpPeer) -> None:
    peer.answer(b"", status="500 Oh")
    for _ in range(4):
        assert await fetch(prices, "x") is None
    peer.answer(GOOD)
    assert await fetch(prices, "x") is None
    await asyncio.sleep(1.05)
    first, other = await asyncio.gather(fetch(prices, "x"), fetch(prices, "x", asset="ETH"))
    assert first is not None
    assert other is None
    assert await fetch(prices, "x", asset="ETH") is not None
    assert prices.status()[0].breaker == "closed"


@pytest.mark.parametrize("retry_after", ["1", "date", "soon", ""])
async def test_too_many_requests_stops_for_as_long_as_it_says(
    prices: RestPrices, peer: HttpPeer, retry_after: str
) -> None:
    told = formatdate(SystemClock().wall_ns() / 1e9 + 1.5, usegmt=True) if retry_after == "date" else retry_after
    peer.answer(b"", status="429 Too Many Requests", **({"Retry_After": told} if told else {}))
    assert await fetch(prices, "x", wait_s=0.1) is None
    peer.answer(GOOD)
    assert await fetch(prices, "x", wait_s=0.1) is None
    assert await fetch(prices, "x", wait_s=3) is not None
    assert len(peer.asked) == 2


async def test_over_its_limit_another_is_asked_and_else_it_is_waited_for(peer: HttpPeer, second: HttpPeer) -> None:
    peer.answer(GOOD)
    limited = msgspec.structs.replace(FEED, rest_per_second=2.0)
    other = msgspec.structs.replace(FEED, name="y")
    assets = tuple(
        Mapping(exchange="x", asset=f"A{number}", symbol=f"a{number}", currency="USD") for number in range(10)
    )

    def urls(name: str, original: str) -> str:
        return original.replace("https://x", (peer if name == "x" else second).url)

    async with asking([Exchange(limited, assets), Exchange(other, assets)], urls) as prices:
        for number in range(5):
            assert await fetch(prices, "x", "y", asset=f"A{number}")
        assert (len(peer.asked), len(second.asked)) == (2, 3)
        began = monotonic_ns()
        assert await fetch(prices, "x", asset="A5")
        assert monotonic_ns() - began > 0.2 * SECOND
        assert await fetch(prices, "x", asset="A6", wait_s=0.05) is None
        assert len(peer.asked) == 3


async def test_a_market_that_nobody_maps_any_more_is_not_asked_for(prices: RestPrices, peer: HttpPeer) -> None:
    assert await fetch(prices, "x", "nowhere", asset="XYZ") is None
    assert peer.asked == []
