"""Drafts against simulated exchanges and a real database: what agrees goes live, what doesn't stays out, and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from tests.fixtures.rows import example_exchange

from beast._fast import Engine
from beast.base.clock import SystemClock
from beast.base.tasks import Tasks
from beast.cluster.types import Parameters
from beast.feeds.following import follow_rows, load_rows, products_of
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange
from beast.feeds.shadow.change import change_of
from beast.feeds.shadow.keeper import Keeper
from beast.feeds.shadow.observer import Prices
from beast.feeds.shadow.store import DraftStore, NotNowError, Terms
from beast.feeds.shadow.types import Change, DraftDetail
from beast.feeds.simulator.server import Simulator
from beast.feeds.store import FeedStore
from beast.prices.catalogue import Catalogue
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_S = 30.0
MINUTE_S = 1.0
SIX = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Node:
    """One server's feeds and its keeper of drafts."""

    def __init__(self, database: Database, simulator: Simulator) -> None:
        clock = SystemClock()
        self.clock = clock
        self.database = database
        self.engine = Engine(node="test", max_keys=1024, max_instruments=1024)
        self.catalogue = Catalogue(self.engine, max_instruments=1024)
        self.feeds = FeedManager(
            self.engine,
            self.catalogue,
            urls=lambda name, url: simulator.url(name, url) if name in simulator.exchanges else url,
        )
        self.rows = FeedStore(database)
        self.noted: list[tuple[str, Mapping[str, object]]] = []
        self.health: dict[str, str | None] = {}
        self.keeper = Keeper(
            Prices(self.engine, self.catalogue, self.feeds),
            database,
            clock=clock,
            report=self.health.__setitem__,
            note=lambda action, details: self.noted.append((action, details)),
        )
        self.keeper.tune(Parameters(shadow_minute_s=1, shadow_minutes=2, shadow_fall_back_minutes=2))
        self.tasks = Tasks()

    async def start(self) -> None:
        await self.feeds.apply(*await load_rows(self.rows))
        self.tasks.spawn("rows", follow_rows(self.rows, self.feeds, self.database, lambda _: None))
        self.tasks.spawn("keeper", self.keeper.run())

    async def stop(self) -> None:
        await self.tasks.cancel()
        await self.feeds.stop()

    def price(self, exchange: str, asset: str) -> Any:
        instrument = self.catalogue.find(exchange, asset)
        return self.engine.peek(instrument.id) if instrument else None


@pytest.fixture
async def simulator(database: Database) -> AsyncIterator[Simulator]:
    await database.execute(
        b"UPDATE exchange_feeds SET enabled = name IN ('okx', 'gateio'), connect_interval_ms = 0, rest_per_second = 500"
    )
    await database.execute(b"DELETE FROM exchange_asset_map WHERE asset <> ALL (%(six)s)", {"six": list(SIX)})
    rows, _ = await load_rows(FeedStore(database))
    made = Simulator(rate=20, products=products_of([*rows, example_exchange()]))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def node(database: Database, simulator: Simulator) -> AsyncIterator[Node]:
    made = Node(database, simulator)
    await made.start()
    yield made
    await made.stop()


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.05)


async def start(node: Node, change: Change, **terms: Any) -> DraftDetail:
    store = DraftStore(node.database)
    return await store.start(change, Terms(**terms), who="a test", at=node.keeper._now())


async def draft(node: Node, number: int) -> DraftDetail:
    return await node.keeper.store.find(number)


async def reaches(node: Node, number: int, **members: Any) -> DraftDetail:
    async def is_there() -> bool:
        found = await draft(node, number)
        return all(getattr(found, name) == value for name, value in members.items())

    await until(is_there)
    return await draft(node, number)


def example() -> Exchange:
    found = example_exchange()
    return found._replace(feed=msgspec.structs.replace(found.feed, connect_interval_ms=0))


def binance() -> Change:
    return change_of(example())


