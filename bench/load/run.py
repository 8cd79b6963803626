"""Beast beside its peers: server on processor 0, load client on processor 1, interleaved rounds, medians and ratios.

    make bench                                            everything, ten minutes or so
    make bench ARGS="--document"                          the same, then docs/benchmarks.md and its charts anew
    make bench ARGS="--rounds 5"                          fewer rounds, more noise
    make bench ARGS="--only udp-distinct"                 one scenario
    make bench ARGS="--markdown"                          the tables of the last run

"Per core" is 1e9 / (server processor time in ns per answer). A figure is worth quoting as a ratio within one run.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.load import peers
from bench.load.peers import PEERS, Ask, Missing, Peer
from bench.load.report import RESULTS, keep, lines, machine, markdown, show
from bench.load.scenarios import BEASTS, EXTRA, HALF_SOCKETS, SCENARIOS, SWEEPS, TIMED, Scenario

from beast.engine.histogram import Buckets, percentile_ns, since

BESIDE_ROUNDS = 3
"""Rounds of peers that are only shown."""
TIMED_S = 5.0
SHARES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999, "max_us": 1.0}

Row = dict[str, Any]


def bad(report: dict[str, float]) -> float:
    """Answers that did not come, or were not what they should be."""
    return report["lost"] + report["wrong"] + report["refused"] + report["unsent"]


def start(stack: contextlib.ExitStack, names: Iterable[str]) -> dict[str, Peer]:
    """Every Beast and peer of these names that this machine can run; the others are told."""
    running = {}
    for name in names:
        try:
            running[name] = stack.enter_context(peers.beast(BEASTS[name]) if name in BEASTS else PEERS[name]())
        except Missing as missing:
            show({"left out": missing})
    return running


def rounds_of(scenario: Scenario, running: dict[str, Peer], rounds: int) -> Iterator[str]:
    """Who is asked next: all in turn, those that are only shown not as often."""
    for number in range(rounds):
        for name in running:
            if number < BESIDE_ROUNDS or name not in scenario.beside:
                yield name


def measure(scenario: Scenario, running: dict[str, Peer], earlier: list[Row], rounds: int, seconds: float) -> Row:
    """Rounds of Beast and its peers in turn; medians of ns per answer, and the ratio round by round."""
    costs: dict[str, list[float]] = {name: [] for name in running}
    names = {name: BEASTS.get(name, BEASTS[scenario.server]).names() for name in running}
    lost = 0.0
    for name in rounds_of(scenario, running, rounds):
        with peers.asleep(other for key, other in running.items() if key != name):
            report = peers.load(running[name], scenario.ask, names[name], seconds=seconds)
        costs[name].append(report["cpu_ns"])
        lost += bad(report) if name == scenario.server else 0
    ours = costs.pop(scenario.server)
    own = [row["beast_ns"] for row in earlier if row["scenario"] == scenario.against]
    theirs = costs.pop(scenario.against, None) or own * rounds
    ratios = sorted(other / mine for mine, other in zip(ours, theirs, strict=True))
    return {
        "scenario": scenario.name,
        "server": scenario.server,
        "beast_ns": round(statistics.median(ours), 1),
        "per_core": round(1e9 / statistics.median(ours)),
        "against": scenario.against,
        "against_ns": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(ratios[0], 3),
        "ratio_max": round(ratios[-1], 3),
        "aim": scenario.aim,
        "bad": lost,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "beside_ns": {name: round(statistics.median(each), 1) for name, each in costs.items()},
        "about": dict(running[scenario.server].about),
    }


def compare(scenario: Scenario, earlier: list[Row], args: argparse.Namespace) -> Row | None:
    """A scenario's row; None when there is nothing to compare with."""
    own = any(row["scenario"] == scenario.against for row in earlier)
    wanted = [scenario.server, *([] if own else [scenario.against]), *scenario.beside]
    with contextlib.ExitStack() as stack:
        known = [name for name in wanted if name in BEASTS or name in PEERS]
        running = start(stack, (name for name in known if name not in args.without))
        if not own and scenario.against not in running:
            show({"scenario": scenario.name, "left out": f"{scenario.against} is not here to compare with"})
            return None
        return measure(scenario, running, earlier, args.rounds, args.seconds)


def sweep(name: str, asks: tuple[Ask, ...], seconds: float) -> Row:
    """Level by level, every answer checked in full."""
    levels = []
    with peers.beast(BEASTS["beast"]) as server:
        for ask in asks:
            report = peers.load(server, ask, BEASTS["beast"].names(), seconds=seconds, check="all")
            level: Row = {"rate": ask.rate} if ask.rate else {"in_flight": ask.in_flight}
            level["per_second"] = round(report["answered"] / report["seconds"])
            level["bad"] = bad(report)
            levels.append({**level, **{key: report[key] for key in (*SHARES, "cpu_ns")}})
            show({"scenario": name, **levels[-1]})
    return {"scenario": name, "levels": levels}


def percentiles(buckets: Buckets) -> dict[str, float | None]:
    """In µs, each at most a sixteenth too high; None of nothing."""
    found = {name: percentile_ns(buckets, share) for name, share in SHARES.items()}
    return {name: None if bound is None else round(bound / 1e3, 1) for name, bound in found.items()}


def timed(name: str) -> Row:
    """What Beast itself measured while it had half the load that it can bear."""
    histogram, servers = TIMED[name]
    levels = []
    for kind in servers:
        with peers.beast(BEASTS[kind]) as server:
            names = BEASTS[kind].names()
            most = peers.load(server, Ask(protocol="udp", sockets=300, in_flight=300), names, seconds=1.0)
            rate = round(most["answered"] / most["seconds"] / 2)
            before = server.figures()["histograms"][histogram]
            report = peers.load(server, Ask(protocol="udp", sockets=HALF_SOCKETS, rate=rate), names, seconds=TIMED_S)
            after = server.figures()["histograms"][histogram]
        measured = since(after, before)
        level = {"server": kind, "rate": rate, "bad": bad(report), "timed": sum(count for _, count in measured)}
        levels.append({**level, **percentiles(measured)})
        show({"scenario": name, **levels[-1]})
    return {"scenario": name, "levels": levels}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    scenarios = [*(scenario.name for scenario in SCENARIOS), *EXTRA]
    parser.add_argument("--only", action="append", choices=scenarios, help="scenario; may be repeated")
    parser.add_argument("--without", action="append", choices=list(PEERS), default=[], help="peer; may be repeated")
    parser.add_argument("--markdown", action="store_true", help="print the last run as tables, measure nothing")
    parser.add_argument("--document", action="store_true", help="then write docs/benchmarks.md and its charts")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.markdown:
        print(markdown(lines(RESULTS / "load.jsonl")[-1]))
        return 0
    subprocess.run(["make", "-s", "-C", str(Path(__file__).parent)], check=True)
    about, rows = machine(), list[Row]()
    chosen = set(args.only or [*(scenario.name for scenario in SCENARIOS), *EXTRA])
    for scenario in SCENARIOS:
        if scenario.name in chosen and (row := compare(scenario, rows, args)):
            rows.append(row)
            show({key: value for key, value in row.items() if key != "ratios"})
    rows += [sweep(name, asks, args.seconds) for name, asks in SWEEPS.items() if name in chosen]
    rows += [timed(name) for name in TIMED if name in chosen]
    keep("load", vars(args), rows, about)
    if args.document:
        subprocess.run([sys.executable, "-m", "bench.document"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
