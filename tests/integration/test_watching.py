"""The watchdog over a real connection and a real database: gaps, dead subscriptions, and why a price is what it is."""

import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.fixtures.exchange import FakeExchange, Peer
from tests.fixtures.feeds import House, feed, markets, until

from beast.base.clock import SystemClock
from beast.feeds.rows.files import Exchange
from beast.feeds.store import FeedStore
from beast.feeds.watch.gaps import WAITING_MAX, Gap, GapBook
from beast.feeds.watch.health import ConnectionHealth, SymbolHealth
from beast.feeds.watch.verdict import State
from beast.feeds.watch.watching import Watching
from beast.feeds.watch.why import UnknownAssetError
from beast.prices.types import Instrument
from beast.storage.database import Database, DatabaseUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FAREWELL = '{"op":"unsub","id":"{ID}","args":"{SYMBOLS}"}'
LATE_NS = 1000 * 10**9
PATIENT = {"patience_ms": 3_600_000, "unsubscribe_template": FAREWELL}


class LateClock(SystemClock):
    """The machine's, moved on by hand."""

    late_ns = 0

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.late_ns

    def wall_ns(self) -> int:
        return time.time_ns() + self.late_ns


class StoredGap(msgspec.Struct):
    exchange: str
    symbol: str
    cause: str
    filled: bool
    ms: float


class Room:
    """A house with a watchdog."""

    def __init__(self, database: Database) -> None:
        self.clock = LateClock()
        self.house = House(self.clock)
        self.database = database
        self.asked: list[str] = []
        self.watching = Watching(
            self.house.engine,
            self.house.catalogue,
            self.house.manager,
            database,
            refresh=self._refresh,
            node="test",
            clock=self.clock,
        )

    async def _refresh(self, instrument: Instrument) -> bool:
        """What REST says: 99."""
        self.asked.append(instrument.market.asset)
        self.house.engine.publish(instrument.id, b"99", time.time_ns(), time.monotonic_ns(), tier=1, by_rest=True)
        return True

    async def health(self) -> tuple[ConnectionHealth, dict[str, SymbolHealth]]:
        [(connection, symbols)] = [each async for each in self.watching.health.read()]
        return connection, {each.symbol: each for each in symbols}

    async def gaps(self) -> list[StoredGap]:
        await self.watching.book.write()
        query = (
            b"SELECT exchange, symbol, cause, filled_at IS NOT NULL AS filled,"
            b" extract(epoch FROM ended_at - began_at)::float8 * 1000 AS ms FROM feed_gaps ORDER BY began_at"
        )
        return await self.database.fetch(query, row=StoredGap)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def room(database: Database) -> AsyncIterator[Room]:
    made = Room(database)
    yield made
    await made.watching.stop()
    await made.house.manager.stop()


async def trade(room: Room, peer: Peer, symbol: str, times: int, first: int = 1) -> None:
    for number in range(first, first + times):
        peer.trade(symbol, str(number))
        await room.house.price(symbol, str(number))


async def test_a_lost_connection_leaves_a_gap_that_is_filled(room: Room, exchange: FakeExchange) -> None:
    await room.house.manager.apply([Exchange(feed(exchange.url), markets("BTC", "ETH"))])
    peer = await exchange.peer(0)
    await until(lambda: room.house.status().acked == 2)
    await trade(room, peer, "BTC", 2)
    await trade(room, peer, "ETH", 2)
    await room.watching.watchdog.look()
    assert await room.gaps() == []
    peer.drop()
    await until(lambda: (held := room.house.peek("test", "BTC")) and held["state"] == "live" and held["price"] == "2")
    again = await exchange.peer(1)
    await until(lambda: room.house.status().acked == 2)
    await trade(room, again, "BTC", 1, 3)
    await room.watching.watchdog.look()
    [gap] = await room.gaps()
    assert (gap.exchange, gap.symbol, gap.filled) == ("test", "", False)
    assert gap.cause.startswith("connection lost: ")
    assert 0 <= gap.ms < 5000
    await until(lambda: room.asked)
    await until(lambda: room.watching.book.waiting)
    assert [each.filled for each in await room.gaps()] == [True]
    assert room.asked == ["ETH"]  # BTC had traded by itself
    connection, symbols = await room.health()
    assert (connection.state, connection.gaps_today, connection.reconnects) == (State.OK, 1, 1)
    assert symbols["ETH"].gaps_today == 1


async def test_a_connection_that_only_answers_pings_is_replaced(room: Room, exchange: FakeExchange) -> None:
    await room.house.manager.apply([Exchange(feed(exchange.url, **PATIENT), markets("A", "B", "C"))])
    peer = await exchange.peer(0)
    await until(lambda: room.house.status().acked == 3)
    for symbol in "ABC":
        await trade(room, peer, symbol, 30)
    await room.watching.watchdog.look()
    room.clock.late_ns = LATE_NS
    connection, symbols = await room.health()
    assert connection.state is State.SILENT
    # Nothing trades at all: a quiet night, or a connection that only answers pings, never one dead symbol.
    assert {each.state for each in symbols.values()} == {State.QUIET}
    await room.watching.watchdog.look()
    again = await exchange.peer(1)
    await until(lambda: room.house.status().acked == 3)
    assert "brought no trade" in room.house.status().last_error
    assert (room.house.peek("test", "A") or {})["price"] == "30"
    connection, symbols = await room.health()
    assert connection.state is State.OK  # it has only begun to listen
    room.clock.late_ns += 300 * 10**9
    connection, symbols = await room.health()
    assert connection.state is State.SILENT
    await room.watching.watchdog.look()
    assert room.house.status().reconnects == 1  # not again so soon
    for symbol in "ABC":
        await trade(room, again, symbol, 1, 31)
    await room.watching.watchdog.look()
    connection, symbols = await room.health()
    assert (connection.state, connection.cuts, symbols["A"].state) == (State.OK, 0, State.OK)
    assert {gap.cause[:10] for gap in await room.gaps()} == {"it answers", "connection"}


