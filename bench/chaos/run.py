"""Ten minutes of faults, seed after seed: every answer judged by what the exchanges really did.

    python -m bench.chaos.run                 1,000 seeds; one line in bench/results/chaos.jsonl
    python -m bench.chaos.run --seeds 50 --first 2000 --no-keep
    python -m bench.chaos.run --seed 17       one of them again, with its log

SIGINT or SIGTERM ends it behind the seed that is played; what was run by then is kept.
Exit code 0: nobody was lied to; 1: somebody was.
"""

import argparse
import gc
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bench.load.report import machine
from tests.chaos.play import play

RESULTS = Path(__file__).parents[1] / "results" / "chaos.jsonl"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--no-keep", action="store_true", help="write no result")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    began, faults, states, lies, answers, refusals = time.monotonic(), Counter[str](), Counter[str](), [], 0, 0
    about = machine()
    # What is loaded stays, and what a seed remembers goes at its end: to look through it meanwhile takes a tenth more.
    gc.freeze()
    gc.disable()
    ended: list[int] = []
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: ended.append(number))
    number = 0
    for number, seed in enumerate(seeds, 1):
        played = play(seed)
        gc.collect()
        faults += played.faults
        states.update(played.states)
        answers, refusals = answers + played.answers, refusals + played.refusals
        if played.lie:
            lies.append(seed)
            print(played, flush=True)
        elif options.seed is not None:
            print(played, dict(played.faults), played.states, f"{played.wires} connections, {played.gaps} gaps")
        if number % 50 == 0:
            print(f"{number} seeds, {len(lies)} lies, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if ended:
            break
    record = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": about["commit"],
        "first": seeds[0],
        "seeds": number,
        "lies": lies,
        "answers": answers,
        "refusals": refusals,
        "states": dict(states),
        "faults": dict(faults),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(record))
    if options.seed is None and not options.no_keep:
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
    return 1 if lies else 0


if __name__ == "__main__":
    sys.exit(main())
