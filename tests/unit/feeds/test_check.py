"""`beast feeds check`: what recorded frames come to."""

import base64
import gzip
import json
import os
import zlib
from pathlib import Path

import msgspec
import pytest
from tests.fixtures.rows import FRAMES, all_feeds, example_exchange

from beast.feeds.rows.check import CheckedFrame, Checker, format_ns
from beast.feeds.types import Mapping

FEEDS = all_feeds()
OWN = [(name, line) for name in sorted(FEEDS) for line in (FRAMES / name / "frames.jsonl").read_text().splitlines()]
RECORDED = os.environ.get("BEAST_FRAMES_DIR")


def check(name: str, raw: str, *mappings: Mapping) -> CheckedFrame:
    (checked,) = Checker(FEEDS[name], mappings).check_lines([json.dumps({"raw": raw})])
    return checked


@pytest.mark.parametrize(("name", "line"), OWN, ids=[f"{name}: {json.loads(line)['what']}" for name, line in OWN])
def test_every_message_kind_comes_to_what_it_is(name: str, line: str) -> None:
    (checked,) = Checker(FEEDS[name], ()).check_lines([line])
    wanted = json.loads(line)
    assert checked.kind == wanted["kind"], checked.reason
    assert [[trade.symbol, trade.price, trade.timestamp] for trade in checked.trades] == wanted["trades"]
    assert bool(checked.reason) >= (checked.kind == "ignored")


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_own_frames_show_every_kind_that_an_exchange_has_a_filter_for(name: str) -> None:
    feed = FEEDS[name]
    filters = {
        "ack": feed.ack_filter,
        "error": feed.error_filter,
        "heartbeat": feed.heartbeat_filter or feed.pong_filter,
        "notice": feed.notice_filter,
    }
    wanted = {"trade", "ignored"} | {kind for kind, conditions in filters.items() if conditions}
    assert wanted <= {json.loads(line)["kind"] for exchange, line in OWN if exchange == name}


@pytest.mark.skipif(not RECORDED, reason="BEAST_FRAMES_DIR names no folder of recorded frames")
@pytest.mark.parametrize("name", sorted(FEEDS))
def test_recorded_frames_give_exactly_what_they_carried(name: str) -> None:
    recorded = Path(RECORDED or "") / f"{name}.jsonl"
    if not recorded.exists():
        pytest.skip("nobody has recorded it")
    lines = recorded.read_text().splitlines()
    for line, checked in zip(lines, Checker(FEEDS[name], ()).check_lines(lines), strict=True):
        record = json.loads(line)
        single = {record["expect"]["symbol"]: record["expect"]} if record["expect"] else {}
        expected = record.get("expect_by_symbol") or single
        got = [(trade.symbol, trade.price, instant(trade.timestamp)) for trade in checked.trades]
        assert sorted(got) == sorted((s, e["price"], instant(e["ts"])) for s, e in expected.items()), line
        assert record["kind"] not in {"ack", "error", "heartbeat"} or checked.kind == record["kind"], line


def instant(timestamp: str | None) -> tuple[str, str] | None:
    if timestamp is None:
        return None
    seconds, _, fraction = timestamp.removesuffix("Z").partition(".")
    return seconds, fraction.rstrip("0")


def test_a_mapped_symbol_names_its_asset_and_another_none() -> None:
    example = example_exchange()
    checker = Checker(example.feed, example.assets)
    lines = (FRAMES / "binance" / "frames.jsonl").read_text().splitlines()
    by_symbol = {trade.symbol: trade.asset for frame in checker.check_lines(lines) for trade in frame.trades}
    assert by_symbol == {"BTCUSDT": "BTC", "ETHUSDT": "ETH", "NOPEUSDT": None}


def test_the_json_of_a_line_is_the_documented_one() -> None:
    raw = '{"channel":"trade","data":[{"symbol":"BTC/USD","price":1.50,"timestamp":"2026-05-03T10:00:00Z"}]}'
    checked = check("kraken", raw, Mapping(asset="BTC", symbol="BTC/USD", currency="USD"))
    assert msgspec.json.decode(msgspec.json.encode(checked)) == {
        "line": 1,
        "kind": "trade",
        "trades": [{"symbol": "BTC/USD", "asset": "BTC", "price": "1.50", "timestamp": "2026-05-03T10:00:00.000000Z"}],
    }
    assert msgspec.json.decode(msgspec.json.encode(check("kraken", '{"channel":"heartbeat"}'))) == {
        "line": 1,
        "kind": "heartbeat",
        "trades": [],
    }


@pytest.mark.parametrize("raw", ["", "{", "nonsense", "[1,2]", "null", "\ud800", "{" * 5000, '{"channel":"trade"}}'])
def test_what_is_no_frame_is_ignored_with_a_reason(raw: str) -> None:
    checked = check("kraken", raw)
    assert (checked.kind, checked.trades) == ("ignored", [])
    assert checked.reason


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"raw":1}', "[" * 5000, '{"raw":"\\ud8"}'])
def test_a_line_without_a_frame_is_told_and_the_next_one_is_read(line: str) -> None:
    good = json.dumps({"raw": '{"channel":"heartbeat"}'})
    first, second = Checker(FEEDS["kraken"], ()).check_lines([line, "\n", good])
    assert (first.kind, first.line) == ("ignored", 1)
    assert "line" in first.reason
    assert (second.kind, second.line) == ("heartbeat", 3)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_packed_frame_is_given_in_base64_and_its_text_as_ever(compression: str) -> None:
    feed = msgspec.structs.replace(FEEDS["kraken"], compression=compression)
    text = b'{"channel":"heartbeat"}'
    packed = base64.b64encode(gzip.compress(text) if compression == "gzip" else zlib.compress(text)).decode()
    lines = [json.dumps({"raw_base64": packed}), json.dumps({"raw": text.decode()}), json.dumps({"raw_base64": "?"})]
    kinds = [(checked.kind, checked.reason[:29]) for checked in Checker(feed, ()).check_lines(lines)]
    assert kinds == [("heartbeat", ""), ("heartbeat", ""), ("ignored", "`raw_base64` is no base64: On")]


def test_an_errors_words_are_told() -> None:
    assert check("okx", '{"event":"error","msg":"no such thing","code":"60018"}').reason == "no such thing"


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_777_802_400_000_000_000, "2026-05-03T10:00:00.000000Z"),
        (1_777_802_400_123_456_000, "2026-05-03T10:00:00.123456Z"),
        (1_777_802_400_123_456_780, "2026-05-03T10:00:00.123456780Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
    ],
)
def test_times_have_six_digits_or_nine(time_ns: int, text: str) -> None:
    assert format_ns(time_ns) == text
