"""A connection against a transport that only remembers, and a clock that the test moves."""

import gzip
import json
from collections import Counter
from typing import Any, cast

import msgspec
import pytest
from picows import WSMsgType, WSTransport
from picows.picows import _make_test_ws_frame

from beast.base.clock import ManualClock
from beast.feeds.link.connection import Connection, End
from beast.feeds.link.door import FRAME_MAX
from beast.feeds.link.reader import READ_MAX
from beast.feeds.link.subscription import ACK_TIMEOUT_NS, Event, Subscription
from beast.feeds.rows.classify import Answer
from beast.feeds.types import Feed, Mapping

pytestmark = pytest.mark.anyio


class Transport:
    """What picows would have sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.pings = 0
        self.pongs: list[bytes] = []
        self.closed = self.cut = False

    def ended(self) -> bool:
        return self.closed

    def send(self, _kind: WSMsgType, message: str) -> None:
        self.sent.append(message)

    def send_ping(self) -> None:
        self.pings += 1

    def send_pong(self, message: bytes) -> None:
        self.pongs.append(message)

    def send_close(self, _code: object) -> None:
        self.closed = True

    def disconnect(self, *, graceful: bool = True) -> None:
        self.closed = True
        self.cut = not graceful


class Table:
    """One link of a price table."""

    def __init__(self) -> None:
        self.up, self.epoch, self.proven_ns = False, 0, 0
        self.counted: Counter[str] = Counter()

    def link_up(self, _link: int, _patience_ns: int, now_ns: int) -> int:
        self.up, self.epoch, self.proven_ns = True, self.epoch + 1, now_ns
        return self.epoch

    def link_proven(self, _link: int, now_ns: int) -> None:
        self.proven_ns = now_ns

    def link_down(self, _link: int) -> None:
        self.up = False

    def link_doubt(self, _link: int) -> int:
        self.epoch += 1
        return self.epoch

    def count(self, name: str, n: int = 1) -> None:
        self.counted[name] += n

    def link_state(self, _link: int) -> tuple[bool, int, int]:
        return self.up, self.epoch, self.proven_ns


class Sink:
    """Takes frames that begin with T for trades; like the real one, it proves the link by each."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.epoch = 0
        self.frames: list[bytes] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def feed(self, frame: bytes | memoryview, received_ns: int, _wall_ns: int) -> int:
        self.table.proven_ns = received_ns
        self.frames.append(bytes(frame))
        try:
            json.loads(self.frames[-1])
        except ValueError:
            return 1 if self.frames[-1].startswith(b"T") else 2
        return 0


def said(frame: bytes) -> Answer:
    """A frame of these tests says itself what it says."""
    try:
        members = json.loads(frame)
    except ValueError:
        return Answer("pong" if frame == b"pong" else "ignored")
    return Answer(**{name: members[name] for name in Answer._fields if name in members})


class Bench:
    """A connection and everything around it."""

    def __init__(self, **columns: object) -> None:
        base: dict[str, object] = {
            "name": "x",
            "ws_url": "ws://h",
            "subscribe_template": '{"id":"{ID}","s":"{SYMBOLS}"}',
            "trade_filter": [{"path": "e", "value": "trade"}],
            "price_path": "p",
            "symbol_path": "s",
            "ack_filter": [{"path": "ok", "op": "present"}],
            "reply_id_path": "id",
            "patience_ms": 30_000,
        }
        self.feed = feed = msgspec.convert(base | columns, Feed)
        mappings = [Mapping(asset=name, symbol=name, currency="USD") for name in ("A", "B")]
        self.clock = ManualClock()
        self.table = Table()
        self.sink = Sink(self.table)
        self.events: list[Event] = []
        self.doubted: list[str] = []
        self.transport = Transport()
        self.connection = Connection(
            feed,
            0,
            table=self.table,
            sink=self.sink,
            subscription=Subscription(feed, mappings),
            classify=said,
            clock=self.clock,
            report=self.events.append,
            doubt=self.doubted.extend,
        )

    @property
    def wire(self) -> WSTransport:
        return cast("WSTransport", self.transport)

    def open(self) -> "Bench":
        self.connection.on_ws_connected(self.wire)
        return self

    def hear(self, payload: bytes, kind: WSMsgType = WSMsgType.TEXT, *, fin: bool = True) -> None:
        make = cast("Any", _make_test_ws_frame)
        self.connection.on_ws_frame(self.wire, make(kind, payload, fin, rsv1=False))

    def say(self, **members: Any) -> None:
        self.hear(json.dumps(members).encode())

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.connection._tick()


async def test_it_opens_an_epoch_and_subscribes() -> None:
    bench = Bench().open()
    assert bench.table.up
    assert bench.sink.epoch == 1
    assert bench.transport.sent == ['{"id":1,"s":["A","B"]}']


