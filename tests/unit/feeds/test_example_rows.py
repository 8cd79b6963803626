"""The example rows against the simulated exchanges' REST side: the price, its time, the volume, and what trades."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from tests.fixtures.rows import ROOT

from beast.base.clock import ManualClock
from beast.feeds.rows.files import read_rows
from beast.feeds.rows.plan import fold
from beast.feeds.rows.rest import RefusedError, read_products, read_ticker, ticker_url
from beast.feeds.simulator import catalogue, rest
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.market import Market
from beast.feeds.types import Mapping

LISTED = catalogue.load()
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.toml"))
IDS = [path.stem for path in EXAMPLES]


def exchange(name: str) -> SimulatedExchange:
    clock = ManualClock()
    products = [each for each in LISTED.products() if each.exchange == name]
    trading = [each for each in products if not each.halted]
    market = Market(LISTED, trading, {name: DIALECTS[name].style}, seed=1, rate=1, now_ns=clock.wall_ns())
    made = SimulatedExchange(name, DIALECTS[name], clock)
    made.instruments = {symbol: each for (_, symbol), each in market.instruments.items()}
    made.halted = [each for each in products if each.halted]
    return made


def get(made: SimulatedExchange, url: str) -> bytes:
    parts = urlsplit(url)
    return msgspec.json.encode(rest.answer(made.name, made, unquote(parts.path), dict(parse_qsl(parts.query)))[1])


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_a_ticker_is_read_by_the_rows(path: Path) -> None:
    rows = read_rows(path)
    made = exchange(rows.feed.name)
    by_asset = {each.product.asset: each for each in made.instruments.values()}
    for row in rows.assets:
        ticker = read_ticker(rows.feed, row, get(made, ticker_url(rows.feed.rest_ticker_url, row)))
        last = by_asset[row.asset].last
        assert ticker.price.decode() == last.price
        assert float(ticker.volume_24h) == float(by_asset[row.asset].volume_24h)
        assert not ticker.time_ns or abs(ticker.time_ns - last.time_ns) < 20 * 10**9
    nope = Mapping(asset="NOPE", symbol="tNOPEUSD", currency="USD")
    with pytest.raises(RefusedError):
        read_ticker(rows.feed, nope, get(made, ticker_url(rows.feed.rest_ticker_url, nope)))


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_what_trades_is_told_by_the_rows(path: Path) -> None:
    feed = read_rows(path).feed
    if not feed.rest_products_url:
        pytest.skip("its row asks for no list")
    made = exchange(feed.name)
    listed = read_products(feed, get(made, feed.rest_products_url))
    assert {fold(feed, symbol) for symbol in listed} == {fold(feed, symbol) for symbol in made.instruments}
