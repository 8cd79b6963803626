"""A report as a spreadsheet: figures and charts on the first sheet, then a sheet for each grouping."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import xlsxwriter

from beast.reports.formats.words import BAND, BLUE, FAINT, GREEN, INK, ORANGE, TITLES, period_of, scope_of, title_of
from beast.reports.lines import About, Line
from beast.reports.types import TIMES, Grouping

ROWS_MAX = 1_000_000
"""Of one sheet, below the format's own 1,048,576; what is more goes on the next one."""
CHARTED = 15
"""Groups that a chart of sizes shows."""
NAME_MAX = 31
GRIDLINES = {"major_gridlines": {"visible": True, "line": {"color": BAND}}}
FIGURES: tuple[tuple[str, str, str, int], ...] = (
    ("answers", "Answers", "count", 11),
    ("share", "Share", "percent", 9),
    ("prices", "Prices", "count", 11),
    ("p50_us", "p50 µs", "micros", 11),
    ("p95_us", "p95 µs", "micros", 11),
    ("p99_us", "p99 µs", "micros", 11),
    ("tier_1", "Tier 1", "count", 11),
    ("tier_2", "Tier 2", "count", 11),
    ("tier_3", "Tier 3", "count", 11),
    ("hit_rate", "Hit rate", "percent", 10),
    ("timed", "Timed", "count", 11),
    ("assets", "Assets", "count", 9),
    ("keys", "API keys", "count", 9),
    ("first_at", "First (UTC)", "moment", 20),
    ("last_at", "Last (UTC)", "moment", 20),
    ("records", "Records behind it", "text", 60),
)
"""(name, title, format, width) of each column behind those of the dimensions."""
FORMATS: dict[str, dict[str, Any]] = {
    "text": {},
    "count": {"num_format": "#,##0"},
    "percent": {"num_format": "0.0 %"},
    "micros": {"num_format": "#,##0.0"},
    "day": {"num_format": "yyyy-mm-dd", "align": "left"},
    "moment": {"num_format": "yyyy-mm-dd hh:mm:ss", "align": "left"},
    "head": {"bold": True, "bg_color": BAND, "bottom": 1, "bottom_color": FAINT, "align": "left"},
    "right": {"bold": True, "bg_color": BAND, "bottom": 1, "bottom_color": FAINT, "align": "right"},
    "title": {"bold": True, "font_size": 20, "font_color": INK},
    "faint": {"font_color": FAINT},
    "big": {"bold": True, "font_size": 14, "num_format": "#,##0", "align": "left"},
    "big_percent": {"bold": True, "font_size": 14, "num_format": "0.0 %", "align": "left"},
    "big_micros": {"bold": True, "font_size": 14, "num_format": '#,##0.0 "µs"', "align": "left"},
}
TILES: tuple[tuple[tuple[str, str, str], ...], ...] = (
    (("answers", "Answers", "big"), ("hit_rate", "Hit rate", "big_percent"), ("assets", "Assets", "big")),
    (("prices", "Prices", "big"), ("p50_us", "p50", "big_micros"), ("keys", "API keys", "big")),
    (("timed", "Timed", "big"), ("p95_us", "p95", "big_micros"), ("p99_us", "p99", "big_micros")),
)
"""Rows of (name, title, format) on the first sheet."""


def write_xlsx(about: About, lines: Iterator[Line], target: Path) -> None:
    """Writes the file; what is written is on the disk, not in memory, whatever the number of lines."""
    options = {
        "constant_memory": True,
        "tmpdir": str(target.parent),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "default_date_format": "yyyy-mm-dd",
    }
    book = xlsxwriter.Workbook(str(target), options)
    try:
        # What LibreOffice and Excel show before they recalculate is what was written: there are no formulas at all.
        book.set_properties({"title": "Usage report", "comments": scope_of(about), "created": about.generated_at})
        Book(book, about).write(lines)
    finally:
        book.close()


