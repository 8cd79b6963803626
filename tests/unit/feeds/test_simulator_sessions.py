import json
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beast.base.clock import ManualClock
from beast.feeds.rows.unpack import unpack
from beast.feeds.simulator import catalogue
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.market import Market

PRODUCTS = [
    ("coinbase", "BTC-USD", "ETH-USD", "NOPE-USD"),
    ("gemini", "btcusd", "ethusd", "nopeusd"),
    ("kraken", "BTC/USD", "ETH/USD", "NOPE/USD"),
    ("gateio", "BTC_USDT", "ETH_USDT", "NOPE_USDT"),
    ("cryptocom", "BTC_USD", "ETH_USD", "NOPE_USD"),
    ("okx", "BTC-USDT", "ETH-USDT", "NOPE-USDT"),
    ("binance", "BTCUSDT", "ETHUSDT", "NOPEUSDT"),
    ("kucoin", "BTC-USDT", "ETH-USDT", "NOPE-USDT"),
    ("bitfinex", "tBTCUSD", "tETHUSD", "tNOPEUSD"),
    ("bitstamp", "btcusd", "ethusd", "nopeusd"),
    ("hitbtc", "BTCUSDT", "ETHUSDT", "NOPEUSDT"),
    ("htx", "btcusdt", "ethusdt", "nopeusdt"),
]
TARGETS = {"binance": "/stream", "kraken": "/v2", "kucoin": "/endpoint?token=T&connectId=me", "bitfinex": "/ws/2"}
CATALOGUE = catalogue.load()


class Wire:
    """One client of one simulated exchange, on a clock of its own."""

    def __init__(self, name: str, target: str = "") -> None:
        self.clock = ManualClock()
        self.exchange = SimulatedExchange(name, DIALECTS[name], self.clock)
        styles = {each: dialect.style for each, dialect in DIALECTS.items()}
        products = [each for each in CATALOGUE.products() if each.exchange == name and each.asset in ("BTC", "ETH")]
        self.market = Market(CATALOGUE, products, styles, seed=1, rate=1, now_ns=self.clock.wall_ns())
        self.exchange.instruments = {symbol: each for (_, symbol), each in self.market.instruments.items()}
        self.exchange.tokens.add("T")
        self.sent: list[bytes] = []
        self.pings = 0
        self.closed: tuple[int, str] | None = None
        self.session = self.exchange.connect(self, target or TARGETS.get(name, "/"))

    def send(self, frame: bytes) -> None:
        self.sent.append(unpack(frame, "gzip"))

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def ask(self, request: Any) -> list[Any]:
        """Sends a request; the frames that answer it."""
        self.sent.clear()
        self.session.receive(request if isinstance(request, bytes) else json.dumps(request).encode())
        return [json.loads(frame) for frame in self.sent]

    def wait(self, seconds: float, tick_s: float = 0.25) -> list[Any]:
        """Lets time pass; the frames that came."""
        self.sent.clear()
        for _ in range(round(seconds / tick_s)):
            self.clock.advance(tick_s)
            self.exchange.tick(self.market.advance(self.clock.wall_ns()).get(self.exchange.name, []))
        return [json.loads(frame) for frame in self.sent]


def subscription(name: str, symbols: Iterable[str], **more: Any) -> dict[str, Any]:
    symbols = list(symbols)
    requests: dict[str, Callable[[], dict[str, Any]]] = {
        "coinbase": lambda: {"type": "subscribe", "product_ids": symbols, "channel": "market_trades"},
        "gemini": lambda: {"id": 1, "method": "subscribe", "params": [f"{each}@trade" for each in symbols]},
        "kraken": lambda: {
            "method": "subscribe",
            "params": {"channel": "trade", "symbol": symbols, **more},
            "req_id": 1,
        },
        "gateio": lambda: {"time": 1, "channel": "spot.trades", "event": "subscribe", "payload": symbols},
        "cryptocom": lambda: {
            "id": 1,
            "method": "subscribe",
            "params": {"channels": [f"trade.{each}" for each in symbols]},
            "nonce": 1,
        },
        "okx": lambda: {"op": "subscribe", "args": [{"channel": "trades", "instId": each} for each in symbols]},
        "binance": lambda: {"method": "SUBSCRIBE", "params": [f"{each.lower()}@trade" for each in symbols], "id": 1},
        "kucoin": lambda: {
            "id": 1,
            "type": "subscribe",
            "topic": f"/market/match:{','.join(symbols)}",
            "response": True,
        },
        "bitfinex": lambda: {"event": "subscribe", "channel": "trades", "symbol": symbols[0]},
        "bitstamp": lambda: {"event": "bts:subscribe", "data": {"channel": f"live_trades_{symbols[0]}"}},
        "hitbtc": lambda: {"method": "subscribe", "ch": "trades", "params": {"symbols": symbols}, "id": 1},
        "htx": lambda: {"sub": f"market.{symbols[0]}.trade.detail", "id": "1"},
    }
    return requests[name]()


