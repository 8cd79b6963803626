"""Starting, stopping, dying and starting again; and the commands that talk to a running server."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

PORTS = ("http", "health", "udp", "report-http", "report-health", "report-udp")
Server = Any
"""`Running` of conftest.py."""
Start = Callable[..., Server]


def test_a_signal_drains_and_ends_with_0_and_the_second_start_is_quick(start: Start) -> None:
    first = start()
    left = first.home / "server.json"
    assert left.stat().st_mode & 0o777 == 0o600
    assert first.stop(signal.SIGTERM) == 0
    assert not left.exists()
    second = start()
    # A machine with other things to do is slow at both, and the first has a database to make.
    assert second.start_s < max(5, first.start_s)
    assert second.key == first.key
    assert json.loads(second.udp({"asset": "BTC"})[0])["price"]
    assert second.stop(signal.SIGINT) == 0
    assert "Traceback" not in first.err + second.err


def test_a_closed_terminal_stops_the_server_too(start: Start) -> None:
    server = start()
    [pid_file] = server.home.glob("postgres/**/postmaster.pid")
    server.process.send_signal(signal.SIGHUP)
    server.process.send_signal(signal.SIGHUP)
    assert server.stop(signal.SIGHUP) == 0
    assert not pid_file.exists()


def test_a_killed_server_leaves_nothing_that_stops_the_next(start: Start) -> None:
    first = start()
    first.process.kill()
    first.process.wait()
    assert (first.home / "server.json").exists()
    told = first.beast("price", "BTC")
    assert (told.returncode, told.stdout) == (1, "")
    assert "no server runs" in told.stderr
    second = start()
    assert json.loads(second.udp({"asset": "BTC"})[0])["price"]
    assert second.key == first.key
    assert second.stop() == 0


def test_one_home_has_one_server(start: Start) -> None:
    first = start()
    told = first.beast("serve", "--demo", *(f"--{name}-port=0" for name in PORTS))
    assert told.returncode == 1
    assert str(first.process.pid) in told.stderr
    assert told.stderr.count("\n") == 1
    assert json.loads(first.udp({"asset": "BTC"})[0])["price"]


def test_a_port_that_is_taken_is_named(start: Start, homes: Path) -> None:
    first = start()
    for kind in PORTS:
        others = [f"--{name}-port=0" for name in PORTS if name != kind]
        port = first.ports[kind.replace("-", "_")]
        told = type(first).beast(
            first, "serve", "--feeds=sim", f"--home={homes / kind}", f"--{kind}-port={port}", *others
        )
        assert told.returncode == 1
        assert str(port) in told.stderr
        assert told.stderr.count("\n") == 1


def test_requests_under_way_are_answered_when_the_server_stops(start: Start) -> None:
    server = start()
    body = b'{"assets":["BTC"]}'
    head = f"POST /prices HTTP/1.1\r\nHost: x\r\nX-API-Key: {server.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.ports["http"]), timeout=10) as sock:
        sock.sendall(head.encode() + body[:5])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        sock.sendall(body[5:])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.process.wait(timeout=30) == 0


def test_a_revoked_key_dies_within_a_second(start: Start) -> None:
    server = start()
    made = json.loads(server.beast("keys", "create", "--tier", "partner", "--json").stdout)

    def answers() -> bool:
        return any("price" in json.loads(each) for each in server.udp({"asset": "BTC", "id": 1}, key=made["api_key"]))

    begun = time.monotonic()
    while not answers():
        assert time.monotonic() - begun < 1
    assert server.beast("keys", "revoke", str(made["id"])).returncode == 0
    begun = time.monotonic()
    while answers():
        assert time.monotonic() - begun < 1


def test_usage_survives_the_server(start: Start) -> None:
    server = start()
    made = json.loads(server.beast("keys", "create", "--tier", "partner", "--json").stdout)
    asked = 0
    for _ in range(200):
        asked += sum("price" in json.loads(each) for each in server.udp({"asset": "BTC"}, key=made["api_key"]))
    assert asked > 100
    server.stop()
    keys = [json.loads(line) for line in server.beast("keys", "list", "--json").stdout.splitlines()]
    assert [key["current_usage"] for key in keys if key["id"] == made["id"]] == [asked]


@pytest.fixture(scope="module")
def asked(server: Server) -> Server:
    return server


@pytest.mark.parametrize("udp", [[], ["--udp"]])
def test_the_price_command(asked: Server, udp: list[str]) -> None:
    plain = asked.beast("price", "BTC", *udp)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.startswith("BTC ")
    exact = asked.beast("price", "btc", "--exchange", "kraken", "--json", *udp)
    assert json.loads(exact.stdout)["exchange"] == "kraken"
    several = asked.beast("price", "BTC", "ETH", "NOPE", "--json", *udp)
    assert several.returncode == 1
    assert [each["asset"] for each in json.loads(several.stdout)["prices"]] == ["BTC", "ETH", "NOPE"]
    address = f"http://127.0.0.1:{asked.ports['http']}" if not udp else f"udp://127.0.0.1:{asked.ports['udp']}"
    named = asked.beast("price", "BTC", "--server", address, "--key", asked.key, *udp)
    assert named.returncode == 0


@pytest.mark.parametrize("udp", [[], ["--udp"]])
def test_the_price_command_tells_on_stderr_what_failed(asked: Server, udp: list[str]) -> None:
    told = asked.beast("price", "BTC", "--key", "tb_x", *udp)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "beast: unauthorized: the API key is missing or not valid\n"
    mixed = asked.beast("price", "BTC", "NOPE", *udp)
    assert mixed.returncode == 1
    assert mixed.stdout.startswith("BTC ")
    assert mixed.stderr == "beast: NOPE: unknown_asset: no price is kept for this asset\n"


def test_the_status_command(asked: Server) -> None:
    told = json.loads(asked.beast("status", "--json").stdout)
    assert told["ports"] == asked.ports
    assert told["health"]["ready"] is True
    assert all(each["connected"] for each in told["exchanges"])
    assert "ready: yes" in asked.beast("status").stdout


def test_an_exchange_that_is_switched_off_is_gone_within_a_second(start: Start) -> None:
    server = start()

    def names() -> set[str]:
        _, _, body = server.http("GET", "/exchanges", key=None)
        return {each["name"] for each in json.loads(body)["exchanges"]}

    for command, there in (("disable", False), ("enable", True)):
        assert server.beast("feeds", command, "kraken").returncode == 0
        begun = time.monotonic()
        while ("kraken" in names()) != there:
            assert time.monotonic() - begun < 1
    begun = time.monotonic()
    while "price" not in json.loads(server.udp({"asset": "BTC", "exchange": "kraken"})[0]):
        assert time.monotonic() - begun < 10


def test_losing_the_database_degrades_and_loses_nothing(start: Start) -> None:
    server = start()
    made = json.loads(server.beast("keys", "create", "--tier", "partner", "--json").stdout)
    [pid_file] = server.home.glob("postgres/**/postmaster.pid")

    def answered() -> int:
        return sum("price" in json.loads(each) for each in server.udp({"asset": "BTC", "id": 1}, key=made["api_key"]))

    while not answered():
        pass
    asked = 1
    first = int(pid_file.read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        got = answered()
        assert got == 1
        asked += got
        time.sleep(0.01)
    status, _, body = server.http("GET", "/health/ready", port="health", key=None)
    assert status == 200
    while json.loads(body)["degraded"]:
        assert time.monotonic() - begun < 60
        time.sleep(0.2)
        _, _, body = server.http("GET", "/health/ready", port="health", key=None)
    assert server.stop() == 0
    keys = [json.loads(line) for line in server.beast("keys", "list", "--json").stdout.splitlines()]
    assert [key["current_usage"] for key in keys if key["id"] == made["id"]] == [asked]


@pytest.mark.parametrize("level", [{}, {"MAKELEVEL": "1"}], ids=["by itself", "by make"])
def test_on_a_terminal_the_demo_moves_and_ctrl_c_ends_it_with_0(homes: Path, level: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    ports = [f"--{kind}-port=0" for kind in ("http", "udp", "health")]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("beast"), "serve", "--demo", f"--home={homes / 'beast'}", *ports],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name != "MAKELEVEL"} | level,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    try:
        while shown.count(b"coinbase") < 20 and time.monotonic() < deadline:
            shown += os.read(ours, 65536)
    except OSError:  # It has left its terminal.
        pytest.fail(f"ended with {process.wait(timeout=30)}: {shown.decode()}")
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert process.wait(timeout=30) == 0
    text = shown.decode()
    assert "Traceback" not in text
    assert all(part in text for part in ("demo key tb_", "curl -H", "price BTC --watch", "socket"))


def test_ctrl_c_ends_make_with_0_too(homes: Path) -> None:
    ports = " ".join(f"--{kind}-port=0" for kind in ("http", "udp", "health"))
    beast = Path(sys.executable).with_name("beast")
    (homes / "Makefile").write_text(f"demo:\n\t@exec {beast} serve --demo --home={homes / 'beast'} {ports}\n")
    on_a_terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    process = subprocess.Popen(
        [sys.executable, "-c", on_a_terminal, "make", "-C", homes, "--no-print-directory", "demo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    shown = b""
    while b"coinbase" not in shown and process.poll() is None:
        shown += os.read(process.stdout.fileno(), 65536)
    shown += process.communicate(b"\x1a\x03", timeout=30)[0]
    assert process.returncode == 0, shown.decode()
