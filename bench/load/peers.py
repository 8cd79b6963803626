"""The servers under load: Beast and what it is measured against, each as a process on processor 0, one at a time."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load.environment import python_with
from bench.load.setup import Setup

HERE = Path(__file__).parent
BUILD = HERE / "build"
SERVER_CPU, CLIENT_CPU = "0", "1"
START_S = 15.0
FASTAPI = "fastapi>=0.115,<1"

BODY = (
    '{"asset":"BTC","price":83421.57,"currency":"USD","exchange":"coinbase","source":"coinbase-ws",'
    '"timestamp":"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"BeastMain"}'
)
NGINX = """
daemon off; master_process off; worker_processes 1; pid {room}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; tcp_nodelay on;
    client_body_temp_path {room}; proxy_temp_path {room}; fastcgi_temp_path {room};
    uwsgi_temp_path {room}; scgi_temp_path {room};
    server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{body}'; }} }}
}}
"""


class Missing(Exception):
    """A peer that this machine can't run, and what would bring it."""


@dataclass(frozen=True)
class Peer:
    """A running server: its process and where it listens."""

    name: str
    pid: int
    udp: int = 0
    http: int = 0
    check: str = "id"
    """What the load client can check of its answers."""
    about: Mapping[str, float] = field(default_factory=dict)
    """What a Beast said of itself when it began to listen."""
    process: subprocess.Popen[str] | None = None

    def figures(self) -> dict[str, Any]:
        """A Beast's counters and histograms so far."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def cpu_ns(self) -> int:
        """Processor time of all threads so far, in ns."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def free_port() -> int:
    """A port that neither TCP nor UDP uses."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            with contextlib.suppress(OSError):
                datagrams.bind(("127.0.0.1", port))
                return port


def _pinned(*command: str) -> list[str]:
    return ["taskset", "-c", SERVER_CPU, *command]


@contextlib.contextmanager
def _process(command: list[str], *, output: bool = False) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE if output else None
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def _answers(udp: int, http: int) -> bool:
    """Whether something listens: on TCP by connecting, on UDP by one request."""
    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", udp or http))
            if udp:
                probe.send(b'{"api_key":"x","asset":"BTC","id":1}')
                probe.recv(2048)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _listening(name: str, command: list[str], *, udp: int = 0, http: int = 0, check: str = "id") -> Iterator[Peer]:
    with _process(_pinned(*command)) as process:
        until = time.monotonic() + START_S
        while not _answers(udp, http):
            if process.poll() is not None or time.monotonic() > until:
                raise Missing(f"{name} does not start")
            time.sleep(0.1)
        yield Peer(name, process.pid, udp, http, check)


@contextlib.contextmanager
def beast(setup: Setup) -> Iterator[Peer]:
    with _process(_pinned(sys.executable, "-m", "bench.load.server", setup.text()), output=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Peer("beast", process.pid, told["udp"], told["http"], about=told["about"], process=process)


@contextlib.contextmanager
def echo(name: str = "echo") -> Iterator[Peer]:
    port = free_port()
    with _listening(name, [str(BUILD / name), str(port)], udp=port, check="none") as peer:
        yield peer


@contextlib.contextmanager
def classic() -> Iterator[Peer]:
    program = BUILD / "classic"
    if not program.exists():
        raise Missing("the classic design in Go: Debian's golang-go brings its compiler")
    udp, http = free_port(), free_port()
    with _listening("classic", [str(program), str(udp), str(http)], udp=udp, http=http) as peer:
        yield peer


@contextlib.contextmanager
def uvloop() -> Iterator[Peer]:
    port = free_port()
    with _listening("uvloop", [sys.executable, str(HERE / "peer_asyncio.py"), str(port)], udp=port) as peer:
        yield peer


@contextlib.contextmanager
def uvicorn() -> Iterator[Peer]:
    port = free_port()
    with _listening("uvicorn", [sys.executable, str(HERE / "peer_asgi.py"), "bare", str(port)], http=port) as peer:
        yield peer


@contextlib.contextmanager
def fastapi() -> Iterator[Peer]:
    python, port = python_with("fastapi", FASTAPI, "uvicorn", "uvloop", "httptools"), free_port()
    if python is None:
        raise Missing("FastAPI: pip can't install it here")
    with _listening("fastapi", [str(python), str(HERE / "peer_asgi.py"), "fastapi", str(port)], http=port) as peer:
        yield peer


@contextlib.contextmanager
def nginx() -> Iterator[Peer]:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise Missing("nginx: Debian's nginx-light brings it")
    port = free_port()
    with tempfile.TemporaryDirectory() as room:
        config = Path(room) / "nginx.conf"
        config.write_text(NGINX.format(room=room, port=port, body=BODY))
        command = [program, "-c", str(config), "-p", room]
        with _listening("nginx", command, http=port, check="id") as peer:
            yield peer


Start = Callable[[], contextlib.AbstractContextManager[Peer]]
PEERS: dict[str, Start] = {
    "echo": echo,
    "echo_gso": lambda: echo("echo_gso"),
    "classic": classic,
    "uvloop": uvloop,
    "nginx": nginx,
    "uvicorn": uvicorn,
    "fastapi": fastapi,
}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One way of asking: as the load client's command line has it."""

    protocol: str
    sockets: int
    in_flight: int = 0
    rate: int = 0
    interleaved: bool = False


@contextlib.contextmanager
def asleep(others: Iterable[Peer]) -> Iterator[None]:
    """Stops the servers that are not under load: their timers and feeds must not take the processor from the other."""
    stopped = [peer.pid for peer in others]
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def load(peer: Peer, ask: Ask, names: str, *, seconds: float, check: str = "id") -> dict[str, float]:
    """Runs the load client on its own processor; returns its report, with `cpu_ns` per answer of the server.

    Args:
        peer: Asked.
        ask: How.
        names: Keys, an empty line, assets.
        seconds: How long.
        check: `id` or `all`; for a peer that can't be checked, nothing is.
    """
    port = peer.http if ask.protocol == "http" else peer.udp
    command = [
        "taskset", "-c", CLIENT_CPU, str(BUILD / "load"), ask.protocol, "127.0.0.1", str(port), str(ask.sockets),
        str(ask.in_flight), str(ask.rate), str(int(seconds * 1000)), peer.check if peer.check == "none" else check,
        "interleaved" if ask.interleaved else "grouped",
    ]  # fmt: skip
    before = peer.cpu_ns()
    done = subprocess.run(command, input=names, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, float] = json.loads(done.stdout)
    report["cpu_ns"] = (peer.cpu_ns() - before) / max(1, report["answered"])
    return report
