"""Results: one line of JSON a run, and the tables that documents show."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.load.aims import AIMS

RESULTS = Path(__file__).parent.parent / "results"


def machine() -> dict[str, object]:
    """Where and of what a run was."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if "model name" in line), "?")
    git = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "busy": round(os.getloadavg()[0], 2),
    }


def keep(name: str, flags: dict[str, object], results: list[dict[str, Any]], about: dict[str, object]) -> None:
    """Adds a run to results/NAME.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({"machine": about, "flags": flags, "results": results}) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """Every run in a file, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def show(row: dict[str, Any]) -> None:
    """One row of figures, on one line."""
    print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def markdown(run: dict[str, Any]) -> str:
    """A run of the load benches as tables."""
    about = run["machine"]
    where = f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, load {about['busy']} at the start"
    told = [f"{where}; commit {about['commit']}, {about['time']}; flags `{_flags(run['flags'])}`"]
    told += ["", *table(("", "what", "must reach", "measured by", "reached"), _aims(run))]
    head = ("scenario", "per core", "ns an answer", "against", "its ns", "ratio (lowest, highest)", "aim", "others")
    told += ["", *table(head, _ratios(run))]
    for row in run["results"]:
        if "levels" in row:
            told += ["", f"`{row['scenario']}`:", "", *table(*_levels(row["levels"]))]
    return "\n".join(told)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _aims(run: dict[str, Any]) -> Iterator[Sequence[str]]:
    for aim in AIMS:
        yield aim.name, aim.what, aim.must, aim.how, f"**{aim.reached(run)}**"


def _ratios(run: dict[str, Any]) -> Iterator[Sequence[str]]:
    for row in run["results"]:
        if "ratio" in row:
            yield (
                row["scenario"],
                f"{row['per_core']:,}",
                f"{row['beast_ns']:,.0f}",
                row["against"],
                f"{row['against_ns']:,.0f}",
                f"**{row['ratio']:.2f}** ({row['ratio_min']:.2f}, {row['ratio_max']:.2f})",
                str(row["aim"]),
                ", ".join(f"{name} {1e6 / ns:,.0f}k" for name, ns in row["beside_ns"].items()),
            )


TITLES = {
    "in_flight": "in flight",
    "server": "server",
    "rate": "requests a second",
    "per_second": "answers a second",
    "timed": "measured",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "max_us": "max µs",
    "bad": "lost, wrong, refused",
}


def _levels(levels: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    shown = [key for key in TITLES if key in levels[0]]
    return [TITLES[key] for key in shown], [[_cell(level[key]) for key in shown] for level in levels]


def _cell(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else f"{value:,.1f}" if value < 100 and value % 1 else f"{value:,.0f}"


def _flags(flags: dict[str, Any]) -> str:
    shown = {key: value for key, value in flags.items() if value and key not in ("markdown", "document")}
    return " ".join(f"--{key} {value}" for key, value in shown.items())