class Book:
    """One workbook in the making."""

    def __init__(self, book: Any, about: About) -> None:
        self._book = book
        self._about = about
        self._formats = {name: book.add_format(how) for name, how in FORMATS.items()}
        self._names: set[str] = set()
        self._summary = book.add_worksheet("Summary")
        self._row = 0
        self._charts = 0

    def write(self, lines: Iterator[Line]) -> None:
        """The first sheet from the first line, then one sheet (or more) for each grouping."""
        self._head(next(lines))
        found = groupby(lines, key=lambda line: line.by)
        written = set()
        for by, group in found:
            written.add(by)
            self._grouping(by, group)
        for by in self._about.groupings:
            if by not in written:
                self._grouping(by, iter(()))

    def _head(self, totals: Line) -> None:
        sheet, formats, cells = self._summary, self._formats, totals.cells()
        sheet.hide_gridlines(2)
        self._print(sheet, pages=1)
        sheet.set_column(0, 11, 14)
        sheet.set_row(0, 30)
        sheet.write_string(0, 0, "Usage report", formats["title"])
        sheet.write_string(1, 0, period_of(self._about), formats["faint"])
        sheet.write_string(2, 0, scope_of(self._about), formats["faint"])
        generated = f"made {self._about.generated_at:%Y-%m-%d %H:%M:%S} UTC by {self._about.node}"
        sheet.write_string(3, 0, generated, formats["faint"])
        for number, tiles in enumerate(TILES):
            row = 5 + 3 * number
            for column, (_, title, _) in enumerate(tiles):
                sheet.write_string(row, 2 * column, title, formats["faint"])
            sheet.set_row(row + 1, 22)
            for column, (name, _, how) in enumerate(tiles):
                self._put(sheet, row + 1, 2 * column, cells[name], how)
        self._row = 6 + 3 * len(TILES)

    def _print(self, sheet: Any, *, pages: int = 0) -> None:
        """On paper: across, as wide as one page, and as many of them as it takes unless `pages` says how many."""
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, pages)
        sheet.set_footer(f"&L{period_of(self._about)}&Rpage &P of &N")

    def _grouping(self, by: Grouping, lines: Iterable[Line]) -> None:
        sheet, row, widths = self._sheet(by), 0, [12] * len(by)
        first = sheet
        for line in lines:
            if row == ROWS_MAX:
                self._finish(sheet, by, row, widths)
                sheet, row = self._sheet(by), 0
            row += 1
            self._line(sheet, row, line, widths)
        self._finish(sheet, by, row, widths)
        if len(by) == 1 and row:
            self._chart(by, first, row)

    def _sheet(self, by: Grouping) -> Any:
        """A new sheet of this grouping, with its head."""
        title, number = title_of(by)[:NAME_MAX], 2
        while title in self._names:
            title, number = f"{title_of(by)[: NAME_MAX - 4]} ({number})", number + 1
        self._names.add(title)
        sheet = self._book.add_worksheet(title)
        for column, name in enumerate(by):
            sheet.write_string(0, column, TITLES[name], self._formats["head"])
        for column, (_, title, how, _) in enumerate(FIGURES, len(by)):
            sheet.write_string(0, column, title, self._formats["head" if how in {"text", "moment"} else "right"])
        sheet.freeze_panes(1, len(by))
        sheet.repeat_rows(0)
        self._print(sheet)
        return sheet

    def _line(self, sheet: Any, row: int, line: Line, widths: list[int]) -> None:
        for column, (name, value) in enumerate(zip(line.by, line.values, strict=True)):
            if name in TIMES:
                at = datetime.fromisoformat(str(value)).replace(tzinfo=None)
                sheet.write_datetime(row, column, at, self._formats["day" if name == "day" else "moment"])
                widths[column] = 20 if name == "hour" else 12
            elif isinstance(value, int):
                sheet.write_number(row, column, value)
            else:
                sheet.write_string(row, column, value)
                widths[column] = max(widths[column], min(len(value) + 2, 40))
        cells = line.cells() | {"first_at": line.figures.first_at, "last_at": line.figures.last_at}
        cells["records"] = self._about.origin + line.records
        for column, (figure, _, how, _) in enumerate(FIGURES, len(line.by)):
            self._put(sheet, row, column, cells[figure], how)

    def _put(self, sheet: Any, row: int, column: int, value: Any, how: str) -> None:
        if value is None:
            sheet.write_blank(row, column, None, self._formats[how])
        elif isinstance(value, datetime):
            sheet.write_datetime(row, column, value.replace(tzinfo=None), self._formats[how])
        elif isinstance(value, str):
            sheet.write_string(row, column, value, self._formats[how])
        else:
            sheet.write_number(row, column, value, self._formats[how])

    def _finish(self, sheet: Any, by: Grouping, rows: int, widths: list[int]) -> None:
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        for column, (_, _, _, width) in enumerate(FIGURES, len(by)):
            sheet.set_column(column, column, width)
        sheet.autofilter(0, 0, rows, len(by) + len(FIGURES) - 1)

    def _chart(self, by: Grouping, sheet: Any, rows: int) -> None:
        """One more chart on the first sheet, two in a row."""
        timed = by[0] in TIMES
        last = rows if timed else min(rows, CHARTED)
        chart = self._book.add_chart({"type": "column" if timed else "bar"})
        places = [sheet.name, 1, 0, last, 0]
        columns = {name: number for number, (name, *_) in enumerate(FIGURES, 1)}
        chart.add_series(
            {
                "name": "Answers",
                "categories": places,
                "values": [sheet.name, 1, columns["answers"], last, columns["answers"]],
                "fill": {"color": BLUE if timed else GREEN},
                "gap": 40,
            }
        )
        if timed:
            latency = self._book.add_chart({"type": "line"})
            latency.add_series(
                {
                    "name": "p95, µs",
                    "categories": places,
                    "values": [sheet.name, 1, columns["p95_us"], last, columns["p95_us"]],
                    "line": {"color": ORANGE, "width": 1.75},
                    "y2_axis": True,
                }
            )
            chart.combine(latency)
            latency.set_y2_axis({"num_format": "#,##0", "min": 0, "line": {"none": True}})
            chart.set_x_axis({"num_format": "mm-dd" if by[0] == "day" else "mm-dd hh", "text_axis": True})
        else:
            chart.set_x_axis({"num_format": "#,##0", "min": 0, "label_position": "high", **GRIDLINES})
            chart.set_y_axis({"reverse": True, "major_gridlines": {"visible": False}})
        if timed:
            chart.set_y_axis({"num_format": "#,##0", "min": 0, **GRIDLINES})
        chart.set_title({"name": title_of(by), "name_font": {"size": 12, "color": INK}, "overlay": False})
        chart.set_legend({"position": "bottom"} if timed else {"none": True})
        chart.set_size({"width": 600, "height": 300})
        place = (self._row + 16 * (self._charts // 2), 6 * (self._charts % 2))
        self._summary.insert_chart(*place, chart, {"object_position": 2})
        self._charts += 1
