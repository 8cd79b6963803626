"""The clients of the proof of usage: each has a key of its own and counts the prices that it receives, to the last one.

What a client reads after its server's death counts as well: the kernel had taken it over. Nobody gives a request up
while its answer may still come, since that would be billed and not received: a client that has done so says it.
"""

import socket
import threading
import time
from collections import Counter
from typing import Literal

import msgspec

from beast._fast import Load
from beast.engine.load import Figures, figures_of

ASSETS = [b"BTC", b"ETH", b"SOL"]
UDP_WINDOW, HTTP_PIPELINE, POST_PIPELINE = 32, 16, 4
FOR_EVER_NS = 10**15
PATIENCE_NS = {"udp": 2 * 10**9, "http": 60 * 10**9}
"""A server on this machine that is alive answers by then, and a connection of a dead one is reset at once."""
KNOWN_S = 60.0

Way = Literal["udp", "http", "post"]
"""By UDP, by pipelines that the workers answer, by POST /prices, which the event loop answers."""


class Count(msgspec.Struct):
    """What one client has seen."""

    received: int = 0
    lost: int = 0
    """Asked, and never answered."""
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, figures: Figures) -> None:
        """One run of the load client."""
        self.received += figures.answered
        self.lost += figures.lost
        self.refused.update(figures.refused)
        self.wrong.update(figures.wrong)


class Client:
    """The user of one key.

    Args:
        key: Its id and text.
        way: How it asks.
        ports: Of the server, by protocol.
    """

    def __init__(self, key: tuple[int, str], way: Way, ports: dict[str, int]) -> None:
        self.id, text = key
        self.way = way
        self._key = text.encode()
        self._ports = ports
        self._count = Count()
        self._load: Load | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Asks, as much as it can, until it is stopped or nobody listens any more."""
        self._stopping.clear()
        if self.way != "post":
            self._load = self._new_load(self.way)
        self._thread = threading.Thread(target=self._run, name=f"client {self.id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Asks no more; what is on its way is still read."""
        self._stopping.set()
        if self._load is not None:
            self._load.stop()

    def join(self) -> None:
        """Returns when nothing can come any more."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._load is not None:
            self._count.add(figures_of(self._load))
            self._load = None

    @property
    def received(self) -> int:
        """Prices so far."""
        return self._count.received + (figures_of(self._load).answered if self._load is not None else 0)

    @property
    def count(self) -> Count:
        """All that it has seen, once it was joined."""
        return self._count

    def await_prices(self) -> None:
        """Returns when each asset has one. A worker gives a connection away, for good, that asks for another."""
        begun = time.monotonic()
        for asset in ASSETS:
            request = b"GET /price?asset=%b HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n\r\n" % (asset, self._key)
            while not self._ask_once(request):
                if time.monotonic() - begun > KNOWN_S:
                    raise SystemExit(f"no price of {asset.decode()} for {KNOWN_S} s")
                time.sleep(0.02)

    def _new_load(self, way: Literal["udp", "http"]) -> Load:
        """HTTP has one connection: the client ends with it, all of it read."""
        return Load(
            protocol=way,
            host="127.0.0.1",
            port=self._ports[way],
            keys=[self._key],
            assets=ASSETS,
            sockets=1,
            in_flight=UDP_WINDOW if way == "udp" else HTTP_PIPELINE,
            duration_ns=FOR_EVER_NS,
            timeout_ns=PATIENCE_NS[way],
        )

    def _run(self) -> None:
        try:
            if self._load is None:
                self._post()
            else:
                self._load.run()
        except OSError:
            return  # nobody listens: it was killed

    def _ask_once(self, request: bytes) -> bool:
        with self._connect() as sock:
            prices, answers = self._exchange(sock, request, 1)
        return prices == answers == 1

    def _post(self) -> None:
        body = b'{"assets":["BTC"]}'
        head = b"POST /prices HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Length: %d\r\n\r\n"
        requests = (head % (self._key, len(body)) + body) * POST_PIPELINE
        with self._connect() as sock:
            while not self._stopping.is_set():
                if self._exchange(sock, requests, POST_PIPELINE)[1] < POST_PIPELINE:
                    return

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._ports["http"]), timeout=PATIENCE_NS["http"] / 1e9)

    def _exchange(self, sock: socket.socket, requests: bytes, wanted: int) -> tuple[int, int]:
        """(prices, answers) to these requests; fewer than `wanted` when the connection ended."""
        prices = answers = 0
        data = b""
        sock.sendall(requests)
        while answers < wanted:
            try:
                part = sock.recv(1 << 16)
            except ConnectionResetError:
                part = b""
            if not part:
                self._count.lost += wanted - answers
                break
            found, whole, data = whole_answers(data + part)
            self._count.received += found
            prices, answers = prices + found, answers + whole
        return prices, answers


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