async def test_trades_before_the_ack_belong_to_this_connection() -> None:
    bench = Bench(subscribe_delay_ms=1000).open()
    bench.hear(b"T1")
    assert bench.sink.frames == [b"T1"]
    assert bench.sink.epoch == bench.table.epoch


async def test_acks_and_refusals_reach_the_subscription() -> None:
    bench = Bench().open()
    bench.say(kind="error", symbols=["B"], text="unknown")
    assert bench.table.counted == {"frames_errors": 1}
    bench.say(kind="ack", reply_id="1")
    assert bench.events == [Event("symbol refused", ("B",), "unknown")]
    assert bench.connection.subscription.counts == {"acked": 1, "refused": 1}


async def test_a_message_refused_is_sent_again_in_halves_at_once() -> None:
    bench = Bench(error_scope="message").open()
    bench.say(kind="error", reply_id="1")
    assert bench.transport.sent[1:] == ['{"id":2,"s":["A"]}', '{"id":3,"s":["B"]}']


async def test_a_missing_ack_is_asked_for_again() -> None:
    bench = Bench().open()
    bench.hear(b"T")
    bench.wait(ACK_TIMEOUT_NS / 1e9)
    assert bench.transport.sent[1:] == ['{"id":2,"s":["A","B"]}']
    assert bench.events[0].symbols == ("A", "B")


async def test_all_symbols_refused_ends_it() -> None:
    bench = Bench().open()
    bench.say(kind="error", symbols=["A", "B"], text="maintenance")
    assert bench.transport.ended()
    assert bench.connection.end == End("every symbol was refused")


async def test_a_silent_peer_is_pinged_and_then_cut() -> None:
    bench = Bench(patience_ms=3000).open()
    bench.wait(0.9)
    assert bench.transport.pings == 0
    bench.wait(0.1)
    assert bench.transport.pings == 1
    bench.wait(0.5)
    assert bench.transport.pings == 1
    bench.wait(0.5)
    assert bench.transport.pings == 2
    bench.wait(1)
    assert bench.transport.cut
    assert bench.connection.end == End("silent for 3000 ms")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (WSMsgType.PONG, b""),
        (WSMsgType.PING, b"x"),
        (WSMsgType.TEXT, b"T"),
        (WSMsgType.TEXT, b"pong"),
        (WSMsgType.BINARY, b"\xff\x00"),
    ],
)
async def test_any_frame_proves_the_link(kind: WSMsgType, payload: bytes) -> None:
    bench = Bench(patience_ms=3000).open()
    for _ in range(10):
        bench.wait(2.9)
        bench.hear(payload, kind)
    assert not bench.transport.ended()


async def test_pings_are_answered_with_their_payload() -> None:
    bench = Bench().open()
    bench.hear(b"abc", WSMsgType.PING)
    assert bench.transport.pongs == [b"abc"]


async def test_the_exchange_gets_its_own_ping_at_its_interval() -> None:
    bench = Bench(ping_interval_ms=1000, ping_template='{"id":"{ID}","m":"ping"}').open()
    for _ in range(4):
        bench.hear(b"T")
        bench.wait(0.5)
    assert bench.transport.sent[1:] == ['{"id":2,"m":"ping"}', '{"id":3,"m":"ping"}']
    assert bench.transport.pings == 0


async def test_a_heartbeat_is_answered_with_its_own_id() -> None:
    bench = Bench(heartbeat_reply_template='{"id":"{FRAME:id}"}').open()
    bench.hear(b'{"kind":"heartbeat","id":1782032467342111222333}')
    assert bench.transport.sent[-1] == '{"id":1782032467342111222333}'
    bench.hear(b'{"kind":"heartbeat"}')
    assert [event.kind for event in bench.events] == ["heartbeat not answered"]


async def test_frames_that_say_nothing_are_counted() -> None:
    bench = Bench().open()
    bench.hear(b"what?")
    bench.hear(b"pong")
    bench.say(kind="ignored")
    bench.say(kind="pong")
    bench.say(kind="error", symbols=["A"], text="x" * READ_MAX)
    assert bench.table.counted == {"frames_ignored": 2, "frames_malformed": 1}


async def test_a_frame_cut_short_may_have_been_a_trade() -> None:
    bench = Bench().open()
    for noise in (b"pong", b"hello?", b'{"kind":"ignored"}', b"T"):
        bench.hear(noise)
    assert (bench.table.epoch, bench.sink.epoch) == (1, 1)
    bench.hear(b' {"e":"trade","s":"A","p')
    assert bench.table.up
    assert (bench.table.epoch, bench.sink.epoch) == (2, 2)


