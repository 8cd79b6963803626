import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.feeds.link.subscription import ACK_TIMEOUT_NS, ATTEMPTS, Event, Subscription, SymbolState
from beast.feeds.types import Feed, Mapping

NOW = 1_000_000_000_000
WALL = 1_776_000_000_000_000_000


def feed(**columns: object) -> Feed:
    base: dict[str, object] = {
        "name": "x",
        "ws_url": "wss://host",
        "subscribe_template": '{"id":"{ID}","params":["{SYMBOL}"]}',
        "trade_filter": [{"path": "e", "value": "trade"}],
        "price_path": "p",
        "symbol_path": "s",
        "ack_filter": [{"path": "ok", "value": True}],
        "reply_id_path": "id",
    }
    return msgspec.convert(base | columns, Feed)


def mappings(*symbols: str) -> list[Mapping]:
    return [Mapping(asset=f"A{n}", symbol=symbol, currency="USD") for n, symbol in enumerate(symbols)]


def started(row: Feed, *symbols: str, doubtful: tuple[str, ...] = ()) -> Subscription:
    subscription = Subscription(row, mappings(*symbols), doubtful)
    subscription.start(NOW)
    return subscription


def sent(subscription: Subscription, now: int = NOW) -> list[list[str]]:
    """What goes out now, as the symbols of each message."""
    out = []
    while (text := subscription.next_message(now, WALL)) is not None:
        message = msgspec.json.decode(text)
        out.append(message.get("params", []))
    return out


def test_everything_is_sent_and_acknowledged_by_id() -> None:
    subscription = started(feed(), "A", "B", "C")
    assert sent(subscription) == [["A", "B", "C"]]
    assert subscription.counts == {SymbolState.SENT: 3}
    assert not subscription.settled()
    subscription.acknowledge([], "1")
    assert subscription.counts == {SymbolState.ACKED: 3}
    assert subscription.settled()
    assert subscription.due_ns() is None


def test_an_ack_may_name_a_symbol_in_any_of_its_spellings() -> None:
    row = feed(symbol_template="trade.{SYMBOL}", ack_symbol_path="channel", reply_id_path="")
    subscription = Subscription(
        row,
        [
            Mapping(asset="BTC", symbol="BTC_USD", currency="USD"),
            Mapping(asset="ETH", symbol="eth", wire_symbol="ETHUSD", currency="USD"),
            Mapping(asset="SOL", symbol="SOL", currency="USD"),
        ],
    )
    subscription.start(NOW)
    assert sent(subscription) == [["trade.BTC_USD", "trade.eth", "trade.SOL"]]
    subscription.acknowledge(["trade.BTC_USD"])
    subscription.acknowledge(["ETHUSD", "sol"])
    subscription.acknowledge(["nobody"])
    assert subscription.counts == {SymbolState.ACKED: 3}


def test_acks_without_any_name_come_in_order() -> None:
    subscription = started(feed(reply_id_path="", subscribe_chunk=2), "A", "B", "C")
    assert sent(subscription) == [["A", "B"], ["C"]]
    subscription.acknowledge([])
    assert subscription.counts == {SymbolState.ACKED: 2, SymbolState.SENT: 1}


def test_an_ack_of_something_else_acknowledges_nothing() -> None:
    subscription = started(feed(ack_symbol_path="sub"), "A")
    sent(subscription)
    subscription.acknowledge([], "99")
    subscription.acknowledge(["heartbeats"], "")
    assert subscription.counts == {SymbolState.SENT: 1}


def test_delay_and_interval_are_kept() -> None:
    subscription = started(feed(subscribe_chunk=1, subscribe_delay_ms=1000, subscribe_interval_ms=200), "A", "B")
    first = NOW + 1_000_000_000
    assert subscription.due_ns() == first
    assert subscription.next_message(first - 1, WALL) is None
    assert sent(subscription, first) == [["A"]]
    assert subscription.due_ns() == first + 200_000_000
    assert sent(subscription, first + 200_000_000) == [["B"]]


def test_messages_without_symbols_are_sent_once_in_their_place() -> None:
    row = feed(subscribe_template='[{"hello":1},{"params":"{SYMBOLS}"},{"channel":"heartbeats"}]', subscribe_chunk=1)
    subscription = started(row, "A", "B")
    assert sent(subscription) == [[], ["A"], ["B"], []]