def test_coinbase_tells_past_trades_then_all_that_is_subscribed() -> None:
    wire = Wire("coinbase")
    snapshot, ack = wire.ask(subscription("coinbase", ["BTC-USD"]))
    assert snapshot["sequence_num"] == 0
    assert snapshot["channel"] == "market_trades"
    event = snapshot["events"][0]
    assert event["type"] == "snapshot"
    assert len(event["trades"]) == 50
    assert [int(trade["trade_id"]) for trade in event["trades"]] == sorted(
        (int(trade["trade_id"]) for trade in event["trades"]), reverse=True
    )
    assert ack["channel"] == "subscriptions"
    assert ack["sequence_num"] == 1
    assert ack["events"] == [{"subscriptions": {"market_trades": ["BTC-USD"]}}]
    (ack,) = wire.ask({"type": "subscribe", "channel": "heartbeats"})
    assert ack["events"] == [{"subscriptions": {"market_trades": ["BTC-USD"], "heartbeats": ["heartbeats"]}}]
    *_, ack = wire.ask(subscription("coinbase", ["ETH-USD"]))
    assert ack["events"][0]["subscriptions"]["market_trades"] == ["BTC-USD", "ETH-USD"]


def test_coinbase_refuses_a_whole_message_for_one_bad_product() -> None:
    wire = Wire("coinbase")
    (error,) = wire.ask(subscription("coinbase", ["BTC-USD", "NOPE-USD"]))
    assert error["type"] == "error"
    assert "NOPE-USD" in error["message"]
    assert wire.wait(4) == []


def test_coinbase_answers_for_usdc_by_usd() -> None:
    wire = Wire("coinbase")
    snapshot, _ack = wire.ask(subscription("coinbase", ["BTC-USDC"]))
    assert {trade["product_id"] for trade in snapshot["events"][0]["trades"]} == {"BTC-USD"}


def test_coinbase_heartbeats_count_seconds_in_a_time_that_is_no_rfc_3339() -> None:
    wire = Wire("coinbase")
    wire.ask({"type": "subscribe", "channel": "heartbeats"})
    beats = wire.wait(5)
    assert {beat["channel"] for beat in beats} == {"heartbeats"}
    counters = [beat["events"][0]["heartbeat_counter"] for beat in beats]
    assert counters == list(range(counters[0], counters[0] + 5))
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} \+0000 UTC m=\+\d+\.\d{9}"
    assert re.fullmatch(pattern, beats[0]["events"][0]["current_time"])
    assert [beat["sequence_num"] for beat in beats] == [1, 2, 3, 4, 5]


def test_coinbase_updates_have_one_product_and_the_newest_first() -> None:
    wire = Wire("coinbase")
    wire.ask(subscription("coinbase", ["BTC-USD", "ETH-USD"]))
    several = 0
    for frame in wire.wait(20):
        trades = frame["events"][0]["trades"]
        assert len({trade["product_id"] for trade in trades}) == 1
        ids = [int(trade["trade_id"]) for trade in trades]
        assert ids == sorted(ids, reverse=True)
        several += len(trades) > 1
        assert set(trades[0]) == {"product_id", "trade_id", "price", "size", "time", "side"}
        assert datetime.fromisoformat(trades[0]["time"]).tzinfo == UTC
    assert several


def test_coinbase_closes_who_subscribes_to_nothing() -> None:
    wire = Wire("coinbase")
    wire.wait(4.75)
    assert wire.closed is None
    wire.wait(0.5)
    assert wire.closed == (1000, "")


def test_gemini_acknowledges_by_id_and_status_alone() -> None:
    wire = Wire("gemini")
    assert wire.ask(subscription("gemini", ["btcusd", "ethusd"])) == [{"id": 1, "status": 200}]
    assert wire.ask({"id": "x", "method": "SUBSCRIBE", "params": ["btcusd@trade"]}) == [{"id": "x", "status": 200}]
    assert wire.ask({"id": 100, "method": "ping"}) == [{"id": 100, "status": 200}]
    assert wire.ask({"id": 2, "method": "unsubscribe", "params": ["btcusd@trade"]}) == [{"id": 2, "status": 200}]
    assert {frame["s"] for frame in wire.wait(10)} == {"ethusd"}


