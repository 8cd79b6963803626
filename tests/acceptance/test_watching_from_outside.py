"""What the operator sees of the watchdog, on a whole server."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance


def test_health_and_why_of_a_running_server(start: Callable[..., Any]) -> None:
    server = start()
    deadline = time.monotonic() + 20
    while True:
        health = json.loads(server.beast("feeds", "health", "--json").stdout)
        if all(each["state"] == "ok" for each in health["connections"]) and len(health["connections"]) >= 6:
            break
        assert time.monotonic() < deadline, health["connections"]
        time.sleep(0.2)
    symbols = {(each["exchange"], each["asset"]): each for each in health["symbols"]}
    bitcoin = symbols["coinbase", "BTC"]
    assert bitcoin["trades"] > 0
    assert bitcoin["last_trade_age_ms"] is not None
    assert (bitcoin["gaps_today"], bitcoin["reconnects"]) == (0, 0)
    shown = server.beast("feeds", "health", "--exchange", "coinbase", "--asset", "btc").stdout
    assert "coinbase" in shown
    assert "kraken" not in shown

    told = json.loads(server.beast("why", "btc", "--json").stdout)
    [answering] = [each for each in told["sources"] if each["answers"]]
    assert (answering["exchange"], told["tier"], told["rows_from"]) == ("coinbase", 1, "database")
    assert answering["row_updated_at"]
    assert len(told["sources"]) >= 6
    assert told["consensus"]["exchange"] == "consensus"
    assert "->" in server.beast("why", "BTC").stdout

    refused = server.beast("why", "BTCX")
    assert refused.returncode == 1
    assert "unknown" in refused.stderr or "no price is kept" in refused.stderr
    assert "BTC" in refused.stderr.split("did you mean")[1]