def test_a_second_kind_of_message_is_still_sent_for_a_symbol_acknowledged_already() -> None:
    row = feed(
        subscribe_template='[{"id":"{ID}","params":"{SYMBOLS}"},{"id":"t{ID}","params":"{SYMBOLS}"}]',
        subscribe_interval_ms=1,
    )
    subscription = started(row, "A")
    assert sent(subscription) == [["A"]]
    subscription.acknowledge([], "1")
    assert sent(subscription, NOW + 1_000_000) == [["A"]]
    subscription.acknowledge([], "t2")
    assert subscription.settled()


def test_streams_in_the_url_need_no_message() -> None:
    subscription = started(feed(subscribe_template="", ws_url="wss://h?streams={SYMBOLS:/}"), "A")
    assert sent(subscription) == []
    assert subscription.counts == {SymbolState.SENT: 1}
    assert subscription.settled()


def test_a_refused_symbol_is_dropped_and_the_rest_kept() -> None:
    subscription = started(feed(), "A", "B", "C")
    sent(subscription)
    assert subscription.refuse(["B"], "", "unknown symbol") == [Event("symbol refused", ("B",), "unknown symbol")]
    subscription.acknowledge(["A", "C"])
    assert subscription.counts == {SymbolState.ACKED: 2, SymbolState.REFUSED: 1}
    assert subscription.refused == ("B",)
    assert subscription.settled()
    assert sent(subscription) == []


def test_an_error_may_name_the_symbol_in_its_words_only() -> None:
    subscription = started(feed(reply_id_path=""), "BTC-USD", "BTC-USD-220527", "NOPE_USD")
    sent(subscription)
    words = "Wrong URL or channel:trades,instId:BTC-USD-220527 doesn't exist."
    assert subscription.refuse([], "", words) == [Event("symbol refused", ("BTC-USD-220527",), words)]
    assert subscription.refuse([], "", "unknown currency pair: NOPE_USD")[0].symbols == ("NOPE_USD",)


def test_an_error_about_a_message_of_one_symbol_is_about_that_symbol() -> None:
    subscription = started(feed(subscribe_chunk=1), "A", "B")
    sent(subscription)
    assert subscription.refuse([], "2", "no") == [Event("symbol refused", ("B",), "no")]


def test_after_an_error_that_names_nobody_the_unanswered_are_sent_one_by_one() -> None:
    subscription = started(feed(), "A", "B", "C")
    sent(subscription)
    assert subscription.refuse([], "", "something is wrong") == [Event("subscription error", (), "something is wrong")]
    subscription.acknowledge(["A"])
    late = NOW + ACK_TIMEOUT_NS
    assert subscription.due_ns() == late
    assert subscription.expire(late - 1) == []
    assert [event.symbols for event in subscription.expire(late)] == [("B", "C")]
    assert sent(subscription, late) == [["B"], ["C"]]


def test_silence_is_met_by_a_bounded_number_of_repetitions_and_then_reported() -> None:
    subscription = started(feed(), "A", "B")
    now = NOW
    for _ in range(ATTEMPTS - 1):
        assert sent(subscription, now) == [["A", "B"]]
        now += ACK_TIMEOUT_NS
        assert [event.kind for event in subscription.expire(now)] == ["subscription not acknowledged, sent again"]
    assert sent(subscription, now) == [["A", "B"]]
    now += ACK_TIMEOUT_NS
    assert subscription.expire(now) == [Event("never acknowledged", ("A", "B"))]
    assert subscription.counts == {SymbolState.SILENT: 2}
    assert sent(subscription, now) == []
    assert subscription.settled()
    subscription.acknowledge(["A"])
    assert subscription.counts == {SymbolState.ACKED: 1, SymbolState.SILENT: 1}


def test_a_feed_without_acks_waits_for_none() -> None:
    subscription = started(feed(ack_filter=[]), "A")
    sent(subscription)
    assert subscription.settled()
    assert subscription.expire(NOW + ACK_TIMEOUT_NS - 1) == []
    assert subscription.refuse([], "1", "no")[0].symbols == ("A",)
    late = started(feed(ack_filter=[]), "A")
    sent(late)
    assert late.expire(NOW + ACK_TIMEOUT_NS) == []
    assert late.due_ns() is None
    assert late.counts == {SymbolState.SENT: 1}


