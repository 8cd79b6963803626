"""What a server leaves in its home, and what of the machine it needs."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from beast.base.errors import BeastError
from beast.engine.machine import claim_port, client_host, raise_file_limit
from beast.engine.presence import Presence, find_presence, presence_path


def presence(pid: int) -> Presence:
    return Presence(pid=pid, ports={"http": 1}, node="n", version="0", home="/h", host="127.0.0.1", admin_key="secret")


def test_a_running_server_is_found(tmp_path: Path) -> None:
    presence(os.getpid()).write(presence_path(tmp_path))
    assert find_presence(tmp_path) == presence(os.getpid())
    assert presence_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["server.json"]


@pytest.mark.parametrize("name", ["", "nowhere/ready.json", "file/ready.json"])
def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BeastError, match="can't be written"):
        presence(1).write(tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_dead_server_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    presence(gone.pid).write(presence_path(tmp_path))
    assert find_presence(tmp_path) is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"pid":"x"}', b"\xff"])
def test_what_is_not_readable_is_nobody(tmp_path: Path, text: bytes) -> None:
    presence_path(tmp_path).write_bytes(text)
    assert find_presence(tmp_path) is None


def test_an_empty_or_missing_home_has_no_server(tmp_path: Path) -> None:
    assert find_presence(tmp_path) is None
    assert find_presence(tmp_path / "missing") is None


def test_keys_that_are_not_there_are_left_out() -> None:
    bare = msgspec.structs.replace(presence(1), admin_key="")
    assert b"key" not in msgspec.json.encode(bare)


@pytest.mark.parametrize(("kind", "type_"), [("udp", socket.SOCK_DGRAM), ("http", socket.SOCK_STREAM)])
def test_a_shared_port_counts_as_taken(kind: str, type_: socket.SocketKind) -> None:
    with socket.socket(type=type_) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        if kind == "http":
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BeastError, match=f"{kind} 127.0.0.1:{port}: can't listen"):
            claim_port(kind, "127.0.0.1", port)
    claim_port(kind, "127.0.0.1", port)
    claim_port(kind, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("host", "told"), [("192.0.2.1", "can't listen"), ("localhost", "no IP address"), ("[::1]", "no IP address")]
)
@pytest.mark.parametrize("port", [0, 2679])
def test_what_is_no_address_of_this_machine_is_refused(host: str, told: str, port: int) -> None:
    with pytest.raises(BeastError, match=rf"udp .*{port}: .*{told}.*--host"):
        claim_port("udp", host, port)


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.5", "10.0.0.5")])
def test_where_clients_on_this_machine_reach_a_server(host: str, reached: str) -> None:
    assert client_host(host) == reached


def test_the_file_limit_is_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        raise_file_limit(1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
