"""What happens when memory can't answer: a real engine, a clock that is moved, tiers that say what a test says."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256

import pytest

from beast._fast import Engine, monotonic_ns
from beast.base.clock import ManualClock
from beast.prices.catalogue import Catalogue
from beast.prices.held import held_of, is_proven
from beast.prices.shared import FOR_EVER, Found, SharedPrice
from beast.prices.tiers import SETTLE_S, Tiers
from beast.prices.types import Instrument, Market, Quote

pytestmark = pytest.mark.anyio

SECOND = 10**9
TTL_MS = 13_000
PATIENCE_NS = 30 * SECOND


class Rest:
    """Tier 3, saying what a test says."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.price: bytes | None = b"7.50"
        self.lag_ns = 0

    async def fetch(self, markets: Sequence[Market], until_ns: int) -> Quote | None:
        self.asked.append([market.exchange for market in markets])
        assert until_ns > self.clock.monotonic_ns()
        await self.gate.wait()
        if self.price is None or not markets:
            return None
        if self.price == b"!":
            raise RuntimeError("on purpose")
        return Quote(
            exchange=markets[0].exchange,
            asset=markets[0].asset,
            price=self.price,
            time_ns=self.clock.wall_ns() - self.lag_ns,
            received_ns=self.clock.monotonic_ns(),
        )


