"""What it costs to read a trade frame: Beast beside msgspec, cryptofeed and ccxt.pro, on the same frames in one run.

    python -m bench.ingest.run               µs a frame, and how many times Beast's cost each of the others takes
    python -m bench.ingest.run --alone       without the libraries that need an environment of their own
    python -m bench.ingest.run --markdown    the last run as a table

Beast: Ingest.feed, from bytes in Python's hands to a new answer in the price table; beside it, what the same frame
takes from a socket on. msgspec: a Struct for each dialect, exact digits, ns, stored in a dict. The libraries: their own
message handlers, which keep floats or Decimals.
"""

import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.ingest.socket_frames import socket_us
from bench.ingest.structs import DIALECTS
from bench.load.environment import python_with
from bench.load.report import RESULTS, keep, lines, machine, show
from tests.fixtures.rows import all_feeds

from beast._fast import Engine, Ingest, Plan, monotonic_ns
from beast.base.log import configure_logging
from beast.feeds.rows.plan import compile_plan, lookup_key
from beast.feeds.types import Mapping

ROUNDS, CALLS = 200, 10_000
PACKAGES = ("--ignore-requires-python", "ccxt>=4.5,<5", "cryptofeed>=3,<4", "uvloop")
# cryptofeed 3 asks for Python 3.13, which only the order book that comes with it needs; reading trades touches none.
OLDER_BOOK = "order_book<0.7"
WALL_NS = 1_777_802_401_000_000_000
MARKETS = {each.pop("exchange"): each for each in lines(Path(__file__).with_name("frames.jsonl"))}


def best_us(feed: Callable[..., object], *arguments: object) -> float:
    """µs a call, the best of the rounds."""
    names = ", ".join(f"a{i}" for i in range(len(arguments)))
    timer = timeit.Timer(f"feed({names})", f"feed, ({names},) = given", globals={"given": (feed, arguments)})
    return min(timer.repeat(ROUNDS, CALLS)) / CALLS * 1e6


def beast_us(exchange: str) -> float:
    """Ingest.feed: the frame's trade becomes the answer."""
    market = MARKETS[exchange]
    engine = Engine(node="Bench", max_keys=64, max_instruments=64)
    engine.load_instruments([(0, market["base"], exchange, market["quote"], 1, 0)])
    feed, raw, now_ns = all_feeds()[exchange], market["frame"].encode(), monotonic_ns()
    ingest = Ingest(engine, Plan(compile_plan(feed)), 0, backfill_ns=10**18)
    ingest.set_symbols([(lookup_key(feed, market["symbol"]).encode(), 0)])
    ingest.feed(raw, now_ns, WALL_NS)
    assert engine.peek(0) is not None, exchange
    return best_us(ingest.feed, raw, now_ns, WALL_NS)


def from_socket_us(exchange: str) -> float:
    """The same from a loopback WebSocket on, frames back to back."""
    market = MARKETS[exchange]
    mapping = Mapping(asset=market["base"], symbol=market["symbol"], currency=market["quote"])
    return socket_us(all_feeds()[exchange], mapping, market["frame"].encode())


def msgspec_us(exchange: str) -> float:
    """A Struct and a dict."""
    store: dict[str, tuple[str, int]] = {}
    feed, raw = DIALECTS[exchange](store), MARKETS[exchange]["frame"].encode()
    feed(raw)
    assert store, exchange
    return best_us(feed, raw)


def libraries() -> dict[str, Any]:
    """What others.py says, in the environment that holds them; nothing when there is none."""
    python = python_with("ingest", *PACKAGES)
    if python is None:
        show({"left out": "cryptofeed and ccxt: pip can't install them here"})
        return {}
    if sys.version_info < (3, 13):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", OLDER_BOOK]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    command = [str(python), str(Path(__file__).with_name("others.py"))]
    done = subprocess.run(command, input=json.dumps(MARKETS), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def markdown(run: dict[str, Any]) -> str:
    """A run as a table."""
    about, rows = run["machine"], run["results"]
    columns = list(rows[0])
    head = ["frame", "bytes", "Beast µs", "from the socket µs", *columns[4:]]
    where = f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}"
    text = [f"{where}, commit {about['commit']}, {about['time']}", "", "| " + " | ".join(head) + " |"]
    text += ["| --- " * len(head) + "|"]
    text += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(text)


def main() -> None:
    if "--markdown" in sys.argv:
        print(markdown(lines(RESULTS / "ingest.jsonl")[-1]))
        return
    configure_logging("warning")
    about = machine()
    others = {} if "--alone" in sys.argv else libraries()
    columns = {f"{name} {each['version']}": each["us"] for name, each in others.items()}
    rows: list[dict[str, Any]] = []
    for exchange, market in MARKETS.items():
        ours = beast_us(exchange)
        compared = {
            "msgspec": msgspec_us(exchange),
            **{name: us[exchange] for name, us in columns.items() if exchange in us},
        }
        row: dict[str, Any] = {"frame": exchange, "bytes": len(market["frame"]), "beast_us": round(ours, 3)}
        row["socket_us"] = round(from_socket_us(exchange), 3)
        row |= {name: f"{us:.2f} ({us / ours:.1f} times)" for name, us in compared.items()}
        row |= {name: "does not read it" for name in columns if name not in compared}
        rows.append(row)
        show(row)
    keep("ingest", {}, rows, about)


if __name__ == "__main__":
    main()