@pytest.mark.parametrize("bad", ["nopeusd@trade", "btcusd", "BTCUSD@trade", "btcusd@nope"])
def test_gemini_refuses_a_whole_message_for_one_bad_stream(bad: str) -> None:
    wire = Wire("gemini")
    answer = wire.ask({"id": 4, "method": "subscribe", "params": ["ethusd@trade", bad]})
    error = {"code": -1013, "msg": f"Invalid stream name: {bad}"}
    assert answer == [{"id": 4, "status": 400, "error": error}]
    assert wire.wait(5) == []


def test_gemini_trades_have_a_time_of_19_digits_and_no_kind() -> None:
    wire = Wire("gemini")
    wire.ask(subscription("gemini", ["btcusd"]))
    for frame in wire.wait(5):
        assert set(frame) == {"E", "s", "t", "p", "q", "m"}
        assert isinstance(frame["E"], int)
        assert len(str(frame["E"])) == 19


def test_gemini_pings_and_gives_up_without_pongs() -> None:
    wire = Wire("gemini")
    wire.ask(subscription("gemini", ["btcusd"]))
    wire.wait(50)
    assert wire.pings == 2
    wire.session.receive_pong()
    wire.wait(60)
    assert wire.closed is None
    wire.wait(25)
    assert wire.closed is not None


def test_kraken_greets_and_answers_each_symbol_by_itself() -> None:
    wire = Wire("kraken")
    greeting = json.loads(wire.sent[0])
    assert (greeting["channel"], greeting["data"][0]["system"]) == ("status", "online")
    good, bad, other = wire.ask(subscription("kraken", ["BTC/USD", "XBT/USD", "ETH/USD"], snapshot=False))
    assert good["result"] == {"channel": "trade", "snapshot": False, "symbol": "BTC/USD"}
    assert good["success"] is other["success"] is True
    assert bad["error"] == "Currency pair not supported XBT/USD"
    assert (bad["success"], bad["symbol"], bad["req_id"]) == (False, "XBT/USD", 1)
    assert {trade["symbol"] for frame in wire.wait(5) for trade in frame.get("data", ())} == {"BTC/USD", "ETH/USD"}


def test_kraken_tells_past_trades_when_asked_oldest_first_after_the_ack() -> None:
    wire = Wire("kraken")
    ack, snapshot = wire.ask(subscription("kraken", ["BTC/USD"], snapshot=True))
    assert ack["result"]["snapshot"] is True
    assert snapshot["type"] == "snapshot"
    ids = [trade["trade_id"] for trade in snapshot["data"]]
    assert len(ids) == 50
    assert ids == sorted(ids)


def test_kraken_writes_numbers_and_keeps_their_digits() -> None:
    wire = Wire("kraken")
    wire.ask(subscription("kraken", ["BTC/USD", "ETH/USD"]))
    wire.wait(30)
    text = b"".join(wire.sent).decode()
    assert re.search(r'"price":\d+\.\d*0,', text)
    assert '"price":"' not in text
    shared = [len({trade["symbol"] for trade in json.loads(frame).get("data", ())}) for frame in wire.sent]
    assert max(shared) == 2


def test_kraken_pongs_and_beats_when_nothing_else_is_said() -> None:
    wire = Wire("kraken")
    (pong,) = wire.ask({"method": "ping", "req_id": 101})
    assert (pong["method"], pong["req_id"]) == ("pong", 101)
    assert set(pong) == {"method", "req_id", "time_in", "time_out"}
    assert wire.wait(5) == []
    wire.session.symbols["SILENT/USD"] = None
    assert wire.wait(10).count({"channel": "heartbeat"}) >= 9


def test_gateio_answers_once_a_request() -> None:
    wire = Wire("gateio")
    (ack,) = wire.ask(subscription("gateio", ["BTC_USDT", "ETH_USDT"]))
    assert (ack["channel"], ack["event"], ack["result"]) == ("spot.trades", "subscribe", {"status": "success"})
    assert ack["payload"] == ["BTC_USDT", "ETH_USDT"]
    assert "error" not in ack
    assert {frame["result"]["currency_pair"] for frame in wire.wait(5)} == {"BTC_USDT", "ETH_USDT"}


@pytest.mark.parametrize("bad", ["NOPE_USDT", "btc_usdt"])
def test_gateio_names_the_unknown_pair_and_fails_the_request(bad: str) -> None:
    wire = Wire("gateio")
    (error,) = wire.ask(subscription("gateio", ["BTC_USDT", bad]))
    assert error["error"] == {"code": 2, "message": f"unknown currency pair: {bad}"}
    assert error["result"] == {"status": "fail"}
    assert wire.wait(5) == []