class Shared:
    """Tier 2, saying what a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.found: Found | None = None

    async def find(self, asset: str, exchange: str | None) -> Found | None:
        self.asked.append((asset, exchange))
        return self.found


class House:
    def __init__(self) -> None:
        # The engine reads the machine's own clock where it is not told another: both begin together.
        self.clock = ManualClock(monotonic_ns=monotonic_ns())
        self.engine = Engine(node="test", max_keys=1024, max_instruments=64)
        self.catalogue = Catalogue(self.engine, max_instruments=64)
        self.catalogue.load(
            [
                Market(exchange="okx", asset="BTC", currency="USDT", priority=1),
                Market(exchange="kraken", asset="BTC", currency="USD", priority=2),
                Market(exchange="kraken", asset="ETH", currency="USD", priority=2),
            ]
        )
        self.rest = Rest(self.clock)
        self.shared = Shared()
        self.tiers = Tiers(self.engine, self.catalogue, shared=self.shared, rest=self.rest, clock=self.clock)

    def instrument(self, exchange: str, asset: str = "BTC") -> Instrument:
        found = self.catalogue.find(exchange, asset)
        assert found is not None
        return found

    def trade(self, exchange: str, age_ns: int = 0, *, proven: bool = False) -> None:
        instrument, now_ns = self.instrument(exchange), self.clock.monotonic_ns()
        epoch = self.engine.link_up(instrument.link, PATIENCE_NS, now_ns) if proven else 0
        self.engine.publish(instrument.id, b"1", self.clock.wall_ns() - age_ns, now_ns - age_ns, epoch=epoch)

    def held(self, exchange: str, asset: str = "BTC") -> tuple[object, object] | None:
        price = self.engine.peek(self.instrument(exchange, asset).id)
        return (price["price"], price["tier"]) if price else None

    def count(self, name: str) -> int:
        return self.engine.counters()[name]

    def share(
        self,
        *,
        age_ns: int = SECOND,
        exchange: str = "kraken",
        asset: str = "BTC",
        proven_ns: int = FOR_EVER // 2,
        **more: object,
    ) -> None:
        members = {
            "exchange": exchange,
            "currency": "USD",
            "price": "5.50",
            "source": f"{exchange}-ws",
            "time_ns": self.clock.wall_ns() - age_ns,
            "received_ns": self.clock.wall_ns() - age_ns,
            "age_ms": 0,
            "ttl_ms": TTL_MS,
            **more,
        }
        until_ns = self.clock.monotonic_ns() + proven_ns
        self.shared.found = Found(asset, SharedPrice(**members), age_ns, until_ns)  # type: ignore[arg-type]


@pytest.fixture
async def house() -> House:
    return House()


async def test_tier_3_answers_what_nobody_has(house: House) -> None:
    await house.tiers.find(["btc"], None, None)
    assert house.shared.asked == [("BTC", None)]
    assert house.rest.asked == [["okx", "kraken"]]
    assert house.held("okx") == ("7.50", 3)
    assert (house.count("rest_fallbacks"), house.count("elasticache_hits")) == (1, 0)


async def test_tier_2_spares_tier_3(house: House) -> None:
    house.share()
    await house.tiers.find(["BTC"], None, None)
    assert house.rest.asked == []
    assert house.held("kraken") == ("5.50", 2)
    held = house.engine.peek(house.instrument("kraken").id)
    assert held is not None
    assert held["received_ns"] == house.clock.monotonic_ns() - SECOND
    assert (house.count("rest_fallbacks"), house.count("elasticache_hits")) == (0, 1)


@pytest.mark.parametrize(
    "shared",
    [
        {"age_ns": 14 * SECOND},
        {"exchange": "nowhere"},
        {"currency": "EUR"},
        {"time_ns": 1_000},  # a backfill: it counts from its own time
    ],
)
async def test_what_tier_2_can_not_answer_goes_on_to_tier_3(house: House, shared: dict[str, object]) -> None:
    house.share(**shared)  # type: ignore[arg-type]
    await house.tiers.find(["BTC"], None, None)
    assert house.held("okx") == ("7.50", 3)
    assert house.held("kraken") is None


async def test_a_price_that_rest_brought_to_tier_2_is_fresh_since_it_came(house: House) -> None:
    house.share(source="kraken-rest", time_ns=1_000)
    await house.tiers.find(["BTC"], None, None)
    assert house.held("kraken") == ("5.50", 2)
    house.engine.put_key(sha256(b"k").digest(), 1, per_second=0, burst=0, partner=True)
    [answer] = house.engine.ask(b'{"api_key":"k","asset":"BTC"}')
    assert b'"source":"kraken-rest"' in answer
    assert b'"tier":2' in answer


async def test_what_another_node_received_is_live_as_long_as_that_node_vouches_for_it(house: House) -> None:
    def state() -> object:
        held = house.engine.peek(house.instrument("kraken").id, house.clock.monotonic_ns())
        assert held is not None
        return held["state"]

    house.rest.price = None
    house.share(proven_ns=SECOND)
    await house.tiers.find(["BTC"], "kraken", None)
    await asyncio.sleep(2 * SETTLE_S)
    house.clock.advance(1)
    assert state() == "live"
    house.clock.advance(ms=1)
    assert state() == "stale"
    house.tiers.tune(ttl_ms=300_000, backfill_ms=5_000, wait_ms=2_000)
    house.engine.set_ttl_ms(300_000)
    assert state() == "stale"
    # The same price, older by now, and vouched for again.
    house.share(age_ns=3 * SECOND, time_ns=house.clock.wall_ns() - 2 * SECOND - 10**6, proven_ns=SECOND)
    await house.tiers.find(["BTC"], "kraken", None)
    assert (state(), house.count("elasticache_hits")) == ("live", 2)
    house.share(age_ns=2 * SECOND, proven_ns=0)
    house.clock.advance(ms=1_001)
    await house.tiers.find(["BTC"], "kraken", None)
    assert (state(), house.count("elasticache_hits")) == ("stale", 2)


async def test_who_asks_later_finds_it_in_memory(house: House) -> None:
    house.engine.put_key(sha256(b"k").digest(), 1, per_second=0, burst=0, partner=True)
    house.share(exchange="kraken", asset="ETH")
    await house.tiers.find(["ETH"], None, None)
    house.shared.found = None
    await house.tiers.find(["BTC"], None, None)
    await asyncio.sleep(2 * SETTLE_S)
    for asset, source in ((b"BTC", b"okx-rest"), (b"ETH", b"kraken-ws")):
        [answer] = house.engine.ask(b'{"api_key":"k","asset":"%s"}' % asset)
        assert b'"source":"%s"' % source in answer
        assert b'"state":"live","tier":1' in answer
    okx = house.instrument("okx")
    assert not is_proven(house.engine, okx, held_of(house.engine, okx, house.clock.monotonic_ns()))


async def test_a_trade_that_came_before_it_settles_stays(house: House) -> None:
    await house.tiers.find(["BTC"], "kraken", None)
    house.clock.advance(ms=1)
    house.trade("kraken")
    await asyncio.sleep(2 * SETTLE_S)
    assert house.held("kraken") == ("1", 1)


async def test_an_exchange_that_is_named_is_the_only_one_asked(house: House) -> None:
    await house.tiers.find(["BTC"], "KRAKEN", None)
    assert house.shared.asked == [("BTC", "kraken")]
    assert house.rest.asked == [["kraken"]]


async def test_all_who_wait_for_one_asset_cost_one_question(house: House) -> None:
    house.rest.gate.clear()
    waiting = [asyncio.create_task(house.tiers.find(["BTC", "ETH"], None, None)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    house.rest.gate.set()
    await asyncio.gather(*waiting)
    assert sorted(house.rest.asked) == [["kraken"], ["okx", "kraken"]]


async def test_an_answer_is_not_asked_for_again_at_once(house: House) -> None:
    house.rest.price = None
    for _ in range(10):
        await house.tiers.find(["BTC"], None, None)
    assert len(house.rest.asked) == 1
    house.clock.advance(0.25)
    await house.tiers.find(["BTC"], None, None)
    assert len(house.rest.asked) == 2


async def test_nothing_is_asked_about_what_nobody_maps_or_memory_has(house: House) -> None:
    house.trade("kraken")
    await house.tiers.find(["XYZ"], None, None)
    await house.tiers.find(["BTC"], "nowhere", None)
    await house.tiers.find(["BTC"], "kraken", None)
    await house.tiers.find(["BTC"], None, None)  # nothing is known of OKX, but Kraken answers
    assert (house.shared.asked, house.rest.asked) == ([], [])


async def test_a_market_whose_connection_lives_has_said_its_last_word(house: House) -> None:
    house.trade("kraken", 5 * SECOND, proven=True)
    await house.tiers.find(["BTC"], "kraken", 1_000)
    assert house.rest.asked == []
    house.engine.link_down(house.instrument("kraken").link)
    await house.tiers.find(["BTC"], "kraken", 1_000)
    assert house.held("kraken") == ("7.50", 3)


async def test_the_strictest_who_waits_decides_whether_tier_2_is_young_enough(house: House) -> None:
    house.share(age_ns=2 * SECOND)
    await asyncio.gather(*(house.tiers.find(["BTC"], None, age_ms) for age_ms in (None, 5_000, 1_000)))
    assert house.held("okx") == ("7.50", 3)
    assert house.held("kraken") is None


async def test_a_trade_that_came_meanwhile_stays(house: House) -> None:
    house.rest.gate.clear()
    waiting = asyncio.create_task(house.tiers.find(["BTC"], "kraken", None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    house.trade("kraken", proven=True)
    house.rest.gate.set()
    await waiting
    assert house.held("kraken") == ("1", 1)


async def test_an_older_price_never_wins(house: House) -> None:
    house.trade("kraken", 20 * SECOND)
    house.share(age_ns=21 * SECOND)
    house.rest.lag_ns = 30 * SECOND
    await house.tiers.find(["BTC"], "kraken", None)
    assert house.held("kraken") == ("1", 1)
    assert house.count("rest_fallbacks") == 0


async def test_a_tier_that_breaks_breaks_nobody(house: House) -> None:
    house.rest.price = b"!"
    await house.tiers.find(["BTC"], None, None)
    house.clock.advance(1)
    house.rest.price = b"8"
    await house.tiers.find(["BTC"], None, None)
    assert house.held("okx") == ("8", 3)


async def test_stopping_lets_everybody_go(house: House) -> None:
    house.rest.gate.clear()
    waiting = asyncio.create_task(house.tiers.find(["BTC"], None, None))
    await asyncio.sleep(0)
    await house.tiers.stop()
    async with asyncio.timeout(1):
        await waiting
    await house.tiers.find(["ETH"], None, None)
    assert house.held("kraken", "ETH") is None
