"""The hub over a real engine, with the test's clock and a transport that only remembers what it was given."""

import asyncio
import json
import re
from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from beast._fast import Engine
from beast.base.clock import ManualClock
from beast.http.errors import Fault
from beast.http.stream.hub import LINGER_NS, TURN_NS, Hub
from beast.http.stream.sse import SseSession

DIGEST = sha256(b"tb_k").digest()
TIME_NS = 1_776_003_781_000_000_000
TTL_MS = 13_000
EVENT = re.compile(rb"event: (\w+)\n(?:id: (\S+)\n)?data: (.+)\n\n")


class Wire(asyncio.Transport):
    """Where the session believes that it writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended: Any = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += data

    def close(self) -> None:
        self.ended = True

    abort = close


class Client:
    """One client of GET /stream, and what it has read."""

    def __init__(self, hub: Hub, assets: str, last_id: str | None = None, exchange: str | None = None) -> None:
        self.wire = Wire()
        self.session = SseSession(hub, DIGEST, last_id)
        self.session.connection_made(self.wire)
        hub.follow(self.session, [(asset, exchange) for asset in assets.split(",")])

    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(event, id, data) of everything so far."""
        return [
            (name.decode(), number.decode(), json.loads(data))
            for name, number, data in EVENT.findall(self.wire.written)
        ]

    def last(self) -> dict[str, Any]:
        return self.events()[-1][2]

    def leave(self) -> str:
        """Closes; returns the id to come back with."""
        self.session.connection_lost(None)
        return self.events()[-1][1]


class Stage:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.engine = Engine(node="test", max_keys=1024, max_instruments=64, ttl_ms=TTL_MS)
        self.engine.load_instruments(
            [(0, "BTC", "okx", "USDT", 1, 0), (1, "ETH", "okx", "USDT", 1, 0), (2, "BTC", "kraken", "USD", 2, 1)]
        )
        self.engine.put_key(DIGEST, 1, per_second=0, burst=0)
        self.hub = Hub(self.engine, self.clock)
        self.prices = 0

    def publish(self, instrument: int = 0) -> None:
        self.prices += 1
        self.engine.publish(instrument, b"%d" % self.prices, TIME_NS, self.clock.monotonic_ns())

    def round(self, ms: float = 50) -> None:
        self.clock.advance(ms=ms)
        for _ in self.hub.turns():
            pass

    def counter(self, name: str) -> int:
        return self.engine.counters()[name]


def test_every_change_is_told_once_and_numbered() -> None:
    stage = Stage()
    stage.publish()
    client = Client(stage.hub, "BTC")
    for _ in range(3):
        stage.publish()
        stage.round()
        stage.round()
    assert [(data["price"], data["seq"], data["missed"]) for _, _, data in client.events()] == [
        (1, 1, 0),
        (2, 2, 0),
        (3, 3, 0),
        (4, 4, 0),
    ]
    assert list(client.last())[:3] == ["asset", "price", "currency"]
    assert list(client.last())[-4:] == ["node", "id", "seq", "missed"]
    assert stage.counter("stream_events") == 4


def test_several_trades_between_two_rounds_are_one_event() -> None:
    stage = Stage()
    client = Client(stage.hub, "BTC")
    for _ in range(5):
        stage.publish()
    stage.round()
    assert [(data.get("price"), data["seq"], data["missed"]) for _, _, data in client.events()] == [
        (None, 1, 0),
        (5, 2, 0),
    ]


def test_a_state_that_changes_without_a_trade_is_an_event() -> None:
    stage = Stage()
    epoch = stage.engine.link_up(0, 20_000_000_000, stage.clock.monotonic_ns())
    stage.engine.publish(0, b"1", TIME_NS, stage.clock.monotonic_ns(), epoch=epoch)
    client = Client(stage.hub, "BTC")
    states = []
    for _ in range(60):
        stage.round(500)
        states.append((client.last()["state"], client.last()["seq"]))
    assert list(dict.fromkeys(states)) == [("live", 1), ("quiet", 2), ("stale", 3)]
    assert client.last()["age_ms"] > 20_000


def test_without_a_price_and_without_the_asset_the_event_says_so() -> None:
    stage = Stage()
    client = Client(stage.hub, "ETH")
    assert (client.last()["asset"], client.last()["error"]) == ("ETH", "stale")
    stage.engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    stage.round()
    assert (client.last()["error"], client.last()["seq"]) == ("unknown_asset", 2)


