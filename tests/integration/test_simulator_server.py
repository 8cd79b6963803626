import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest
from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from beast.base.errors import UsageError
from beast.feeds.simulator import Simulator
from beast.feeds.simulator.dialects import DIALECTS

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

URLS = {
    "coinbase": "wss://advanced-trade-ws.coinbase.com",
    "gemini": "wss://ws.gemini.com",
    "kraken": "wss://ws.kraken.com/v2",
    "gateio": "wss://api.gateio.ws/ws/v4/",
    "cryptocom": "wss://stream.crypto.com/exchange/v1/market",
    "okx": "wss://ws.okx.com:8443/ws/v5/public",
    "binance": "wss://stream.binance.com:9443/stream",
}
OKX = {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}


class Client(WSListener):
    """A WebSocket client that keeps what it gets."""

    transport: WSTransport

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.pings = 0
        self.pongs = 0
        self.close_code: int | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        self.pings += frame.msg_type == WSMsgType.PING
        self.pongs += frame.msg_type == WSMsgType.PONG
        if frame.msg_type == WSMsgType.TEXT:
            self.frames.put_nowait(frame.get_payload_as_bytes())
        if frame.msg_type == WSMsgType.CLOSE:
            self.close_code = int(frame.get_close_code())  # type: ignore[call-overload]  # an IntEnum, whatever the stub says
            self.transport.disconnect()

    def say(self, message: Any) -> None:
        self.transport.send(WSMsgType.TEXT, message if isinstance(message, bytes) else json.dumps(message).encode())

    async def hear(self, within_s: float = 5.0) -> Any:
        return json.loads(await asyncio.wait_for(self.frames.get(), within_s))

    async def hear_until(self, wanted: Callable[[Any], bool]) -> list[Any]:
        heard = [await self.hear()]
        while not wanted(heard[-1]):
            heard.append(await self.hear())
        return heard

    async def gone(self) -> None:
        await asyncio.wait_for(self.transport.wait_disconnected(), 5.0)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator(rate=5.0)
    await running.start()
    yield running
    await running.stop()


@asynccontextmanager
async def connected(simulator: Simulator, name: str, url: str = "") -> AsyncIterator[Client]:
    _, client = await ws_connect(Client, simulator.url(name, url or URLS[name]))
    assert isinstance(client, Client)
    try:
        yield client
    finally:
        client.transport.disconnect()
        await client.transport.wait_disconnected()


def rfc3339_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)


Trades = list[tuple[str, str, int]]

# What a reader takes from a frame: symbol, price and time in ns of every trade, oldest first; empty for other frames.
READ: dict[str, Callable[[Any], Trades]] = {
    "coinbase": lambda frame: [
        (trade["product_id"], trade["price"], rfc3339_ns(trade["time"]))
        for trade in reversed(frame["events"][0]["trades"] if frame.get("channel") == "market_trades" else [])
    ],
    "gemini": lambda frame: [(frame["s"], frame["p"], frame["E"])] if {"p", "t"} <= set(frame) else [],
    "kraken": lambda frame: [
        (trade["symbol"], str(trade["price"]), rfc3339_ns(trade["timestamp"]))
        for trade in (frame["data"] if frame.get("channel") == "trade" else [])
    ],
    "gateio": lambda frame: [
        (trade["currency_pair"], trade["price"], int(float(trade["create_time_ms"]) * 1e6))
        for trade in ([frame["result"]] if frame["event"] == "update" else [])
    ],
    "cryptocom": lambda frame: [
        (trade["i"], trade["p"], trade["t"] * 1_000_000) for trade in reversed(frame.get("result", {}).get("data", []))
    ],
    "okx": lambda frame: [
        (trade["instId"], trade["px"], int(trade["ts"]) * 1_000_000) for trade in frame.get("data", [])
    ],
    "binance": lambda frame: [
        (trade["s"], trade["p"], trade["T"] * 1_000_000) for trade in ([frame["data"]] if "stream" in frame else [])
    ],
}

