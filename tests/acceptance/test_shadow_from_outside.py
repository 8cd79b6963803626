"""Rows in shadow on a whole server: compared, gone live by themselves, and back when they stop matching."""

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.acceptance.conftest import BEAST, environment

from beast.feeds.rows.files import Exchange, read_rows, write_toml

pytestmark = [pytest.mark.acceptance, pytest.mark.xdist_group("acceptance-watching")]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "binance.toml"
WAIT_S = 60
PARAMETERS = {"shadow_minute_s": 1, "shadow_minutes": 1, "shadow_fall_back_minutes": 1}
SAVE = """INSERT INTO application_parameters (name, value) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


@pytest.fixture
def exchange(homes: Path) -> Iterator[dict[str, str]]:
    """Where a simulated exchange is that the server does not know for one."""
    command = [str(BEAST), "sim", "--json", "--rate", "20"]
    with subprocess.Popen(command, env=environment(homes), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["exchanges"]["binance"]
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)
    return found


def rows_at(exchange: dict[str, str]) -> str:
    """An exchange of three assets that is priced where the others are."""
    feed, assets = read_rows(EXAMPLE)
    rest = exchange["rest"]
    feed = msgspec.structs.replace(
        feed,
        name="ours",
        display_name="Ours",
        ws_url=exchange["websocket"],
        rest_ticker_url=feed.rest_ticker_url.replace("https://api.binance.com", rest),
        rest_products_url=feed.rest_products_url.replace("https://api.binance.com", rest),
        rest_per_second=100,
    )
    return write_toml(Exchange(feed, tuple(each for each in assets if each.asset in {"BTC", "ETH", "SOL"})))


def test_a_row_is_compared_goes_live_and_falls_back(
    start: Callable[..., Any], homes: Path, exchange: dict[str, str]
) -> None:
    server = start()
    with psycopg.connect(server.beast("db", "url").stdout.strip(), autocommit=True) as database:
        database.cursor().executemany(SAVE, [(name, json.dumps(value)) for name, value in PARAMETERS.items()])
    file = homes / "ours.toml"
    file.write_text(rows_at(exchange))

    def admin(path: str) -> Any:
        status, _, body = server.http("GET", path, X_Admin_Key=server.ready["admin_key"])
        assert status == 200, body
        return json.loads(body)

    def asked() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(server.udp({"asset": "BTC", "exchange": "ours"})[0])
        return told

    begun = server.beast("feeds", "import", str(file), "--shadow")
    assert begun.stdout == "draft 1 of ours runs in shadow: beast feeds shadow show 1\n", begun
    seen, deadline = [], time.monotonic() + WAIT_S
    while (draft := admin("/admin/exchange-shadow/1"))["state"] in {"shadow", "agreeing"}:
        seen.append(draft)
        assert asked()["error"] == "unknown_exchange" or admin("/admin/exchange-shadow/1")["state"] == "live"
        assert time.monotonic() < deadline, draft
        time.sleep(0.1)
    assert draft["state"] == "live"
    assert {each["asset"] for each in draft["verdict"]["assets"]} >= {"BTC", "ETH", "SOL"}
    assert draft["verdict"]["compared"] > 0
    assert seen
    answer = until(lambda: (told := asked()).get("source") == "ours-ws" and told)
    assert (answer["exchange"], answer["currency"], answer["state"]) == ("ours", "USDT", "live")
    assert "ours" in {each["exchange"] for each in admin("/admin/why?asset=BTC")["sources"]}

    fault = json.dumps({"exchange": "binance", "kind": "schema"}).encode()
    urllib.request.urlopen(exchange["rest"].removesuffix("binance") + "_sim/fault", fault, timeout=5).close()
    fallen = until(lambda: (told := admin("/admin/exchange-shadow/1"))["state"] == "fallen_back" and told)
    assert "minutes in a row: " in fallen["reason"]
    until(lambda: asked().get("error") == "unknown_exchange")
    assert json.loads(server.udp({"asset": "BTC"})[0])["state"] == "live"

    def degraded() -> str:
        _, _, body = server.http("GET", "/health/ready", port="health", key=None)
        return str(json.loads(body)["degraded"].get("exchange ours rows", ""))

    def noted() -> set[str]:
        return {each["action"] for each in admin("/admin/audit")["entries"]}

    until(lambda: "fell back" in degraded())
    until(lambda: noted() >= {"exchange-shadow.live", "exchange-shadow.fall-back"})