async def test_a_frame_that_nobody_knows_may_be_a_trade_in_new_clothes() -> None:
    bench = Bench(symbol_template="t.{SYMBOL}").open()
    bench.say(kind="ignored", symbol="C")
    bench.hear(b"A is no JSON")
    assert bench.doubted == ["A"]
    for frame in ({"v2": {"of": "t.B"}}, {"topic": "x.y.b"}, {"s": "B@trade"}):
        bench.doubted.clear()
        bench.say(kind="ignored", **frame)
        assert bench.doubted == ["B"], frame
    assert bench.table.epoch == 1


async def test_a_frame_too_long_to_be_read_may_be_anything() -> None:
    bench = Bench().open()
    bench.say(kind="ignored", text="x" * READ_MAX)
    assert (bench.table.epoch, bench.sink.epoch, bench.doubted) == (2, 2, [])


async def test_a_notice_ends_it_as_planned() -> None:
    bench = Bench().open()
    bench.say(kind="notice", text="upgrade")
    assert bench.transport.ended()
    assert not bench.transport.cut
    assert bench.connection.end == End("the exchange asked to reconnect: upgrade", planned=True)


async def test_old_age_ends_it_as_planned() -> None:
    bench = Bench(max_connection_age_s=60).open()
    for _ in range(59):
        bench.hear(b"T")
        bench.wait(1)
    assert not bench.transport.ended()
    bench.wait(1)
    assert bench.transport.ended()
    assert bench.connection.end.planned


async def test_fragments_are_joined_whatever_comes_between() -> None:
    bench = Bench().open()
    bench.hear(b"T1", fin=False)
    bench.hear(b"", WSMsgType.PING)
    bench.hear(b"23", WSMsgType.CONTINUATION, fin=False)
    bench.hear(b"4", WSMsgType.CONTINUATION)
    bench.hear(b"T5")
    bench.hear(b"", fin=False)
    bench.hear(b"T6", WSMsgType.CONTINUATION)
    assert bench.sink.frames == [b"T1234", b"T5", b"T6"]


async def test_binary_frames_are_unpacked_and_text_is_left_alone() -> None:
    bench = Bench(compression="gzip").open()
    packed = gzip.compress(b"T1")
    bench.hear(packed, WSMsgType.BINARY)
    bench.hear(packed[:9], WSMsgType.BINARY, fin=False)
    bench.hear(packed[9:], WSMsgType.CONTINUATION)
    bench.hear(b"T2")
    bench.hear(b"T3", WSMsgType.BINARY)
    assert bench.sink.frames == [b"T1", b"T1", b"T2", b"T3"]
    assert bench.table.epoch == 1
    bench.hear(packed[:-9], WSMsgType.BINARY)
    bench.connection.take_over(msgspec.structs.replace(bench.feed, compression="none"), said)
    bench.hear(packed, WSMsgType.BINARY)
    assert bench.sink.frames[-1] == packed


async def test_a_damaged_packed_frame_may_have_been_a_trade() -> None:
    bench = Bench(compression="gzip").open()
    bench.hear(b"\x1f\x8b nonsense", WSMsgType.BINARY)
    assert (bench.table.epoch, bench.table.counted) == (2, {"frames_malformed": 1})


async def test_fragments_without_end_are_refused() -> None:
    bench = Bench().open()
    bench.hear(b"T" * (FRAME_MAX // 2), fin=False)
    bench.hear(b"T" * (FRAME_MAX // 2), WSMsgType.CONTINUATION, fin=False)
    assert not bench.transport.ended()
    bench.hear(b"T", WSMsgType.CONTINUATION)
    assert bench.transport.ended()
    assert bench.sink.frames == []


async def test_a_message_inside_another_is_refused() -> None:
    bench = Bench().open()
    bench.hear(b"T1", fin=False)
    bench.hear(b"T2")
    assert bench.transport.ended()
    assert bench.sink.frames == []


async def test_a_close_is_answered_and_its_reason_kept() -> None:
    bench = Bench().open()
    bench.hear((1008).to_bytes(2, "big") + b"too slow", WSMsgType.CLOSE)
    assert bench.transport.ended()
    assert bench.connection.end == End("closed by the exchange: too slow (code 1008)")
    other = Bench().open()
    other.hear((4001).to_bytes(2, "big"), WSMsgType.CLOSE)
    assert other.connection.end == End("closed by the exchange: no reason given (code 4001)")


async def test_the_link_is_down_after_any_end() -> None:
    bench = Bench().open()
    bench.connection.on_ws_disconnected(bench.wire)
    assert not bench.table.up
    assert not bench.connection.open
    assert bench.connection.end == End("the connection was lost")
    bench.connection._tick()
    bench.connection.close("late")
    assert len(bench.transport.sent) == 1


async def test_a_handshake_nobody_waits_for_any_more_is_dropped() -> None:
    bench = Bench()
    bench.connection.close("given up")
    bench.open()
    assert bench.transport.cut
    assert not bench.table.up
    bench.connection.on_ws_disconnected(bench.wire)
    assert bench.transport.sent == []
