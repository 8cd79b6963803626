import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.feeds.rows.templates import (
    decorate,
    parse_subscription,
    raw_at,
    render_message,
    render_url,
    validate_templates,
)
from beast.feeds.types import Condition, Feed

WALL_NS = 1_790_732_616_897_030_070


def render(template: str, symbols: list[str], chunk: int = 0) -> list[str]:
    return [
        message.render(part, message_id=7, wall_ns=WALL_NS)
        for message in parse_subscription(template)
        for part in (cut(symbols, message.room(chunk)) if message.spread != "none" else [()])
    ]


def cut(symbols: list[str], size: int) -> list[list[str]]:
    return [symbols[start : start + size] for start in range(0, len(symbols), min(size, len(symbols)))]


def row(**columns: object) -> Feed:
    base: dict[str, object] = {
        "name": "x",
        "ws_url": "wss://host/path",
        "subscribe_template": '{"symbols":"{SYMBOLS}"}',
        "trade_filter": [{"path": "e", "value": "trade"}],
        "price_path": "p",
        "symbol_path": "s",
    }
    return msgspec.convert(base | columns, Feed)


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        ('{"ids":"{SYMBOLS}"}', ['{"ids":["A","B"]}']),
        ('{"params":["{SYMBOL}@trade"]}', ['{"params":["A@trade","B@trade"]}']),
        (
            '{"args":[{"channel":"trades","instId":"{SYMBOL}"}]}',
            ['{"args":[{"channel":"trades","instId":"A"},{"channel":"trades","instId":"B"}]}'],
        ),
        ('{"streams":"x:{SYMBOLS:,}"}', ['{"streams":"x:A,B"}']),
        ('{"channel":"t_{SYMBOL}"}', ['{"channel":"t_A"}', '{"channel":"t_B"}']),
        ('{"a":["x","{SYMBOL}"]}', ['{"a":["x","A"]}', '{"a":["x","B"]}']),
        ('[{"ids":"{SYMBOLS}"},{"channel":"heartbeats"}]', ['{"ids":["A","B"]}', '{"channel":"heartbeats"}']),
        ('[{"instId":"{SYMBOL}"}]', ['{"instId":"A"}', '{"instId":"B"}']),
        ('{"time":"{NOW_S}","nonce":"{NOW_MS}","id":"{ID}"}', ['{"time":1790732616,"nonce":1790732616897,"id":7}']),
        ('{"id":"md-{ID}","at":"t{NOW_S}"}', ['{"id":"md-7","at":"t1790732616"}']),
        (
            '{"n":1,"ok":true,"none":null,"deep":{"s":"{SYMBOLS}"}}',
            ['{"n":1,"ok":true,"none":null,"deep":{"s":["A","B"]}}'],
        ),
    ],
)
def test_every_way_to_name_symbols(template: str, messages: list[str]) -> None:
    assert render(template, ["A", "B"]) == messages


def test_chunks_bound_the_symbols_of_a_message() -> None:
    assert render('{"s":"{SYMBOLS}"}', list("ABCDE"), chunk=2) == ['{"s":["A","B"]}', '{"s":["C","D"]}', '{"s":["E"]}']
    assert render('{"s":"{SYMBOL}"}', list("ABC"), chunk=2) == ['{"s":"A"}', '{"s":"B"}', '{"s":"C"}']


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.integers(0, 9))
def test_no_symbol_is_lost_or_doubled(symbols: list[str], chunk: int) -> None:
    sent = [msgspec.json.decode(text) for text in render('{"s":"{SYMBOLS}"}', symbols, chunk)]
    assert [symbol for message in sent for symbol in message["s"]] == symbols
    assert all(len(message["s"]) <= (chunk or len(symbols)) for message in sent)


def test_a_symbol_that_looks_like_a_placeholder_stays_as_it_is() -> None:
    assert render('{"s":["{SYMBOL}"]}', ["{ID}"]) == ['{"s":["{ID}"]}']
    assert render('{"s":"{SYMBOLS:,}"}', ['a"b']) == ['{"s":"a\\"b"}']


def test_decoration() -> None:
    assert decorate("BTC_USD", "trade.{SYMBOL}") == "trade.BTC_USD"


def test_streams_in_the_url_are_encoded() -> None:
    assert render_url("wss://h/stream?streams={SYMBOLS:/}", ["btcusdt@trade", "a/b"]) == (
        "wss://h/stream?streams=btcusdt@trade/a%2Fb"
    )
    assert render_url("wss://h/ws", ["A"]) == "wss://h/ws"


def test_a_ping_may_be_text_or_json() -> None:
    assert render_message("ping", message_id=1, wall_ns=WALL_NS) == "ping"
    assert render_message("ping {NOW_S}", message_id=1, wall_ns=WALL_NS) == "ping 1790732616"
    assert render_message('{"time":"{NOW_S}","channel":"spot.ping"}', message_id=1, wall_ns=WALL_NS) == (
        '{"time":1790732616,"channel":"spot.ping"}'
    )