def test_gateio_trades_are_objects_with_fractional_milliseconds() -> None:
    wire = Wire("gateio")
    wire.ask(subscription("gateio", ["BTC_USDT"]))
    for frame in wire.wait(5):
        assert (frame["channel"], frame["event"]) == ("spot.trades", "update")
        assert re.fullmatch(r"\d{13}\.\d{6}", frame["result"]["create_time_ms"])
        assert isinstance(frame["result"]["price"], str)


def test_gateio_pongs_and_closes_quiet_clients() -> None:
    wire = Wire("gateio")
    wire.ask(subscription("gateio", ["BTC_USDT"]))
    wire.wait(50)
    (pong,) = wire.ask({"time": 5, "channel": "spot.ping"})
    assert (pong["channel"], pong["event"], pong["error"], pong["result"]) == ("spot.pong", "", None, None)
    wire.wait(59)
    assert wire.closed is None
    wire.wait(2)
    assert wire.closed is not None


def test_cryptocom_sends_backfill_then_acknowledges_each_channel() -> None:
    wire = Wire("cryptocom")
    backfill, ack, error, more, last = wire.ask(subscription("cryptocom", ["BTC_USD", "BTCUSD", "ETH_USD"]))
    assert backfill["id"] == more["id"] == -1
    data = backfill["result"]["data"]
    assert len(data) == 50
    assert [int(trade["m"]) for trade in data] == sorted((int(trade["m"]) for trade in data), reverse=True)
    assert ack == {"id": 1, "method": "subscribe", "code": 0, "channel": "trade.BTC_USD"}
    assert error == {
        "id": 1,
        "method": "subscribe",
        "code": 40003,
        "channel": "trade.BTCUSD",
        "message": "Unknown symbol",
    }
    assert last["channel"] == "trade.ETH_USD"
    for frame in wire.wait(8):
        assert frame["result"]["channel"] == "trade"
        assert isinstance(frame["result"]["data"][0]["t"], int)


def test_cryptocom_takes_at_most_400_channels() -> None:
    wire = Wire("cryptocom")
    wire.session.symbols |= dict.fromkeys(map(str, range(400)))
    assert wire.ask(subscription("cryptocom", ["BTC_USD"]))[0]["code"] == 40107


def test_cryptocom_wants_its_heartbeats_answered_with_their_id() -> None:
    wire = Wire("cryptocom")
    for _ in range(6):
        for frame in wire.wait(30):
            assert frame["method"] == "public/heartbeat"
            assert wire.ask({"id": frame["id"], "method": "public/respond-heartbeat"}) == []
            wire.session.receive_pong()
    assert wire.closed is None


def test_cryptocom_closes_at_the_third_unanswered_heartbeat() -> None:
    wire = Wire("cryptocom")
    beats: list[Any] = []
    seconds = 0
    while not wire.closed and seconds < 100:
        beats += wire.wait(1)
        seconds += 1
        wire.session.receive_pong()
        for beat in beats:
            wire.ask({"id": beat["id"] + 1, "method": "public/respond-heartbeat"})
    assert wire.closed == (1000, "")
    assert len(beats) == 3
    assert 60 <= seconds <= 80


def test_okx_answers_each_argument_by_itself() -> None:
    wire = Wire("okx")
    good, bad, other = wire.ask(subscription("okx", ["BTC-USDT", "NOPE-USDT", "ETH-USDT"]))
    assert good == {
        "event": "subscribe",
        "arg": {"channel": "trades", "instId": "BTC-USDT"},
        "connId": wire.session.id,
    }
    assert (bad["event"], bad["code"]) == ("error", "60018")
    assert "instId:NOPE-USDT doesn't exist" in bad["msg"]
    assert other["arg"]["instId"] == "ETH-USDT"
    for frame in wire.wait(5):
        (trade,) = frame["data"]
        assert frame["arg"] == {"channel": "trades", "instId": trade["instId"]}
        assert re.fullmatch(r"\d{13}", trade["ts"])


def test_okx_pongs_in_plain_text_and_closes_idle_links() -> None:
    wire = Wire("okx")
    wire.wait(29)
    wire.sent.clear()
    wire.session.receive(b"ping")
    assert wire.sent == [b"pong"]
    wire.wait(29)
    assert wire.closed is None
    wire.wait(1.5)
    assert wire.closed == (4004, "No data received in 30s.")