def test_symbols_refused_before_come_last_and_alone() -> None:
    subscription = started(feed(), "A", "B", "C", "D", doubtful=("B", "D"))
    assert sent(subscription) == [["A", "C"], ["B"], ["D"]]


def test_all_refused_is_hopeless() -> None:
    subscription = started(feed(), "A", "B")
    assert not subscription.hopeless()
    sent(subscription)
    subscription.refuse(["A", "B"])
    assert subscription.hopeless()
    assert not Subscription(feed(), []).hopeless()


def test_a_symbol_acknowledged_may_still_be_refused_later() -> None:
    subscription = started(feed(), "A", "B")
    sent(subscription)
    subscription.acknowledge([], "1")
    assert subscription.refuse(["A"], "", "delisted") == [Event("symbol withdrawn", ("A",), "delisted")]
    assert subscription.refuse([], "", "A is fine, the server isn't")[0].kind == "subscription error"


def test_a_refused_message_is_halved_until_the_bad_symbol_stands_alone() -> None:
    subscription = started(feed(error_scope="message"), *"ABCDEFGH")
    assert sent(subscription) == [list("ABCDEFGH")]
    assert subscription.refuse([], "1", "bad request") == []
    assert sent(subscription) == [list("ABCD"), list("EFGH")]
    subscription.acknowledge([], "3")
    assert subscription.refuse([], "2", "bad request") == []
    assert sent(subscription) == [["A", "B"], ["C", "D"]]


def test_a_refused_message_whose_error_names_the_symbol_goes_out_again_without_it() -> None:
    subscription = started(feed(error_scope="message", symbol_template="{SYMBOL}@trade"), "a", "b", "c")
    sent(subscription)
    events = subscription.refuse([], "1", "Invalid stream name: b@trade.")
    assert events == [Event("symbol refused", ("b",), "Invalid stream name: b@trade.")]
    assert sent(subscription) == [["a@trade", "c@trade"]]


def test_where_errors_repeat_no_id_one_message_is_open_at_a_time() -> None:
    row = feed(error_scope="message", reply_id_path="", ack_symbol_path="symbols", subscribe_chunk=2)
    subscription = started(row, *"ABCD")
    assert sent(subscription) == [["A", "B"]]
    assert subscription.due_ns() == NOW + ACK_TIMEOUT_NS
    assert subscription.refuse([], "", "failed to subscribe") == []
    assert sent(subscription) == [["A"]]
    subscription.acknowledge([])  # of something else: where acks name symbols, a nameless one means none
    assert sent(subscription) == []
    subscription.acknowledge(["A"])
    assert sent(subscription) == [["B"]]
    assert subscription.refuse([], "", "failed to subscribe")[0].symbols == ("B",)
    assert sent(subscription) == [["C", "D"]]


@given(
    symbols=st.lists(st.sampled_from([f"S{n}" for n in range(40)]), min_size=1, unique=True),
    bad=st.sets(st.sampled_from([f"S{n}" for n in range(40)]), max_size=6),
    chunk=st.integers(0, 9),
    scope=st.sampled_from(["symbol", "message"]),
    has_id=st.booleans(),
    names_symbol=st.booleans(),
)
def test_it_always_ends_with_the_good_accepted_and_the_bad_refused(
    *, symbols: list[str], bad: set[str], chunk: int, scope: str, has_id: bool, names_symbol: bool
) -> None:
    row = feed(
        error_scope=scope,
        subscribe_chunk=chunk,
        reply_id_path="id" if has_id else "",
        ack_symbol_path="symbol",
        error_symbol_path="symbol" if names_symbol else "",
    )
    subscription = started(row, *symbols)
    now, messages = NOW, 0
    while not subscription.settled():
        while (text := subscription.next_message(now, WALL)) is not None:
            messages += 1
            message = msgspec.json.decode(text)
            reply_id = str(message["id"]) if has_id else ""
            refused = [symbol for symbol in message["params"] if symbol in bad]
            if refused and scope == "message":
                subscription.refuse(refused[:1] if names_symbol else [], reply_id, "refused")
                continue
            for symbol in message["params"]:
                if symbol in bad:
                    subscription.refuse([symbol] if names_symbol else [], reply_id, "refused")
                else:
                    subscription.acknowledge([symbol], reply_id)
        if (due := subscription.due_ns()) is not None:
            now = max(now, due)
            subscription.expire(now)
    found = bad & set(symbols)
    if names_symbol or has_id or scope == "message":
        assert set(subscription.refused) == found
    assert subscription.counts[SymbolState.ACKED] == len(symbols) - len(found)
    assert messages <= ATTEMPTS * (len(symbols) + 2 * len(symbols) * len(found) + 1)


