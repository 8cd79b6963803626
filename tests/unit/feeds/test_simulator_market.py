import re
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import pytest

from beast.feeds.simulator import catalogue
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.market import SECOND_NS, Market
from beast.feeds.simulator.types import PriceStyle, Product, Trade

START_NS = 1_776_000_000 * SECOND_NS
STYLES = {name: dialect.style for name, dialect in DIALECTS.items()}
CATALOGUE = catalogue.load()


def market(seed: int = 1, rate: float = 1.0, products: list[Product] | None = None, now_ns: int = START_NS) -> Market:
    chosen = products if products is not None else CATALOGUE.products()
    return Market(CATALOGUE, chosen, STYLES, seed=seed, rate=rate, now_ns=now_ns)


def live(market_: Market, seconds: float, tick_ns: int, start_ns: int = START_NS) -> dict[tuple[str, str], list[Trade]]:
    traded: dict[tuple[str, str], list[Trade]] = defaultdict(list)
    for now_ns in range(start_ns + tick_ns, start_ns + int(seconds * SECOND_NS) + 1, tick_ns):
        for exchange, trades in market_.advance(now_ns).items():
            for trade in trades:
                traded[exchange, trade.symbol].append(trade)
    return traded


def prices(trades: list[Trade]) -> list[str]:
    return [trade.price for trade in trades]


SOME = [
    Product("coinbase", "BTC-USD", "BTC", "USD"),
    Product("kraken", "BTC/USD", "BTC", "USD"),
    Product("okx", "SHIB-USDT", "SHIB", "USDT"),
]


def test_same_seed_same_trades_however_the_clock_ticks() -> None:
    smooth = live(market(products=SOME), 30, 50_000_000)
    jerky = live(market(products=SOME), 30, 1_500_000_000)
    assert smooth == jerky
    assert prices(smooth["coinbase", "BTC-USD"]) != prices(
        live(market(2, products=SOME), 30, SECOND_NS)["coinbase", "BTC-USD"]
    )


def test_a_market_does_not_depend_on_its_neighbours_or_on_the_hour() -> None:
    later_ns = START_NS + 12_345_678_901
    alone = live(market(products=SOME[:1], now_ns=later_ns), 20, SECOND_NS, later_ns)
    among_others = live(market(), 20, SECOND_NS)
    assert prices(alone["coinbase", "BTC-USD"]) == prices(among_others["coinbase", "BTC-USD"])


@pytest.mark.parametrize("rate", [0.1, 1.0, 5.0])
def test_everything_trades_within_twenty_seconds_and_big_ones_several_times_a_second(rate: float) -> None:
    fresh = market(rate=rate)
    traded = live(fresh, 20, SECOND_NS)
    assert set(traded) == set(fresh.instruments)
    if rate >= 1:
        assert len(traded["coinbase", "BTC-USD"]) > 40


@pytest.mark.parametrize("rate", [0.1, 1.0, 20.0, 1000.0])
def test_every_market_has_a_last_trade_from_the_start(rate: float) -> None:
    assert all(each.last.time_ns <= START_NS for each in market(rate=rate).instruments.values())


def test_nothing_pauses_longer_than_twenty_seconds() -> None:
    for trades in live(market(), 90, SECOND_NS).values():
        times = [START_NS, *(trade.time_ns for trade in trades), START_NS + 90 * SECOND_NS]
        assert max(b - a for a, b in pairwise(times)) <= 20 * SECOND_NS


def test_times_rise_and_are_past_and_ids_count_up() -> None:
    fresh = market(rate=20.0)
    for tick in range(1, 41):
        now_ns = START_NS + tick * 50_000_000
        for trades in fresh.advance(now_ns).values():
            assert all(now_ns - 200_000_000 <= trade.time_ns <= now_ns for trade in trades)
    for instrument in fresh.instruments.values():
        history = list(instrument.history)
        assert [trade.id for trade in history] == list(range(history[0].id, history[0].id + len(history)))
        assert [trade.time_ns for trade in history] == sorted({trade.time_ns for trade in history})


def test_prices_of_one_asset_are_close_everywhere_and_stay_sensible() -> None:
    traded = live(market(), 60, SECOND_NS)
    last = defaultdict(list)
    for product in CATALOGUE.products():
        if product.asset in ("BTC", "ETH", "SHIB") and not product.halted:
            last[product.asset].append(Decimal(traded[product.exchange, product.symbol][-1].price))
    for asset, found in last.items():
        allowed = Decimal("0.01") if asset == "SHIB" else Decimal("0.001")
        assert (max(found) - min(found)) / min(found) < allowed
    assert all(80_000 < price < 87_000 for price in last["BTC"])
    assert all(Decimal(trade.price) > 0 for trades in traded.values() for trade in trades)


