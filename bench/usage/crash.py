"""The proof: load by UDP and HTTP from many keys, processes killed at random, and every key's total is exact.

    python -m bench.usage.crash                          ten million answers: some six minutes of two cores
    python -m bench.usage.crash --requests 5000 --kills 3 --every 0.5 --json

The server, its consumers and PostgreSQL are killed with SIGKILL at random moments, the server also while it starts. It
books directly in some of its lives and through a queue in others. The clients count the answers that they have
received. In the end, the sums by key of usage_logs and the counters of the keys must be these numbers, and
`beast usage verify` must find nothing. Exit code 1 when it is not so.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from bench.load.report import keep, machine
from bench.usage.crash_clients import Client, Way
from bench.usage.crash_stage import Sink, Stage, totals

LOGS = "SELECT key_id, count(*) FROM usage_logs GROUP BY key_id"
COUNTERS = "SELECT id, current_usage FROM api_keys WHERE current_usage > 0"
SINKS: tuple[Sink, ...] = ("postgres", "folder")
MINOR = ("consumer", "consumer", "postgres")
STARTING = 0.25
"""So often the server is killed while it starts, too."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    requests: int
    keys: int
    kills: int
    every_s: float
    consumers: int
    seed: int


class Play:
    """The lives of one server under load."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        self.sinks: Counter[str] = Counter()
        self.clients: list[Client] = []
        self._plan = plan
        self._stage = stage
        self._chance = random.Random(plan.seed)

    @property
    def received(self) -> int:
        """Answers so far, of all clients."""
        return sum(client.received for client in self.clients)

    def run(self) -> None:
        """Life after life, until there were enough answers and deaths; the last one ends in order."""
        while not self._enough():
            self._begin_life()
            self._live()
            self._stage.kill_server()
            self._rest()
        self._begin_life()
        self._live()
        self._rest()

    def _enough(self) -> bool:
        return self.received >= self._plan.requests and self._stage.kills["server"] >= self._plan.kills

    def _begin_life(self) -> None:
        sink = self._chance.choice(SINKS)
        while self.clients and self._chance.random() < STARTING:
            self._stage.start(sink, dies_after_s=self._chance.uniform(0.1, 2.5))
        self._stage.start(sink)
        self.sinks[sink] += 1
        if not self.clients:
            keys = self._stage.make_keys(self._plan.keys)
            self.clients = [Client(key, way_of(at), self._stage.ports) for at, key in enumerate(keys)]
        next(client for client in self.clients if client.way == "http").await_prices()
        for client in self.clients:
            client.begin()

    def _live(self) -> None:
        """Under load, with up to two deaths of others."""
        for _ in range(self._chance.randrange(3)):
            self._pass(0.3)
            if self._chance.choice(MINOR) == "postgres":
                self._stage.kill_postgres()
            else:
                self._stage.kill_consumer(self._chance.randrange(self._plan.consumers))
        self._pass(0.7)

    def _pass(self, share: float) -> None:
        time.sleep(self._chance.uniform(0.2, 1.8) * share * self._plan.every_s)

    def _rest(self) -> None:
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join()


def way_of(at: int) -> Way:
    """How the client of the `at`th key asks: UDP and HTTP in turn, and now and then what the event loop answers."""
    return "post" if at % 16 == 3 else "http" if at % 2 else "udp"


def prove(plan: Plan, folder: Path) -> dict[str, Any]:
    """Plays, and compares."""
    stage = Stage(folder, consumers=plan.consumers)
    play = Play(plan, stage)
    try:
        stage.open()
        begun = time.monotonic()
        play.run()
        load_s = time.monotonic() - begun
        stage.wait_until_booked()
        booked_s = time.monotonic() - begun
        stopped = stage.stop()
        verified = stage.verify()
        logs, counters = totals(stage.ask_sql(LOGS)), totals(stage.ask_sql(COUNTERS))
    except BaseException:
        sys.stderr.write(stage.log())
        raise
    finally:
        stage.close()
    proof = compare(play.clients, logs, counters, verified)
    if not stopped:
        proof["differences"].append("a process did not end with 0 when it was asked to")
    proof |= {"kills": dict(stage.kills), "consumers_gave_up": stage.exits, "lives": dict(play.sinks)}
    proof |= {"load_s": round(load_s, 1), "booked_s": round(booked_s, 1)}
    if proof["differences"]:
        sys.stderr.write(stage.log())
    return {"ok": not proof["differences"], **proof}


def compare(
    clients: list[Client], logs: dict[int, int], counters: dict[int, int], verified: dict[str, Any]
) -> dict[str, Any]:
    """What clients, rows, counters and verify say, and in what they differ."""
    received = {client.id: client.count.received for client in clients}
    differences = [str(each) for each in verified["differences"]]
    if verified["waiting"]:
        differences.append(f"{verified['waiting']} answers are still on their way")
    for key in sorted(received.keys() | logs.keys() | counters.keys()):
        told = received.get(key, 0), logs.get(key, 0), counters.get(key, 0)
        if len(set(told)) > 1:
            differences.append("key {}: received {}, rows {}, counter {}".format(key, *told))
    wrong = sum((client.count.wrong for client in clients), Counter())
    if wrong:
        differences.append(f"wrong answers: {dict(wrong)}")
    ways: Counter[str] = Counter()
    for client in clients:
        ways[client.way] += client.count.received
    return {
        "received": sum(received.values()),
        "in_logs": sum(logs.values()),
        "in_counters": sum(counters.values()),
        "verified": verified["booked"],
        "differences": differences,
        "keys": len(clients),
        "by": dict(ways),
        "lost_in_flight": sum(client.count.lost for client in clients),
        "refused": dict(sum((client.count.refused for client in clients), Counter())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000, help="answers to be received, of all keys")
    parser.add_argument("--keys", type=int, default=32)
    parser.add_argument("--kills", type=int, default=20, help="of the server under load, at least")
    parser.add_argument("--every", type=float, default=4.0, help="seconds that a server lives under load, about")
    parser.add_argument("--consumers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true", help="add the result to bench/results/usage.jsonl")
    asked = parser.parse_args()
    plan = Plan(
        requests=asked.requests,
        keys=asked.keys,
        kills=asked.kills,
        every_s=asked.every,
        consumers=asked.consumers,
        seed=asked.seed,
    )
    about = machine()
    with tempfile.TemporaryDirectory(prefix="beast-crash-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        proof = prove(plan, folder)
    if asked.keep:
        keep("usage", msgspec.to_builtins(plan), [{"bench": "crash", **proof}], about)
    if asked.json:
        print(json.dumps(proof))
    else:
        for key, value in proof.items():
            print(f"{key:>14} {value:,}" if isinstance(value, int) else f"{key:>14} {value}")
    return 0 if proof["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
