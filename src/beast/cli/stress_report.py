"""What `beast stress` shows: the figures as they grow, the table, the verdict."""

import json
import sys
from typing import Final, Self

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from beast.engine.load import Figures, Level, Limits, Outcome

TITLES: Final = (
    *("load", "sockets", "per s", "p50 µs", "p99 µs", "p99.9 µs", "max µs"),
    *("lost", "wrong", "refused"),
)


class Report:
    """Shows a test as it goes on, and what came of it.

    Args:
        console: Where to; with a terminal it shows the figures as they grow.
        about: What the result says of the test as a whole.
        limits: What every level must keep.
    """

    def __init__(self, console: Console, about: dict[str, object], limits: Limits) -> None:
        self._console = console
        self._about = about
        self._limits = limits
        self._rows: list[tuple[Level, Outcome, list[str]]] = []
        self._running: tuple[Level, float] = (Level(sockets=0), 0.0)
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the test."""
        return any(outcome.interrupted for _, outcome, _ in self._rows)

    @property
    def reasons(self) -> list[str]:
        """Why the test failed."""
        return [f"{level.name}: {reason}" for level, _, broken in self._rows for reason in broken]

    def begin(self, level: Level, seconds: float) -> None:
        """A level starts."""
        self._running = (level, seconds)
        self.tick(Figures())

    def tick(self, figures: Figures) -> None:
        """A level goes on."""
        if self._live:
            level, seconds = self._running
            table = self._table()
            _add_row(table, level, figures, f"{min(figures.elapsed_ns / 1e9, seconds):.0f} of {seconds:g} s")
            self._live.update(table)

    def end(self, outcome: Outcome) -> None:
        """A level is over."""
        broken = list(self._limits.broken_by(outcome.figures))
        if outcome.failure:
            broken.append(f"could not go on: {outcome.failure}")
        self._rows.append((self._running[0], outcome, broken))

    def conclude(self, *, as_json: bool) -> None:
        """The table, or the line of JSON, and the verdict."""
        if as_json:
            sys.stdout.write(json.dumps(self._summary()) + "\n")
            return
        self._console.print(self._table())
        for reason in self.reasons:
            self._console.print(reason, soft_wrap=True)
        for _, outcome, _ in self._rows:
            if outcome.figures.sample:
                text = outcome.figures.sample.decode(errors="backslashreplace")
                self._console.print("first wrong answer:", text, soft_wrap=True, markup=False)
                break
        ended = " (interrupted)" if self.interrupted else ""
        self._console.print(f"verdict: {'fail' if self.reasons else 'pass'}{ended}")

    def _summary(self) -> dict[str, object]:
        return {
            **self._about,
            "levels": [{**msgspec.structs.asdict(level), **done.figures.row()} for level, done, _ in self._rows],
            "verdict": "fail" if self.reasons else "pass",
            "reasons": self.reasons,
            "interrupted": self.interrupted,
        }

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 0, 0, 1), pad_edge=False)
        for title in TITLES:
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for level, outcome, broken in self._rows:
            _add_row(table, level, outcome.figures, "fail" if broken else "pass")
        return table


def _add_row(table: Table, level: Level, figures: Figures, state: str) -> None:
    table.add_row(
        level.name,
        f"{level.sockets:,}",
        f"{figures.per_second:,.0f}",
        *(f"{figures.percentile_us(share):,.0f}" for share in (0.5, 0.99, 0.999)),
        f"{figures.worst_ns / 1e3:,.0f}",
        *(f"{count:,}" for count in (figures.lost + figures.unsent, figures.wrong_total, figures.refused_total)),
        state,
    )
