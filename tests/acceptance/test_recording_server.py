"""A server that records from its start: what is replayed is what it had."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def test_a_recording_server_is_replayed(start: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    server = start("--record", str(folder), "--record-max-size", "50MB")
    assert json.loads(server.udp({"asset": "BTC", "exchange": "kraken"})[0])["state"] == "live"
    imported = server.beast("feeds", "disable", "okx")
    assert imported.returncode == 0, imported.stderr
    last = json.loads(server.udp({"asset": "BTC", "exchange": "coinbase"})[0], parse_float=str)
    assert server.stop() == 0
    told = server.beast("replay", str(folder), "--changes", "--json")
    assert told.returncode == 0, told.stderr
    changes = [json.loads(line) for line in told.stdout.splitlines()]
    bitcoin = [each["price"] for each in changes if (each.get("exchange"), each.get("asset")) == ("coinbase", "BTC")]
    assert last["price"] in [str(price) for price in bitcoin]
    exchanges = {each.get("exchange") for each in changes}
    assert {"coinbase", "gemini", "kraken", "gateio", "cryptocom", "okx"} <= exchanges


def test_a_folder_that_can_not_be_written_is_named(start: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="/dev/null/x"):
        start("--record", "/dev/null/x")
