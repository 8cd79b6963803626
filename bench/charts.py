"""Draws a run of the load benches: docs/img/{per_core,latency,ladder}.svg. See document.py."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parents[1] / "docs" / "img"
WIDTH, LEFT, RIGHT, TOP = 760, 150, 90, 56
INK, FAINT, OURS, THEIRS = "#333", "#ddd", "#0b6e4f", "#9aa5b1"
COLOURS = ("#0b6e4f", "#c98a12", "#b3392f")
BAR, GAP, PLOT, APART = 16, 10, 260, 28


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, fill: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}"'
    halo = 'paint-order="stroke" stroke="#fff" stroke-width="3"'
    return f"<text {place} {halo}>{escape(words)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = FAINT) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'


def document(title: str, height: float, body: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">'
    ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, ground, text(16, 24, title, size=15), *body, "</svg>", ""])


def short(number: float) -> str:
    """1,234,567 as 1.23M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def per_core(rows: Sequence[dict[str, Any]]) -> str:
    """A bar for each server of each scenario; the peer of the ratio is the limit line."""
    body, y = list[str](), float(TOP)
    for row in rows:
        rates = {row["server"]: float(row["per_core"])}
        rates |= {name: 1e9 / ns for name, ns in {row["against"]: row["against_ns"], **row["beside_ns"]}.items()}
        scale, limit = (WIDTH - LEFT - RIGHT) / max(rates.values()), 1e9 / row["against_ns"]
        body.append(text(16, y + 12, f"{row['scenario']}: {row['ratio']:.2f} of {row['against']}", size=13))
        y += BAR + 6
        end = y + len(rates) * (BAR + 4) - 2
        body.append(line(LEFT + limit * scale, y - 2, LEFT + limit * scale, end, INK))
        for name, rate in rates.items():
            fill = OURS if name.startswith("beast") else THEIRS
            body.append(text(LEFT - 8, y + 12, name, anchor="end"))
            body.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{rate * scale:.1f}" height="{BAR}" fill="{fill}"/>')
            body.append(text(LEFT + rate * scale + 6, y + 12, short(rate)))
            y += BAR + 4
        y += GAP
    return document("Answers a second for one core of processor time", y, body)


class Plot:
    """Both axes logarithmic, a line for each series.

    Args:
        xs: Values of the horizontal axis.
        series: Name and values of each line.
    """

    def __init__(self, xs: Sequence[float], series: Mapping[str, Sequence[float]]) -> None:
        self._xs, self._series = xs, series
        every = [y for ys in series.values() for y in ys if y > 0]
        self._x_low, self._x_high = math.log10(min(xs)), math.log10(max(xs))
        self._y_low, self._y_high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))

    def _x(self, value: float) -> float:
        return 70 + (math.log10(value) - self._x_low) / (self._x_high - self._x_low or 1) * (WIDTH - 70 - RIGHT)

    def _y(self, value: float) -> float:
        share = (math.log10(max(value, 10**self._y_low)) - self._y_low) / (self._y_high - self._y_low or 1)
        return TOP + PLOT - share * PLOT

    def draw(self, title: str, x_title: str, y_title: str) -> str:
        """The finished picture."""
        body = [text(16, TOP - 10, y_title)]
        for power in range(self._y_low, self._y_high + 1):
            y = self._y(10**power)
            body += [line(70, y, WIDTH - RIGHT, y), text(64, y + 4, short(10**power), anchor="end")]
        shown = -math.inf
        for x in self._xs:
            body += [line(self._x(x), TOP, self._x(x), TOP + PLOT)]
            if self._x(x) - shown >= APART:
                shown = self._x(x)
                body += [text(shown, TOP + PLOT + 16, short(x), anchor="middle", size=10)]
        named = math.inf
        for colour, (name, ys) in zip(COLOURS, self._series.items(), strict=False):
            points = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in zip(self._xs, ys, strict=True))
            body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            named = min(self._y(ys[-1]) + 4, named - 14)  # below each other, where lines end close
            body.append(text(WIDTH - RIGHT + 8, named, name, fill=colour))
        body.append(text(WIDTH / 2, TOP + PLOT + 36, x_title, anchor="middle"))
        return document(title, TOP + PLOT + 50, body)


def series(levels: Sequence[dict[str, Any]]) -> dict[str, Sequence[float]]:
    names = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}
    return {name: [level[key] for level in levels] for name, key in names.items()}


def latest(name: str, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The levels of a scenario in the last run that had it."""
    found = [row["levels"] for run in runs for row in run["results"] if row["scenario"] == name]
    return found[-1] if found else None


def draw(runs: Sequence[dict[str, Any]]) -> None:
    """Every chart, of the last run or of the last that had its scenario."""
    compared = [row for row in runs[-1]["results"] if "ratio" in row]
    IMAGES.mkdir(parents=True, exist_ok=True)
    if compared:
        (IMAGES / "per_core.svg").write_text(per_core(compared))
    if levels := latest("udp-latency", runs):
        plot = Plot([level["rate"] for level in levels], series(levels))
        drawn = plot.draw("Latency against load, open loop", "requests a second", "µs")
        (IMAGES / "latency.svg").write_text(drawn)
    if levels := latest("udp-ladder", runs):
        shown = {"answers/s": [level["per_second"] for level in levels]}
        drawn = Plot([level["in_flight"] for level in levels], shown).draw(
            "The ladder", "requests in flight", "a second"
        )
        (IMAGES / "ladder.svg").write_text(drawn)