def test_binance_acknowledges_anything_of_the_right_form() -> None:
    wire = Wire("binance")
    request = {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nopeusdt@trade"], "id": 7}
    assert wire.ask(request) == [{"result": None, "id": 7}]
    (error,) = wire.ask({"method": "SUBSCRIBE", "params": ["btcusdt"], "id": 8})
    assert error == {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 8}
    for frame in wire.wait(5):
        assert frame["stream"] == "btcusdt@trade"
        assert frame["data"]["s"] == "BTCUSDT"
        assert isinstance(frame["data"]["T"], int)
    assert wire.ask({"method": "LIST_SUBSCRIPTIONS", "id": 9})[0]["result"] == ["btcusdt@trade", "nopeusdt@trade"]


@pytest.mark.parametrize(
    ("target", "wrapped"),
    [("/ws/btcusdt@trade/ethusdt@trade", False), ("/stream?streams=btcusdt@trade/ethusdt@trade", True)],
)
def test_binance_takes_streams_in_the_url(*, target: str, wrapped: bool) -> None:
    frames = Wire("binance", target).wait(5)
    assert {frame["data"]["s"] if wrapped else frame["s"] for frame in frames} == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"1", b"{}", b"null", b'"x"', b"\xff", b'{"method":1}', b"[" * 9999]
)
def test_nonsense_is_answered_with_an_error_and_harms_nothing(name: str, text: bytes) -> None:
    wire = Wire(name)
    assert len(wire.ask(text)) <= 1
    good, other, _ = next(symbols for exchange, *symbols in PRODUCTS if exchange == name)
    assert wire.ask(subscription(name, [good, other]))
    assert wire.wait(4)


@pytest.mark.parametrize(("name", "good", "other", "bad"), [each for each in PRODUCTS if each[0] != "bitfinex"])
def test_trades_come_for_what_was_asked_and_stop_when_taken_off(name: str, good: str, other: str, bad: str) -> None:
    wire = Wire(name)
    wire.ask(subscription(name, [good]))
    text = json.dumps(wire.wait(5))
    assert good in text
    assert other not in text
    request = json.loads(json.dumps(subscription(name, [good])).replace("subscribe", "unsubscribe"))
    if name == "binance":
        request["method"] = "UNSUBSCRIBE"
    if name == "htx":
        request = {"unsub": request["sub"]}
    wire.ask(request)
    assert good not in json.dumps(wire.wait(4))
    assert bad not in wire.session.symbols


def recorded(name: str, kind: str) -> list[Any]:
    folder = os.environ.get("BEAST_FRAMES_DIR")
    if not folder:
        pytest.skip("BEAST_FRAMES_DIR is not set")
    rows = map(json.loads, Path(folder, f"{name}.jsonl").read_text().splitlines())
    return [json.loads(row["raw"]) for row in rows if (row["kind"], row["origin"]) == (kind, "capture")]


def shape(value: Any) -> set[tuple[str, str]]:
    """Every path in a frame, with the type that stands there."""
    if isinstance(value, dict):
        return {(f"{key}.{path}", kind) for key, inner in value.items() for path, kind in shape(inner)}
    if isinstance(value, list):
        return {(f"0.{path}", kind) for inner in value[:1] for path, kind in shape(inner)}
    return {("", type(value).__name__)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("coinbase", "trade"),
        ("coinbase", "heartbeat"),
        ("gemini", "trade"),
        ("kraken", "trade"),
        ("kraken", "ack"),
        ("kraken", "heartbeat"),
        ("gateio", "trade"),
        ("gateio", "ack"),
        ("gateio", "error"),
        ("cryptocom", "heartbeat"),
        ("okx", "trade"),
        ("okx", "ack"),
        ("binance", "trade"),
    ],
)
def test_frames_have_all_that_recorded_ones_have(name: str, kind: str) -> None:
    good, _, bad = next(symbols for exchange, *symbols in PRODUCTS if exchange == name)
    wire = Wire(name)
    ours = wire.ask(subscription(name, [bad])) if kind == "error" else wire.ask(subscription(name, [good]))
    if kind == "heartbeat":
        wire = Wire(name)
        wire.session.heartbeats, wire.session.symbols = True, {"SILENT/USD": None}
        ours = wire.wait(12)
    elif kind == "trade":
        ours = wire.wait(12)
    shapes = [shape(frame) for frame in ours]
    theirs = recorded(name, kind)
    assert theirs
    for frame in theirs:
        assert any(shape(frame) <= our_shape for our_shape in shapes), frame