# A subscription of two good symbols and a bad one, as few messages as the exchange needs to accept the good ones;
# then how many frames answer it (trades aside), and what the refusal among them contains.
ASK: dict[str, tuple[list[Any], int, str]] = {
    "coinbase": (
        [
            {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "market_trades"},
            {"type": "subscribe", "product_ids": ["NOPE-USD"], "channel": "market_trades"},
        ],
        2,
        '"type": "error"',
    ),
    "gemini": (
        [
            {"id": 1, "method": "subscribe", "params": ["btcusd@trade", "ethusd@trade"]},
            {"id": 2, "method": "subscribe", "params": ["nopeusd@trade"]},
        ],
        2,
        "-1013",
    ),
    "kraken": (
        [{"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD", "NOPE/USD", "ETH/USD"]}}],
        3,
        "Currency pair not supported NOPE/USD",
    ),
    "gateio": (
        [
            {"channel": "spot.trades", "event": "subscribe", "payload": ["BTC_USDT", "ETH_USDT"]},
            {"channel": "spot.trades", "event": "subscribe", "payload": ["NOPE_USDT"]},
        ],
        2,
        "unknown currency pair: NOPE_USDT",
    ),
    "cryptocom": (
        [{"id": 1, "method": "subscribe", "params": {"channels": ["trade.BTC_USD", "trade.NOPE", "trade.ETH_USD"]}}],
        3,
        "40003",
    ),
    "okx": (
        [
            {
                "op": "subscribe",
                "args": [{"channel": "trades", "instId": each} for each in ("BTC-USDT", "NOPE", "ETH-USDT")],
            }
        ],
        3,
        "60018",
    ),
    "binance": (
        [
            {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade"], "id": 1},
            {"method": "SUBSCRIBE", "params": ["nope"], "id": 2},
        ],
        2,
        "invalid stream",
    ),
}


@pytest.mark.parametrize("name", URLS)
async def test_good_symbols_trade_and_bad_ones_are_refused(simulator: Simulator, name: str) -> None:
    requests, count, refusal = ASK[name]
    async with connected(simulator, name) as client:
        if name == "kraken":
            assert (await client.hear())["channel"] == "status"
        for request in requests:
            client.say(request)
        answers: list[Any] = []
        trades: Trades = []
        deadline = time.monotonic() + 10
        while len(answers) < count or len({symbol for symbol, _, _ in trades}) < 2 or len(trades) < 30:
            assert time.monotonic() < deadline
            frame = await client.hear()
            found = READ[name](frame)
            trades += found
            if not found and frame.get("channel") != "heartbeat":
                answers.append(frame)
    assert len(answers) == count
    assert sum(refusal in json.dumps(answer) for answer in answers) == 1
    for wanted in {symbol for symbol, _, _ in trades}:
        times = [at_ns for symbol, _, at_ns in trades if symbol == wanted]
        assert times == sorted(times)
        assert abs(times[-1] - time.time_ns()) < 5e9
    assert all(float(price) > 0 for _, price, _ in trades)
    assert {symbol.upper()[:3] for symbol, _, _ in trades} == {"BTC", "ETH"}


async def test_two_clients_hear_the_same_and_the_state_counts_them(simulator: Simulator) -> None:
    async with connected(simulator, "okx") as one, connected(simulator, "okx") as two:
        one.say(OKX)
        two.say(OKX)
        mine, theirs = [{json.dumps(await client.hear()) for _ in range(20)} for client in (one, two)]
        assert len(mine & theirs) > 10
        async with httpx.AsyncClient() as http:
            state = (await http.get(simulator.url("okx", "https://x/").replace("/okx/", "/_sim/state"))).json()
        assert state["exchanges"]["okx"]["connections"] == 2
        assert state["exchanges"]["okx"]["subscriptions"] == 2
    for _ in range(100):
        if not simulator.exchanges["okx"].sessions:
            break
        await asyncio.sleep(0.02)
    assert simulator.exchanges["okx"].state()["connections"] == 0


async def test_text_and_protocol_pings_are_answered(simulator: Simulator) -> None:
    async with connected(simulator, "okx") as client:
        client.say(b"ping")
        assert await asyncio.wait_for(client.frames.get(), 5) == b"pong"
        client.transport.send_ping(b"hello")
        client.say(OKX)
        await client.hear()
        assert client.pongs == 1


