"""An hour of load on both protocols while the exchanges fail: nothing lost, nothing growing, percentiles flat.

    python -m bench.soak                                   one hour at 70 % of the limit, which is measured first
    python -m bench.soak --minutes 2                       whether all parts work
    python -m bench.soak --minutes 600 --load 0.5 --seed 7
    python -m bench.soak --udp-rate 50000 --http-rate 20000   without a search for the limit

A real server and its database run on processor 0; the simulated exchanges and the load clients on processor 1. Every
answer is checked. Progress goes to stderr, the record to bench/results/soak.jsonl. Exit code 0: all findings passed;
1: some did not; 130: ended by Ctrl-C or SIGTERM, with the record of the minutes until then.
"""

import argparse
import asyncio
import os
import signal
import statistics
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
from bench import soak_faults, soak_stage
from bench.load.report import keep, machine
from bench.soak_stage import Prepared, Processors, Served, Simulated, StageError
from bench.soak_verdict import Finding, Minute, Server, Totals, between, judge, row

from beast._fast import Load
from beast.engine.load import Figures, Level, figures_of
from beast.engine.machine import raise_file_limit
from beast.feeds.simulator.faults import FaultRequest

PROTOCOLS = ("udp", "http")
SOCKETS = {"udp": 300, "http": 64}
"""Clients, each with an address or connection of its own; in the search each has one request under way."""
SEARCH_ROUNDS, SEARCH_MOST, SEARCH_S = 5, 60, 4.0
QUIET = 8.0
"""Percent of the machine that strangers may take in a round of the search."""
NAP_US = 50
"""The clients share a processor: each sleeps between its requests, so that none waits for the other's turn to end."""
PRICED_S = 60.0
BOOKED_S = 300.0
TAIL_S = 3.0
"""The load goes on for so long after the last minute, so that its sample is of a server under load."""
POLL_S = 0.5


class Client:
    """One load client in a thread of its own."""

    def __init__(self, served: Served, prepared: Prepared, protocol: str, level: Level, seconds: float) -> None:
        self.load = Load(
            protocol=protocol,
            host="127.0.0.1",
            port=served.ports[protocol],
            keys=[key.encode() for key in prepared.keys.values()],
            assets=[asset.encode() for asset in prepared.assets],
            sockets=level.sockets,
            in_flight=level.in_flight,
            rate=level.rate,
            nap_us=NAP_US if level.rate else 0,
            duration_ns=int(seconds * 1e9),
        )
        self.failure = ""
        self._before = Figures()
        self._thread = threading.Thread(target=self._run, name=f"load {protocol}")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.load.run()
        except OSError as error:
            self.failure = error.strerror or str(error)

    @property
    def running(self) -> bool:
        """Until its time is over, it was stopped, or it failed."""
        return self._thread.is_alive()

    def figures(self) -> Figures:
        """All since its start."""
        return figures_of(self.load)

    def minute(self) -> dict[str, Any]:
        """What was counted since the last call."""
        before, self._before = self._before, self.figures()
        return row(between(before, self._before))

    def end(self) -> Figures:
        """Waits for its end; returns everything it counted. Raises StageError when it failed."""
        self._thread.join()
        if self.failure:
            raise StageError(f"the load client failed: {self.failure}")
        return self.figures()

    def stop(self) -> None:
        """Ends it early, if it has not ended; what is under way is still waited for."""
        self.load.stop()
        self._thread.join()


