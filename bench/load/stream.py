"""Price streams: thousands of clients of one server on processor 0, read by one client process on processor 1.

    python -m bench.load.stream                       5,000 clients: Beast (SSE, then WebSocket), a plain uvicorn app
    python -m bench.load.stream --clients 1000 --rate 20 --seconds 5 --only sse

One price is published `rate` times a second. Told are: the processor time of the server, by event and in percent of one
core; the time from a price's publication to its arrival at a client, p50 and p99 (Beast looks for changes every
`interval` ms, the plain app writes at once); what the server's resident memory grew by, per client. The plain app is
the least that does the job: one task per client, which waits for the next event and writes the ready bytes. A run is
kept as one line in bench/results/stream.jsonl.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from bench.load.report import keep, machine

from beast._fast import Engine, monotonic_ns
from beast.base.clock import SystemClock
from beast.engine.runtime import Runtime
from beast.http.extensions import Successor
from beast.http.server import HttpServer
from beast.http.stream.admission import admit
from beast.http.stream.frames import accept_key
from beast.http.stream.hub import Hub, running
from beast.http.stream.sse import HEADERS, SseSession
from beast.http.stream.ws import WsSession

KEY = b"tb_bench"
WS_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEAD = b"Host: x\r\nX-API-Key: " + KEY + b"\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + WS_KEY.encode()
)
REQUESTS = {
    "sse": b"GET /stream?assets=BTC HTTP/1.1\r\n" + HEAD + b"\r\n",
    "ws": b"GET /ws?assets=BTC HTTP/1.1\r\n" + HEAD + UPGRADE + b"\r\n\r\n",
    "plain": b"GET /stream HTTP/1.1\r\n" + HEAD + b"\r\n",
}
MARK = b'"missed":'
"""Once in every event."""
PRICE = b'"price":'
SAMPLED = 50
"""One client in so many is asked how late its events are."""
OPENED_AT_ONCE = 100
TIME_NS = 1_776_003_781_000_000_000
BODY = (
    b'{"asset":"BTC","price":%d,"currency":"USDT","exchange":"okx","source":"okx-ws","timestamp":'
    b'"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"bench","id":"00000000-%d","seq":%d,'
    b'"missed":0}'
)


# The servers


async def publish(price: Callable[[int], None], rate: float) -> None:
    """Calls `price` at even intervals."""
    due = time.monotonic()
    while True:
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        price(monotonic_ns())


async def serve_beast(form: str, rate: float, interval_ms: int) -> None:
    """Beast's own engine, hand-over, hub and sessions; the routes' way to a session is left out of the ASGI app."""
    engine = Engine(node="bench", max_keys=1024, max_instruments=64, http_connections_per_source=0)
    engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    digest = sha256(KEY).digest()
    engine.put_key(digest, 1, per_second=0, burst=0, partner=True)
    clock = SystemClock()
    hub = Hub(engine, clock)
    hub.tune(interval_ms=interval_ms, idle_ms=30_000, max_clients=100_000)

    def session() -> tuple[SseSession | WsSession, int, list[tuple[bytes, bytes]]]:
        if form == "sse":
            return SseSession(hub, digest, None), 200, HEADERS
        switch = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
        accept = (b"sec-websocket-accept", accept_key(WS_KEY).encode())
        return WsSession(hub, digest, partial(admit, engine, KEY, None), clock.monotonic_ns), 101, [*switch, accept]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        successor, status, headers = session()
        assert isinstance(successor, Successor)
        if scope["extensions"]["beast.hand_on"]["call"](successor, status, headers):
            successor.open(admit(engine, KEY, None, ["BTC"], None))
        while engine.drain_usage()[1]:
            pass

    http = HttpServer(app)
    http.gate.limit(0)
    await http.start()
    runtime = Runtime(engine, on_connection=http.adopt)
    async with running(hub):
        runtime.start()

        def price(now_ns: int) -> None:
            engine.publish(0, b"%d" % now_ns, TIME_NS, now_ns)

        price(monotonic_ns())
        tell({"port": engine.http_port})
        await publish(price, rate)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class Plain:
    """The uvicorn app: the newest event's bytes, and who waits for the next."""

    def __init__(self) -> None:
        self.event = b""
        self.seq = 0
        self.changed: asyncio.Event = asyncio.Event()

    def price(self, now_ns: int) -> None:
        """A new price, and everybody wakes."""
        self.seq += 1
        body = BODY % (now_ns, self.seq, self.seq)
        self.event = b"event: price\nid: 00000000-%d\ndata: %b\n\n" % (self.seq, body)
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        """ASGI."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            await send({"type": "http.response.body", "body": self.event, "more_body": True})
            await self.changed.wait()


async def serve_plain(rate: float) -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    app = Plain()
    app.price(monotonic_ns())
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", lifespan="off", log_level="error", access_log=False))
    tell({"port": sock.getsockname()[1]})
    await asyncio.gather(server.serve([sock]), publish(app.price, rate))


def tell(what: dict[str, int]) -> None:
    print(json.dumps(what), flush=True)


# The client


class Server:
    """A server process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.port: int = json.loads(process.stdout.readline())["port"]

    def cpu_s(self) -> float:
        """Processor time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def started(form: str, rate: float, interval_ms: int) -> Iterator[Server]:
    command = ["taskset", "-c", "0", sys.executable, "-m", "bench.load.stream", "--serve", form]
    command += ["--rate", str(rate), "--interval", str(interval_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


class Clients:
    """All connections, read as they turn readable."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.socks: dict[int, socket.socket] = {}
        self.sampled: set[int] = set()
        self.events = self.lost = 0
        self.late_ns: list[int] = []

    def open(self, port: int, request: bytes) -> None:
        """One more."""
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        sock.setblocking(False)  # noqa: FBT003 - the library's way
        if len(self.socks) % SAMPLED == 0:
            self.sampled.add(sock.fileno())
        self.socks[sock.fileno()] = sock
        self.poll.register(sock.fileno(), select.EPOLLIN)

    def read(self, seconds: float) -> None:
        """Reads what comes for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self.poll.poll(left, 1024):
                data = self.socks[fd].recv(65536)
                if not data:
                    self.lost += 1
                    self.poll.unregister(fd)
                    continue
                self.events += data.count(MARK)
                at = data.rfind(PRICE) if fd in self.sampled else -1
                if at >= 0:
                    price = data[at + len(PRICE) : data.index(b",", at)]
                    self.late_ns.append(monotonic_ns() - int(price))

    def close(self) -> None:
        """Closes all."""
        for sock in self.socks.values():
            sock.close()
        self.poll.close()


def measure(form: str, count: int, rate: float, seconds: float, interval_ms: int) -> dict[str, Any]:
    """One server, so many clients: figures of `seconds` after all of them have been open for a moment."""
    with started(form, rate, interval_ms) as server:
        clients = Clients()
        clients.open(server.port, REQUESTS[form])
        clients.read(0.5)
        memory = server.memory()
        for number in range(1, count):
            clients.open(server.port, REQUESTS[form])
            if number % OPENED_AT_ONCE == 0:
                clients.read(0.05)
        clients.read(2.0)
        grown = server.memory() - memory
        clients.events, clients.late_ns = 0, []
        cpu_s, began, own_s = server.cpu_s(), time.monotonic(), time.process_time()
        clients.read(seconds)
        took = time.monotonic() - began
        cpu_s = server.cpu_s() - cpu_s
        late = sorted(clients.late_ns)
        figures = {
            "form": form,
            "clients": count - clients.lost,
            "events_per_s": round(clients.events / took),
            "of_published": round(clients.events / took / (rate * count), 3),
            "cpu_pct": round(100 * cpu_s / took, 1),
            "cpu_us_per_event": round(1e6 * cpu_s / clients.events, 2),
            "p50_ms": round(late[len(late) // 2] / 1e6, 1),
            "p99_ms": round(late[len(late) * 99 // 100] / 1e6, 1),
            "kb_per_client": round(grown / count / 1024, 1),
            "client_cpu_pct": round(100 * (time.process_time() - own_s) / took, 1),
        }
        clients.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=5.0, help="prices published a second")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--interval", type=int, default=50, help="stream_interval_ms")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=REQUESTS)
    parser.add_argument("--serve", choices=REQUESTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if asked.serve:
        serve = (
            serve_plain(asked.rate) if asked.serve == "plain" else serve_beast(asked.serve, asked.rate, asked.interval)
        )
        uvloop.run(serve)
    about = machine()
    os.sched_setaffinity(0, {1})
    results: list[dict[str, Any]] = []
    costs: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        for form in [asked.only] if asked.only else REQUESTS:
            figures = measure(form, asked.clients, asked.rate, asked.seconds, asked.interval)
            costs.setdefault(form, []).append(figures["cpu_us_per_event"])
            results.append(figures)
            print(json.dumps(figures), flush=True)
    if "plain" in costs:
        for form in costs.keys() - {"plain"}:
            ratios = [theirs / ours for ours, theirs in zip(costs[form], costs["plain"], strict=True)]
            results.append({"form": form, "plain_over_beast": round(statistics.median(ratios), 2)})
            print(json.dumps(results[-1]))
    flags = {name: getattr(asked, name) for name in ("clients", "rate", "seconds", "interval", "rounds", "only")}
    keep("stream", flags, results, about)


if __name__ == "__main__":
    main()