async def test_a_new_exchange_that_agrees_goes_live_by_itself_and_no_client_sees_it_before(node: Node) -> None:
    made = await start(node, binance())
    assert (made.state, made.ripe, made.waits_for) == ("shadow", False, "the first minute")
    agreeing = await reaches(node, made.id, state="agreeing")
    assert node.catalogue.find("binance", "BTC") is None
    assert "binance" not in {status.name for status in node.feeds.status()}
    assert agreeing.verdict is not None
    compared = {each.asset: each for each in agreeing.verdict.assets if each.standing == "agrees"}
    assert compared["BTC"].sources == 2
    assert (compared["BTC"].off_bps or 99) < 50
    live = await reaches(node, made.id, state="live")
    assert any(name.endswith(" by REST") for name in live.proven)
    assert (live.base, live.version, live.ended_by) == (None, 1, "shadow")
    assert live.agreed >= 2
    [version] = await node.keeper.store.versions("binance")
    assert (version.number, version.who) == (1, f"shadow, draft {made.id}")
    await until(lambda: node.price("binance", "BTC"))
    assert [action for action, _ in node.noted] == ["exchange-shadow.live"]


async def test_a_wrong_price_path_never_goes_live(node: Node) -> None:
    await until(lambda: node.price("okx", "BTC"))
    before = await node.rows.exchange("okx")
    made = await start(node, Change({"name": "okx", "price_path": "data.[last].sz"}))

    async def five_minutes() -> bool:
        return len((await draft(node, made.id)).minutes_past) == 5

    await until(five_minutes)
    told = await draft(node, made.id)
    assert (told.state, told.ripe, told.agreed) == ("shadow", False, 0)
    assert {minute.kind for minute in told.minutes_past} == {"disagreeing"}
    assert " bps (" in told.waits_for
    with pytest.raises(NotNowError, match="it waits for"):
        await node.keeper.store.promote(made.id, who="a person", at=node.keeper._now())
    assert await node.rows.exchange("okx") == before
    assert float(node.price("okx", "BTC")["price"]) > 1_000
    await node.keeper.store.reject(made.id, who="a person", at=node.keeper._now(), reason="the size, not the price")
    assert (await draft(node, made.id)).state == "rejected"
    assert node.noted == []


async def test_an_edited_row_falls_back_when_its_exchange_changes_its_schema(node: Node, simulator: Simulator) -> None:
    before = await node.rows.exchange("okx")
    made = await start(node, Change({"name": "okx", "priority": 7}))
    live = await reaches(node, made.id, state="live")
    assert live.base is not None
    assert live.version == live.base + 1
    await until(lambda: (row := node.feeds.row("okx", "BTC")) and row[0].priority == 7)
    # What others change meanwhile stays as they have it.
    await node.database.execute(
        b"UPDATE exchange_asset_map SET category = NULL WHERE exchange = 'okx' AND asset = 'ETH'"
    )
    await asyncio.sleep(3 * MINUTE_S)
    assert (await draft(node, made.id)).state == "live"
    simulator.fault("okx", "schema")
    fallen = await reaches(node, made.id, state="fallen_back")
    assert "trades without a price that can be read" in fallen.reason
    after = await node.rows.exchange("okx")
    assert after.feed == before.feed
    assert {row.asset for row in after.assets if row.category == ""} >= {"ETH"}
    [newest, *_] = await node.keeper.store.versions("okx")
    assert newest.who == f"shadow, draft {made.id}"
    assert newest.columns == ["priority"]
    await until(lambda: "fell back" in (node.health.get("exchange okx rows") or ""))
    assert [action for action, _ in node.noted] == ["exchange-shadow.live", "exchange-shadow.fall-back"]
    # Once a version: the rows before it fit no better, and stay all the same.
    await asyncio.sleep(4 * MINUTE_S)
    assert (await node.keeper.store.versions("okx"))[0] == newest


async def test_a_wrong_rest_path_never_goes_live_either(node: Node) -> None:
    await until(lambda: node.price("okx", "BTC"))
    made = await start(node, Change({"name": "okx", "rest_price_path": "data.0.lastSz"}))

    async def asked() -> bool:
        minutes = (await draft(node, made.id)).minutes_past
        return sum("by REST" in minute.why for minute in minutes) > 1

    await until(asked)
    found = await draft(node, made.id)
    assert (found.state in {"shadow", "agreeing"}, found.ripe) == (True, False)


