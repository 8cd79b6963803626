"""The proof: load by UDP and HTTP from many keys, the server killed again and again, and every key's total is exact.

    python bench/usage/crash.py                          ten million requests, the server killed 20 times
    python bench/usage/crash.py --requests 5000 --kills 3 --json

The clients count the answers that they have received. In the end, the sums by key of usage_logs and the counters of
the keys must be these numbers, and `beast usage verify` must find nothing. Exit code 1 when it is not so.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from beast.storage.embedded import EmbeddedPostgres

BEAST = Path(sys.executable).with_name("beast")
PORTS = ("http", "udp", "health")
ASSETS = (b"BTC", b"ETH", b"SOL")
UDP_WINDOW, HTTP_WINDOW = 32, 16
ANSWER_S = 0.3
"""How long a client waits for an answer before it takes the request for lost."""


class Server:
    """`beast serve --demo` on a home of its own, started again whenever it was killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.process: subprocess.Popen[bytes] | None = None
        self.enough = threading.Event()
        """It has been killed as often as it was to be."""
        self.log = (home.parent / "server.log").open("ab")

    def start(self) -> None:
        """Returns when it is ready."""
        ready = self.home.parent / "ready.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [BEAST, "serve", "--demo", "--ready-file", ready, *(f"--{kind}-port={self.ports[kind]}" for kind in PORTS)],
            env=environment(self.home),
            stdout=self.log,
            stderr=self.log,
        )
        begun = time.monotonic()
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - begun > 60:
                raise SystemExit(f"the server did not get ready; see {self.log.name}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """In order; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)

    def beast(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same home."""
        return subprocess.run(
            [BEAST, *arguments], env=environment(self.home), capture_output=True, text=True, check=False, timeout=1800
        )


class Client(threading.Thread):
    """One key's user; counts the prices that it receives, to the last one."""

    def __init__(self, server: Server, key: dict[str, Any], protocol: str, share: int) -> None:
        super().__init__(daemon=True)
        self.received = 0
        self.key = key
        self._server = server
        self._protocol = protocol
        self._share = share

    def run(self) -> None:
        """Until it has had its share, and the server has died often enough."""
        while self._wants_more():
            try:
                (self._udp if self._protocol == "udp" else self._http)()
            except OSError:
                time.sleep(0.05)

    def _wants_more(self) -> bool:
        return self.received < self._share or not self._server.enough.is_set()

    def _udp(self) -> None:
        key = self.key["api_key"].encode()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self._server.ports["udp"]))
            sock.settimeout(ANSWER_S)
            while self._wants_more():
                sent = 0
                for at in range(UDP_WINDOW):
                    try:
                        sock.send(b'{"api_key":"%b","asset":"%b"}' % (key, ASSETS[at % 3]))
                        sent += 1
                    except ConnectionRefusedError:
                        time.sleep(0.02)
                for _ in range(sent):
                    try:
                        self.received += b'"price":' in sock.recv(2048)
                    except TimeoutError:
                        break
                    except ConnectionRefusedError:
                        continue

    def _knows(self, request: bytes) -> bool:
        """Asks once, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self._server.ports["http"]), timeout=60) as sock:
            sock.sendall(request)
            data = b""
            while whole_answers(data)[1] == 0:
                part = sock.recv(1 << 16)
                if not part:
                    return False
                data += part
        known = whole_answers(data)[0]
        self.received += known
        return known == 1

    def _http(self) -> None:
        key = self.key["api_key"].encode()
        head = b"GET /price?asset=%b HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n\r\n"
        # A worker gives a connection away, for good, when it does not know a price yet. What then answers is exact as
        # well, but for the one answer that it is about to send when it is killed.
        while not all(self._knows(head % (asset, key)) for asset in ASSETS):
            time.sleep(0.05)
        requests = b"".join(head % (ASSETS[at % 3], key) for at in range(HTTP_WINDOW))
        with socket.create_connection(("127.0.0.1", self._server.ports["http"]), timeout=60) as sock:
            left = b""
            while self._wants_more():
                sock.sendall(requests)
                answers = 0
                while answers < HTTP_WINDOW:
                    part = sock.recv(1 << 16)
                    if not part:
                        return
                    prices, whole, left = whole_answers(left + part)
                    answers += whole
                    self.received += prices


def whole_answers(data: bytes) -> tuple[int, int, bytes]:
    """(prices, answers, what is left) of what came by HTTP."""
    prices = answers = 0
    while (end := data.find(b"\r\n\r\n")) >= 0:
        head = data[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(data) < end + 4 + length:
            break
        answers += 1
        prices += b'"price":' in data[end + 4 : end + 4 + length]
        data = data[end + 4 + length :]
    return prices, answers, data


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEAST_")}
    for name in ("DATABASE_URL", "REDIS_URL", "SERVER_TYPE"):
        kept.pop(name, None)
    return {**kept, "BEAST_HOME": str(home)}


def free_ports(count: int) -> list[int]:
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def in_tables(home: Path) -> tuple[dict[int, int], dict[int, int]]:
    """(rows of usage_logs, counters) by key, as SQL has them."""
    server = EmbeddedPostgres(home)
    server.start()
    try:
        psql = [str(server.layout.programs / "psql"), server.url(), "--csv", "--tuples-only", "-c"]
        told = []
        for query in (
            "SELECT key_id, count(*) FROM usage_logs GROUP BY key_id",
            "SELECT id, current_usage FROM api_keys WHERE current_usage > 0",
        ):
            out = subprocess.run([*psql, query], capture_output=True, text=True, check=True).stdout
            told.append({int(line.split(",")[0]): int(line.split(",")[1]) for line in out.split()})
        return told[0], told[1]
    finally:
        server.stop()


def prove(home: Path, *, requests: int, keys: int, kills: int, every_s: float, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    server = Server(home)
    server.start()
    made = [json.loads(server.beast("keys", "create", "--tier", "partner", "--json").stdout) for _ in range(keys)]
    time.sleep(1)
    share = -(-requests // keys)
    clients = [Client(server, key, "http" if at % 2 else "udp", share) for at, key in enumerate(made)]
    begun = time.monotonic()
    for client in clients:
        client.start()
    for _ in range(kills):
        time.sleep(chance.uniform(0.5, 1.5) * every_s)
        server.kill()
        server.start()
    server.enough.set()
    for client in clients:
        client.join()
    load_s = time.monotonic() - begun
    # It could be stopped at once: what its sink does not take in time is booked after the next start. SQL is asked now.
    while json.loads(server.beast("status", "--json").stdout)["usage_pending"]:
        time.sleep(0.2)
    booked_s = time.monotonic() - begun
    stopped = server.stop()
    verified = json.loads(server.beast("usage", "verify", "--json").stdout)
    received = {client.key["id"]: client.received for client in clients}
    logs, counters = in_tables(home)
    demo = {key: count for key, count in counters.items() if key not in received}
    return {
        "ok": logs == counters and {**received, **demo} == logs and not demo and verified["ok"] and stopped == 0,
        "received": sum(received.values()),
        "in_logs": sum(logs.values()),
        "in_counters": sum(counters.values()),
        "differences": verified["differences"]
        + [
            f"key {key}: received {count}, logs {logs.get(key, 0)}, counter {counters.get(key, 0)}"
            for key, count in received.items()
            if not count == logs.get(key, 0) == counters.get(key, 0)
        ],
        "kills": kills,
        "keys": keys,
        "load_s": round(load_s, 1),
        "booked_s": round(booked_s, 1),
        "waiting": verified["waiting"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000, help="answers to be received, of all keys")
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beast-crash-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        proof = prove(
            folder / "home",
            requests=asked.requests,
            keys=asked.keys,
            kills=asked.kills,
            every_s=asked.every,
            seed=asked.seed,
        )
        if not proof["ok"]:
            sys.stderr.write((folder / "server.log").read_text()[-4000:])
    if asked.json:
        print(json.dumps(proof))
    else:
        for key, value in proof.items():
            print(f"{key:>12} {value:,}" if isinstance(value, int) else f"{key:>12} {value}")
    return 0 if proof["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
