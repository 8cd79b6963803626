"""Charts drawn with a PDF's own lines and rectangles."""

import math
from collections.abc import Sequence

from fpdf import FPDF

from beast.reports.formats.words import BLUE, FAINT, GREEN, GRID, INK, ORANGE

STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
AXIS_MM = 14
"""Room for the numbers beside a chart."""
LABELS = 12
"""Along an axis of time, at most."""


def latin(text: str) -> str:
    """What the fonts that every reader of PDFs has can show; all else by its number in Unicode."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown.encode("latin-1", "backslashreplace").decode("latin-1")


def ceiling(highest: float, parts: int = 0) -> tuple[float, int]:
    """A round number not below `highest`, and into how many equal parts an axis up to it is divided.

    Args:
        highest: What the axis has to show.
        parts: As many parts are wanted; 0: as it comes.
    """
    if highest <= 0:
        return float(parts or 1), parts or 1
    rough = highest / (parts or 4)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in STEPS if step * magnitude >= rough - 1e-9 * magnitude) * magnitude
    parts = parts or max(1, math.ceil(highest / step - 1e-9))
    return step * parts, parts


def short(number: float) -> str:
    """A number on an axis: 1,200 as 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def clipped(pdf: FPDF, text: str, width: float) -> str:
    """As much of a text as fits into `width` mm."""
    text = latin(text)
    if pdf.get_string_width(text) <= width:
        return text
    while text and pdf.get_string_width(text + "...") > width:
        text = text[:-1]
    return text + "..."


def over_time(
    pdf: FPDF,
    box: tuple[float, float, float, float],
    labels: Sequence[str],
    sizes: Sequence[int],
    lines: Sequence[float | None],
) -> None:
    """Columns of a count, with the numbers on the left, and a line of a latency in µs, with those on the right.

    Args:
        pdf: Where to.
        box: x, y, width and height in mm, numbers and labels included.
        labels: Of the columns.
        sizes: Their heights.
        lines: The latency at each; None where there is none.
    """
    x, y, width, height = box[0] + AXIS_MM, box[1] + 6, box[2] - 2 * AXIS_MM, box[3] - 12
    top, parts = ceiling(max(sizes, default=0))
    high, _ = ceiling(max((each for each in lines if each is not None), default=0.0), parts)
    pdf.set_font("helvetica", size=7)
    _legend(pdf, box, (("Answers", BLUE), ("p95 latency, µs", ORANGE)))
    pdf.set_line_width(0.1)
    pdf.set_draw_color(GRID)
    pdf.set_text_color(FAINT)
    for part in range(parts + 1):
        level = y + height - height * part / parts
        pdf.line(x, level, x + width, level)
        pdf.set_xy(x - AXIS_MM, level - 2)
        pdf.cell(AXIS_MM - 1.5, 4, short(top * part / parts), align="R")
        pdf.set_xy(x + width + 1.5, level - 2)
        pdf.cell(AXIS_MM - 1.5, 4, short(high * part / parts), align="L")
    slot = width / max(len(sizes), 1)
    pdf.set_fill_color(BLUE)
    for number, size in enumerate(sizes):
        tall = height * size / top
        if tall:
            pdf.rect(x + slot * (number + 0.15), y + height - tall, slot * 0.7, tall, style="F")
    pdf.set_draw_color(ORANGE)
    pdf.set_line_width(0.5)
    before: tuple[float, float] | None = None
    for number, each in enumerate(lines):
        here = None if each is None else (x + slot * (number + 0.5), y + height - height * each / high)
        if here and before:
            pdf.line(*before, *here)
        elif here:
            pdf.line(here[0] - 0.2, here[1], here[0] + 0.2, here[1])
        before = here
    every = math.ceil(len(labels) / LABELS) or 1
    for number in range(0, len(labels), every):
        pdf.set_xy(x + slot * (number + 0.5) - 12, y + height + 1)
        pdf.cell(24, 4, latin(labels[number]), align="C")


def by_size(
    pdf: FPDF, box: tuple[float, float, float, float], title: str, bars: Sequence[tuple[str, int, str]]
) -> None:
    """Bars from left to right, the longest first.

    Args:
        pdf: Where to.
        box: x, y, width and height in mm.
        title: Above them.
        bars: Of each its name, its size and what stands behind it.
    """
    x, y, width, height = box
    pdf.set_xy(x, y)
    pdf.set_font("helvetica", "B", 9)
    pdf.set_text_color(INK)
    pdf.cell(width, 5, clipped(pdf, title, width))
    pdf.set_font("helvetica", size=7.5)
    tall = min(6.0, (height - 7) / max(len(bars), 1))
    named, told = width * 0.3, 13.0
    longest = max((size for _, size, _ in bars), default=0) or 1
    pdf.set_fill_color(GREEN)
    for number, (name, size, behind) in enumerate(bars):
        level = y + 7 + tall * number
        pdf.set_text_color(INK)
        pdf.set_xy(x, level)
        pdf.cell(named, tall, clipped(pdf, name, named - 1))
        long = (width - named - told) * size / longest
        if long:
            pdf.rect(x + named, level + tall * 0.2, long, tall * 0.6, style="F")
        pdf.set_text_color(FAINT)
        pdf.set_xy(x + named + long + 1, level)
        pdf.cell(told, tall, latin(behind))


def _legend(pdf: FPDF, box: tuple[float, float, float, float], entries: Sequence[tuple[str, str]]) -> None:
    x = box[0] + AXIS_MM
    for text, colour in entries:
        pdf.set_fill_color(colour)
        pdf.rect(x, box[1] + 1, 3, 3, style="F")
        pdf.set_text_color(FAINT)
        pdf.set_xy(x + 4, box[1])
        pdf.cell(40, 5, latin(text))
        x += 8 + pdf.get_string_width(latin(text))