async def test_where_a_person_decides_it_waits_for_one(node: Node) -> None:
    made = await start(node, Change({"name": "okx", "display_name": "Okay"}), auto=False)
    ripe = await reaches(node, made.id, ripe=True)
    assert (ripe.state, ripe.waits_for) == ("agreeing", "a person")
    version = await node.keeper.store.promote(made.id, who="ada", at=node.keeper._now())
    live = await draft(node, made.id)
    assert (live.state, live.ended_by, live.version) == ("live", "ada", version)
    async with asyncio.timeout(2):
        await until(lambda: (row := node.feeds.row("okx", "BTC")) and row[0].display_name == "Okay")


async def test_an_exchange_that_is_off_or_has_no_peers_needs_a_person(node: Node) -> None:
    await node.database.execute(b"UPDATE exchange_asset_map SET currency = 'EUR' WHERE exchange = 'gateio'")
    alone = await start(node, Change({"name": "gateio", "display_name": "Gate"}))
    await until(lambda: node.price("okx", "BTC"))
    # Its REST side would be asked for markets in a currency that it has not.
    off = await start(node, Change({"name": "kraken", "display_name": "Kraken, anew", "rest_ticker_url": ""}))
    for made, what in ((alone, "no other exchange prices its assets"), (off, "no other exchange prices its assets")):
        found = await reaches(node, made.id, ripe=True)
        assert what in found.waits_for
        assert found.state == "shadow"
    # One that others price, switched off by somebody who had a reason.
    await node.database.execute(b"UPDATE exchange_asset_map SET currency = 'USDT' WHERE exchange = 'kraken'")
    await reaches(node, off.id, ripe=True, waits_for="a person: the exchange is switched off")
    assert node.noted == []


async def test_prices_that_part_from_the_others_fall_back_too(node: Node, simulator: Simulator) -> None:
    made = await start(node, binance())
    await reaches(node, made.id, state="live")
    await until(lambda: node.price("binance", "BTC"))
    simulator.fault("binance", "spike", factor=1.5)
    fallen = await reaches(node, made.id, state="fallen_back")
    assert "assets are off the others" in fallen.reason
    assert fallen.base is None
    await until(lambda: "binance" not in {status.name for status in node.feeds.status()})
    await until(lambda: node.catalogue.find("binance", "BTC") is None)


async def test_what_goes_live_while_the_server_stops_is_noted_all_the_same(node: Node, database: Database) -> None:
    made = await start(node, Change({"name": "okx", "priority": 7}))
    await reaches(node, made.id, state="agreeing")

    async def waits() -> bool:
        async with database.connection() as connection:
            found = await connection.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            return bool((row := await found.fetchone()) and row[0])

    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE exchange_feeds IN SHARE MODE")
        await until(waits)
        stopping = asyncio.create_task(node.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
    await stopping
    assert (await draft(node, made.id)).state == "live"
    assert [action for action, _ in node.noted] == ["exchange-shadow.live"]


async def test_a_draft_outlives_the_server_and_only_one_node_runs_it(
    node: Node, database: Database, simulator: Simulator
) -> None:
    node.keeper.tune(Parameters(shadow_minute_s=1, shadow_minutes=6))
    other = Node(database, simulator)
    other.keeper.tune(Parameters(shadow_minute_s=1, shadow_minutes=6))
    await other.start()
    try:
        made = await start(node, binance())
        await reaches(node, made.id, agreed=2)
        assert simulator.exchanges["binance"].accepted == 1
        leading = node if node.keeper._leads else other
        await leading.stop()
        found = await reaches(node, made.id, state="live")
        assert found.agreed == 6
        # A row of minutes as short as these may have begun anew while nobody led.
        assert [minute.kind for minute in found.minutes_past[-6:]] == ["agreeing"] * 6
        assert {minute.kind for minute in found.minutes_past} <= {"agreeing", "silent"}
        left = other if leading is node else node
        await until(lambda: left.price("binance", "BTC"))
        assert len(await left.keeper.store.versions("binance")) == 1
    finally:
        await other.stop()
