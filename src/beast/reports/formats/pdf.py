"""A report as a PDF: figures and charts on the first page, then a table for each grouping."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from beast.reports.formats.charts import by_size, clipped, latin, over_time
from beast.reports.formats.words import (
    BAND,
    BLUE,
    FAINT,
    GRID,
    INK,
    TITLES,
    micros,
    percent,
    period_of,
    scope_of,
    title_of,
    value_of,
)
from beast.reports.lines import About, Line
from beast.reports.types import TIMES, Grouping

ROWS_MAX = 500
"""Lines of one table: a reader of paper has had enough, and CSV has them all."""
COLUMNS_MAX = 92
"""Columns of a chart over time; more are put together."""
BARS = 8
TOGETHER = 12
"""Rows of a table that a page has room for, or it begins on the next one."""
MARGIN = 14.0
ROW_MM = 5.2
FIGURES: tuple[tuple[str, str, float], ...] = (
    ("answers", "Answers", 22),
    ("share", "Share", 16),
    ("prices", "Prices", 22),
    ("p50_us", "p50", 21),
    ("p95_us", "p95", 21),
    ("p99_us", "p99", 21),
    ("tier_1", "Tier 1", 20),
    ("tier_2", "Tier 2", 20),
    ("tier_3", "Tier 3", 18),
    ("hit_rate", "Hit rate", 18),
)
"""(name, title, width in mm) of each column behind those of the dimensions."""
TILES = (
    (("Answers", "answers"), ("Prices", "prices"), ("Hit rate", "hit_rate"), ("Assets", "assets")),
    (("p50", "p50_us"), ("p95", "p95_us"), ("p99", "p99_us"), ("API keys", "keys")),
)


def write_pdf(about: About, lines: Iterator[Line], target: Path) -> None:
    """Writes the file."""
    totals = next(lines)
    tables = [Table(by, group) for by, group in groupby(lines, key=lambda line: line.by)]
    document = Document(about)
    document.first_page(totals, tables)
    document.add_page()
    for table in tables:
        document.add_table(table)
    document.output(str(target))


class Table:
    """The lines of one grouping, as many as are shown."""

    def __init__(self, by: Grouping, lines: Iterable[Line]) -> None:
        rest = iter(lines)
        self.by = by
        self.lines = list(islice(rest, ROWS_MAX))
        self.more = sum(1 for _ in rest)

    def columns(self) -> tuple[list[str], list[int], list[float | None]]:
        """Labels, answers and p95 over time; of too many, several become one."""
        step = -(-len(self.lines) // COLUMNS_MAX)
        parts = [self.lines[start : start + step] for start in range(0, len(self.lines), step or 1)]
        labels = [str(part[0].values[0]) for part in parts]
        shown = [label[5:10] if self.by == ("day",) else label[5:13].replace("T", " ") + "h" for label in labels]
        slowest = [max((line.figures.p95_us or 0.0 for line in part), default=0.0) or None for part in parts]
        return shown, [sum(line.figures.answers for line in part) for part in parts], slowest


class Document(FPDF):
    """The document in the making. Everything in mm, on A4, across."""

    def __init__(self, about: About) -> None:
        super().__init__(orientation="landscape", format="A4")
        self._about = about
        self.set_creation_date(about.generated_at)
        self.set_title("Usage report")
        self.set_subject(latin(scope_of(about)))
        self.set_creator("Beast")
        self.set_margins(MARGIN, MARGIN, MARGIN)
        self.set_auto_page_break(auto=False)

    def footer(self) -> None:
        """What every page ends with."""
        self.set_y(-10)
        self.set_font("helvetica", size=7.5)
        self.set_text_color(FAINT)
        self.cell(0, 4, latin(f"Usage report, {period_of(self._about)}; {self._about.node}"))
        self.set_x(MARGIN)
        self.cell(0, 4, f"page {self.page_no()} of {{nb}}", align="R")

    def first_page(self, totals: Line, tables: Sequence[Table]) -> None:
        """Title, the figures of everything, and up to five charts."""
        self.add_page()
        self.set_font("helvetica", "B", 22)
        self.set_text_color(INK)
        self._say("Usage report", 11)
        self.set_font("helvetica", size=10)
        self.set_text_color(FAINT)
        self._say(period_of(self._about), 5)
        self._say(scope_of(self._about), 5)
        self._say(f"made {self._about.generated_at:%Y-%m-%d %H:%M:%S} UTC by {self._about.node}", 5)
        self._tiles(totals, self.get_y() + 3)
        charted = [table for table in tables if len(table.by) == 1 and table.lines]
        timed = next((table for table in charted if table.by[0] in TIMES), None)
        y = 76.0
        if timed is not None:
            over_time(self, (MARGIN, y, self.epw, 60), *timed.columns())
            y += 64
        sized = [table for table in charted if table.by[0] not in TIMES][:4]
        columns = 2 if timed is None else min(4, max(len(sized), 2))
        wide = (self.epw - 8 * (columns - 1)) / columns
        for number, table in enumerate(sized):
            bars = [
                (value_of(line.by[0], line.values[0]), line.figures.answers, percent(line.share))
                for line in table.lines[:BARS]
            ]
            place = (MARGIN + (wide + 8) * (number % columns), y + 56 * (number // columns))
            by_size(self, (*place, wide, 52), title_of(table.by), bars)

    def add_table(self, table: Table) -> None:
        """One grouping, on as many pages as it takes; every page says again what the columns are."""
        widths = self._widths(table)
        if self.get_y() > MARGIN:
            # A short table stays whole, a long one is not begun at a page's end.
            tall = 16 + ROW_MM * min(len(table.lines), TOGETHER)
            if self.get_y() + 8 + tall > self.h - MARGIN:
                self.add_page()
            else:
                self.ln(8)
        self.set_font("helvetica", "B", 14)
        self.set_text_color(INK)
        self._say(title_of(table.by), 9)
        self._table_head(table.by, widths)
        for number, line in enumerate(table.lines):
            if self.get_y() + ROW_MM > self.h - MARGIN:
                self.add_page()
                self._table_head(table.by, widths)
            self._table_row(line, widths, shaded=number % 2 == 1)
        if table.more:
            self.set_font("helvetica", "I", 8)
            self.set_text_color(FAINT)
            if self.get_y() + ROW_MM > self.h - MARGIN:
                self.add_page()
            self._say(f"and {table.more:,} more: ask for CSV or XLSX, which have them all", ROW_MM)

    def _tiles(self, totals: Line, y: float) -> None:
        cells = totals.cells()
        wide = (self.epw - 9) / 4
        for row, tiles in enumerate(TILES):
            for column, (title, name) in enumerate(tiles):
                x, top = MARGIN + (wide + 3) * column, y + 16 * row
                self.set_fill_color(BAND)
                self.rect(x, top, wide, 14, style="F", round_corners=True, corner_radius=1.5)
                self.set_xy(x + 3, top + 1.5)
                self.set_font("helvetica", size=8)
                self.set_text_color(FAINT)
                self.cell(wide - 6, 4, title)
                self.set_xy(x + 3, top + 5.5)
                self.set_font("helvetica", "B", 14)
                self.set_text_color(INK)
                self.cell(wide - 6, 7, _figure(name, cells[name]))

    def _widths(self, table: Table) -> list[float]:
        """Those of the dimensions share what the figures leave."""
        left = self.epw - sum(width for _, _, width in FIGURES)
        return [left / len(table.by)] * len(table.by) + [width for _, _, width in FIGURES]

    def _table_head(self, by: Grouping, widths: Sequence[float]) -> None:
        self.set_font("helvetica", "B", 8)
        self.set_text_color(INK)
        self.set_fill_color(BAND)
        titles = [*(TITLES[name] for name in by), *(title for _, title, _ in FIGURES)]
        for number, (title, width) in enumerate(zip(titles, widths, strict=True)):
            self.cell(
                width, ROW_MM + 1, clipped(self, title, width - 2), align="L" if number < len(by) else "R", fill=True
            )
        self.ln(ROW_MM + 1)

    def _table_row(self, line: Line, widths: Sequence[float], *, shaded: bool) -> None:
        self.set_font("helvetica", size=8)
        self.set_text_color(INK)
        self.set_draw_color(GRID)
        self.set_line_width(0.1)
        if shaded:
            self.set_fill_color("#F8FAFC")
        texts = [value_of(name, value) for name, value in zip(line.by, line.values, strict=True)]
        cells = line.cells()
        for text, width in zip(texts, widths, strict=False):
            self.cell(width, ROW_MM, clipped(self, text, width - 2), border="B", fill=shaded)
        for (name, _, _), width in zip(FIGURES, widths[len(texts) :], strict=True):
            # The number leads to the records behind it.
            link = self._about.origin + line.records if name == "answers" else ""
            self.set_text_color(BLUE if link else INK)
            self.cell(width, ROW_MM, _figure(name, cells[name]), border="B", align="R", fill=shaded, link=link)
        self.ln(ROW_MM)

    def _say(self, text: str, height: float) -> None:
        self.cell(0, height, clipped(self, text, self.epw), new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _figure(name: str, value: Any) -> str:
    if name in {"share", "hit_rate"}:
        return percent(value)
    return micros(value) if name.endswith("_us") else f"{value:,}"
