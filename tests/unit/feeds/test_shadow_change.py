"""What a draft makes of rows, and what is left of rows without it."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.fixtures.rows import example_exchange

from beast.base.errors import BeastError
from beast.feeds.admin.rows import BATCH_MAX
from beast.feeds.rows.files import Exchange, RowsError
from beast.feeds.shadow.change import change_of, digest, merge, without
from beast.feeds.shadow.types import Change
from beast.feeds.types import Feed, Mapping

pytestmark = pytest.mark.anyio

NAME = "binance"


def exchange() -> Exchange:
    found = example_exchange()
    return Exchange(found.feed, tuple(sorted(found.assets, key=lambda row: row.asset)))


def of(rows: Exchange, asset: str) -> Mapping | None:
    return next((row for row in rows.assets if row.asset == asset), None)


async def test_a_file_is_a_change_that_leaves_no_column_as_it_was() -> None:
    rows = exchange()
    assert await merge(change_of(rows), None) == rows
    other = Exchange(replace(rows.feed, priority=1, symbol_fold="none"), rows.assets[:1])
    assert (await merge(change_of(rows), other)) == rows
    kept = await merge(change_of(Exchange(rows.feed, rows.assets[:1])), rows)
    assert kept == rows
    replaced = await merge(change_of(Exchange(rows.feed, rows.assets[:1]), replace=True), rows)
    assert replaced == Exchange(rows.feed, rows.assets[:1])


async def test_a_change_of_single_columns_keeps_all_others() -> None:
    rows = exchange()
    change = Change(
        {"name": NAME, "priority": 3},
        ({"asset": "BTC", "band_bps": 7, "id": 12}, {"asset": "NEW", "symbol": "newusdt", "currency": "USDT"}),
    )
    merged = await merge(change, rows)
    assert merged.feed == replace(rows.feed, priority=3)
    bitcoin, old = of(merged, "BTC"), of(rows, "BTC")
    assert old is not None
    assert bitcoin == replace(old, band_bps=7)
    assert of(merged, "NEW") == Mapping(exchange=NAME, asset="NEW", symbol="newusdt", currency="USDT")
    assert len(merged.assets) == len(rows.assets) + 1


async def test_what_goes_live_is_on() -> None:
    rows = exchange()
    off = Exchange(replace(rows.feed, enabled=False), rows.assets)
    assert (await merge(Change({"name": NAME}), off)).feed.enabled
    with pytest.raises(RowsError, match="enabled: a draft that goes live is on"):
        await merge(Change({"name": NAME, "enabled": False}), rows)


BAD: list[tuple[dict[str, Any], tuple[dict[str, Any], ...], str]] = [
    ({"name": NAME, "price_path": "a..b"}, (), "price_path"),
    ({"name": NAME, "colour": 1}, (), "colour"),
    ({"name": NAME, "display_name": "\0"}, (), "display_name: holds the character NUL"),
    ({"name": NAME}, ({"asset": "NEW"},), r"assets\.0 \(NEW\), symbol|assets\.0 \(NEW\): .*symbol"),
    ({"name": NAME}, ({"asset": "BTC", "symbol": "ethusdt"},), "stands in"),
    ({"name": NAME}, ({"asset": "BTC", "exchange": "okx"},), "is not the feed's name"),
    ({"name": NAME}, ({"asset": "BTC"}, {"asset": "BTC"}), "is named twice"),
    ({"name": NAME}, ({"asset": "BTC", "symbol": "a\0"},), "holds the character NUL"),
    ({"name": NAME}, ({"asset": 7},), "assets"),
    ({"name": NAME}, ({},), "assets"),
]


@pytest.mark.parametrize(("feed", "assets", "told"), BAD)
async def test_a_draft_that_could_not_run_is_refused_by_column_and_reason(
    feed: dict[str, Any], assets: tuple[dict[str, Any], ...], told: str
) -> None:
    with pytest.raises(RowsError, match=told):
        await merge(Change(feed, assets), exchange())


async def test_a_new_exchange_needs_all_that_has_no_default_and_assets_have_a_limit() -> None:
    with pytest.raises(RowsError, match="ws_url"):
        await merge(Change({"name": "new"}), None)
    with pytest.raises(BeastError, match="at most"):
        await merge(Change({"name": NAME}, ({"asset": "X"},) * (BATCH_MAX + 1)), exchange())


def test_without_a_draft_rows_are_as_before_but_for_what_others_have_changed() -> None:
    base = exchange()
    bitcoin, ether, *rest = base.assets
    added = Mapping(exchange=NAME, asset="ZZZ", symbol="zzzusdt", currency="USDT")
    promoted = Exchange(
        replace(base.feed, priority=3, price_path="data.q"), (replace(bitcoin, band_bps=7), *rest, added)
    )
    # Nobody else has done anything: all is as it was.
    assert without(promoted, base, promoted) == base
    # The prewarming of one asset, the priority, and an asset of their own.
    own = Mapping(exchange=NAME, asset="OWN", symbol="ownusdt", currency="USDT")
    current = Exchange(
        replace(promoted.feed, priority=5),
        (replace(bitcoin, band_bps=9), replace(rest[0], prewarm=False), *rest[1:], added, own),
    )
    found = without(promoted, base, current)
    assert found.feed == replace(base.feed, priority=5)
    wanted = [replace(bitcoin, band_bps=9), ether, replace(rest[0], prewarm=False), *rest[1:], own]
    assert found.assets == tuple(sorted(wanted, key=lambda row: row.asset))


def test_where_that_would_not_go_together_all_is_as_before() -> None:
    base = exchange()
    bitcoin, *rest = base.assets
    promoted = Exchange(base.feed, (replace(bitcoin, symbol="xbtusdt"), *rest))
    clash = Mapping(exchange=NAME, asset="ZZZ", symbol=bitcoin.symbol, currency="USDT")
    assert without(promoted, base, Exchange(base.feed, (*promoted.assets, clash))) == base


def test_a_digest_tells_rows_apart_and_nothing_else() -> None:
    rows = exchange()
    assert digest(rows) == digest(Exchange(rows.feed, rows.assets[::-1]))
    assert digest(rows) != digest(Exchange(replace(rows.feed, priority=8), rows.assets))
    assert digest(rows) != digest(Exchange(rows.feed, rows.assets[1:]))
    copy = msgspec.convert(msgspec.to_builtins(rows.feed), Feed)
    assert digest(Exchange(copy, rows.assets)) == digest(rows)
