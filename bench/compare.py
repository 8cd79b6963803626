"""Two runs of the load benches side by side: better, worse, or noise.

    python -m bench.compare                    the last two runs of bench/results/load.jsonl
    python -m bench.compare OLD NEW            lines of that file, counted from 0; -1 is the last
    python -m bench.compare a.jsonl b.jsonl    the last lines of two files

A scenario's figure is its ratio to the peer of the same run, so that a slower machine is no regression. Its spread is
the half of its ratios in the middle; a change within the spreads of both runs, or within 2 %, is noise. Exit code 1
when any scenario got worse.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from bench.load.report import RESULTS, lines

NOISE = 0.02
ROUNDS_MIN = 3


def spread(ratios: list[float]) -> float:
    """Width of the middle half, as a share of the median; a run of too few rounds says nothing."""
    if len(ratios) < ROUNDS_MIN:
        return float("inf")
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (high - low) / middle


def verdict(old: dict[str, Any], new: dict[str, Any]) -> tuple[float, float, str]:
    """(change, noise, what it is), both as shares."""
    change = new["ratio"] / old["ratio"] - 1
    noise = max(NOISE, spread(old["ratios"]), spread(new["ratios"]))
    if abs(change) <= noise:
        return change, noise, "noise"
    return change, noise, "better" if change > 0 else "worse"


def chosen(arguments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two runs that the command line names."""
    if len(arguments) == 2 and all(Path(each).is_file() for each in arguments):
        return lines(Path(arguments[0]))[-1], lines(Path(arguments[1]))[-1]
    runs = lines(RESULTS / "load.jsonl")
    old, new = map(int, arguments or (-2, -1))
    return runs[old], runs[new]


def main() -> int:
    try:
        old, new = chosen(sys.argv[1:])
    except (IndexError, ValueError) as error:
        print(f"compare: two runs are needed: {error}", file=sys.stderr)
        return 2
    for name, run in (("old", old), ("new", new)):
        print(f"{name}: {run['machine']['commit']} {run['machine']['time']} {run['machine']['processor']}")
    before = {row["scenario"]: row for row in old["results"] if "ratios" in row}
    worse = False
    for row in new["results"]:
        if "ratios" not in row or row["scenario"] not in before:
            continue
        change, noise, what = verdict(before[row["scenario"]], row)
        worse |= what == "worse"
        ratios = f"{before[row['scenario']]['ratio']:7.3f} {row['ratio']:7.3f}"
        print(f"{row['scenario']:<18} {ratios} {change:+7.1%}  ±{noise:.1%}  {what}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
