"""Rows as a draft would make them, and rows as they would be without it. No I/O."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from beast.base.errors import BeastError
from beast.feeds.admin.rows import BATCH_MAX, merged_feed, unstorable
from beast.feeds.rows.files import AssetCheck, Exchange, Fault, RowsError, convert_row, validate
from beast.feeds.shadow.types import Change
from beast.feeds.store import full
from beast.feeds.turns import in_turns
from beast.feeds.types import Feed
from beast.feeds.types import Mapping as Row

_LEFT_OUT: Final = {"id", "updated_at"}
"""What listings of assets say beside the row."""


def change_of(exchange: Exchange, *, replace: bool = False) -> Change:
    """The change that makes rows what a file says: it leaves no column as it was."""
    return Change(full(exchange.feed), tuple(full(row) for row in exchange.assets), replace)


async def merge(change: Change, current: Exchange | None) -> Exchange:
    """The whole rows that a change makes of those there are.

    Args:
        change: What differs.
        current: The exchange's rows; None: it is new.

    Raises:
        RowsError: They can't be meant, with every fault found.
        BeastError: They are too many.
    """
    if len(change.assets) > BATCH_MAX:
        raise BeastError(f"a draft has at most {BATCH_MAX} assets, not {len(change.assets)}", where=change.exchange)
    # What goes live is on, also when the exchange is off until then.
    feed = merged_feed({"enabled": True, **change.feed}, full(current.feed) if current else None)
    faults: list[Fault] = []
    if not feed.enabled:
        faults.append(Fault("feed", "enabled", "a draft that goes live is on: leave this out"))
    stored = {row.asset: row for row in current.assets} if current else {}
    given: dict[str, Row] = {}
    async for part in in_turns(list(enumerate(change.assets))):
        for number, columns in part:
            row = _merged_row(feed, number, columns, stored, faults)
            if row is not None and given.setdefault(row.asset, row) is not row:
                faults.append(Fault(f"assets.{number} ({row.asset})", "asset", "is named twice"))
    rows = given if change.replace else stored | given
    check = AssetCheck(feed)
    assets = tuple(rows[name] for name in sorted(rows))
    async for rest in in_turns(assets):
        for row in rest:
            faults += check.faults(row)
    if faults:
        raise RowsError(faults, where=feed.name)
    return Exchange(feed, assets)


def without(promoted: Exchange, base: Exchange, current: Exchange) -> Exchange:
    """`current` as it would be had `base` never become `promoted`. What others have changed since stays.

    Where the two don't go together any more, it is `base`.
    """
    feed = msgspec.structs.replace(
        current.feed,
        **{
            name: getattr(base.feed, name)
            for name in Feed.__struct_fields__
            if getattr(promoted.feed, name) == getattr(current.feed, name)
        },
    )
    before, then, now = ({row.asset: row for row in each.assets} for each in (base, promoted, current))
    assets = {
        asset: before.get(asset) if then.get(asset) == now.get(asset) else now.get(asset)
        for asset in before | then | now
    }
    kept = tuple(row for _, row in sorted(assets.items()) if row is not None)
    found = Exchange(feed, kept)
    return base if validate(found) else found


def digest(exchange: Exchange) -> str:
    """Equal rows have equal digests, in whatever order their assets stand."""
    rows = sorted(exchange.assets, key=lambda row: row.asset)
    text = msgspec.json.encode([full(exchange.feed), [full(row) for row in rows]], order="sorted")
    return hashlib.sha256(text).hexdigest()


def _merged_row(
    feed: Feed, number: int, columns: Mapping[str, Any], stored: Mapping[str, Row], faults: list[Fault]
) -> Row | None:
    asset = columns.get("asset")
    place = f"assets.{number} ({asset})" if asset else f"assets.{number}"
    if columns.get("exchange") not in {None, "", feed.name}:
        faults.append(Fault(place, "exchange", f"{columns['exchange']!r} is not the feed's name, {feed.name!r}"))
    faults += [Fault(place, *each) for each in unstorable(columns)]
    old = stored.get(asset) if isinstance(asset, str) else None
    given = {name: value for name, value in columns.items() if name not in _LEFT_OUT}
    return convert_row({**(full(old) if old else {}), **given, "exchange": feed.name}, Row, place, faults)