class Watch:
    """Takes one sample a minute and injects the faults that are due, until the clients' time is over."""

    def __init__(self, served: Served, simulated: Simulated, clients: dict[str, Client]) -> None:
        self.minutes: list[Minute] = []
        self.counters: Counter[str] = Counter()
        self.injected: list[str] = []
        self.interrupted = False
        """By Ctrl-C."""
        self.failure = ""
        self._served, self._simulated, self._clients = served, simulated, clients
        self._processors = Processors([os.getpid(), served.pid, simulated.pid], served.postmaster)
        self._told = 0
        self._started = time.monotonic()

    def run(self, faults: Sequence[tuple[float, FaultRequest]]) -> None:
        """To the clients' end, or until something fails."""
        waiting = deque(faults)
        try:
            while all(client.running for client in self._clients.values()):
                age_s = time.monotonic() - self._started
                while waiting and waiting[0][0] <= age_s:
                    self._inject(waiting.popleft()[1])
                if age_s >= 60 * (len(self.minutes) + 1):
                    self._sample()
                time.sleep(POLL_S)
            for client in self._clients.values():
                client.end()
        except KeyboardInterrupt:
            self.interrupted = True
        except StageError as error:
            self.failure = str(error)
        for client in self._clients.values():
            client.stop()
        with suppress(StageError):
            self._count()

    def _inject(self, fault: FaultRequest) -> None:
        self._simulated.fault(fault)
        arguments = "".join(f":{name}={value:g}" for name, value in fault.args.items())
        self.injected.append(f"{fault.exchange}:{fault.kind}:{fault.seconds:g}{arguments}")

    def _count(self) -> tuple[dict[str, int], dict[str, Any]]:
        """What the server counted since the last time, and its latencies."""
        told = self._served.take()
        counted = {name: count for name, count in told.items() if isinstance(count, int)} | told["inner"]
        self.counters.update(counted)
        return counted, told["latency_us"]

    def _sample(self) -> None:
        counted, latency_us = self._count()
        faults, self._told = tuple(self.injected[self._told :]), len(self.injected)
        self.minutes.append(
            Minute(
                minute=round((time.monotonic() - self._started) / 60, 2),
                udp=self._clients["udp"].minute(),
                http=self._clients["http"].minute(),
                server=Server(
                    counters={name: count for name, count in counted.items() if count},
                    latency_us=latency_us,
                    rss_kib=self._served.rss_kib(),
                    descriptors=self._served.descriptors(),
                ),
                busy=self._processors.busy(),
                load_average=round(os.getloadavg()[0], 2),
                faults=faults,
            )
        )
        tell(line_of(self.minutes[-1]))


def line_of(minute: Minute) -> str:
    """One sample, for people."""
    parts = [f"{minute.minute:6.2f} min"]
    for name, each in (("udp", minute.udp), ("http", minute.http)):
        bad = each["lost"] + each["unsent"] + sum(each["wrong"].values()) + sum(each["refused"].values())
        parts.append(f"{name} {each['per_second']:,}/s p50 {each['p50_us']:.0f} p99 {each['p99_us']:.0f} µs bad {bad}")
    parts.append(f"rss {minute.server.rss_kib:,} KiB  fd {minute.server.descriptors}")
    parts.append(" ".join(f"{name} {share:.0f}" for name, share in minute.busy.items()))
    parts.append(" ".join(minute.faults))
    return "  ".join(parts)


def search(served: Served, prepared: Prepared) -> tuple[dict[str, Any], int]:
    """The most that both protocols reach together for as long as one likes, and how much was answered for it.

    What they reach in a closed loop is the median of some rounds. Booking comes after the answers, on the same
    processor: what both cost together is what an answer costs in the long run. A round beside strangers tells less than
    the limit: it does not count, as long as quieter ones can be had.
    """
    rounds, answered, database_s = list[dict[str, float]](), 0, served.database_s()
    while len(rounds) < SEARCH_MOST and sum(each["others"] <= QUIET for each in rounds) < SEARCH_ROUNDS:
        processors, cpu_s = Processors([os.getpid(), served.pid], served.postmaster), served.cpu_s()
        clients = {
            name: Client(served, prepared, name, Level(sockets=count, in_flight=count), SEARCH_S)
            for name, count in SOCKETS.items()
        }
        figures = {name: client.end() for name, client in clients.items()}
        if any(each.refused or each.wrong or each.lost for each in figures.values()):
            raise StageError(f"in the search for the limit: {[each.row() for each in figures.values()]}")
        count = sum(each.answered for each in figures.values())
        rates = {name: round(each.per_second) for name, each in figures.items()}
        rounds.append({**rates, "server_ns": round((served.cpu_s() - cpu_s) * 1e9 / count), **processors.busy()})
        answered += count
        tell(f"search: {rounds[-1]}")
    wait_for_bookings(served)
    booking_ns = round((served.database_s() - database_s) * 1e9 / answered)
    quiet = [each for each in rounds if each["others"] <= QUIET]
    middle = {name: statistics.median(each[name] for each in quiet or rounds) for name in (*PROTOCOLS, "server_ns")}
    lasting = 1e9 / (middle["server_ns"] + booking_ns)
    share = min(1.0, lasting / sum(middle[name] for name in PROTOCOLS))
    limit = {name: round(middle[name] * share) for name in PROTOCOLS}
    return {**limit, "booking_ns": booking_ns, "quiet": len(quiet) >= SEARCH_ROUNDS, "rounds": rounds}, answered


def wait_for_bookings(served: Served) -> None:
    until = time.monotonic() + BOOKED_S
    while served.pending():
        if time.monotonic() > until:
            raise StageError(f"{served.pending()} answers were not booked within {BOOKED_S:g} s")
        time.sleep(POLL_S)


