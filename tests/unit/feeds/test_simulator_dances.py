"""The two dialects that want more than a subscription: a token first, or numbers remembered."""

import json
from typing import Any

import pytest

from beast.base.clock import ManualClock
from beast.feeds.simulator import catalogue, rest
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.market import Market

CATALOGUE = catalogue.load()


class Wire:
    """Clients of one simulated exchange."""

    def __init__(self, name: str) -> None:
        self.clock = ManualClock()
        self.exchange = SimulatedExchange(name, DIALECTS[name], self.clock)
        self.exchange.origin = "ws://sim/kucoin"
        products = [each for each in CATALOGUE.products() if each.exchange == name and each.asset in ("BTC", "ETH")]
        styles = {name: DIALECTS[name].style}
        self.market = Market(CATALOGUE, products, styles, seed=1, rate=1, now_ns=self.clock.wall_ns())
        self.exchange.instruments = {symbol: each for (_, symbol), each in self.market.instruments.items()}
        self.sent: list[Any] = []
        self.closed: list[str] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(json.loads(frame))

    def ping(self) -> None:
        pass

    def close(self, _code: int, reason: str) -> None:
        self.closed.append(reason)

    def said(self) -> list[Any]:
        said, self.sent = self.sent, []
        return said

    def wait(self, seconds: float) -> list[Any]:
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            self.exchange.tick(self.market.advance(self.clock.wall_ns()).get(self.exchange.name, []))
        return self.said()


def test_a_token_opens_one_connection() -> None:
    wire = Wire("kucoin")
    _, answer = rest.answer("kucoin", wire.exchange, "/api/v1/bullet-public", {}, post=True)
    token = answer["data"]["token"]
    assert answer["data"]["instanceServers"][0]["endpoint"] == "ws://sim/kucoin/endpoint"
    wire.exchange.connect(wire, f"/endpoint?token={token.replace('=', '%3D')}&connectId=me")
    assert (wire.said(), wire.closed) == ([{"id": "me", "type": "welcome"}], [])
    wire.exchange.connect(wire, f"/endpoint?token={token}&connectId=again")
    assert wire.said()[0]["data"] == "token is invalid"
    assert wire.closed == ["token is invalid"]
    assert rest.answer("kucoin", wire.exchange, "/api/v1/bullet-public", {})[0] == 404


def test_one_bad_symbol_refuses_a_topic() -> None:
    wire = Wire("kucoin")
    wire.exchange.tokens.add("T")
    session = wire.exchange.connect(wire, "/endpoint?token=T&connectId=me")
    wire.said()
    for topic, kind in (("BTC-USDT,NOPE-USDT", "error"), ("BTC-USDT,ETH-USDT", "ack")):
        request = {"id": 7, "type": "subscribe", "topic": f"/market/match:{topic}", "response": True}
        session.receive(json.dumps(request).encode())
        assert [(each["id"], each["type"]) for each in wire.said()] == [("7", kind)]
    trades = wire.wait(5)
    assert {trade["topic"] for trade in trades} == {"/market/match:BTC-USDT", "/market/match:ETH-USDT"}
    assert len(trades[0]["data"]["time"]) == 19
    session.receive(b'{"id":"9","type":"ping"}')
    assert wire.said() == [{"id": "9", "type": "pong"}]


def test_numbers_are_given_by_the_connection_and_taken_back() -> None:
    wire = Wire("bitfinex")
    one, two = (wire.exchange.connect(wire, "/ws/2") for _ in range(2))
    assert [each["event"] for each in wire.said()] == ["info", "info"]
    numbers = []
    for session in (one, two):
        session.receive(b'{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}')
        ack, snapshot = wire.said()
        assert (ack["event"], ack["symbol"], snapshot[0]) == ("subscribed", "tBTCUSD", ack["chanId"])
        ids = [row[0] for row in snapshot[1]]
        assert ids == sorted(ids, reverse=True)
        numbers.append(ack["chanId"])
    assert numbers[0] != numbers[1]
    kinds = {tuple(frame[:2]) for frame in wire.wait(20)}
    assert kinds == {(number, kind) for number in numbers for kind in ("te", "tu", "hb")}
    two.receive(b'{"event":"unsubscribe","chanId":%d}' % numbers[1])
    assert wire.said() == [{"event": "unsubscribed", "status": "OK", "chanId": numbers[1]}]
    assert {frame[0] for frame in wire.wait(5)} == {numbers[0]}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"event": "subscribe", "channel": "trades", "symbol": "tNOPEUSD"}, 10300),
        ({"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"}, 10301),
        ({"event": "unsubscribe", "chanId": 1_000_000}, 10400),
        ({"event": "dance"}, 10000),
    ],
)
def test_what_can_not_be_is_refused_by_itself(request_: dict[str, Any], code: int) -> None:
    wire = Wire("bitfinex")
    session = wire.exchange.connect(wire, "/ws/2")
    session.receive(b'{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}')
    wire.said()
    session.receive(json.dumps(request_).encode())
    assert [each["code"] for each in wire.said()] == [code]
