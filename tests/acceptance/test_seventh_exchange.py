"""An exchange that no code knows, added to a running server by its rows."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from tests.fixtures.exchange import running_exchange

from beast.feeds.rows.files import Exchange, read_rows, write_toml
from beast.feeds.types import Condition, Feed, Mapping

pytestmark = pytest.mark.acceptance

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TOLD = {
    "binance": ("binance: 6 assets, 6 prewarmed\n", "USDT"),
    "kucoin": ("kucoin: 4 assets, 4 prewarmed\n", "USDT"),
    "bitfinex": ("bitfinex: 4 assets, 4 prewarmed\n", "USD"),
    "bitstamp": ("bitstamp: 5 assets, 5 prewarmed\n", "USD"),
    "hitbtc": ("hitbtc: 5 assets, 5 prewarmed\n", "USDT"),
    "htx": ("htx: 5 assets, 5 prewarmed\n", "USDT"),
}


def rest_source(server: Any, name: str) -> str:
    """Where the price comes from of an asset that an exchange maps, but no connection asks for."""
    rows = read_rows(EXAMPLES / f"{name}.toml")
    row = msgspec.structs.replace(next(each for each in rows.assets if each.asset == "SOL"), prewarm=False)
    file = server.home / f"{name}.toml"
    file.write_text(write_toml(Exchange(rows.feed, (row,))))
    done = server.beast("feeds", "import", str(file))
    assert done.returncode == 0, done.stderr
    begun = time.monotonic()
    while True:
        answer = json.loads(server.udp({"asset": "SOL", "exchange": name})[0])
        if answer.get("tier") == 3:
            return str(answer["source"])
        assert time.monotonic() - begun < 10, answer
        time.sleep(0.1)


def test_rows_make_exchanges_while_the_others_go_on(start: Callable[..., Any]) -> None:
    server = start()
    for name, (summary, currency) in TOLD.items():

        def asked(name: str = name) -> Any:
            return json.loads(server.udp({"asset": "BTC", "exchange": name})[0])

        assert asked()["error"] == "unknown_exchange"
        done = server.beast("feeds", "import", str(EXAMPLES / f"{name}.toml"))
        assert (done.returncode, done.stdout, done.stderr) == (0, summary, "")
        begun = time.monotonic()
        while (answer := asked()).get("source") != f"{name}-ws":
            assert time.monotonic() - begun < 10
        assert (answer["currency"], answer["state"]) == (currency, "live")
        assert rest_source(server, name) == f"{name}-rest"
    for exchange in json.loads(server.beast("status", "--json").stdout)["exchanges"]:
        assert exchange["connected"], exchange
        assert exchange["reconnects"] == 0, exchange


def test_rows_go_out_of_a_running_server_and_in_again_the_same(start: Callable[..., Any]) -> None:
    server = start()
    for suffix, form in ((".toml", "toml"), (".json", "json")):
        first = server.beast("feeds", "export", "kraken", "--format", form)
        file = server.home / f"rows{suffix}"
        file.write_text(first.stdout)
        assert server.beast("feeds", "import", str(file), "--replace").returncode == 0
        assert server.beast("feeds", "export", "kraken", "--format", form).stdout == first.stdout
    kraken = next(
        each for each in json.loads(server.beast("status", "--json").stdout)["exchanges"] if each["name"] == "kraken"
    )
    assert kraken["reconnects"] == 0


@pytest.mark.anyio
async def test_an_exchange_that_the_simulator_can_not_play_is_connected_to_where_it_is(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    async with running_exchange() as exchange:
        feed = Feed(
            name="ours",
            ws_url=exchange.url,
            subscribe_template='{"op":"sub","id":"{ID}","args":"{SYMBOLS}"}',
            trade_filter=(Condition("e", value="trade"),),
            price_path="p",
            symbol_path="s",
        )
        file = tmp_path / "ours.toml"
        file.write_text(write_toml(Exchange(feed, (Mapping(asset="BTC", symbol="B", currency="EUR"),))))
        server = await to_thread.run_sync(start)
        done = await to_thread.run_sync(server.beast, "feeds", "import", str(file))
        assert done.returncode == 0, done.stderr
        peer = await exchange.peer(0)
        await peer.message(0)
        peer.trade("B", "65000.10")
        begun = time.monotonic()
        answer = {}
        while "price" not in answer:
            assert time.monotonic() - begun < 5
            [datagram] = await to_thread.run_sync(server.udp, {"asset": "BTC", "exchange": "ours"})
            answer = json.loads(datagram, parse_float=str)
        assert (answer["price"], answer["currency"], answer["source"]) == ("65000.10", "EUR", "ours-ws")
