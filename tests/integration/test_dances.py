"""The example rows of exchanges that want more than a subscription, against their simulated dialects."""

import logging
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.fixtures.feeds import until
from tests.fixtures.rows import ROOT

from beast._fast import Engine
from beast.feeds.manager import ExchangeStatus, FeedManager
from beast.feeds.rows.files import Exchange, read_rows
from beast.feeds.simulator.server import Simulator
from beast.feeds.types import Mapping
from beast.prices.catalogue import Catalogue

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Dance:
    """One example's rows at work, without the waits that spare real exchanges."""

    def __init__(self, name: str, simulator: Simulator) -> None:
        read = read_rows(ROOT / "docs" / "examples" / f"{name}.toml")
        self.name = name
        self.feed = msgspec.structs.replace(read.feed, connect_interval_ms=0, subscribe_interval_ms=0)
        self.assets = read.assets
        self.exchange = simulator.exchanges[name]
        self.engine = Engine(node="test", max_instruments=64)
        self.catalogue = Catalogue(self.engine, max_instruments=64)
        self.manager = FeedManager(self.engine, self.catalogue, urls=simulator.url, rng=Random(1))

    async def apply(self, *assets: Mapping, **columns: Any) -> None:
        feed = msgspec.structs.replace(self.feed, **columns)
        await self.manager.apply([Exchange(feed, assets)])

    @property
    def status(self) -> ExchangeStatus:
        (status,) = self.manager.status()
        return status

    def held(self) -> dict[str, dict[str, Any]]:
        """What is held of every asset that has a price."""
        found = {each.market.asset: self.engine.peek(each.id) for each in self.catalogue.instruments()}
        return {asset: price for asset, price in found.items() if price}

    def epochs(self) -> set[int]:
        return {price["epoch"] for price in self.held().values()}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    made = Simulator(rate=5)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=["kucoin", "bitfinex", "bitstamp", "hitbtc", "htx"])
async def dance(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[Dance]:
    made = Dance(request.param, simulator)
    yield made
    await made.manager.stop()


async def test_the_example_rows_bring_prices(dance: Dance) -> None:
    await dance.apply(*dance.assets)
    await until(lambda: len(dance.held()) == len(dance.assets) == dance.status.acked)
    assert (dance.status.last_error, dance.status.reconnects, dance.status.refused) == ("", 0, ())
    symbols = {row.asset: row.symbol for row in dance.assets}
    for asset, price in dance.held().items():
        trades = dance.exchange.instruments[symbols[asset]].history
        assert price["price"] in {trade.price for trade in trades}, asset
        assert abs(price["time_ns"] - trades[-1].time_ns) < 20e9
    for trouble in ("frames_malformed", "trades_unmapped", "trades_bad_price"):
        assert dance.engine.counters()[trouble] == 0, trouble


async def test_every_connection_begins_the_dance_anew(dance: Dance) -> None:
    await dance.apply(*dance.assets)
    await until(lambda: len(dance.held()) == len(dance.assets))
    dance.exchange.fault("disconnect", 0, {"code": 1001})
    await until(lambda: dance.epochs() == {2})
    assert dance.exchange.accepted == 2
    assert dance.status.acked == len(dance.assets)
    assert dance.engine.counters()["trades_unmapped"] == 0


async def test_symbols_come_and_go_in_the_exchanges_own_words(dance: Dance) -> None:
    first, second, *rest = dance.assets
    await dance.apply(first, second)
    await until(lambda: dance.status.acked == len(dance.held()) == 2)
    await dance.apply(second, *rest)
    await until(lambda: dance.status.acked == len(dance.held()) == 1 + len(rest))
    await until(lambda: dance.exchange.unsubscribed == {first.symbol: 1})
    (session,) = dance.exchange.sessions
    assert set(session.symbols) == {second.symbol, *(row.symbol for row in rest)}
    assert dance.exchange.subscribed[second.symbol] == 1
    assert dance.status.reconnects == 0


async def test_a_symbol_that_nobody_lists_is_found_and_dropped(dance: Dance) -> None:
    nope = Mapping(asset="NOPE", symbol="tNOPEUSD", currency="USD")
    await dance.apply(*dance.assets, nope)
    await until(lambda: dance.status.refused == ("tNOPEUSD",) and dance.status.acked == len(dance.assets))
    await until(lambda: len(dance.held()) == len(dance.assets))


async def test_connections_of_their_own_have_numbers_of_their_own(dance: Dance) -> None:
    await dance.apply(*dance.assets, symbols_per_connection=1)
    await until(lambda: len(dance.held()) == len(dance.assets) == dance.status.connections)
    assert dance.engine.counters()["trades_unmapped"] == 0


async def test_a_token_that_is_not_given_is_told_and_asked_for_again(simulator: Simulator) -> None:
    dance = Dance("kucoin", simulator)
    dance.exchange.fault("rest", None, {})
    await dance.apply(*dance.assets)
    await until(lambda: dance.status.reconnects >= 1)
    assert dance.status.last_error == "can't connect: no token: HTTP 503  (error=refused by the simulator)"
    dance.exchange.faults.clear()
    await until(dance.held)
    await dance.manager.stop()


async def test_a_token_that_opened_a_connection_reaches_no_log(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dance = Dance("kucoin", simulator)
    with capture_logs() as logged:
        await dance.apply(*dance.assets)
        await until(dance.held)
        target = dance.exchange.sessions[0].target
        await dance.manager.stop()
    token = parse_qs(urlsplit(target).query)["token"][0]
    assert "connected" in str(logged)
    for secret in (token, quote(token, safe="")):
        assert secret not in str(logged) + caplog.text