def test_the_best_source_and_one_exchange_are_numbered_apart() -> None:
    stage = Stage()
    stage.publish(0)
    best, kraken = Client(stage.hub, "BTC"), Client(stage.hub, "BTC", exchange="kraken")
    stage.publish(2)
    stage.round()
    assert (best.last()["exchange"], best.last()["seq"]) == ("okx", 1)
    assert (kraken.last()["exchange"], kraken.last()["seq"]) == ("kraken", 2)


def test_a_client_that_does_not_read_gets_the_newest_and_how_many_it_missed() -> None:
    stage = Stage()
    stage.publish()
    slow, fast = Client(stage.hub, "BTC"), Client(stage.hub, "BTC")
    slow.session.pause_writing()
    for _ in range(7):
        stage.publish()
        stage.round()
    assert len(slow.events()) == 1
    stage.clock.advance(seconds=2)
    slow.session.resume_writing()
    stage.round()
    assert [(data["seq"], data["missed"]) for _, _, data in slow.events()] == [(1, 0), (8, 6)]
    assert [data["seq"] for _, _, data in fast.events()] == list(range(1, 9))
    assert slow.last()["age_ms"] >= 2_000, "the age is that of the moment when it is told"
    assert stage.counter("stream_missed") == 6


def test_a_client_that_reads_nothing_for_too_long_is_closed_and_counted() -> None:
    stage = Stage()
    stage.hub.tune(interval_ms=50, idle_ms=1_000, max_clients=10)
    slow, other = Client(stage.hub, "BTC"), Client(stage.hub, "BTC")
    slow.session.pause_writing()
    stage.round(900)
    assert not slow.wire.ended
    stage.round(300)
    assert slow.wire.ended
    assert not other.wire.ended
    assert stage.counter("streams_too_slow") == 1


def test_coming_back_with_the_last_id_tells_what_was_missed() -> None:
    stage = Stage()
    stage.publish(0)
    stage.publish(1)
    last = Client(stage.hub, "BTC,ETH").leave()
    for _ in range(4):
        stage.publish(0)
        stage.round()
    back = Client(stage.hub, "BTC,ETH", last)
    assert [(data["asset"], data["seq"], data["missed"]) for _, _, data in back.events()] == [
        ("BTC", 5, 3),
        ("ETH", 1, 0),
    ]
    stage.publish(0)
    stage.round()
    assert (back.last()["seq"], back.last()["missed"]) == (6, 0)


def test_an_id_between_two_events_of_one_turn_is_as_good() -> None:
    stage = Stage()
    client = Client(stage.hub, "BTC,ETH")
    stage.publish(0)
    stage.publish(1)
    stage.round()
    between = client.events()[-2][1]
    client.leave()
    back = Client(stage.hub, "BTC,ETH", between)
    assert [(data["seq"], data["missed"]) for _, _, data in back.events()] == [(2, 0), (2, 0)]


def test_what_cannot_be_known_is_null() -> None:
    first, second = Stage(), Stage()
    for stage in (first, second):
        stage.publish(0)
        stage.publish(1)
    before_restart = Client(first.hub, "BTC,ETH").leave()
    other_order = Client(second.hub, "ETH,BTC").leave()
    ahead = re.sub(r"-\d+", "-99", Client(second.hub, "BTC,ETH").leave())
    for wrong in (
        before_restart,
        other_order,
        ahead,
        "",
        "x",
        "-",
        "a-1-2",
        ahead + "-1",
        before_restart[:9] + "9" * 5000,
    ):
        back = Client(second.hub, "BTC,ETH", wrong)
        assert [data["missed"] for _, _, data in back.events()] == [None, None], wrong


def test_numbering_goes_on_for_a_while_and_then_begins_anew() -> None:
    stage = Stage()
    last = Client(stage.hub, "BTC").leave()
    stage.publish()
    stage.round(1_000)
    back = Client(stage.hub, "BTC", last)
    assert (back.last()["seq"], back.last()["missed"]) == (2, 0)
    last = back.leave()
    stage.round(LINGER_NS / 1e6 + 300)
    again = Client(stage.hub, "BTC", last)
    assert (again.last()["seq"], again.last()["missed"]) == (1, None)
    assert again.last()["id"].partition("-")[0] != last.partition("-")[0]


