"""Two whole servers of one cluster, each asked five times what a key may ask: it gets what it has, and no more."""

import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.fixtures.rates import most_in_any_time
from tests.fixtures.valkey import RealValkey

pytestmark = pytest.mark.acceptance

NODES = 2
PER_SECOND, BURST = 200, 20
LEASE = 40
"""By docs/limits.md: the burst, and what comes in twice the time between settlements, 50 ms."""
ROUND_S, ROUND = 0.02, 20
"""So each server alone is asked 1,000 times a second."""
CAP = 500
SECONDS = 4.0
JITTER_S = 0.1
"""By so much an answer may be noticed later than another."""


class Client:
    """Asks one server at a steady pace and remembers when answers came."""

    def __init__(self, server: Any, key: str) -> None:
        self.server, self.key = server, key
        self.came: list[float] = []
        self.codes = Counter[str]()

    def note(self, code: str, moment: float) -> None:
        self.codes[code] += 1
        if code == "price":
            self.came.append(moment)

    def run(self, rounds: int, ask: Callable[[], list[str]]) -> "Client":
        begun = time.monotonic()
        for number in range(rounds):
            time.sleep(max(0, begun + number * ROUND_S - time.monotonic()))
            for code in ask():
                self.note(code, time.monotonic())
        return self

    def by_udp(self, rounds: int) -> "Client":
        question = json.dumps({"api_key": self.key, "asset": "BTC"}).encode()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self.server.ports["udp"]))
            sock.settimeout(5)

            def ask() -> list[str]:
                for _ in range(ROUND):
                    sock.send(question)
                told = [json.loads(sock.recv(2048)) for _ in range(ROUND)]
                return ["price" if "price" in each else each["error"] for each in told]

            return self.run(rounds, ask)

    def by_http(self, rounds: int) -> "Client":
        question = f"GET /price?asset=BTC HTTP/1.1\r\nHost: beast\r\nX-API-Key: {self.key}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.server.ports["http"]), timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def ask() -> list[str]:
                sock.sendall(question * ROUND)
                got = b""
                while got.count(b'{"') < ROUND or not got.endswith(b"}"):
                    got += sock.recv(65536)
                prices = got.count(b'{"asset":"BTC","price":')
                capped, limited = got.count(b'"error":"quota_exceeded"'), got.count(b'"error":"rate_limited"')
                assert prices + capped + limited == ROUND, got
                return ["price"] * prices + ["quota_exceeded"] * capped + ["rate_limited"] * limited

            return self.run(rounds, ask)


def load(servers: list[Any], key: str, seconds: float) -> tuple[Client, Client]:
    """The first is asked by UDP, the second by HTTP."""
    by_udp, by_http = (Client(server, key) for server in servers)
    rounds = round(seconds / ROUND_S)
    with ThreadPoolExecutor() as threads:
        both = threads.submit(by_udp.by_udp, rounds), threads.submit(by_http.by_http, rounds)
        for each in both:
            each.result()
    return by_udp, by_http


def facts_of(server: Any) -> str:
    """How the server says that it keeps limits."""
    _, _, body = server.http("GET", "/health/ready", port="health", key=None)
    return str(json.loads(body)["facts"]["limits"])


def answers(server: Any, question: dict[str, Any]) -> bool:
    return "price" in json.loads(server.udp(question)[0])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Cluster:
    """Servers of one database and one Valkey."""

    def __init__(self, start: Callable[..., Any], homes: Path, valkey: str, database: str) -> None:
        self.servers = []
        for number in range(NODES):
            config = homes / f"config{number}.toml"
            config.write_text(f'redis_url = "{valkey}"\ndatabase_url = "{database}"\nnode = "n{number}"\n')
            self.servers.append(start("--config", str(config), home=f"home{number}"))
        self._config = "--config", str(homes / "config0.toml")
        for server in self.servers:
            wait_until(partial(self.is_whole, server))

    def is_whole(self, server: Any) -> bool:
        return f"{NODES} nodes" in facts_of(server)

    def beast(self, *arguments: str) -> str:
        told = self.servers[0].beast(*arguments, *self._config)
        assert told.returncode == 0, told.stderr
        return str(told.stdout)

    def make_key(self, tier: str, cap: str) -> tuple[int, str]:
        """Its number, and the key; each server has then answered one question with it."""
        limits = "--per-second", str(PER_SECOND), "--burst", str(BURST), "--monthly-queries", cap
        self.beast("tiers", "set", tier, *limits)
        made = json.loads(self.beast("keys", "create", "--tier", tier, "--json"))
        question = {"api_key": made["api_key"], "asset": "BTC"}
        for server in self.servers:
            wait_until(partial(answers, server, question))
        return made["id"], made["api_key"]


def test_two_servers_keep_one_limit_at_ten_times_the_load(
    start: Callable[..., Any], homes: Path, valkey: RealValkey, database_url: str
) -> None:
    cluster = Cluster(start, homes, valkey.url, database_url)
    (rated, rated_key), (capped, capped_key) = cluster.make_key("rated", "none"), cluster.make_key("capped", str(CAP))

    clients = load(cluster.servers, rated_key, SECONDS)
    came = [moment for client in clients for moment in client.came]
    assert most_in_any_time(came, PER_SECOND) <= BURST + NODES * LEASE + JITTER_S * PER_SECOND
    assert len(came) >= 0.8 * PER_SECOND * SECONDS, "nobody is cheated of what the key allows"
    assert {code for client in clients for code in client.codes} == {"price", "rate_limited"}

    clients = load(cluster.servers, capped_key, SECONDS)
    paid = NODES + sum(client.codes["price"] for client in clients)
    assert CAP - NODES * LEASE <= paid <= CAP + NODES * LEASE
    assert all(client.codes["quota_exceeded"] for client in clients)

    for server in cluster.servers:
        assert server.stop() == 0
        assert "Traceback" not in server.err
    with psycopg.connect(database_url) as connection:
        counts = "SELECT key_id, count(*), count(DISTINCT node) FROM usage_logs WHERE key_id = ANY(%s) GROUP BY 1"
        booked = sorted(connection.execute(counts, ([rated, capped],)))
    assert booked == [(rated, NODES + len(came), NODES), (capped, paid, NODES)]