async def test_rest_answers_as_the_exchange_does(simulator: Simulator) -> None:
    async with httpx.AsyncClient() as http:
        url = simulator.url("kraken", "https://api.kraken.com/0/public/Ticker?pair=XBTUSD")
        body = (await http.get(url)).json()
        assert body["result"]["XXBTZUSD"]["c"][0] == simulator.exchanges["kraken"].instruments["BTC/USD"].last.price
        url = simulator.url("okx", "https://www.okx.com/api/v5/market/ticker?instId=NOPE")
        answer = await http.get(url)
        assert (answer.status_code, answer.json()["code"]) == (200, "51001")
        assert (await http.get(url.replace("/okx/", "/nope/"))).status_code == 404
        assert (await http.delete(url)).status_code == 405
        assert (await http.head(url)).content == b""


async def test_faults_are_switched_over_http(simulator: Simulator) -> None:
    control = simulator.url("okx", "https://x/").replace("/okx/", "/_sim/fault")
    async with connected(simulator, "okx") as client, httpx.AsyncClient() as http:
        client.say(OKX)
        await client.hear_until(lambda frame: "data" in frame)
        answer = await http.post(control, json={"exchange": "okx", "kind": "silence", "seconds": 30})
        (fault,) = answer.json()["exchanges"]["okx"]["faults"]
        assert (answer.status_code, fault["kind"]) == (200, "silence")
        await asyncio.sleep(0.2)
        while not client.frames.empty():
            client.frames.get_nowait()
        await asyncio.sleep(0.5)
        assert client.frames.empty()
        client.transport.send_ping()
        await asyncio.sleep(0.1)
        assert client.pongs == 1
        assert (await http.delete(control, params={"exchange": "okx", "kind": "silence"})).status_code == 200
        await client.hear()
        for bad in (
            b"{",
            b'{"exchange":"okx"}',
            b'{"exchange":"nope","kind":"silence"}',
            b'{"exchange":"okx","kind":"x"}',
        ):
            answer = await http.post(control, content=bad)
            assert (answer.status_code, list(answer.json())) == (400, ["error"])
        assert (await http.get(control)).status_code == 404


async def test_a_half_open_link_answers_no_ping(simulator: Simulator) -> None:
    async with connected(simulator, "okx") as client:
        simulator.fault("okx", "half_open", seconds=30)
        client.transport.send_ping()
        client.say(b"ping")
        await asyncio.sleep(0.3)
        assert client.pongs == 0
        assert client.frames.empty()
        assert not client.transport.is_disconnected
        simulator.clear("okx")
        client.transport.send_ping()
        client.say(b"ping")
        assert await asyncio.wait_for(client.frames.get(), 5) == b"pong"
        assert client.pongs == 1


@pytest.mark.parametrize(("code", "seen"), [(0, None), (1012, 1012), (4001, 4001)])
async def test_a_disconnect_ends_every_link_of_one_exchange(simulator: Simulator, code: int, seen: int | None) -> None:
    async with connected(simulator, "okx") as client, connected(simulator, "gemini") as other:
        simulator.fault("okx", "disconnect", seconds=0, code=code)
        await client.gone()
        assert client.close_code == seen
        assert not other.transport.is_disconnected
    async with connected(simulator, "okx") as again:
        again.say(OKX)
        await again.hear()


async def test_refused_connections_and_wrong_paths(simulator: Simulator) -> None:
    simulator.fault("kraken", "refuse")
    with pytest.raises(WSError, match="503"):
        await ws_connect(Client, simulator.url("kraken", URLS["kraken"]))
    simulator.clear("kraken")
    async with connected(simulator, "kraken") as client:
        await client.hear()
    for url in (simulator.url("kraken", "wss://x/v1"), simulator.url("okx", "wss://x/").replace("okx", "nope")):
        with pytest.raises(WSError, match="404"):
            await ws_connect(Client, url)