@pytest.mark.parametrize("scope", ["symbol", "message"])
@given(data=st.data())
def test_no_order_of_answers_breaks_it(scope: str, data: st.DataObject) -> None:
    row = feed(error_scope=scope, subscribe_chunk=2, ack_symbol_path="s")
    subscription = started(row, *"ABCDE")
    names = st.lists(st.sampled_from("ABCDEX"), max_size=3)
    ids = st.sampled_from(["", "1", "2", "3", "4", "99"])
    now = NOW
    for step in data.draw(st.lists(st.sampled_from(["send", "ack", "refuse", "wait"]), max_size=30)):
        now += ACK_TIMEOUT_NS // 3
        if step == "send":
            subscription.next_message(now, WALL)
        elif step == "ack":
            subscription.acknowledge(data.draw(names), data.draw(ids))
        elif step == "refuse":
            subscription.refuse(data.draw(names), data.draw(ids), data.draw(st.sampled_from(["", "no A", "no"])))
        else:
            subscription.expire(now)
        assert sum(subscription.counts.values()) == 5


def test_symbols_come_and_go_while_it_is_open() -> None:
    subscription = started(feed(unsubscribe_template='{"id":"{ID}","params":["-{SYMBOL}"]}'), "A", "B")
    assert sent(subscription) == [["A", "B"]]
    subscription.acknowledge([], "1")
    subscription.add(mappings("B", "C"))
    subscription.remove(["A"])
    assert sent(subscription) == [["C"], ["-A"]]
    subscription.acknowledge([], "3")
    assert subscription.counts == {SymbolState.ACKED: 1, SymbolState.SENT: 1}
    subscription.acknowledge([], "2")
    assert subscription.settled()
    subscription.add(mappings("A"))
    assert sent(subscription) == [["A"]]
    assert subscription.refuse(["A"])[0].symbols == ("A",)
    subscription.remove(["A"])
    assert sent(subscription) == []


def test_what_was_not_sent_yet_needs_no_farewell() -> None:
    row = feed(unsubscribe_template='{"params":["-{SYMBOL}"]}', subscribe_chunk=1, subscribe_interval_ms=1)
    subscription = started(row, "A", "B", "C")
    assert sent(subscription) == [["A"]]
    subscription.remove(["B"])
    subscription.remove(["C"])
    subscription.add(mappings("C"))
    assert sent(subscription, NOW + 10**6) == [["C"]]
    assert sent(subscription, NOW + 10**9) == []


def test_a_symbol_that_can_not_be_unsubscribed_is_there_when_it_is_wanted_again() -> None:
    subscription = started(feed(), "A", "B")
    sent(subscription)
    subscription.acknowledge([], "1")
    subscription.remove(["A"])
    assert set(subscription.left) == {"A"}
    assert subscription.counts == {SymbolState.ACKED: 1}
    subscription.add(mappings("A"))
    assert (set(subscription.left), sent(subscription)) == (set(), [])
    assert subscription.counts == {SymbolState.ACKED: 2}


def test_an_unsubscription_that_is_refused_harms_nobody() -> None:
    row = feed(
        error_scope="message",
        reply_id_path="",
        ack_symbol_path="symbols",
        unsubscribe_template='{"params":["-{SYMBOL}"]}',
    )
    subscription = started(row, "A", "B")
    sent(subscription)
    subscription.acknowledge(["A", "B"])
    subscription.remove(["A"])
    subscription.add(mappings("C"))
    assert sent(subscription) == [["-A"]]
    assert subscription.refuse([], "", "not subscribed") == [Event("not unsubscribed", ("A",), "not subscribed")]
    assert sent(subscription) == [["C"]]
    subscription.acknowledge(["B", "C"])
    assert subscription.counts == {SymbolState.ACKED: 2}
    subscription.remove(["B"])
    assert sent(subscription) == [["-B"]]
    subscription.add(mappings("D"))
    assert sent(subscription) == []
    subscription.acknowledge(["C"])  # what is left after it, as some exchanges answer
    assert sent(subscription) == [["D"]]


