"""The seeded rows against the simulator: every dialect, from the subscription to the price, and back from trouble."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from random import Random

import msgspec
import pytest
from tests.fixtures.feeds import until

from beast._fast import Engine
from beast.feeds.following import follow_rows, load_rows
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.server import Simulator
from beast.feeds.store import FeedStore
from beast.feeds.types import Mapping
from beast.prices.catalogue import Catalogue
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_S = 20.0
DELETED = b"DELETE FROM exchange_asset_map WHERE exchange = 'okx' AND asset = 'BTC'"
INSERTED = b"""
INSERT INTO exchange_asset_map (exchange, asset, symbol, currency) VALUES ('okx', 'BTC', 'BTC-USDT', 'USDT')
"""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class House:
    def __init__(self, simulator: Simulator) -> None:
        self.engine = Engine(node="test", max_instruments=4096)
        self.catalogue = Catalogue(self.engine, max_instruments=4096)
        self.manager = FeedManager(self.engine, self.catalogue, urls=simulator.url, rng=Random(1))

    def epochs(self) -> dict[str, set[int]]:
        """For every exchange, the epochs of the prices it has."""
        found: dict[str, set[int]] = {}
        for exchange in self.catalogue.exchanges():
            held = [self.engine.peek(each.id) for each in self.catalogue.of_exchange(exchange.name)]
            found[exchange.name] = {price["epoch"] for price in held if price}  # type: ignore[misc]
        return found


@pytest.fixture
async def house(simulator: Simulator) -> AsyncIterator[House]:
    made = House(simulator)
    yield made
    await made.manager.stop()


def subscribed(exchange: SimulatedExchange, symbol: str, wanted: bool) -> bool:  # noqa: FBT001 - what is waited for
    return (symbol in exchange.sessions[0].symbols) == wanted


async def seeded(database: Database) -> list[Exchange]:
    """The rows as a fresh database holds them, without the waits that spare real exchanges."""
    store = FeedStore(database)
    mappings = await store.list_mappings()
    return [
        Exchange(
            msgspec.structs.replace(
                feed, connect_interval_ms=0, subscribe_interval_ms=min(feed.subscribe_interval_ms, 10)
            ),
            tuple(mapping for mapping in mappings if mapping.exchange == feed.name),
        )
        for feed in (await store.list_feeds())[0]
    ]


async def test_every_exchange_prices_its_assets(database: Database, house: House) -> None:
    await house.manager.apply(await seeded(database))
    await until(house.manager.ready)
    await until(lambda: all(status.acked == status.wanted for status in house.manager.status()))
    for status in house.manager.status():
        assert status.connected, status
        assert (status.refused, status.last_error, status.reconnects) == ((), "", 0), status
        assert status.wanted > 0, status
    assert all(house.epochs().values())
    counters = house.engine.counters()
    assert counters["ws_trades"] > 100
    for trouble in ("frames_malformed", "trades_unmapped", "trades_bad_price"):
        assert counters[trouble] == 0, trouble


async def test_symbols_that_no_exchange_knows_are_found_and_dropped(database: Database, house: House) -> None:
    rows = [
        Exchange(
            exchange.feed,
            (
                *exchange.assets[:10],
                Mapping(exchange=exchange.feed.name, asset="NOPE", symbol="NOPE-NOPE", currency="USD"),
            ),
        )
        for exchange in await seeded(database)
    ]
    await house.manager.apply(rows)
    await until(lambda: all(status.acked == status.wanted - 1 for status in house.manager.status()))
    assert {status.refused for status in house.manager.status()} == {("NOPE-NOPE",)}
    await until(lambda: all(house.epochs().values()))


async def test_every_exchange_comes_back(database: Database, house: House, simulator: Simulator) -> None:
    await house.manager.apply(await seeded(database))
    await until(lambda: all(status.acked == status.wanted for status in house.manager.status()))
    simulator.fault("*", "disconnect", 0, code=1001)
    await until(lambda: all(2 in epochs for epochs in house.epochs().values()))
    assert {status.reconnects for status in house.manager.status()} == {1}


async def test_rows_changed_by_plain_sql_take_effect_within_two_seconds(
    database: Database, house: House, simulator: Simulator
) -> None:
    store = FeedStore(database)
    await database.execute(b"UPDATE exchange_feeds SET enabled = name IN ('okx', 'kraken')")
    await house.manager.apply(*await load_rows(store))
    following = asyncio.create_task(follow_rows(store, house.manager, database, lambda _: None))
    try:
        await until(lambda: all(status.acked == status.wanted > 0 for status in house.manager.status()))
        await asyncio.sleep(0.2)  # it listens by now
        okx, kraken = simulator.exchanges["okx"], simulator.exchanges["kraken"]
        before = okx.subscribed.total(), kraken.subscribed.total()
        for query, there in ((DELETED, False), (INSERTED, True)):
            begun = time.monotonic()
            await database.execute(query)
            await until(partial(subscribed, okx, "BTC-USDT", there))
            assert time.monotonic() - begun < 2
        assert (okx.subscribed.total(), kraken.subscribed.total()) == (before[0] + 1, before[1])
        assert okx.unsubscribed == {"BTC-USDT": 1}
        assert {status.reconnects for status in house.manager.status()} == {0}
    finally:
        following.cancel()
