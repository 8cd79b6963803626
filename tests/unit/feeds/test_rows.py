"""Rows as files: what is read, what is refused and how it is told."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from msgspec.structs import replace
from tests.fixtures.rows import ROOT, all_feeds, example_exchange

from beast.base.errors import BeastError
from beast.feeds.rows.files import Exchange, RowsError, parse_rows, read_rows, validate, write_json, write_toml

EXAMPLE = ROOT / "docs" / "examples" / "binance.toml"
CACHE_TTL_MS = 13_000


def document() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE.read_text("utf-8"))


def faults_of(changed: dict[str, Any]) -> list[str]:
    with pytest.raises(RowsError) as caught:
        parse_rows(tomli_w.dumps(changed), where="rows.toml", json=False)
    assert str(caught.value).startswith("rows.toml: ")
    return [str(fault) for fault in caught.value.faults]


def test_what_is_written_is_read_again_the_same() -> None:
    example = example_exchange()
    assert parse_rows(write_toml(example), where="x", json=False) == example
    assert parse_rows(write_json(example), where="x", json=True) == example


@pytest.mark.parametrize("name", sorted(all_feeds()))
def test_the_rows_that_come_with_the_server_are_valid(name: str) -> None:
    assert validate(Exchange(all_feeds()[name], ())) == []


@pytest.mark.parametrize("name", sorted(all_feeds()))
def test_a_link_that_vanished_is_noticed_before_its_last_price_would_be_called_quiet(name: str) -> None:
    feed = all_feeds()[name]
    assert feed.patience_ms <= CACHE_TTL_MS
    assert feed.heartbeat_filter or 2 * feed.ping_interval_ms <= feed.patience_ms


def test_assets_take_the_name_of_their_feed() -> None:
    assert {mapping.exchange for mapping in example_exchange().assets} == {"binance"}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("name", "Binance!", "is not 1 to 16"),
        ("name", "consensus", "choose another name"),
        ("consensus_weight", 1001, "is not from 0"),
        ("ws_url", "https://x", "is no ws://"),
        ("patience_ms", 10, "is not from 1000"),
        ("priority", "high", "Expected `int`"),
        ("price_path", "data..p", "empty step"),
        ("price_paths", "data.p", "price_paths"),
        ("timestamp_format", "iso", "Invalid enum value"),
        ("trade_filter", [{"path": "data.e", "op": "is"}], "Invalid enum value"),
        ("ack_filter", [{"path": "id"}], "needs a value"),
        ("error_message_path", "a..b", "empty step"),
        ("subscribe_template", '{"params":"{SYMBOL', "subscribe_template"),
        ("ping_template", "ping", "ping_interval_ms"),
    ],
)
def test_a_fault_of_the_feed_names_row_column_and_reason(column: str, value: Any, reason: str) -> None:
    changed = document()
    changed["feed"][column] = value
    (fault,) = faults_of(changed)
    assert fault.startswith("feed")
    assert reason in fault


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("asset", "eth", "does not match"),
        ("asset", "BTC", "stands in assets.0 (BTC) already"),
        ("symbol", "", "1 to 64 bytes"),
        ("symbol", "btcusdt", "stands in assets.0 (BTC) already"),
        ("wire_symbol", "BTCUSDT", "stands in assets.0 (BTC) already"),
        ("currency", "usd", "does not match"),
        ("prewarm", "yes", "Expected `bool`"),
        ("exchange", "kraken", "is not the feed's name"),
        ("band_bps", -1, "is not from 0"),
    ],
)
def test_a_fault_of_an_asset_names_row_column_and_reason(column: str, value: Any, reason: str) -> None:
    changed = document()
    changed["assets"][1][column] = value
    (fault,) = faults_of(changed)
    assert fault.startswith("assets.1 (")
    assert f", {column}: " in fault
    assert reason in fault


def test_all_faults_are_told_at_once() -> None:
    changed = document()
    changed["feed"]["patience_ms"] = 0
    changed["feed"]["price_path"] = ""
    changed["assets"][2]["currency"] = "?"
    assert len(faults_of(changed)) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[feed", "is not TOML"),
        ("", "no [feed] table"),
        ("feed = 1", "no [feed] table"),
        ("assets = 1\n[feed]\n", "list"),
    ],
)
def test_a_file_that_holds_no_rows_says_so(text: str, reason: str) -> None:
    with pytest.raises(BeastError, match=reason.replace("[", r"\[")):
        parse_rows(text, where="rows.toml", json=False)


def test_an_unknown_table_is_told() -> None:
    assert "feeds" in faults_of({**document(), "feeds": {}})[0]


def test_a_json_file_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(write_json(example_exchange()), "utf-8")
    assert read_rows(path) == example_exchange()
    with pytest.raises(BeastError, match="can't be read"):
        read_rows(tmp_path / "none.toml")


def test_symbols_that_are_equal_once_folded_are_the_same_symbol() -> None:
    example = example_exchange()
    twice = replace(example.assets[1], wire_symbol="BtcUsdt")
    faults = validate(Exchange(example.feed, (example.assets[0], twice)))
    assert [fault.column for fault in faults] == ["wire_symbol"]
