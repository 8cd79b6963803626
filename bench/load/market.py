"""An exchange for the benches: trade frames in Coinbase's dialect, ten products in each, through the real plan."""

import itertools
import random
from collections.abc import Iterator, Sequence

from tests.fixtures.rows import seeded_feeds

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan, lookup_key

EXCHANGE, LINK = "coinbase", 0
TRADES = 10
"""Trades of a frame, each of another product: Coinbase tells of all products that a connection asked for together."""
PRICES = ("83421.57", "83421.58")
TRADE = (
    '{"product_id":"%s","trade_id":"71","price":"%s","size":"0.011","time":"2026-05-03T10:00:01.000001Z","side":"BUY"}'
)
FRAME = (
    '{"channel":"market_trades","timestamp":"2026-05-03T10:00:01.123456789Z","sequence_num":7,'
    '"events":[{"type":"update","trades":[%s]}]}'
)
YEARS_NS = 10**18
"""The trades keep their time from run to run: they are old, and nevertheless as fresh as the frame that brings them."""


def open_ingest(engine: Engine, names: Sequence[str], now_ns: int) -> Ingest:
    """Loads an instrument for each asset, and the way that frames take to it."""
    engine.load_instruments([(number, name, EXCHANGE, "USD", 1, LINK) for number, name in enumerate(names)])
    feed = seeded_feeds()[EXCHANGE]
    ingest = Ingest(engine, Plan(compile_plan(feed)), LINK, backfill_ns=YEARS_NS)
    ingest.set_symbols([(lookup_key(feed, product(name)).encode(), number) for number, name in enumerate(names)])
    ingest.set_epoch(engine.link_up(LINK, YEARS_NS, now_ns))
    return ingest


def product(asset: str) -> str:
    """The exchange's name for it."""
    return f"{asset}-USD"


def frames(names: Sequence[str]) -> Iterator[bytes]:
    """Frames without end, assets in random order, with another price in each round.

    They are made before the first is asked for: the server under test pays for reading frames, not for writing them.
    """
    order = random.Random(42).sample(names, len(names))
    groups = [order[at : at + TRADES] for at in range(0, len(order), TRADES)]
    made = [
        (FRAME % ",".join(TRADE % (product(name), price) for name in group)).encode()
        for price in PRICES
        for group in groups
    ]
    return itertools.cycle(made)
