"""What the proof of usage is played on: a server, its consumers and its database, each of which may be killed."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from beast.storage.embedded import EmbeddedPostgres

BEAST = Path(sys.executable).with_name("beast")
PORTS = ("http", "udp", "health", "report-http", "report-udp", "report-health")
START_S, STOP_S, BOOK_S = 180.0, 180.0, 1800.0
POLL_S = 0.02

Sink = Literal["postgres", "folder"]


class Stage:
    """One home: the processes on it, and how often each kind of them was killed.

    Args:
        folder: The home is made in it, and a log of each process.
        consumers: So many book what the server puts into its folder of envelopes.
    """

    def __init__(self, folder: Path, *, consumers: int) -> None:
        self.kills: Counter[str] = Counter()
        self.exits = 0
        """So often a consumer has given up by itself."""
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.queue = folder / "queue"
        self._folder = folder
        self._home = folder / "home"
        self._ready = folder / "ready.json"
        self._admin_key = ""
        self._server: subprocess.Popen[bytes] | None = None
        self._consumers: list[subprocess.Popen[bytes]] = []
        self._wanted = consumers
        self._postgres = EmbeddedPostgres(self._home)

    def open(self) -> None:
        """The database and its consumers; the server is started by `start`."""
        self.queue.mkdir()
        self._postgres.start()

    def start(self, sink: Sink, *, dies_after_s: float | None = None) -> bool:
        """Starts the server; True when it is ready, False when it was killed before that, as it was to be."""
        self._ready.unlink(missing_ok=True)
        queue = {"BEAST_USAGE_QUEUE": f"folder:{self.queue}"} if sink == "folder" else {}
        ports = [f"--{kind}-port={port}" for kind, port in self.ports.items()]
        self._server = self._spawn("serve", "--demo", "--ready-file", str(self._ready), *ports, **queue)
        begun = time.monotonic()
        while not self._ready.exists():
            gone_s = time.monotonic() - begun
            if dies_after_s is not None and gone_s > dies_after_s:
                self.kill_server("starting")
                return False
            if self._server.poll() is not None or gone_s > START_S:
                raise SystemExit(f"the server did not get ready; see {self._folder / 'serve.log'}")
            time.sleep(POLL_S)
        self._admin_key = json.loads(self._ready.read_bytes())["admin_key"]
        self._watch_consumers()
        return True

    def make_keys(self, count: int) -> list[tuple[int, str]]:
        """(id, key) of new ones that nothing limits."""
        made = [self._admin("POST", "/admin/keys", {"tier": "partner"}) for _ in range(count)]
        return [(each["id"], each["api_key"]) for each in made]

    def kill_server(self, kind: str = "server") -> None:
        """As the kernel does when memory is short. Returns when it is gone, and with it its last system call."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self.kills[kind] += 1

    def kill_consumer(self, number: int) -> None:
        """One of them; another takes its place."""
        self._watch_consumers()
        self._consumers[number].kill()
        self._consumers[number].wait()
        self._watch_consumers(killed=1)

    def kill_postgres(self) -> None:
        """Its postmaster, and so all of its processes. Whoever misses it starts it again."""
        pid = self._postgres.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills["postgres"] += 1

    def wait_until_booked(self) -> None:
        """Until the server has nothing left that is not in the tables, and its consumers have nothing to do."""
        begun = time.monotonic()
        while any(self.queue.glob("[!.]*.json")) or self._admin("GET", "/admin/usage?days=1")["pending"]:
            if time.monotonic() - begun > BOOK_S:
                raise SystemExit("usage was not booked in time")
            self._watch_consumers()
            time.sleep(0.5)

    def stop(self) -> bool:
        """All but the database, in order; whether each of them ended as it should."""
        assert self._server is not None
        ended = [self._server, *self._consumers]
        for each in ended:
            each.send_signal(signal.SIGTERM)
        return [each.wait(timeout=STOP_S) for each in ended] == [0] * len(ended)

    def verify(self) -> dict[str, Any]:
        """What `beast usage verify` says."""
        command = [str(BEAST), "usage", "verify", "--json"]
        told = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if not told.stdout:
            raise SystemExit(told.stderr)
        found: dict[str, Any] = json.loads(told.stdout)
        return found

    def ask_sql(self, query: str) -> list[list[str]]:
        """What plain SQL says, by psql."""
        psql = [str(self._postgres.layout.programs / "psql"), self._postgres.url(), "--csv", "--tuples-only", "-c"]
        out = subprocess.run([*psql, query], capture_output=True, text=True, check=True).stdout
        return [line.split(",") for line in out.split()]

    def close(self) -> None:
        """Leaves nothing running, whatever has happened."""
        for each in (self._server, *self._consumers):
            if each is not None and each.poll() is None:
                each.kill()
                each.wait()
        self._postgres.stop()

    def log(self) -> str:
        """The end of what the server has logged."""
        path = self._folder / "serve.log"
        return path.read_text()[-4000:] if path.exists() else ""

    def _watch_consumers(self, *, killed: int = 0) -> None:
        """As a supervisor does: one that ended is started again. It gives up when it starts without a database."""
        dead = [at for at, each in enumerate(self._consumers) if each.poll() is not None]
        for at in dead:
            self._consumers[at] = self._spawn("consume", "--folder", str(self.queue))
        self.kills["consumer"] += killed
        self.exits += len(dead) - killed
        while len(self._consumers) < self._wanted:
            self._consumers.append(self._spawn("consume", "--folder", str(self.queue)))

    def _spawn(self, *command: str, **settings: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [BEAST, *command], env=self._environment() | settings, stdout=log, stderr=log, start_new_session=True
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BEAST_")}
        for name in ("DATABASE_URL", "REDIS_URL", "SERVER_TYPE"):
            kept.pop(name, None)
        return {**kept, "BEAST_HOME": str(self._home)}

    def _admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=120)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"X-Admin-Key": self._admin_key})
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return told


def free_ports(count: int) -> list[int]:
    """Such as nobody has at this moment."""
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def totals(rows: Sequence[Sequence[str]]) -> dict[int, int]:
    """(key, answers) as a dictionary."""
    return {int(key): int(answers) for key, answers in rows}
