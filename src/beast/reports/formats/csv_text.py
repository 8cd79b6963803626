"""Reports and records as CSV (RFC 4180), safe to be opened in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence

import msgspec

from beast.reports.asking import stamp, write_place
from beast.reports.lines import FIGURES, About, Line
from beast.reports.types import DIMENSIONS, Dimension, Record

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet takes a text that begins so for a formula, and runs it."""
COLUMNS = (*FIGURES, "timed", "assets", "keys", "first_at", "last_at", "records")
RECORD_COLUMNS = (*(field.name for field in msgspec.structs.fields(Record)), "after")


class CsvReport:
    """One table: `by` names the grouping of a line, and each dimension that is asked for has a column."""

    def __init__(self) -> None:
        self._dimensions: tuple[Dimension, ...] = ()

    def begin(self, about: About) -> bytes:
        """The head."""
        wanted = {name for grouping in about.groupings for name in grouping}
        self._dimensions = tuple(name for name in DIMENSIONS if name in wanted)
        return _table([("by", *self._dimensions, *COLUMNS)])

    def lines(self, lines: Sequence[Line]) -> bytes:
        """The next lines."""
        return _table(self._row(line) for line in lines)

    def _row(self, line: Line) -> list[object]:
        cells = line.cells()
        return ["/".join(line.by) or "total", *(cells.get(name) for name in (*self._dimensions, *COLUMNS))]

    def end(self) -> bytes:
        """Nothing."""
        return b""


class CsvRecords:
    """One line a record; its column `after` is where the page behind it begins."""

    def begin(self) -> bytes:
        """The head."""
        return _table([RECORD_COLUMNS])

    def records(self, records: Sequence[Record]) -> bytes:
        """The next ones."""
        return _table(
            [*{**msgspec.structs.asdict(record), "at": stamp(record.at)}.values(), write_place(record.place)]
            for record in records
        )

    def end(self, _following: str | None) -> bytes:
        """Nothing."""
        return b""


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: an apostrophe before a text that looks like one."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(DANGEROUS) else cell


def _table(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
