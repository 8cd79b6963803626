"""What the exchange admin may store: rows from outside, merged with those in the tables and checked. No I/O."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from beast.base.errors import BeastError
from beast.feeds.rows.files import AssetCheck, Fault, RowsError, convert_row, feed_faults
from beast.feeds.turns import in_turns
from beast.feeds.types import Feed
from beast.feeds.types import Mapping as Row

BATCH_MAX: Final = 10_000
"""Rows saved at once."""
TOLD_MAX: Final = 1_000
"""Faults told of one batch."""
_FIELD: Final = re.compile(r"field `([^`]+)`")
_COLUMNS: Final = frozenset(Row.__struct_fields__)

Columns = Mapping[str, Any]
"""A row as JSON has it."""


class AssetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `exchange_asset_map` as the admin sees it."""

    id: int
    exchange: str
    asset: str
    symbol: str
    wire_symbol: str
    currency: str
    enabled: bool
    prewarm: bool
    category: str
    band_bps: int | None
    updated_at: datetime


class RowFault(msgspec.Struct, frozen=True):
    """What is wrong with one row of a batch."""

    row: int
    """Its place in the batch, from 0."""
    column: str
    reason: str


class BatchError(BeastError):
    """Rows of a batch can't be stored; nothing has changed.

    Args:
        faults: The first TOLD_MAX of them.
        rows: How many there are in the batch.
    """

    def __init__(self, faults: Sequence[RowFault], rows: int) -> None:
        self.faults = tuple(faults[:TOLD_MAX])
        bad = len({fault.row for fault in faults})
        first = f"row {faults[0].row}, {faults[0].column}: {faults[0].reason}"
        super().__init__(f"{bad} of {rows} rows can't be stored, so none is; {first}")


def merged_feed(columns: Columns, old: Columns | None, assets: Iterable[Row] = ()) -> Feed:
    """An exchange's row after a save: columns that are not named stay, or have their defaults in a new row.

    Args:
        columns: Those given.
        old: The row in the table; None when there is none.
        assets: The exchange's rows, which must go together with it.

    Raises:
        RowsError: With every fault found.
    """
    faults: list[Fault] = []
    feed = convert_row({**(old or {}), **columns}, Feed, "feed", faults)
    faults = [_named(fault) for fault in faults]
    if feed is not None:
        faults = feed_faults(feed) + [Fault("feed", *each) for each in unstorable(columns)]
        if not faults:
            check = AssetCheck(feed)
            faults = [fault for asset in assets for fault in check.faults(asset)]
    if feed is None or faults:
        raise RowsError(faults, where=str(columns.get("name", "")))
    return feed


def fault_of(columns: Columns) -> str:
    """What is wrong with a row of `exchange_feeds` as it stands in the table; empty when nothing is."""
    try:
        faults = feed_faults(msgspec.convert(columns, Feed))
    except msgspec.ValidationError as error:
        return f"the row can't be read: {error}"
    return "; ".join(str(fault) for fault in faults)


class AssetBatch:
    """Rows of `exchange_asset_map` from outside, on their way into the table.

    A row is told by its exchange and asset. What it leaves out stays as it is, or has its default in a new row.

    Args:
        size: How many rows it will have.
        exchange: Of all rows that don't name theirs.

    Raises:
        BeastError: It has none, or too many.
    """

    def __init__(self, size: int, exchange: str = "") -> None:
        if not 0 < size <= BATCH_MAX:
            raise BeastError(f"a batch has 1 to {BATCH_MAX} rows, not {size}")
        self.faults: list[RowFault] = []
        self._size = size
        self._exchange = exchange
        self._rows: dict[tuple[str, str], tuple[int, Columns]] = {}

    @classmethod
    async def read(cls, rows: Sequence[msgspec.Raw], exchange: str = "") -> "AssetBatch":
        """The batch of these JSON objects; an `id` in them is checked, never written."""
        batch = cls(len(rows), exchange)
        async for part in in_turns(list(enumerate(rows))):
            for number, row in part:
                batch._add(number, msgspec.json.decode(row))
        return batch

    @property
    def exchanges(self) -> list[str]:
        """Those that rows are of, by name."""
        return sorted({exchange for exchange, _ in self._rows})

    def _add(self, number: int, row: Any) -> None:
        if not isinstance(row, dict):
            self._fault(number, "", "is no object")
            return
        exchange, asset = row.get("exchange") or self._exchange, row.get("asset")
        for column, value in (("exchange", exchange), ("asset", asset)):
            if not isinstance(value, str) or not value:
                self._fault(number, column, "is missing, or no text")
                return
        key = str(exchange), str(asset)
        first, _ = self._rows.setdefault(key, (number, row))
        if first != number:
            self._fault(number, "asset", f"{key[1]!r} of {key[0]} stands in row {first} already")

    async def merge(
        self, feeds: Mapping[str, Feed], stored: Mapping[tuple[str, str], AssetRow]
    ) -> dict[str, list[Row]]:
        """The rows to write, whole and valid, by exchange.

        Args:
            feeds: The exchanges' own rows by name.
            stored: All rows there are of these exchanges.

        Raises:
            BatchError: With every fault found.
        """
        checks = {name: AssetCheck(feed) for name, feed in feeds.items()}
        # First those that stay, so that a clash is told of the row that brings it.
        async for part in in_turns([row for key, row in stored.items() if key not in self._rows]):
            for row in part:
                checks[row.exchange].faults(mapping_of(row))
        merged: defaultdict[str, list[Row]] = defaultdict(list)
        async for pairs in in_turns(list(self._rows.items())):
            for key, (number, columns) in pairs:
                if mapping := self._merged(number, key, columns, stored.get(key), checks.get(key[0])):
                    merged[key[0]].append(mapping)
        await asyncio.sleep(0)
        if self.faults:
            raise BatchError(sorted(self.faults, key=lambda fault: fault.row), self._size)
        return merged

    def _merged(
        self, number: int, key: tuple[str, str], columns: Columns, old: AssetRow | None, check: AssetCheck | None
    ) -> Row | None:
        if check is None:
            self._fault(number, "exchange", f"there is no exchange {key[0]!r} that can be read")
            return None
        if (told := columns.get("id")) is not None and (old is None or told != old.id):
            self._fault(number, "id", f"{told!r} is not the id of {key[1]} at {key[0]}")
            return None
        given = {name: value for name, value in columns.items() if name not in {"id", "updated_at"}}
        before = {name: getattr(old, name) for name in _COLUMNS} if old else {}
        faults: list[Fault] = []
        mapping = convert_row({**before, **given, "exchange": key[0]}, Row, "", faults)
        if mapping is not None:
            faults = check.faults(mapping, f"row {number} ({key[1]})")
        for fault in map(_named, faults):
            self._fault(number, fault.column, fault.reason)
        for column, reason in unstorable(given):
            self._fault(number, column, reason)
        return mapping

    def _fault(self, row: int, column: str, reason: str) -> None:
        self.faults.append(RowFault(row, column, reason))


def mapping_of(row: AssetRow) -> Row:
    """The row as the feeds read it."""
    return Row(**{name: getattr(row, name) for name in Row.__struct_fields__})


def unstorable(columns: Columns) -> Iterable[tuple[str, str]]:
    """PostgreSQL's text holds every character but one."""
    for column, value in columns.items():
        if _holds_nul(value):
            yield column, "holds the character NUL"


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_nul, inner))


def _named(fault: Fault) -> Fault:
    """A fault whose column msgspec tells in its words alone: a field that is missing or not known."""
    field = None if fault.column else _FIELD.search(fault.reason)
    return fault._replace(column=field[1]) if field else fault