def test_a_revoked_key_ends_its_streams() -> None:
    stage = Stage()
    client = Client(stage.hub, "BTC")
    stage.round(300)
    assert not client.wire.ended
    stage.engine.drop_key(DIGEST)
    stage.round(300)
    assert client.wire.ended
    name, _, data = client.events()[-1]
    assert (name, data["error"]) == ("bye", "unauthorized")
    stage.publish()
    stage.round()
    assert client.events()[-1][0] == "bye"


def test_stopping_says_goodbye_in_the_next_turn() -> None:
    stage = Stage()
    clients = [Client(stage.hub, "BTC") for _ in range(3)]
    for client in clients:
        client.session.shutdown()
    stage.round()
    assert [client.events()[-1][0] for client in clients] == ["bye"] * 3
    assert all(client.wire.ended for client in clients)


def test_silence_is_broken_every_fifteen_seconds() -> None:
    stage = Stage()
    client = Client(stage.hub, "ETH")
    before = client.wire.written
    for _ in range(62):
        stage.round(500)
    assert client.wire.written.removeprefix(before) == b":\n\n" * 2


def test_the_hub_forgets_who_is_gone() -> None:
    stage = Stage()
    clients = [Client(stage.hub, assets) for assets in ("BTC", "BTC,ETH", "ETH", "BTC")]
    clients[0].session.pause_writing()
    assert stage.hub.clients == 4
    for client in clients:
        client.session.connection_lost(None)
    stage.publish()
    stage.round()
    assert stage.hub.clients == 0
    stage.round(LINGER_NS / 1e6 + 300)
    held = [value for value in vars(stage.hub).values() if isinstance(value, dict)]
    assert held
    assert all(not each for each in held)


def test_thousands_of_clients_do_not_hold_the_loop() -> None:
    stage = Stage()
    spent = TURN_NS // 4

    class Busy(Wire):
        def write(self, data: Any) -> None:
            super().write(data)
            stage.clock.advance(ns=spent)

    clients = [Client(stage.hub, "BTC") for _ in range(200)]
    for client in clients:
        client.session.transport = client.wire = Busy()
    stage.publish()
    stage.clock.advance(ms=50)
    assert sum(1 for _ in stage.hub.turns()) >= 200 * spent // (3 * TURN_NS)
    assert all(len(client.events()) == 1 for client in clients)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 1)),
        st.tuples(st.just("round"), st.integers(1, 400)),
        st.tuples(st.sampled_from(["pause", "resume", "reconnect"]), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_client_sees_a_subsequence_that_ends_with_the_newest_and_its_gaps_are_told(
    todo: list[tuple[str, int]],
) -> None:
    stage = Stage()
    everything = Client(stage.hub, "BTC,ETH")
    client = Client(stage.hub, "BTC,ETH")
    told: list[tuple[str, str, dict[str, Any]]] = []
    newest: dict[str, int] = {}
    for what, number in [*todo, ("resume", 0), ("round", 50)]:
        if what == "publish":
            stage.publish(number)
            newest[("BTC", "ETH")[number]] = stage.prices
        elif what == "round":
            stage.round(number)
        elif what == "pause" and not client.session.paused:
            client.session.pause_writing()
        elif what == "resume" and client.session.paused:
            client.session.resume_writing()
        elif what == "reconnect":
            told += client.events()
            client = Client(stage.hub, "BTC,ETH", client.leave())
    told += client.events()
    for asset in ("BTC", "ETH"):
        views = [[data for _, _, data in events if data["asset"] == asset] for events in (everything.events(), told)]
        for seen in views:
            seqs = [data["seq"] for data in seen]
            assert seqs == sorted(seqs)
            assert seqs[-1] == views[0][-1]["seq"]
            assert len(set(seqs)) + sum(data["missed"] for data in seen) == seqs[-1]
            assert seen[-1].get("price") == newest.get(asset)
        prices = [{data["seq"]: data.get("price") for data in seen} for seen in views]
        assert all(prices[0].get(seq, price) == price for seq, price in prices[1].items())


def test_a_farewell_is_said_once() -> None:
    stage = Stage()
    client = Client(stage.hub, "BTC")
    for _ in range(2):
        client.session.close(Fault(503, "unavailable", "bye"))
    assert [name for name, _, _ in client.events()].count("bye") == 1