def wait_for_prices(served: Served, prepared: Prepared) -> None:
    until, missing = time.monotonic() + PRICED_S, set(prepared.assets)
    while missing:
        missing -= served.priced(sorted(missing)[:30], prepared.probe)
        if time.monotonic() > until:
            raise StageError(f"no price of {', '.join(sorted(missing))}")
        time.sleep(POLL_S)


def soak(args: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Watch]:
    """The whole of it; the record, and how it ended."""
    with ExitStack() as stack:
        simulated = stack.enter_context(soak_stage.simulator(folder, args.seed))
        prepared = asyncio.run(soak_stage.prepare(folder, simulated, args.keys))
        served = stack.enter_context(soak_stage.server(folder, args.sample))
        wait_for_prices(served, prepared)
        tell(f"{len(prepared.assets)} assets of {len(prepared.exchanges)} exchanges, {len(prepared.keys)} keys")
        limit, searched = ({}, 0) if args.udp_rate else search(served, prepared)
        rates = {"udp": args.udp_rate, "http": args.http_rate}
        if limit:
            rates = {name: round(limit[name] * args.load) for name in PROTOCOLS}
        reached = {name: limit.get(name) for name in (*PROTOCOLS, "booking_ns", "quiet")} if limit else "not searched"
        tell(f"limit {reached}; soaking at {rates} for {args.minutes:g} minutes")
        served.take()
        seconds, cpu_s, clients = args.minutes * 60, served.cpu_s(), dict[str, Client]()
        for name in PROTOCOLS:
            level = Level(sockets=SOCKETS[name], rate=rates[name])
            clients[name] = Client(served, prepared, name, level, seconds + TAIL_S)
            stack.callback(clients[name].stop)
        watch = Watch(served, simulated, clients)
        watch.run(soak_faults.plan(args.seed, prepared.exchanges, seconds))
        cpu_s = served.cpu_s() - cpu_s
        if not watch.failure:
            wait_for_bookings(served)
        code = served.stop()
        billed = asyncio.run(soak_stage.billed(folder, prepared)) - searched
    udp, http = (clients[name].figures() for name in PROTOCOLS)
    findings = judge(watch.minutes, Totals(udp=udp, http=http, counters=dict(watch.counters), billed=billed))
    ending = watch.failure or ("Ctrl-C" if watch.interrupted else "at its end")
    findings.append(Finding("the soak ran to its end", ending == "at its end", ending))
    findings.append(Finding("the server drained and ended with 0", code == 0, f"exit code {code}"))
    return {
        "limit": limit,
        "rates": rates,
        "assets": prepared.assets,
        "faults": dict(Counter(each.split(":")[1] for each in watch.injected)),
        "server_ns": round(cpu_s * 1e9 / max(1, udp.answered + http.answered)),
        "udp": row(udp),
        "http": row(http),
        "counters": dict(watch.counters),
        "billed": billed,
        "logged": dict(soak_stage.warnings(folder / "server.log")),
        "findings": msgspec.to_builtins(findings),
        "passed": all(each.passed for each in findings),
        "samples": msgspec.to_builtins(watch.minutes),
    }, watch


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--load", type=float, default=0.7, help="share of the limit (0.7)")
    parser.add_argument("--udp-rate", type=int, default=0, help="requests a second, instead of a share of the limit")
    parser.add_argument("--http-rate", type=int, default=0)
    parser.add_argument("--keys", type=int, default=16, help="API keys, drawn at random (16)")
    parser.add_argument("--seed", type=int, default=1, help="of prices and faults")
    parser.add_argument("--sample", type=int, default=64, help="the server times one UDP batch in so many (64)")
    args = parser.parse_args()
    if bool(args.udp_rate) != bool(args.http_rate):
        parser.error("give both rates, or none")
    if args.minutes <= 0 or not 0 < args.load <= 1 or args.keys < 1 or min(args.udp_rate, args.http_rate) < 0:
        parser.error("minutes, keys and rates are positive, the load is a share of 1")
    return args


def main() -> int:
    args, about = arguments(), machine()
    raise_file_limit()
    os.sched_setaffinity(0, {soak_stage.CLIENT_CPU})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with soak_stage.open_folder() as folder:
            record, watch = soak(args, folder)
    except StageError as error:
        tell(f"soak: {error}")
        return 1
    except KeyboardInterrupt:
        tell("ended before the soak began")
        return 130
    keep("soak", vars(args), [record], about)
    for finding in record["findings"]:
        tell(f"{'passed' if finding['passed'] else 'FAILED'}  {finding['name']}: {finding['detail']}")
    return 130 if watch.interrupted else 0 if record["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
