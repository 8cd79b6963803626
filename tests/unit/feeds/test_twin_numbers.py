"""Numbers of frames and of trades: the compiled extraction and its twin agree, and are right."""

import json

import pytest
from tests.fixtures.extraction import made_feed, trades_of
from tests.fixtures.rows import FRAMES, seeded_feeds

from beast.feeds.rows import twin
from beast.feeds.types import Condition, Shape

NUMBERS = [
    ("7", 7),
    ('"7"', 7),
    ('"007"', 7),
    ("18446744073709551615", 2**64 - 1),
    ('"12345678901234567890"', 12345678901234567890),
    ("1234567890123456", 1234567890123456),
    ('"1\\u0030"', 10),
    ("18446744073709551616", None),
    ('"99999999999999999999"', None),
    ('"000000000000000000007"', None),
    *((text, None) for text in ("-1", "7.0", "7e0", '""', '" 7"', '"7 "', '"1_0"', '"\u0661"', "null", "true", "[7]")),
    *((text, None) for text in ('{"n":7}', '"1234567x"', '"x2345678"')),
]


@pytest.mark.parametrize(("value", "number"), [*NUMBERS, ("0", 0)])
def test_every_frame_of_a_numbered_connection_tells_its_number(value: str, number: int | None) -> None:
    feed = made_feed("p", "s", sequence_scope="connection", sequence_path="e.n")
    for rest in ('"c":"t","s":"X","p":1', '"c":"heartbeat"', '"c":"t"', '"c":"t","s":"X","p":0'):
        for frame in (f'{{{rest},"e":{{"n":{value}}}}}', f'{{"e":{{"n":{value}}},{rest}}}'):
            trades_of(feed, frame)
            assert twin.extract(feed, frame.encode()).sequence == number
    assert twin.extract(feed, b'{"e":{"n":5}').sequence is None


@pytest.mark.parametrize(("value", "number"), [*NUMBERS, ("0", None)])
def test_a_trade_tells_its_number(value: str, number: int | None) -> None:
    feed = made_feed("d.[last].p", "d.[last].s", sequence_scope="symbol", sequence_path="d.[last].n")
    frame = f'{{"c":"t","d":[{{"s":"X","p":1,"n":{value}}}]}}'
    trades_of(feed, frame)
    numbered = (number, number, 1) if number else (0, 0, 0)
    assert twin.extract(feed, frame.encode()).trades == [twin.Trade(b"X", b"1", 0, *numbered)]


@pytest.mark.parametrize("end", ["first", "last"])
def test_the_numbers_of_a_symbol_go_from_the_lowest_to_the_highest(end: str) -> None:
    feed = made_feed(f"d.[{end}].p", f"d.[{end}].s", sequence_scope="symbol", sequence_path=f"d.[{end}].n")
    elements = [("A", "1", 7), ("B", "2", 90), ("A", "3", 9), ("A", "0", 8), ("B", "4", 0), ("A", "5", 6)]
    trades = ",".join(f'{{"s":"{s}","p":{p},"n":{n}}}' for s, p, n in elements)
    frame = f'{{"c":"t","d":[{trades}]}}'
    newest = {"A": "1", "B": "2"} if end == "first" else {"A": "5", "B": "4"}
    assert trades_of(feed, frame) == [(symbol, price, 0) for symbol, price in newest.items()]
    assert [trade[3:] for trade in twin.extract(feed, frame.encode()).trades] == [(6, 9, 3), (90, 90, 1)]


def test_only_the_trade_columns_have_numbers() -> None:
    ticker = Shape(filter=(Condition("c", value="u"),), price_path="p", symbol_path="s")
    feed = made_feed("p", "s", ticker, sequence_scope="symbol", sequence_path="n")
    for kind, numbered in (("t", (5, 5, 1)), ("u", (0, 0, 0))):
        frame = f'{{"c":"{kind}","s":"X","p":1,"n":5}}'
        trades_of(feed, frame)
        assert twin.extract(feed, frame.encode()).trades[0][3:] == numbered


def test_the_seed_knows_where_coinbase_and_kraken_have_their_numbers() -> None:
    feeds = seeded_feeds()
    found = {
        name: [
            twin.extract(feeds[name], json.loads(line)["raw"].encode())
            for line in (FRAMES / name / "frames.jsonl").read_text().splitlines()
        ]
        for name in ("coinbase", "kraken")
    }
    assert {each.sequence for each in found["coinbase"]} == {7, None}
    assert {trade.sequence for each in found["kraken"] for trade in each.trades} == {9001, 0}
