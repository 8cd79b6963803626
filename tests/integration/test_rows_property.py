"""From any rows to any others: what is subscribed at the exchanges is what is wanted, and what stays is not touched."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.feeds import until
from tests.fixtures.rows import all_feeds

from beast._fast import Engine
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.server import Simulator
from beast.feeds.types import Mapping as Row
from beast.prices.catalogue import Catalogue

pytestmark = pytest.mark.integration

NAMES = ("kraken", "okx", "coinbase", "kucoin", "bitfinex")
ASSETS = ("BTC", "ETH", "SOL", "XRP", "LTC", "ADA")
FEEDS = all_feeds()


class Wanted(msgspec.Struct, frozen=True):
    """One exchange's rows, as far as they are drawn."""

    assets: frozenset[str]
    size: int
    """symbols_per_connection."""
    patience_ms: int
    """A connection is made by it."""
    priority: int
    """No connection depends on it."""


RowSets = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Wanted,
        assets=st.frozensets(st.sampled_from(ASSETS), min_size=1),
        size=st.sampled_from([0, 2, 3]),
        patience_ms=st.sampled_from([20_000, 20_000, 20_000, 30_000]),
        priority=st.integers(1, 3),
    ),
)


def symbol(simulator: Simulator, name: str, asset: str) -> str:
    markets = simulator.exchanges[name].instruments.values()
    return next(each.product.symbol for each in markets if each.product.asset == asset)


def rows(simulator: Simulator, wanted: Mapping[str, Wanted]) -> list[Exchange]:
    return [
        Exchange(
            msgspec.structs.replace(
                FEEDS[name],
                connect_interval_ms=0,
                subscribe_interval_ms=0,
                symbols_per_connection=each.size,
                patience_ms=each.patience_ms,
                priority=each.priority,
            ),
            tuple(
                Row(exchange=name, asset=asset, symbol=symbol(simulator, name, asset), currency="USD")
                for asset in sorted(each.assets)
            ),
        )
        for name, each in wanted.items()
    ]


def subscribed(exchange: SimulatedExchange) -> dict[str, object]:
    """Every symbol and the connection that asks for it."""
    pairs = [(symbol, session) for session in exchange.sessions for symbol in session.symbols]
    assert len(dict(pairs)) == len(pairs), "asked for twice"
    return dict(pairs)


async def reach(simulator: Simulator, manager: FeedManager, wanted: Mapping[str, Wanted]) -> None:
    """Applies the rows and waits until nothing moves any more."""
    await manager.apply(rows(simulator, wanted))

    def there() -> bool:
        goal = {name: {symbol(simulator, name, asset) for asset in each.assets} for name, each in wanted.items()}
        real = {name: [each for one in simulator.exchanges[name].sessions for each in one.symbols] for name in NAMES}
        status = manager.status()
        return (
            all(Counter(real[name]) == Counter(goal.get(name, ())) for name in NAMES)
            and {each.name for each in status} == set(wanted)
            and all(each.acked == each.wanted for each in status)
        )

    await until(there)


async def check(simulator: Simulator, before: Mapping[str, Wanted], after: Mapping[str, Wanted]) -> None:
    engine = Engine(node="test", max_instruments=64)
    manager = FeedManager(engine, Catalogue(engine, max_instruments=64), urls=simulator.url, rng=Random(1))
    try:
        await reach(simulator, manager, before)
        exchanges = simulator.exchanges
        old = {name: subscribed(exchanges[name]) for name in NAMES}
        asked = {name: exchanges[name].subscribed.copy() for name in NAMES}
        dropped = {name: exchanges[name].unsubscribed.copy() for name in NAMES}
        await reach(simulator, manager, after)
        for name in before.keys() & after.keys():
            one, two = before[name], after[name]
            if (one.patience_ms, one.size) != (two.patience_ms, two.size):
                continue
            now = subscribed(exchanges[name])
            for asset in one.assets & two.assets:
                each = symbol(simulator, name, asset)
                assert now[each] is old[name][each], "on another connection"
                assert exchanges[name].subscribed[each] == asked[name][each], "asked for again"
                assert exchanges[name].unsubscribed[each] == dropped[name][each], "taken off for a while"
    finally:
        await manager.stop()
    await until(lambda: not any(exchange.sessions for exchange in simulator.exchanges.values()))


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[asyncio.Runner, Simulator]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        simulator = Simulator(rate=0.5)
        runner.run(simulator.start())
        yield runner, simulator
        runner.run(simulator.stop())


@given(before=RowSets, after=RowSets)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_from_any_rows_to_any_others(
    stage: tuple[asyncio.Runner, Simulator], before: dict[str, Wanted], after: dict[str, Wanted]
) -> None:
    runner, simulator = stage
    runner.run(check(simulator, before, after))
