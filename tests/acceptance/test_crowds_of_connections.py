"""Many connections, from many sources and from one: those who ask are answered all the same."""

import json
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

Server = Any
"""`Running` of conftest.py."""

CROWD = 10_000
SOURCES = 50
KB_EACH = 1


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CROWD + 1_000:
        pytest.skip(f"this user may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (CROWD + 1_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: Server, source: str = "127.0.0.1") -> socket.socket:
    """All of 127.0.0.0/8 is this machine's: each address is another source."""
    return socket.create_connection(("127.0.0.1", server.ports["http"]), timeout=5, source_address=(source, 0))


def metric(server: Server, name: str) -> int:
    _, _, body = server.http("GET", "/metrics", port="health", key=None)
    found = re.search(rf"^beast_{name} (\d+)$", body.decode(), re.MULTILINE)
    assert found, name
    return int(found[1])


def memory_kb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


def wait_until(condition: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < 10
        time.sleep(0.02)


def is_answered(server: Server, sock: socket.socket) -> bool:
    """Whether the connection serves a price, or is closed."""
    try:
        sock.sendall(f"GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nX-API-Key: {server.key}\r\n\r\n".encode())
        answer = sock.recv(65536)
    except ConnectionError:
        return False
    assert answer == b"" or b'"asset":"BTC","price":' in answer
    return answer != b""


def can_ask(server: Server, source: str = "127.0.0.1") -> bool:
    with connect(server, source) as sock:
        return is_answered(server, sock)


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_idle_connections_cost_little_and_hinder_nobody(server: Server) -> None:
    accepted, closed = metric(server, "http_accepted_total"), metric(server, "http_closed_total")
    assert can_ask(server)
    before_kb = memory_kb(server)
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(server, f"127.0.1.{n % SOURCES + 1}")) for n in range(CROWD)]
        wait_until(lambda: metric(server, "http_accepted_total") - accepted >= CROWD)
        assert memory_kb(server) - before_kb < CROWD * KB_EACH
        assert metric(server, "http_overloaded_total") == metric(server, "http_source_limited_total") == 0
        for _ in range(100):
            assert json.loads(server.udp({"asset": "BTC"})[0])["price"]
        with connect(server) as asking:
            begun = time.monotonic()
            assert all(is_answered(server, asking) for _ in range(100))
            assert time.monotonic() - begun < 2
        assert all(is_answered(server, each) for each in crowd[:: CROWD // 100])
    wait_until(lambda: metric(server, "http_closed_total") - closed >= CROWD)
    assert can_ask(server)


def test_one_source_has_a_limit_that_the_operator_sets(server: Server) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(connect(server, "127.0.2.2"))
        # Two workers accept: the one too many need not be the last that connected.
        held = [stack.enter_context(connect(server, "127.0.2.1")) for _ in range(257)]
        wait_until(lambda: metric(server, "http_source_limited_total") == 1)
        held = [each for each in held if is_answered(server, each)]
        assert len(held) == 256
        assert is_answered(server, other)
        assert not can_ask(server, "127.0.2.1")
        assert server.beast("profile", "apply", "stress").returncode == 0
        wait_until(lambda: can_ask(server, "127.0.2.1"))
        assert server.beast("profile", "apply", "demo").returncode == 0
        wait_until(lambda: not can_ask(server, "127.0.2.1"))
        held.pop().close()
        wait_until(lambda: can_ask(server, "127.0.2.1"))
