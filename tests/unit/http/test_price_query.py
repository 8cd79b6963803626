"""The ASGI side reads requests as the workers do: their own parser is the judge."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beast._fast import FAULTS, Engine
from beast.http.query import AGE_MAX, BadRequestError, PriceQuery, read_body, read_key, read_query

MESSAGES = dict(FAULTS)
ENDING = {MESSAGES["SYNTAX"], MESSAGES["UTF8"], MESSAGES["DEPTH"]}
PADDING = b" " * 300
"""An answer to a request without a key is no longer than the request: this makes room for every message."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(node="test", max_keys=1024, max_instruments=64, source_per_second=0)


def told_by_python(body: bytes) -> str:
    try:
        read_body(body)
    except BadRequestError as error:
        return error.message
    return ""


def told_by_the_workers(engine: Engine, body: bytes) -> str:
    [answer] = engine.ask(body + PADDING)
    told = json.loads(answer)
    return str(told["message"]) if told["error"] == "bad_request" else ""


NAMES = st.sampled_from(["assets", "exchange", "max_age_ms", "allow_stale", "other", "with \\u0065scape", "\\ud800"])
VALUES = st.sampled_from(
    [
        *("null", "true", "false", "0", "-1", "17", "1.5", "1e3", "9007199254740991", "9007199254740992", "01", "NaN"),
        *("9" * 40, "-" + "9" * 40, "1e999"),
        *('""', '"BTC"', '"\\ud83d\\ude00"', '"\\udead"', '"tab\t"', '"\\x"', "nul"),
        *("[]", '["BTC"]', '["BTC","ETH",""]', '["BTC",1]', '["\\ud800"]', "[1,]", "{}", '{"a":{}}'),
        *("[[[[[[[1]]]]]]]", "[[[[[[[[1]]]]]]]]", json.dumps(["A"] * 30), json.dumps(["A"] * 31)),
    ]
)


@settings(max_examples=400, deadline=None)
@given(members=st.lists(st.tuples(NAMES, VALUES), max_size=5), tail=st.sampled_from(["", "", "", "x", "}", " \n"]))
def test_bodies_have_the_faults_of_datagrams(engine: Engine, members: list[tuple[str, str]], tail: str) -> None:
    body = ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}" + tail).encode()
    ours, theirs = told_by_python(body), told_by_the_workers(engine, body)
    # Of several faults that end the reading, the workers tell the first from the left, Python's parser its own.
    assert ours == theirs or {ours, theirs} <= ENDING


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"\xff", b'{"assets":["\xff"]}', b'{"assets":["A"]', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_object_has_the_faults_of_datagrams(engine: Engine, body: bytes) -> None:
    assert told_by_python(body) == told_by_the_workers(engine, body)


def test_a_whole_body() -> None:
    body = b'{"assets":["btc","ETH"],"exchange":"Kraken","max_age_ms":5,"allow_stale":true,"id":{"any":"thing"}}'
    assert read_body(body) == PriceQuery(["btc", "ETH"], "Kraken", 5, allow_stale=True)


@pytest.mark.parametrize(
    ("text", "many", "expected"),
    [
        (b"asset=BTC", False, PriceQuery(["BTC"])),
        (b"asset=%42TC&exchange=kr%61ken", False, PriceQuery(["BTC"], "kraken")),
        (b"%61sset=BTC&assets=ETH&utm_source=x", False, PriceQuery(["BTC"])),
        (b"assets=BTC,ETH%2CSOL&allow_stale=true", True, PriceQuery(["BTC", "ETH", "SOL"], allow_stale=True)),
        (b"asset=BTC&max_age_ms=9007199254740991", False, PriceQuery(["BTC"], max_age_ms=AGE_MAX)),
    ],
)
def test_a_good_query(text: bytes, many: bool, expected: PriceQuery) -> None:  # noqa: FBT001
    assert read_query(text, many=many) == expected


@pytest.mark.parametrize(
    ("text", "many", "fault"),
    [
        (b"", False, "NO_ASSET"),
        (b"exchange=kraken", True, "NO_ASSET"),
        (b"asset=", False, "ASSET"),
        (b"assets=", True, "ASSETS"),
        (b"assets=BTC,,ETH", True, "ASSETS"),
        (b"assets=" + b",".join([b"A"] * 31), True, "ASSETS"),
        (b"asset=BTC&asset=BTC", False, "TWICE"),
        (b"asset=BTC&%61sset=BTC", False, "TWICE"),
        (b"asset=BTC&exchange=", False, "EXCHANGE"),
        (b"asset=BTC&max_age_ms=-1", False, "MAX_AGE"),
        (b"asset=BTC&max_age_ms=9007199254740992", False, "MAX_AGE"),
        (b"asset=BTC&max_age_ms=1_0", False, "MAX_AGE"),
        (b"asset=BTC&max_age_ms=" + "٣".encode(), False, "MAX_AGE"),
        (b"asset=BTC&allow_stale=yes", False, "ALLOW_STALE"),
        (b"asset=%ff", False, "UTF8"),
        (b"asset=&exchange=", False, "ASSET"),
    ],
)
def test_a_bad_query(text: bytes, many: bool, fault: str) -> None:  # noqa: FBT001
    with pytest.raises(BadRequestError) as caught:
        read_query(text, many=many)
    assert caught.value.message == MESSAGES[fault]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"x-api-key", b"tb_1")], b"tb_1"),
        ([(b"authorization", b"Bearer tb_1")], b"tb_1"),
        ([(b"authorization", b"bearer tb_1")], b"tb_1"),
        ([(b"authorization", b"Basic dXNlcg==")], None),
        ([(b"x-api-key", b"")], None),
    ],
)
def test_the_key_in_a_header(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert read_key(headers) == key


@pytest.mark.parametrize("first", [b"x-api-key", b"authorization"])
def test_two_key_headers_are_a_bad_request(first: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_key([(first, b"Bearer a"), (b"authorization", b"Bearer a")])


def test_a_number_of_thousands_of_digits_is_skipped_where_it_means_nothing() -> None:
    assert read_body(b'{"assets":["A"],"other":%s}' % (b"9" * 5000)) == PriceQuery(["A"])
    with pytest.raises(BadRequestError, match="max_age_ms"):
        read_body(b'{"assets":["A"],"max_age_ms":%s}' % (b"9" * 5000))


def test_a_body_that_nests_without_end_is_refused() -> None:
    body: Any = b"[" * 60_000
    with pytest.raises(BadRequestError):
        read_body(body)
