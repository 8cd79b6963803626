"""Names of members as symbols, prices in small units, ends of texts: both extractions agree, and are right."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.extraction import made_feed, trades_of

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan, lookup_key
from beast.feeds.types import Condition, Feed

ONLY = made_feed("u.*.[last].p", "u.*.[name]", time="u.*.[last].t", timestamp_format="unix_ms")
EACH = made_feed("u.[each].[last].p", "u.[each].[name]", time="u.[each].[last].t", timestamp_format="unix_ms")


@pytest.mark.parametrize("feed", [ONLY, EACH], ids=["only", "each"])
def test_the_name_of_a_member_is_the_symbol(feed: Feed) -> None:
    frame = '{"c":"t","u":{"BTCUSDT":[{"t":1,"p":"4"},{"t":2,"p":"5"}]}}'
    assert trades_of(feed, frame) == [("BTCUSDT", "5", 2_000_000)]


def test_each_member_is_a_symbol_of_its_own() -> None:
    frame = '{"u":{"A":[{"p":1},{"p":2,"t":3}],"B":[],"C":[{"p":4}],"D":{"p":5},"E":null,"F":[{"p":6}]},"c":"t"}'
    assert trades_of(EACH, frame) == [("A", "2", 3_000_000), ("C", "4", 0), ("F", "6", 0)]


def test_of_two_members_with_one_name_the_first_one_is_newer() -> None:
    assert trades_of(EACH, '{"c":"t","u":{"A":[{"p":1}],"A":[{"p":2}]}}') == [("A", "1", 0)]
    assert trades_of(EACH, '{"c":"t","u":{"A":[{"p":null}],"A":[{"p":2}]}}') == [("A", "2", 0)]


def test_a_value_behind_the_walked_object_is_every_members() -> None:
    feed = made_feed("u.[each].p", "u.[each].[name]", time="at", timestamp_format="unix_s")
    frame = '{"c":"t","u":{"A":{"p":1},"B":{"p":2}},"at":7}'
    assert trades_of(feed, frame) == [("A", "1", 7_000_000_000), ("B", "2", 7_000_000_000)]


@pytest.mark.parametrize(
    "inside",
    [
        '{"A":[{"p":1}],"B":[{"p":2}]}',
        '{"A":[{"p":1}],"A":[{"p":2}]}',
        "{}",
        '{"":[{"p":1}]}',
        "[]",
        '"A"',
        "null",
        '{"%s":[{"p":1}]}' % ("A" * 65),
    ],
)
def test_without_an_only_member_there_is_no_symbol(inside: str) -> None:
    assert trades_of(ONLY, f'{{"c":"t","u":{inside}}}') == []


def test_a_name_is_decoded() -> None:
    assert trades_of(ONLY, '{"c":"t","u":{"B\\u0054C":[{"p":1}]}}') == [("BTC", "1", 0)]


@pytest.mark.parametrize("step", ["*", "[each]"])
def test_another_name_in_the_same_form_is_another_symbol(step: str) -> None:
    feed = made_feed(f"u.{step}", f"u.{step}.[name]")
    for name in ("BTC", "ETH", "BTC"):
        assert trades_of(feed, f'{{"c":"t","u":{{"{name}":5}}}}') == [(name, "5", 0)]


@pytest.mark.parametrize(
    ("value", "scale", "price"),
    [
        ("8342157000000", 8, "83421.57000000"),
        ('"8342157000000"', 8, "83421.57000000"),
        ("5", 8, "0.00000005"),
        ("0.5", 8, "0.000000005"),
        ("120", 2, "1.20"),
        ("1.5e3", 2, "15"),
        ("15e2", 2, "15"),
        ("1", 30, "0." + "0" * 29 + "1"),
    ],
)
def test_a_price_in_small_units_keeps_its_digits(value: str, scale: int, price: str) -> None:
    assert trades_of(made_feed("p", "s", price_scale=scale), f'{{"c":"t","s":"X","p":{value}}}') == [("X", price, 0)]


@pytest.mark.parametrize(("value", "scale"), [("0", 8), ("1e-38", 8), ("-5", 2), ("1" + "0" * 39, 30), ('"x"', 3)])
def test_what_is_no_price_stays_none(value: str, scale: int) -> None:
    assert trades_of(made_feed("p", "s", price_scale=scale), f'{{"c":"t","s":"X","p":{value}}}') == []


@given(
    number=st.decimals(min_value=0, max_value=10**20, allow_nan=False, places=6)
    | st.integers(0, 10**20)
    | st.floats(0, 1e20, allow_nan=False),
    scale=st.integers(0, 30),
)
def test_a_moved_point_changes_no_digit(number: Decimal | float, scale: int) -> None:
    text = format(number, "f") if isinstance(number, Decimal) else repr(number)
    for _, price, _ in trades_of(made_feed("p", "s", price_scale=scale), f'{{"c":"t","s":"X","p":{text}}}'):
        assert Decimal(price) == Decimal(text) / Decimal(10) ** scale or len(price) > 28


@pytest.mark.parametrize(
    ("topic", "holds"),
    [
        ('"BTC@trade"', True),
        ('"@trade"', True),
        ('"BTC\\u0040trade"', True),
        ('"trade"', False),
        ('"BTC@trades"', False),
        ('"%s@trade"' % ("A" * 58), True),
        ('"%s@trade"' % ("A" * 59), False),
        ("7", False),
        ("null", False),
    ],
)
def test_a_text_is_told_by_its_end(topic: str, *, holds: bool) -> None:
    feed = made_feed("p", "s", trade_filter=(Condition("c", op="suffix", value="@trade"),))
    for _ in range(2):
        assert bool(trades_of(feed, f'{{"c":{topic},"s":"X","p":1}}')) is holds


@pytest.mark.parametrize(
    ("wire", "key"),
    [
        ("market.btcusdt.trade.detail", "BTCUSDT"),
        ("btcusdt.trade.detail", "BTCUSDT"),
        ("market.btcusdt", "BTCUSDT"),
        ("market.trade.detail", "TRADE.DETAIL"),
        ("market..trade.detail", ""),
    ],
)
def test_both_ends_of_a_symbol_are_taken_off(wire: str, key: str) -> None:
    ends = {"symbol_strip_prefix": "market.", "symbol_strip_suffix": ".trade.detail"}
    feed = made_feed("p", "s", symbol_fold="upper", **ends)
    assert lookup_key(feed, wire) == key
    engine = Engine(node="test")
    engine.load_instruments([(0, key or "NOTHING", "made", "USD", 1, 0)])
    ingest = Ingest(engine, Plan(compile_plan(feed)), 0, backfill_ns=0)
    ingest.set_symbols([((key or "NOTHING").encode(), 0)])
    ingest.feed(f'{{"c":"t","s":"{wire}","p":1}}'.encode(), 1, 1)
    counted = engine.counters()
    assert (counted["ws_trades"], counted["trades_unmapped"]) == ((1, 0) if key else (0, 1))
