"""Beast beside its peers: server on processor 0, load client on processor 1, interleaved rounds, medians and ratios.

    make bench                                            everything, ten minutes or so
    make bench ARGS="--rounds 9"                          more rounds
    make bench ARGS="--only udp-distinct"                 one scenario
    make bench ARGS="--keys 1000000 --assets 10000 --updates 100000"
    make bench ARGS="--markdown"                          the table of the last run

"Per core" is 1e9 / (server processor time in ns per answer). A figure is worth quoting as a ratio within one run.
"""

import argparse
import contextlib
import itertools
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
from peers import PEERS, Ask, Missing, Peer
from report import RESULTS, keep, lines, machine, markdown, show
from scenarios import EXTRA, LADDER_ASKS, RATE_ASKS, SCENARIOS, Scenario
from server import assets, keys


def bad(report: dict[str, float]) -> float:
    """Answers that did not come, or were not what they should be."""
    return report["lost"] + report["wrong"] + report["refused"] + report["unsent"]


def measure(
    scenario: Scenario,
    running: dict[str, Peer],
    names: str,
    *,
    rounds: int,
    seconds: float,
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    """Rounds of Beast and its peers in turn; medians of ns per answer, and the ratio round by round."""
    wanted = [name for name in ("beast", scenario.against, *scenario.beside) if name in running]
    costs: dict[str, list[float]] = {name: [] for name in wanted}
    lost = 0.0
    for _, name in itertools.product(range(rounds), wanted):
        report = peers.load(running[name], scenario.ask, names, seconds=seconds)
        costs[name].append(report["cpu_ns"])
        lost += bad(report) if name == "beast" else 0
    ours = costs.pop("beast")
    own = [row for row in earlier if row["scenario"] == scenario.against]
    theirs = costs.pop(scenario.against, None) or [own[0]["beast_ns"]] * rounds
    ratios = sorted(other / mine for mine, other in zip(ours, theirs, strict=True))
    return {
        "scenario": scenario.name,
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
    }


def sweep(name: str, asks: tuple[Ask, ...], server: Peer, names: str, seconds: float) -> dict[str, Any]:
    """Level by level, every answer checked in full."""
    levels = []
    for ask in asks:
        report = peers.load(server, ask, names, seconds=seconds, check="all")
        level: dict[str, Any] = {"rate": ask.rate} if ask.rate else {"in_flight": ask.in_flight}
        level["per_second"] = round(report["answered"] / report["seconds"])
        level["bad"] = bad(report)
        levels.append({**level, **{key: report[key] for key in ("p50_us", "p99_us", "p999_us", "max_us", "cpu_ns")}})
        show({"scenario": name, **levels[-1]})
    return {"scenario": name, "levels": levels}


def start(stack: contextlib.ExitStack, wanted: set[str], options: tuple[str, ...]) -> dict[str, Peer]:
    """Beast and every peer that this machine can run; the others are named."""
    running = {"beast": stack.enter_context(peers.beast(*options))}
    for name, peer in PEERS.items():
        if name not in wanted:
            continue
        try:
            running[name] = stack.enter_context(peer())
        except Missing as missing:
            show({"left out": missing})
    return running


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    scenarios = [*(scenario.name for scenario in SCENARIOS), *EXTRA]
    parser.add_argument("--only", action="append", choices=scenarios, help="scenario; may be repeated")
    parser.add_argument("--without", action="append", choices=list(PEERS), default=[], help="peer; may be repeated")
    parser.add_argument("--keys", type=int, default=1, help="API keys, drawn at random")
    parser.add_argument("--assets", type=int, default=150, help="assets, drawn at random")
    parser.add_argument("--updates", type=int, default=1000, help="price updates a second meanwhile")
    parser.add_argument("--markdown", action="store_true", help="print the last run as a table, measure nothing")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.markdown:
        print(markdown(lines(RESULTS / "load.jsonl")[-1]))
        return 0
    subprocess.run(["make", "-s", "-C", str(Path(__file__).parent)], check=True)
    names = "\n".join([*keys(args.keys), "", *assets(args.assets)])
    options = ("--keys", str(args.keys), "--assets", str(args.assets), "--updates", str(args.updates))
    chosen = [each for each in SCENARIOS if not args.only or each.name in args.only]
    wanted = {name for each in chosen for name in (each.against, *each.beside)} - set(args.without)
    about, rows = machine(), list[dict[str, Any]]()
    with contextlib.ExitStack() as stack:
        running = start(stack, wanted, options)
        for scenario in chosen:
            if scenario.against not in running and not any(row["scenario"] == scenario.against for row in rows):
                show({"scenario": scenario.name, "left out": f"{scenario.against} is not here to compare with"})
                continue
            row = measure(scenario, running, names, rounds=args.rounds, seconds=args.seconds, earlier=rows)
            rows.append(row)
            show({key: value for key, value in row.items() if key != "ratios"})
        for name, asks in zip(EXTRA, (LADDER_ASKS, RATE_ASKS), strict=True):
            if not args.only or name in args.only:
                rows.append(sweep(name, asks, running["beast"], names, min(args.seconds, 1.0)))
    keep("load", vars(args), rows, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
