"""The demo starts whatever else runs on the machine; a port that was asked for is never exchanged in silence."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beast.base.config_sources import load_config
from beast.cli.demo import free_ports
from beast.cli.serve import quiet


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_default_that_is_taken_becomes_any_port(taken: int, tmp_path: Path) -> None:
    loaded = load_config({"home": tmp_path, "http_port": taken, "udp_port": 0}, environ={})
    loaded.origins.update(http_port="default", udp_port="default", health_port="command line")
    for name in ("report_http_port", "report_health_port", "report_udp_port"):
        loaded.origins[name] = "command line"
    changed, remarks = free_ports(loaded)
    assert (changed.config.http_port, changed.config.health_port) == (0, 8081)
    assert remarks == [f"http port {taken} is taken: using a free one"]


def test_a_port_that_was_asked_for_stays(taken: int, tmp_path: Path) -> None:
    given = {"home": tmp_path, "http_port": taken, "health_port": 0, "udp_port": 0, "server_type": "APP_SERVER"}
    loaded = load_config(given, environ={})
    assert free_ports(loaded) == (loaded, [])


def test_a_demo_is_quiet_unless_told_otherwise(tmp_path: Path) -> None:
    assert quiet(load_config({"home": tmp_path}, environ={})).config.log_level == "warning"
    assert quiet(load_config({"home": tmp_path, "log_level": "debug"}, environ={})).config.log_level == "debug"