CHANNELS = {"channel_path": "n", "ack_symbol_path": "s", "unsubscribe_template": '{"params":["{CHANNEL}"]}'}


def test_numbers_stand_for_symbols_until_they_are_given_back() -> None:
    subscription = started(feed(reply_id_path="", **CHANNELS), "A", "B", "C")
    sent(subscription)
    subscription.acknowledge(["A"], channel="17")
    subscription.acknowledge(["B"], channel="18")
    assert subscription.channels == {"17": "A", "18": "B"}
    subscription.remove(["A"])
    assert [str(each) for (each,) in sent(subscription)] == ["17"]
    subscription.acknowledge(["C"], channel="17")
    assert subscription.channels == {"17": "C", "18": "B"}
    subscription.acknowledge(["C"], channel="18")
    assert subscription.channels == {"18": "C"}


def test_a_symbol_without_a_number_is_unsubscribed_when_it_gets_one() -> None:
    subscription = started(feed(reply_id_path="", subscribe_chunk=1, **CHANNELS), "A", "B")
    sent(subscription)
    subscription.remove(["A", "B"])
    assert sent(subscription) == []
    subscription.add(mappings("B"))
    subscription.acknowledge(["A"], channel="5")
    subscription.acknowledge(["B"], channel="6")
    assert [str(each) for (each,) in sent(subscription)] == ["5"]
    assert subscription.counts == {SymbolState.ACKED: 1}


def test_it_costs_by_the_symbols_an_answer_is_about() -> None:
    def steps(symbols: int) -> int:
        """Python functions called for the acknowledgements of so many symbols, each in a message of its own."""
        row = feed(subscribe_chunk=1, ack_symbol_path="s")
        subscription = started(row, *(f"S{n}" for n in range(symbols)))
        sent(subscription)
        called = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            for n in range(symbols):
                subscription.acknowledge([f"S{n}"], str(n + 1))
                subscription.expire(NOW)
                subscription.due_ns()
        finally:
            sys.setprofile(None)
        assert subscription.settled()
        return called

    assert steps(2000) < 22 * steps(100)


@given(data=st.data())
def test_what_the_exchange_has_is_what_is_wanted(data: st.DataObject) -> None:
    """Whatever is added and removed in whatever order, in the end the exchange has just what is wanted."""
    has_farewell = data.draw(st.booleans())
    row = feed(
        subscribe_chunk=data.draw(st.integers(0, 3)),
        ack_symbol_path="s",
        unsubscribe_template='{"id":"{ID}","params":["-{SYMBOL}"]}' if has_farewell else "",
    )
    subscription = started(row)
    wanted: set[str] = set()
    there: set[str] = set()
    now = NOW
    for _ in range(data.draw(st.integers(1, 8))):
        new = data.draw(st.sets(st.sampled_from("ABCDEFGH")))
        subscription.remove(wanted - new)
        subscription.add(mappings(*sorted(new)))
        wanted = new
        for _ in range(data.draw(st.integers(0, 2))):
            if (text := subscription.next_message(now, WALL)) is not None:
                exchange_hears(subscription, text, there, answers=data.draw(st.booleans()))
    while not subscription.settled():
        subscription.expire(now)
        while (text := subscription.next_message(now, WALL)) is not None:
            exchange_hears(subscription, text, there, answers=True)
        now += ACK_TIMEOUT_NS
    assert (there == wanted) if has_farewell else (there >= wanted)
    assert subscription.counts == ({SymbolState.ACKED: len(wanted)} if wanted else {})


def exchange_hears(subscription: Subscription, text: str, there: set[str], *, answers: bool) -> None:
    message = msgspec.json.decode(text)
    for name in message["params"]:
        if name.startswith("-"):
            there.discard(name[1:])
        else:
            there.add(name)
            if answers:
                subscription.acknowledge([name], str(message["id"]))