async def test_malformed_slow_and_spiked_frames(simulator: Simulator) -> None:
    async with connected(simulator, "okx") as client:
        simulator.fault("okx", "spike", factor=10)
        client.say(OKX)
        await client.hear()
        true = float(simulator.exchanges["okx"].instruments["BTC-USDT"].last.price)
        ((_, price, _),) = READ["okx"](await client.hear())
        assert float(price) == pytest.approx(10 * true, rel=0.01)
        simulator.clear()
        simulator.fault("okx", "malformed")
        client.say(b"ping")
        while (frame := await asyncio.wait_for(client.frames.get(), 5)) != b"po":
            assert frame
        simulator.clear()
        simulator.fault("okx", "slow", ms=700)
        client.say(b"ping")
        asked = time.monotonic()
        while await asyncio.wait_for(client.frames.get(), 5) != b"pong":
            pass
        assert 0.6 < time.monotonic() - asked < 5


async def test_rest_can_be_slow_and_down(simulator: Simulator) -> None:
    url = simulator.url("okx", "https://www.okx.com/api/v5/market/ticker?instId=BTC-USDT")
    async with httpx.AsyncClient() as http:
        simulator.fault("okx", "rest", seconds=30)
        assert (await http.get(url)).status_code == 503
        simulator.clear("okx")
        simulator.fault("okx", "slow", ms=300)
        asked = time.monotonic()
        assert (await http.get(url)).status_code == 200
        assert time.monotonic() - asked >= 0.3


async def test_stop_says_goodbye_and_frees_the_ports() -> None:
    simulator = Simulator()
    await simulator.start()
    ports = dict(simulator.ports)
    _, client = await ws_connect(Client, simulator.url("okx", URLS["okx"]))
    assert isinstance(client, Client)
    await simulator.stop()
    await client.gone()
    assert client.close_code == WSCloseCode.GOING_AWAY.value
    await simulator.stop()
    for port in ports.values():
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))


async def test_urls_keep_their_placeholders(simulator: Simulator) -> None:
    ws, port = simulator.ports["ws"], simulator.ports["rest"]
    original = "wss://stream.binance.com:9443/stream?streams={SYMBOLS:/}"
    assert simulator.url("binance", original) == f"ws://127.0.0.1:{ws}/binance/stream?streams={{SYMBOLS:/}}"
    assert simulator.url("gemini", "https://api.gemini.com/v1/pubticker/{SYMBOL}") == (
        f"http://127.0.0.1:{port}/gemini/v1/pubticker/{{SYMBOL}}"
    )
    with pytest.raises(UsageError, match="doesn't speak 'bybit'"):
        simulator.url("bybit", "wss://stream.bybit.com")
    with pytest.raises(UsageError, match="no address"):
        simulator.url("okx", "www.okx.com")


async def test_products_handed_in_can_be_subscribed() -> None:
    simulator = Simulator(products=[("okx", "NEWCOIN-EUR", "NEWCOIN", "EUR")])
    await simulator.start()
    async with connected(simulator, "okx") as client:
        client.say({"op": "subscribe", "args": [{"channel": "trades", "instId": "NEWCOIN-EUR"}]})
        assert (await client.hear())["event"] == "subscribe"
    await simulator.stop()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_addresses_and_stops_cleanly(sign: signal.Signals) -> None:
    command = [sys.executable, "-m", "beast", "sim", "--json", "--fault", "okx:silence:30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        state = httpx.get(addresses["exchanges"]["okx"]["rest"].replace("/okx", "/_sim/state")).json()
        process.send_signal(sign)
        _, errors = process.communicate(timeout=10)
    assert state["exchanges"]["okx"]["faults"][0]["kind"] == "silence"
    assert set(addresses["exchanges"]) == set(DIALECTS)
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    "arguments", [["--fault", "okx"], ["--fault", "nope:silence"], ["--rate", "0"], ["--port", "-1"]]
)
def test_the_command_refuses_nonsense_in_one_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "beast", "sim", *arguments], capture_output=True, check=False, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def test_the_command_says_when_a_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "beast", "sim", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert str(port).encode() in done.stderr