async def test_one_silent_symbol_is_subscribed_anew(room: Room, exchange: FakeExchange) -> None:
    await room.house.manager.apply([Exchange(feed(exchange.url, **PATIENT), markets("A", "B", "C"))])
    peer = await exchange.peer(0)
    await until(lambda: room.house.status().acked == 3)
    await trade(room, peer, "A", 30)
    await room.watching.watchdog.look()
    room.clock.late_ns = LATE_NS
    for symbol in "BC":
        await trade(room, peer, symbol, 30)
    connection, symbols = await room.health()
    assert (connection.state, symbols["A"].state, symbols["B"].state) == (State.OK, State.SILENT, State.OK)
    await room.watching.watchdog.look()
    await peer.message(2)
    assert [(each["op"], each["args"]) for each in peer.messages[1:]] == [("unsub", ["A"]), ("sub", ["A"])]
    await room.watching.watchdog.look()
    _, symbols = await room.health()
    assert (symbols["A"].revivals, symbols["B"].revivals) == (1, 0)  # not again so soon
    await trade(room, peer, "A", 1, 31)
    await room.watching.watchdog.look()
    [gap] = await room.gaps()
    assert (gap.symbol, gap.cause) == ("A", "the subscription was dead")
    assert gap.ms > LATE_NS / 1e6
    assert room.house.status().reconnects == 0


async def test_why_names_every_source(room: Room, exchange: FakeExchange) -> None:
    await room.house.manager.apply(
        [
            Exchange(feed(exchange.url), (*markets("BTC", "ETH"), *markets("COLD", prewarm=False))),
            Exchange(feed(exchange.url, name="second", priority=200), markets("BTC")),
        ]
    )
    first = await exchange.peer(0)
    await until(lambda: room.house.status("test").acked == 2 and room.house.status("second").acked == 1)
    first.trade("BTC", "5")
    await until(lambda: room.house.peek("test", "BTC") or room.house.peek("second", "BTC"))
    told = await room.watching.explainer.explain("BTC")
    assert [each.exchange for each in told.sources[:2]] == ["test", "second"]
    [answering] = [each for each in told.sources if each.answers]
    assert (answering.price, answering.state, answering.over_this_link) == ("5", "live", True)
    assert (told.tier, told.rows_from) == (1, "database")
    assert answering.version is None  # no version of the database's says what runs here
    # The database knows of six more, which this house doesn't run.
    rows = await FeedStore(room.database).list_mappings()
    others = {row.exchange for row in rows if row.asset == "BTC"}
    assert {each.exchange for each in told.sources} == {"test", "second", *others}
    assert msgspec.json.decode(told.answer)["price"] == 5
    cold = (await room.watching.explainer.explain("COLD")).sources[0]
    assert (cold.feed, cold.price, cold.why) == (State.UNSUBSCRIBED, None, "it has no price yet")
    with pytest.raises(UnknownAssetError) as unknown:
        await room.watching.explainer.explain("BTCC")
    assert unknown.value.near == ["BTC"]


async def test_why_names_the_version_of_the_rows_in_force(room: Room, exchange: FakeExchange) -> None:
    store = FeedStore(room.database)
    row = feed(exchange.url)
    for priority in (100, 9):
        rows = Exchange(msgspec.structs.replace(row, priority=priority), markets("BTC", "ETH"))
        saved = await store.save(rows)
    await room.house.manager.apply([await store.exchange("test")])
    assert saved.feed.priority == 9

    async def version(asset: str = "BTC") -> tuple[int | None, str]:
        found = (await room.watching.explainer.explain(asset)).sources
        [source] = [each for each in found if each.exchange == "test"]
        return source.version, source.version_by

    assert await version() == (2, "tests")
    # In the database, but not yet in force.
    await store.save(Exchange(msgspec.structs.replace(row, priority=8), markets("BTC", "ETH")))
    assert await version() == (2, "tests")
    await room.house.manager.apply([await store.exchange("test")])
    assert await version() == (3, "tests")
    # A version that changes another asset is in force for this one, too.
    await store.save(Exchange(msgspec.structs.replace(row, priority=8), markets("ETH", band_bps=1)))
    assert await version() == (4, "tests")
    assert await version("ETH") == (3, "tests")


async def test_gaps_wait_for_a_database_that_is_away(database: Database) -> None:
    clock = SystemClock()
    away = Database("postgresql://nobody@127.0.0.1:1/none", connect_timeout_s=0.2)
    book = GapBook(away, node="test", clock=clock)
    for _ in range(WAITING_MAX + 3):
        book.add(Gap(exchange="test", connection=0, began_at=book.time(), ended_at=book.time(), cause="lost"))
    assert (book.waiting, book.lost) == (WAITING_MAX, 3)
    with pytest.raises(DatabaseUnavailableError):
        await book.write()
    assert book.waiting == WAITING_MAX
    back = GapBook(database, node="test", clock=clock)
    gap = Gap(exchange="test", connection=0, began_at=back.time(), ended_at=back.time(), cause="lost")
    back.add(gap)
    await back.write()
    back.fill(gap)
    await back.write()
    assert back.waiting == 0
    count = await database.fetch(
        b"SELECT exchange, symbol, cause, filled_at IS NOT NULL AS filled, 0::float8 AS ms FROM feed_gaps",
        row=StoredGap,
    )
    assert [each.filled for each in count] == [True]