def test_a_reply_copies_digits_as_they_came() -> None:
    frame = b'{"id": 178203246734212345678901234567890, "x":{"y":["a","b"]}, "f":1.10, "s":"q\\"q"}'
    template = '{"id":"{FRAME:id}","y":"{FRAME:x.y.-1}","f":"{FRAME:f}","text":"<{FRAME:s}|{FRAME:id}>"}'
    assert render_message(template, message_id=1, wall_ns=WALL_NS, frame=frame) == (
        '{"id":178203246734212345678901234567890,"y":"b","f":1.10,"text":"<q\\"q|178203246734212345678901234567890>"}'
    )


@pytest.mark.parametrize("path", ["nope", "x.7", "x.y.z", "id.a", "*"])
def test_a_reply_says_what_the_frame_lacks(path: str) -> None:
    frame = b'{"id":1,"x":["a"]}'
    with pytest.raises(LookupError, match=re.escape(path)):
        render_message(f'{{"id":"{{FRAME:{path}}}"}}', message_id=1, wall_ns=WALL_NS, frame=frame)


def test_a_path_walks_as_in_the_plans() -> None:
    frame = b'{"result":{"XXBTZUSD":[[1],[2]]}}'
    assert bytes(raw_at(frame, "result.*.-1.0")) == b"2"
    assert bytes(raw_at(frame, "result.*.0.0")) == b"1"
    assert bytes(raw_at(b"7", "")) == b"7"


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"subscribe_template": "{"}, "subscribe_template: not JSON"),
        ({"subscribe_template": '"{SYMBOLS}"'}, "subscribe_template: every message must be"),
        ({"subscribe_template": '{"a":"{SYMBOLZ}"}'}, r"subscribe_template: \{SYMBOLZ\} is not known"),
        ({"subscribe_template": '{"a":"x{SYMBOLS}"}'}, "subscribe_template: .* needs a separator"),
        ({"subscribe_template": '{"a":"{FRAME:id}"}'}, r"subscribe_template: \{FRAME\} is not known"),
        ({"subscribe_template": '{"{SYMBOL}":1}'}, "subscribe_template: a placeholder can't stand in a member's name"),
        ({"subscribe_template": '{"a":"{SYMBOLS}","b":"{SYMBOL}"}'}, "subscribe_template: one message holds both"),
        ({"subscribe_template": '{"a":"{SYMBOL} {SYMBOLS:,}"}'}, "subscribe_template: one message holds both"),
        ({"subscribe_template": '{"a":"{ID:x}","b":"{SYMBOLS}"}'}, r"subscribe_template: \{ID\} takes nothing"),
        ({"subscribe_template": '{"a":1}'}, "subscribe_template: names no symbol"),
        ({"subscribe_template": ""}, "subscribe_template: names no symbol"),
        ({"symbol_template": "trade"}, "symbol_template: must hold"),
        ({"symbol_template": "{SYMBOL}{ID}"}, "symbol_template: must hold"),
        ({"ws_url": "wss://h/{SYMBOL}"}, "ws_url: "),
        ({"ws_url": "wss://h/{SYMBOLS}"}, "ws_url: "),
        ({"ping_template": "ping"}, "ping_template: .*need each other"),
        ({"ping_interval_ms": 1000}, "ping_template: .*need each other"),
        ({"ping_interval_ms": 1000, "ping_template": "{SYMBOL}"}, "ping_template: .*not known"),
        ({"heartbeat_reply_template": '{"id":"{FRAME}"}'}, r"heartbeat_reply_template: \{FRAME\} needs a path"),
        ({"heartbeat_reply_template": '{"id":"{FRAME:a.[last]}"}'}, "heartbeat_reply_template: .*walks an array"),
        ({"heartbeat_reply_template": '{"id":"{FRAME:a..b}"}'}, "heartbeat_reply_template: .*empty step"),
        ({"error_scope": "message"}, "error_scope: "),
    ],
)
def test_a_fault_names_its_column(columns: dict[str, object], fault: str) -> None:
    faults = validate_templates(row(**columns))
    assert len(faults) == 1
    assert re.match(fault, faults[0]), faults[0]


def test_good_rows_have_no_fault() -> None:
    assert validate_templates(row()) == []
    assert validate_templates(row(subscribe_template="", ws_url="wss://h/stream?streams={SYMBOLS:/}")) == []
    assert validate_templates(row(error_scope="message", reply_id_path="id")) == []
    filters = {"ack_filter": (Condition(path="ok", op="present"),)}
    assert validate_templates(msgspec.structs.replace(row(error_scope="message", reply_id_path="id"), **filters)) == []
