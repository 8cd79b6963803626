"""Tier 2 with a real Valkey: written behind, read with little patience, and done without while it is away."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from tests.fixtures.valkey import RealValkey, real_valkey

from beast._fast import Engine, monotonic_ns
from beast.base.clock import SystemClock
from beast.prices.catalogue import Catalogue
from beast.prices.shared import AT_ONCE, SharedPrices
from beast.prices.tiers import Tiers
from beast.prices.types import Market, Quote
from beast.storage.valkey import Stored, Valkey, ValkeyUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SECOND = 10**9
WAIT_S = 10.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def server() -> Iterator[RealValkey]:
    with real_valkey() as running:
        yield running


class Node:
    """One server's memory and its way to tier 2."""

    def __init__(self, url: str, assets: int = 3) -> None:
        self.engine = Engine(node="test", max_keys=1024, max_instruments=4096)
        self.catalogue = Catalogue(self.engine, max_instruments=4096)
        self.catalogue.load(
            [
                Market(exchange=exchange, asset=f"A{number}", currency="USD", priority=priority)
                for number in range(assets)
                for priority, exchange in enumerate(("okx", "kraken"))
            ]
        )
        self.told: list[str | None] = []
        self.valkey = Valkey(url)
        self.shared = SharedPrices(
            self.engine, self.catalogue, self.valkey, clock=SystemClock(), report=self.told.append
        )
        self.tune()
        self._task: asyncio.Task[None] | None = None

    def tune(self, timeout_ms: int = 200) -> None:
        self.shared.tune(ttl_ms=13_000, timeout_ms=timeout_ms, flush_ms=10, pool_size=6)

    def trade(self, exchange: str, asset: str, price: str, *, age_ns: int = 0, tier: int = 1) -> None:
        instrument = self.catalogue.find(exchange, asset)
        assert instrument is not None
        wall_ns = SystemClock().wall_ns() - age_ns
        up, epoch, _ = self.engine.link_state(instrument.link)
        if tier != 1:
            epoch = 0
        elif not up:
            epoch = self.engine.link_up(instrument.link, 60 * 10**9, monotonic_ns())
        self.engine.publish(instrument.id, price.encode(), wall_ns, monotonic_ns() - age_ns, tier=tier, epoch=epoch)

    async def price(self, asset: str, exchange: str | None = None) -> str | None:
        found = await self.shared.find(asset, exchange)
        return found.price.price if found else None

    async def until_price(self, asset: str, price: str, exchange: str | None = None) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.price(asset, exchange) != price:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)

    def start(self) -> None:
        self._task = asyncio.create_task(self.shared.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


@pytest.fixture
async def nodes(server: RealValkey) -> AsyncIterator[tuple[Node, Node]]:
    both = Node(server.url), Node(server.url.replace("redis://", "valkey://"))
    for node in both:
        node.start()
    yield both
    for node in both:
        await node.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)


async def test_one_node_reads_what_another_received(nodes: tuple[Node, Node]) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A0", "83421.570", age_ns=2 * SECOND)
    await reader.until_price("A0", "83421.570")
    found = await reader.shared.find("A0", "kraken")
    assert found is not None
    assert (found.price.source, found.price.exchange, found.price.currency) == ("kraken-ws", "kraken", "USD")
    assert 2 * SECOND <= found.age_ns < 4 * SECOND
    assert await reader.price("A0", "okx") is None
    writer.trade("kraken", "A0", "83422", tier=3)
    await reader.until_price("A0", "83422")
    found = await reader.shared.find("A0", None)
    assert found is not None
    assert found.price.source == "kraken-rest"


class Nobody:
    """Tier 3 that has nothing to say."""

    async def fetch(self, markets: Sequence[Market], until_ns: int) -> Quote | None:
        del markets, until_ns
        return None


async def test_a_price_is_live_elsewhere_only_while_its_own_node_vouches_for_it(nodes: tuple[Node, Node]) -> None:
    writer, reader = nodes
    clock = SystemClock()
    tiers = Tiers(reader.engine, reader.catalogue, shared=reader.shared, rest=Nobody(), clock=clock)
    there, here = writer.catalogue.find("kraken", "A0"), reader.catalogue.find("kraken", "A0")
    assert there is not None
    assert here is not None

    async def state() -> object:
        await tiers.find(["A0"], "kraken", None)
        held = reader.engine.peek(here.id)
        return held and held["state"]

    async def until_state(wanted: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while await state() != wanted:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)

    writer.trade("kraken", "A0", "1", age_ns=2 * SECOND)  # longer ago than a proof lasts: it is written anew
    await until_state("live")
    writer.engine.link_down(there.link)
    await until_state("stale")
    epoch = writer.engine.link_up(there.link, 60 * SECOND, monotonic_ns())
    writer.trade("okx", "A1", "1")  # so that what is written next is there
    await reader.until_price("A1", "1")
    for _ in range(20):
        assert await state() == "stale"
        assert await reader.price("A0") is None
    assert writer.engine.link_state(there.link)[1] == epoch
    writer.trade("kraken", "A0", "2")
    await until_state("live")
    held = reader.engine.peek(here.id)
    assert held is not None
    assert held["price"] == "2"
    await tiers.stop()


