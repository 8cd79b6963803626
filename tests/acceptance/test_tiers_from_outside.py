"""An asset that no connection brings, asked of whole servers: the exchange answers, then memory, then a neighbour."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.valkey import RealValkey

pytestmark = pytest.mark.acceptance

ROWS = """
[feed]
name = "binance"
ws_url = "wss://stream.binance.com:9443/stream"
subscribe_template = '{"method":"SUBSCRIBE","params":"{SYMBOLS}","id":"{ID}"}'
symbol_template = "{SYMBOL}@trade"
trade_filter = [{ path = "data.e", value = "trade" }]
price_path = "data.p"
symbol_path = "data.s"
symbol_fold = "lower"
rest_ticker_url = "https://api.binance.com/api/v3/ticker/24hr?symbol={BASE}{QUOTE}"
rest_price_path = "lastPrice"

[[assets]]
asset = "COLD"
symbol = "COLDUSDT"
currency = "USDT"
prewarm = false
"""


def ask_until(told: Callable[[], dict[str, Any]], **wanted: object) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        answer = told()
        if all(answer.get(name) == value for name, value in wanted.items()):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def test_a_cold_asset_goes_through_all_tiers(start: Callable[..., Any], homes: Path, valkey: RealValkey) -> None:
    rows, config = homes / "rows.toml", homes / "config.toml"
    rows.write_text(ROWS)
    config.write_text(f'redis_url = "{valkey.url}"\n')
    servers = [start("--config", str(config), home=f"home{number}") for number in range(2)]
    for server in servers:
        assert server.beast("feeds", "import", str(rows)).returncode == 0
        server.stop()
    # The simulator trades what the rows name when it starts.
    first, second = (start("--config", str(config), home=f"home{number}") for number in range(2))

    [answer] = first.udp({"asset": "cold", "id": 1})
    told = json.loads(answer)
    assert (told["tier"], told["source"], told["currency"], told["id"]) == (3, "binance-rest", "USDT", 1)
    assert ask_until(lambda: json.loads(first.udp({"asset": "COLD"})[0]), tier=1)["source"] == "binance-rest"
    while valkey.ask("EXISTS price:COLD") != b":1\r\n":
        time.sleep(0.01)
    status, _, body = second.http("GET", "/price?asset=COLD")
    assert (status, json.loads(body)["tier"], json.loads(body)["source"]) == (200, 2, "binance-rest")

    valkey.kill()

    def degraded() -> dict[str, Any]:
        _, _, told = second.http("GET", "/health/ready", port="health", key=None)
        return dict.fromkeys(json.loads(told)["degraded"], True)

    ask_until(degraded, valkey=True)
    assert json.loads(second.udp({"asset": "BTC"})[0])["tier"] == 1
    for server in (first, second):
        assert server.stop() == 0
        assert "Traceback" not in server.err
        assert "HTTP Request" not in server.err