@pytest.mark.parametrize(
    ("exchange", "symbol", "pattern"),
    [
        ("coinbase", "BTC-USD", r"\d{5}\.\d\d"),
        ("gemini", "btcusd", r"\d{5}\.\d\d000"),
        ("kraken", "BTC/USD", r"\d{5}\.\d"),
        ("gateio", "BTC_USDT", r"\d{5}(\.[1-9])?"),
        ("okx", "BTC-USDT", r"\d{5}(\.[1-9])?"),
        ("binance", "BTCUSDT", r"\d{5}\.\d\d000000"),
        ("binance", "SHIBUSDT", r"0\.0000\d{4}"),
        ("cryptocom", "SHIB_USD", r"0\.0000\d{7}"),
    ],
)
def test_prices_have_the_digits_of_their_exchange(exchange: str, symbol: str, pattern: str) -> None:
    for trade in market().instruments[exchange, symbol].history:
        assert re.fullmatch(pattern, trade.price)


def test_a_price_is_never_zero() -> None:
    instrument = market().instruments["okx", "SHIB-USDT"]
    assert Decimal(instrument.text(0.0)) == Decimal(instrument.text(-1.0)) == Decimal(10) ** -instrument.decimals


def test_a_whole_number_keeps_its_zeros() -> None:
    style = PriceStyle(least=0, significant=1, strip=True)
    product = Product("okx", "BTC-USDT", "BTC", "USDT")
    instrument = Market(CATALOGUE, [product], {"okx": style}, seed=1, rate=1, now_ns=START_NS).instruments[
        "okx", "BTC-USDT"
    ]
    assert instrument.text(80_000.0) == "80000"


def test_after_a_long_sleep_the_market_goes_on_from_where_it_stood() -> None:
    awake, slept = market(products=SOME), market(products=SOME)
    hour_ns = 3600 * SECOND_NS
    assert slept.advance(START_NS + hour_ns) == {}
    expected = live(awake, 20, SECOND_NS)
    found = live(slept, 20, SECOND_NS, START_NS + hour_ns)
    assert {key: prices(trades) for key, trades in found.items()} == {key: prices(t) for key, t in expected.items()}
    assert all(trade.time_ns > START_NS + hour_ns - SECOND_NS for trades in found.values() for trade in trades)


def test_a_clock_set_back_stops_nothing() -> None:
    fresh = market(products=SOME)
    day_ns = 86_400 * SECOND_NS
    fresh.advance(START_NS - day_ns)
    assert live(fresh, 20, SECOND_NS, START_NS - day_ns)


def test_catalogue_takes_extra_markets_and_leaves_out_strange_exchanges() -> None:
    extra = [
        ("binance", "newusdt", "NEW", "USDT"),
        ("kraken", "NEW/EUR", "NEW", "EUR"),
        ("bybit", "NEWUSDT", "NEW", "USDT"),
        ("coinbase", "BTC-USD", "BTC", "USD"),
    ]
    products = CATALOGUE.products(extra)
    added = [product for product in products if product.asset == "NEW"]
    assert [(each.exchange, each.symbol) for each in added] == [("binance", "NEWUSDT"), ("kraken", "NEW/EUR")]
    assert len({(each.exchange, each.symbol) for each in products}) == len(products)
    instruments = market(products=added).instruments
    usdt, eur = (float(instrument.last.price) for instrument in instruments.values())
    assert usdt / eur == pytest.approx(1.09, rel=0.01)


def test_catalogue_has_enough_assets_on_every_exchange() -> None:
    trading = [product for product in CATALOGUE.products() if not product.halted]
    assert set(CATALOGUE.exchanges) == set(DIALECTS)
    for exchange in DIALECTS:
        assert len({product.asset for product in trading if product.exchange == exchange}) >= 150
    assert any(product.halted for product in CATALOGUE.products())


def test_a_listed_asset_that_is_halted_trades_when_asked_for() -> None:
    asked = [("okx", "FTT-USDT", "FTT", "USDT")]
    assert [each.halted for each in CATALOGUE.products(asked) if each[:2] == asked[0][:2]] == [False]
