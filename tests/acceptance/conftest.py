"""Whole server processes, seen from outside."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.valkey import RealValkey, real_valkey

BEAST = Path(sys.executable).with_name("beast")
START_S = 60
PORTS = ("http", "health", "udp", "report-http", "report-health", "report-udp")


def environment(home: Path) -> dict[str, str]:
    """This process's environment without any setting of Beast's, but for the home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEAST_")}
    for name in ("DATABASE_URL", "REDIS_URL", "SERVER_TYPE"):
        kept.pop(name, None)
    return {**kept, "BEAST_HOME": str(home)}


class Running:
    """One `beast serve --demo` and the ways to talk to it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.ready_file = home.parent / f"ready-{time.monotonic_ns()}.json"
        ports = [part for name in PORTS for part in (f"--{name}-port", "0")]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [BEAST, "serve", "--demo", "--ready-file", self.ready_file, *ports, *arguments],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._wait()
        self.start_s = time.monotonic() - self.started

    def _wait(self) -> None:
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() - self.started > START_S:
                self.process.kill()
                out, err = self.process.communicate()
                raise AssertionError(f"the server did not get ready: {self.process.returncode}\n{out}\n{err}")
            time.sleep(0.02)
        self.ready: dict[str, Any] = json.loads(self.ready_file.read_bytes())
        self.ports: dict[str, int] = self.ready["ports"]
        self.key: str = self.ready["demo_api_key"]

    def udp(
        self, request: bytes | dict[str, Any], *, key: str | None = "demo", parts: int = 1, within_s: float = 1
    ) -> list[bytes]:
        """The datagrams that answer one datagram; fewer than `parts` when `within_s` passes without."""
        if isinstance(request, dict):
            proof = {} if key is None else {"api_key": self.key if key == "demo" else key}
            request = json.dumps({**proof, **request}).encode()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(within_s)
            sock.sendto(request, ("127.0.0.1", self.ports["udp"]))
            answers: list[bytes] = []
            try:
                while len(answers) < parts:
                    answers.append(sock.recv(4096))
            except TimeoutError:
                pass
            return answers

    def http(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        key: str | None = "demo",
        port: str = "http",
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body); header names are given with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            given["X-API-Key"] = self.key if key == "demo" else key
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=10)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, sent: bytes, *, done: bool = False) -> bytes:
        """What comes back on one connection until the server closes it, or half a second is silent."""
        with socket.create_connection(("127.0.0.1", self.ports["http"]), timeout=0.5) as sock:
            sock.sendall(sent)
            if done:
                sock.shutdown(socket.SHUT_WR)
            got = b""
            try:
                while part := sock.recv(65536):
                    got += part
            except (TimeoutError, ConnectionResetError):
                pass
            return got

    def beast(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same home."""
        return run_beast(self.home, *arguments)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Signals the server and waits; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        if self.process.stdout and not self.process.stdout.closed:
            self.out, self.err = self.process.communicate(timeout=timeout)
        return self.process.returncode


def run_beast(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        [BEAST, *arguments], env=environment(home), capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can get through: started by root, the embedded PostgreSQL runs as one of them."""
    with tempfile.TemporaryDirectory(prefix="beast-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """One server for all tests of a module."""
    with open_folder() as folder:
        running = Running(folder / "home")
        yield running
        assert running.stop() == 0, running.err
        assert "Traceback" not in running.err


@pytest.fixture
def homes() -> Iterator[Path]:
    """Where the homes of one test may lie."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def start(homes: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers on homes below one folder; whatever still runs at the end is stopped."""
    started: list[Running] = []

    def start_one(*arguments: str, home: str = "home") -> Running:
        started.append(Running(homes / home, *arguments))
        return started[-1]

    yield start_one
    for running in started:
        running.stop()


@pytest.fixture
def valkey() -> Iterator[RealValkey]:
    with real_valkey() as running:
        yield running
