"""A Beast engine for the benches: full work per request, prices kept moving, usage drained.

Prints a line of JSON when it listens, and one for each line it reads: its histograms, counters and memory so far.
"""

import hashlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from bench.load.market import TRADES, frames, open_ingest
from bench.load.setup import Setup, assets, keys

from beast._fast import Engine, Ingest, key_record, monotonic_ns

TICK_S = 0.01
"""How often frames come, all that are due at once."""
NEVER_EMPTIED = 2
SO_TIMESTAMPNS = 35  # Linux: asm-generic/socket.h


def memory_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_engine(setup: Setup, folder: str) -> Engine:
    """With its usage rings in files, as a server has them."""
    return Engine(
        node="BeastBench",
        workers=1,
        max_keys=max(1024, 1 << setup.keys.bit_length()),
        max_instruments=max(1024, setup.assets),
        usage_ring=65_536 if setup.usage else NEVER_EMPTIED,
        usage_dir=folder if setup.usage else None,
        latency_sample=setup.sample,
        spin_us=setup.spin_us,
    )


def put_keys(engine: Engine, count: int) -> dict[str, float]:
    """Loads the API keys; what it took, the making of their digests left out."""
    records = b"".join(
        key_record(hashlib.sha256(key.encode()).digest(), number + 1, 0, 1, partner=True, allowance=None)
        for number, key in enumerate(keys(count))
    )
    memory, began = memory_bytes(), time.perf_counter()
    engine.put_keys(records)
    return {"keys_s": time.perf_counter() - began, "bytes_per_key": (memory_bytes() - memory) / count}


def stamp_all() -> socket.socket:
    """While this socket is open, the kernel stamps every datagram when it arrives.

    A lane asks for stamps only as long as a sampled receive lasts; what was queued before it is stamped too late then.
    """
    asking = socket.socket(type=socket.SOCK_DGRAM)
    asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return asking


class Feed:
    """Brings so many price updates a second, in frames that are due at even intervals. What came late is dropped."""

    def __init__(self, ingest: Ingest, names: list[str], updates: int) -> None:
        self._ingest, self._frames = ingest, frames(names)
        self._interval_s = TRADES / updates
        self._due_s = time.monotonic()
        for _ in range(-(-len(names) // TRADES)):
            self._feed()

    def _feed(self) -> None:
        self._ingest.feed(next(self._frames), monotonic_ns(), time.time_ns())

    def bring(self) -> None:
        """Everything that is due."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s, now_s - 10 * TICK_S)
        while self._due_s <= now_s:
            self._feed()
            self._due_s += self._interval_s


def serve(engine: Engine, feed: Feed, setup: Setup) -> Iterator[None]:
    """Feeds and drains; a turn for each line on standard input."""
    wakes = [engine.usage_fileno(), sys.stdin.fileno()]
    while True:
        readable, _, _ = select.select(wakes, [], [], TICK_S)
        if engine.usage_fileno() in readable:
            os.read(engine.usage_fileno(), 8)
        while setup.usage and engine.drain_usage()[0]:
            pass
        feed.bring()
        if sys.stdin.fileno() in readable:
            if not os.read(sys.stdin.fileno(), 4096):
                return
            yield


def leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def run(setup: Setup, folder: str) -> None:
    """Until nothing more can be read."""
    engine, names = make_engine(setup, folder), assets(setup.assets)
    memory = memory_bytes()
    ingest = open_ingest(engine, names, monotonic_ns())
    about = {"bytes_per_instrument": (memory_bytes() - memory) / setup.assets}
    feed = Feed(ingest, names, setup.updates)
    about |= put_keys(engine, setup.keys)
    stamps = stamp_all() if setup.sample else None
    engine.start()
    print(json.dumps({"udp": engine.udp_port, "http": engine.http_port, "about": about}), flush=True)
    for _ in serve(engine, feed, setup):
        print(json.dumps({"counters": engine.counters(), "histograms": engine.histograms()}), flush=True)
    engine.stop()
    if stamps is not None:
        stamps.close()


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    with tempfile.TemporaryDirectory(prefix="beast-bench-") as folder:
        run(Setup(**json.loads(sys.argv[1])), folder)


if __name__ == "__main__":
    main()