async def test_a_node_that_dies_vouches_for_nothing(nodes: tuple[Node, Node], server: RealValkey) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A0", "1")
    await reader.until_price("A0", "1")
    await writer.stop()
    async with asyncio.timeout(WAIT_S):
        while await reader.price("A0") is not None:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    assert server.ask("EXISTS price:A0") == b":1\r\n"


async def test_the_asset_has_the_price_of_its_best_exchange(nodes: tuple[Node, Node], server: RealValkey) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A1", "2")
    await reader.until_price("A1", "2")
    writer.trade("okx", "A1", "1")
    await reader.until_price("A1", "1")
    writer.trade("kraken", "A1", "3")
    await reader.until_price("A1", "3", "kraken")
    assert await reader.price("A1") == "1"
    value = json.loads(server.ask("GET price:A1").split(b"\r\n")[1])
    assert (value["price"], value["exchange"]) == ("1", "okx")
    left_ms = int(server.ask("PTTL price:A1")[1:])
    assert 0 < left_ms <= 13_000


async def test_what_tier_2_told_or_is_old_is_not_written(nodes: tuple[Node, Node], server: RealValkey) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A0", "1", tier=2)
    writer.trade("okx", "A0", "1", age_ns=14 * SECOND)
    writer.trade("kraken", "A2", "1")
    await reader.until_price("A2", "1")
    assert server.ask("DBSIZE") == b":3\r\n"  # with the proof of its connection


async def test_many_prices_go_in_several_pipelines(server: RealValkey) -> None:
    node = Node(server.url, assets=3 * AT_ONCE)
    for number in range(3 * AT_ONCE):
        node.trade("kraken", f"A{number}", "1")
    node.start()
    await until(lambda: server.ask("DBSIZE") == b":%d\r\n" % (6 * AT_ONCE + 1))
    prices = await asyncio.gather(*(node.price(f"A{number}") for number in range(3 * AT_ONCE)))
    assert set(prices) == {"1"}
    assert int(server.ask("INFO stats").split(b"total_connections_received:")[1].split(b"\r\n")[0]) < 3 * AT_ONCE
    await node.stop()


async def test_killed_it_is_skipped_and_back_it_is_used_again(nodes: tuple[Node, Node], server: RealValkey) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A0", "1")
    await reader.until_price("A0", "1")
    server.kill()
    assert await reader.price("A0") is None
    await until(lambda: reader.told[-1] and writer.told[-1])
    assert "tier 2 is skipped" in str(reader.told[-1])
    assert "\n" not in str(reader.told[-1])
    began = monotonic_ns()
    for _ in range(100):
        assert await reader.price("A0") is None
    assert monotonic_ns() - began < SECOND // 2
    assert reader.engine.counters()["tier2_skipped"] > 100
    writer.trade("kraken", "A2", "9")
    server.start()
    await reader.until_price("A0", "1")  # it lost its memory; the writer has not
    await reader.until_price("A2", "9")
    assert (reader.told[-1], writer.told[-1]) == (None, None)


async def test_frozen_it_costs_a_few_milliseconds_then_nothing(nodes: tuple[Node, Node], server: RealValkey) -> None:
    writer, reader = nodes
    writer.trade("kraken", "A0", "1")
    await reader.until_price("A0", "1")
    reader.tune(timeout_ms=5)
    server.freeze()
    began = monotonic_ns()
    for _ in range(20):
        assert await reader.price("A0") is None
    assert monotonic_ns() - began < SECOND
    assert reader.engine.counters()["tier2_skipped"] >= 20
    await until(lambda: reader.told[-1])
    server.thaw()
    reader.tune()
    await reader.until_price("A0", "1")


async def test_an_address_where_nobody_is_stops_nothing() -> None:
    node = Node("redis://127.0.0.1:1")
    node.start()
    await until(lambda: node.told)
    assert "check REDIS_URL" in str(node.told[0])
    assert await node.price("A0") is None
    await node.stop()


async def test_a_pool_speaks_to_a_cluster_too() -> None:
    with real_valkey("--cluster-enabled", "yes") as server:
        assert server.ask("CLUSTER ADDSLOTSRANGE 0 16383") == b"+OK\r\n"
        await until(lambda: b"cluster_state:ok" in server.ask("CLUSTER INFO"))
        pool = Valkey(server.url, pool_size=3)
        await pool.open()
        await pool.write([("price:A", b"1", 5_000), ("price:B", b"2", 5_000)])
        first, none, second = await pool.read(["price:A", "price:C", "price:B"])
        assert (first and first.value, none, second and second.value) == (b"1", None, b"2")
        pool.resize(6)
        assert isinstance((await pool.read(["price:A"]))[0], Stored)
        server.kill()
        with pytest.raises(ValkeyUnavailableError):
            await pool.read(["price:A"])
        await pool.close()
