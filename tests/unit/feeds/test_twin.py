"""The compiled extraction and its readable twin must agree on every frame, and the twin must be right."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.extraction import fast, made_feed, trades_of
from tests.fixtures.rows import FRAMES, all_feeds

from beast._fast import Plan
from beast.feeds.rows import twin
from beast.feeds.rows.plan import compile_plan
from beast.feeds.types import Condition, Shape, TimeFormat

FEEDS = all_feeds()


FEEDS["nested"] = made_feed(
    "a.[last].x.[first].p",
    "a.[last].s",
    time="t",
    timestamp_format="unix_ms",
    fallback_timestamp_path="a.[last].t",
    sequence_scope="symbol",
    sequence_path="a.[last].x.[first].n",
)
FEEDS["deep"] = made_feed(
    "[first].[last].[first].0", "[first].[last].[first].1", trade_filter=(Condition("0", op="present"),)
)
FEEDS["odd"] = made_feed(
    "*.d.-1.p",
    "*.d.-2.s",
    Shape(filter=(Condition("c", op="absent"), Condition("n", value=7)), price_path="p.*", symbol_path="a.-1"),
    Shape(filter=(Condition("b", value=True),), price_path="a.[last].p", symbol_path="s", timestamp_path="a.0.t"),
    Shape(filter=(Condition("s", op="prefix", value="B"),), price_path="p", symbol_path="s"),
    trade_filter=(Condition("*.c", value="t"),),
    sequence_scope="connection",
    sequence_path="n",
)
FEEDS["named"] = made_feed(
    "u.[each].[last].p",
    "u.[each].[name]",
    Shape(filter=(Condition("c", op="suffix", value="t"),), price_path="*.p", price_scale=3, symbol_path="*.[name]"),
    Shape(filter=(Condition("u.*.[name]", op="prefix", value="u"),), price_path="u.*", symbol_path="u.*.[name]"),
    Shape(filter=(Condition("s", op="present"),), price_path="[each].[each]", symbol_path="[each].[each].[name]"),
    time="u.[each].[last].t",
    price_scale=8,
)
PLANS = {name: Plan(compile_plan(feed)) for name, feed in FEEDS.items()}
SEEDS = {
    name: [
        json.loads(line)["raw"].encode()
        for path in FRAMES.glob(f"{name}/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    for name in FEEDS
}


def agree(name: str, frame: bytes) -> twin.Extraction:
    slow = twin.extract(FEEDS[name], frame)
    assert fast(PLANS[name], frame) == (slow.kind, slow.trades, slow.sequence), frame
    return slow


# Words that the plans look for, so that random documents often meet them.
WORDS = sorted(
    {
        str(word)
        for feed in FEEDS.values()
        for shape in feed.shapes
        for path in (
            *(shape.price_path, shape.symbol_path, shape.timestamp_path, feed.sequence_path),
            *(c.path for c in shape.filter),
        )
        for word in path.split(".")
    }
    | {str(c.value) for feed in FEEDS.values() for shape in feed.shapes for c in shape.filter if c.value is not None}
)
PRICES = [
    "1.50",
    "0.0",
    "065.1",
    "+5",
    ".5",
    "5.",
    "1e-08",
    "1.5E3",
    "-1",
    "NaN",
    "Infinity",
    "1e400",
    "",
    " 1",
    "9" * 41,
]
TIMES = ["2026-05-03T10:00:00Z", "2026-02-30T10:00:00Z", "1777802400123.4567", "1777802400123456789", "0", "1e9"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(PRICES + TIMES + WORDS), st.text(max_size=9)
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=25,
)
MUTATIONS = [
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b" ",
    b"e",
    b"0",
]


@pytest.mark.parametrize("name", sorted(FEEDS))
@settings(max_examples=60, deadline=None)
@given(document=documents, pretty=st.booleans(), ascii_only=st.booleans())
def test_both_agree_on_any_document(name: str, document: Any, pretty: bool, ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(document, indent=1 if pretty else None, ensure_ascii=ascii_only)
    agree(name, text.encode(errors="surrogatepass"))


@pytest.mark.parametrize("name", sorted(name for name, frames in SEEDS.items() if frames))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_both_agree_on_damaged_frames(name: str, data: st.DataObject) -> None:
    frame = data.draw(st.sampled_from(SEEDS[name]))
    agree(name, frame)  # the damaged one is then held against the form of the whole one
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(frame)))
        cut = data.draw(st.integers(0, 3))
        put = data.draw(st.sampled_from(MUTATIONS) | st.binary(max_size=2))
        frame = frame[:at] + put + frame[at + cut :]
    agree(name, frame)


@pytest.mark.parametrize("name", sorted(name for name, frames in SEEDS.items() if frames))
def test_both_agree_on_every_beginning_of_a_frame(name: str) -> None:
    for frame in SEEDS[name]:
        agree(name, frame)
        for end in range(len(frame)):
            agree(name, frame[:end])


@pytest.mark.parametrize("name", sorted(name for name, frames in SEEDS.items() if frames))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_member_order_and_white_space_do_not_matter(name: str, data: st.DataObject) -> None:
    frame = data.draw(st.sampled_from([seed for seed in SEEDS[name] if PLANS[name].extract(seed)[0] == twin.TRADE]))

    def shuffled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(data.draw(st.permutations(pairs)))

    # Numbers go through as text, so that they come out with their own digits.
    numbers: dict[str, str] = {}

    def keep(text: str) -> str:
        return numbers.setdefault(text, f"\x01{text}\x02") and f"\x01{text}\x02"

    document = json.loads(frame, object_pairs_hook=shuffled, parse_float=keep, parse_int=keep)
    text = json.dumps(document, indent=data.draw(st.sampled_from([None, 0, 3])))
    text = text.replace('"\\u0001', "").replace('\\u0002"', "")
    ours, theirs = agree(name, text.encode()), twin.extract(FEEDS[name], frame)
    # Where members are walked, their order is that of the trades.
    assert ours._replace(trades=sorted(ours.trades)) == theirs._replace(trades=sorted(theirs.trades))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"s":"X","p":1', '"s":"Y","p":2.5'),
        ('"s":"X","p":1', '"s":"X\\u0041","p":1'),
        ('"s":"X","p":1', '"s":"X","p":1e2'),
        ('"s":"X","p":1', '"s":"X","p":-1'),
        ('"s":"X","p":1', '"s":"X","p":null'),
        ('"s":"X","p":1', '"s":"X","p":"1"'),
        ('"s":"X","p":1', '"s":"X","p":01'),
        ('"s":"X","p":1', '"s":"","p":1'),
        ('"s":"X\\u0041","p":1', '"s":"X\\u0041","p":2'),
        ('"s":"Xä","p":1', '"s":"Yß","p":2'),
        ('"s":"X","p":1,"m":true', '"s":"X","p":1,"m":false'),
        ('"s":"X","p":1,"m":true', '"s":"X","p":1,"m":null'),
        ('"s":"X","p":1,"m":null', '"s":"X","p":1,"m":1'),
        ('"s":"X","p":1,"m":[]', '"s":"X","p":1,"m":[1]'),
        ('"s":"X","p":1e2', '"s":"X","p":1e3'),
        ('"s":"X","p":"1"', '"s":"X","p":"1e3"'),
        ('"s":"X","p":"1"', '"s":"X","p":"0"'),
        ('"s":"X","p":"1"', '"s":"X","p":"1","s":"Y"'),
        ('"s":"X","p":1,"t":5', '"s":"X","p":1,"t":6'),
        ('"s":"X","p":1,"t":5', '"s":"X","p":1,"t":null'),
        ('"s":"X","p":1,"t":null', '"s":"X","p":1,"t":5'),
        ('"s":"X","p":1,"n":5', '"s":"X","p":1,"n":6'),
        ('"s":"X","p":1,"n":5', '"s":"X","p":1,"n":5.5'),
        ('"s":"X","p":1,"n":5', '"s":"X","p":1'),
        ('"s":"X","p":1,"n":"5"', '"s":"X","p":1,"n":"-5"'),
        ('"s":"X","p":1,"n":[5]', '"s":"X","p":1,"n":[6]'),
    ],
)
@pytest.mark.parametrize("scope", ["connection", "symbol"])
def test_the_form_of_one_frame_does_not_change_what_another_says(one: str, other: str, scope: str) -> None:
    feed = made_feed("p", "s", time="t", timestamp_format="unix_ns", sequence_scope=scope, sequence_path="n")
    plan = Plan(compile_plan(feed))
    for inner in (one, other, one, other, other):
        for filter_value in ("t", "u"):
            frame = f'{{"c":"{filter_value}",{inner}}}'.encode()
            slow = twin.extract(feed, frame)
            assert fast(plan, frame) == (slow.kind, slow.trades, slow.sequence)


PLAIN = made_feed("p", "s")


@pytest.mark.parametrize(
    ("value", "price"),
    [
        ('"83421.57"', "83421.57"),
        ("83421.5700", "83421.5700"),
        ('"8342\\u0031.57"', "83421.57"),
        ("1e-08", "0.00000001"),
        ('"1.5E3"', "1500"),
        ("1.50e1", "15.0"),
        ("12.5e-1", "1.25"),
        ("0.5e1", "5"),
        ("0.00012e2", "0.012"),
        ("100e-2", "1.00"),
        ("1E+2", "100"),
        ("1e0", "1"),
        ("1e39", "1" + "0" * 39),
        ("1e-38", "0." + "0" * 37 + "1"),
        ("0.1e0", "0.1"),
        ('"' + "1" * 40 + '"', "1" * 40),
    ],
)
def test_a_price_keeps_its_digits_and_loses_its_exponent(value: str, price: str) -> None:
    assert trades_of(PLAIN, f'{{"c":"t","s":"X","p":{value}}}') == [("X", price, 0)]


@pytest.mark.parametrize(
    "value",
    [
        *("null", '""', "0", '"0.000"', "-1", '"-0"', "0e5", '"NaN"', '"Infinity"', "1e400", "1e40", "1e-39", "true"),
        *('"abc"', '"065.10"', '"+5"', '".5"', '"5."', '" 5"', '"5 "', '"1e"', '"1_0"', '"\\ud800"', "[1]", '{"a":1}'),
        *('"0x10"', '"\u0661"', "1e-99999999999999999999", "1e99999999999999999999", '"' + "1" * 41 + '"'),
    ],
)
def test_what_is_no_price_is_dropped_and_counted(value: str) -> None:
    frame = f'{{"c":"t","s":"X","p":{value}}}'
    assert trades_of(PLAIN, frame) == []
    assert twin.extract(PLAIN, frame.encode())[2:4] == (1, 0)


@pytest.mark.parametrize(
    ("form", "value", "ns"),
    [
        ("rfc3339", '"2026-05-03T10:00:00Z"', 1_777_802_400_000_000_000),
        ("rfc3339", '"2026-05-03 10:00:00.5z"', 1_777_802_400_500_000_000),
        ("rfc3339", '"2026-05-03T12:30:00.1234567891+02:30"', 1_777_802_400_123_456_789),
        ("rfc3339", '"2026-05-03T05:00:00-05:00"', 1_777_802_400_000_000_000),
        ("rfc3339", '"2026\\u002d05-03T10:00:00Z"', 1_777_802_400_000_000_000),
        ("rfc3339", '"2016-12-31T23:59:60Z"', 1_483_228_800_000_000_000),
        ("rfc3339", '"2028-02-29T00:00:00Z"', 1_835_395_200_000_000_000),
        ("rfc3339", '"2026-02-29T00:00:00Z"', 0),
        ("rfc3339", '"2026-05-03T10:00:00"', 0),
        ("rfc3339", '"2026-05-03T24:00:00Z"', 0),
        ("rfc3339", '"1969-12-31T23:59:59Z"', 0),
        ("rfc3339", '"2026-05-03T10:00:00 +0000 UTC"', 0),
        ("rfc3339", "1777802400", 0),
        ("unix_s", "1777802400", 1_777_802_400_000_000_000),
        ("unix_s", '"1777802400.000000001"', 1_777_802_400_000_000_001),
        ("unix_ms", '"1777802400123.4567"', 1_777_802_400_123_456_700),
        ("unix_ms", "1777802400123", 1_777_802_400_123_000_000),
        ("unix_us", "1777802400123456", 1_777_802_400_123_456_000),
        ("unix_ns", "1777802400123456789", 1_777_802_400_123_456_789),
        ("unix_ns", "9223372036854775807", 9_223_372_036_854_775_807),
        ("unix_ns", "9223372036854775808", 0),
        ("unix_ms", "9223372036855", 0),
        ("unix_s", "1.777802400e9", 0),
        ("unix_ms", "-5", 0),
        ("unix_ms", '""', 0),
        ("unix_ms", "null", 0),
        ("unix_ms", '"12."', 0),
    ],
)
def test_times_are_read_to_the_nanosecond_or_not_at_all(form: TimeFormat, value: str, ns: int) -> None:
    feed = made_feed("p", "s", time="t", timestamp_format=form)
    assert trades_of(feed, f'{{"c":"t","s":"X","p":1,"t":{value}}}') == [("X", "1", ns)]


def test_the_fallback_is_asked_when_the_trade_has_no_time() -> None:
    feed = made_feed("p", "s", time="t", fallback_timestamp_path="e.t", fallback_timestamp_format="unix_s")
    assert trades_of(feed, '{"c":"t","s":"X","p":1,"t":"soon","e":{"t":5}}') == [("X", "1", 5_000_000_000)]
    assert trades_of(feed, '{"c":"t","s":"X","p":1,"t":"1970-01-01T00:00:07Z","e":{"t":5}}')[0][2] == 7_000_000_000


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [("first first", "1"), ("first last", "2"), ("last first", "3"), ("last last", "4")],
)
def test_the_outermost_array_decides_which_trade_is_newest(ends: str, wanted: str) -> None:
    outer, inner = ends.split()
    feed = made_feed(f"a.[{outer}].b.[{inner}].p", "s")
    frame = '{"c":"t","a":[{"b":[{"p":1},{"p":2}]},{"b":[{"p":3},{"p":4}]}],"s":"X"}'
    assert trades_of(feed, frame) == [("X", wanted, 0)]


def test_each_symbol_of_a_frame_gives_its_newest_good_trade() -> None:
    feed = made_feed("d.[first].p", "d.[first].s")
    frame = '{"c":"t","d":[{"s":"A","p":null},{"s":"B","p":2},{"s":"A","p":3},{"s":"B","p":4},{"p":5}]}'
    assert trades_of(feed, frame) == [("B", "2", 0), ("A", "3", 0)]
    assert twin.extract(feed, frame.encode())[2:4] == (1, 1)


def test_at_most_64_symbols_of_a_frame_are_taken_but_those_to_their_newest() -> None:
    feed = made_feed("d.[last].p", "d.[last].s")
    elements = [f'{{"s":"S{i % 70}","p":{i + 1}}}' for i in range(140)]
    found = trades_of(feed, f'{{"c":"t","d":[{",".join(elements)}]}}')
    assert found == [(f"S{i}", str(i + 71), 0) for i in range(64)]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ('{"c":"t","s":"X","p":1}', twin.TRADE),
        ('{"c":"t","c":"u","s":"X","p":1}', twin.TRADE),
        ('{"c":"u","c":"t","s":"X","p":1}', twin.OTHER),
        ('{"\\u0063":"\\u0074","s":"X","p":1}', twin.TRADE),
        ('{"c":"t","s":"X","p":1} ', twin.TRADE),
        ('{"c":"t","s":"X","p":1}x', twin.MALFORMED),
        ('{"c":"t","s":"X","p":1,"q":01}', twin.MALFORMED),
        ('{"c":"t","s":"X","p":1,"q":[1,]}', twin.MALFORMED),
        ('{"c":"t","s":"X","p":NaN}', twin.MALFORMED),
        ('{"c":"t","s":"X","p":1,"q":' + "[" * 63 + "]" * 63 + "}", twin.TRADE),
        ('{"c":"t","s":"X","p":1,"q":' + "[" * 64 + "]" * 64 + "}", twin.MALFORMED),
        ("", twin.MALFORMED),
        ("3", twin.OTHER),
    ],
)
def test_a_frame_is_json_from_end_to_end_or_malformed(frame: str, kind: int) -> None:
    trades_of(PLAIN, frame)
    assert twin.extract(PLAIN, frame.encode()).kind == kind


@pytest.mark.parametrize("frame", [b'{"c":"t","s":"\xff","p":1}', b'{"c":"t","s":"X","p":1,"q":"\xed\xa0\x80"}'])
def test_bytes_that_are_no_utf8_make_a_frame_malformed(frame: bytes) -> None:
    assert twin.extract(PLAIN, frame).kind == Plan(compile_plan(PLAIN)).extract(frame)[0] == twin.MALFORMED


def test_a_frame_may_be_any_buffer() -> None:
    frame = bytearray(b'{"c":"t","s":"X","p":1}')
    plan = Plan(compile_plan(PLAIN))
    assert plan.extract(memoryview(frame)) == plan.extract(bytes(frame)) == (1, [(b"X", b"1", 0, 0, 0, 0)], None)
