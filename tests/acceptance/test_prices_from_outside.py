"""Every way to ask for a price, and every answer, against a server with simulated exchanges."""

import json
import re
import time
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

Server = Any
"""`Running` of conftest.py."""
PRICE = re.compile(
    rb'\{"asset":"BTC","price":\d+(\.\d+)?,"currency":"[A-Z]+","exchange":"[a-z]+","source":"[a-z]+-ws",'
    rb'"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(\d{3})?Z","age_ms": *\d+,"state":"(live|quiet)","tier":1,'
    rb'"node":"[^"]+"(,"id":(?P<id>[^}]+))?\} *'
)


def test_the_ready_file_says_where_everything_is(server: Server) -> None:
    assert server.ready["pid"] == server.process.pid
    assert set(server.ports) == {"http", "health", "udp", "report_http", "report_health", "report_udp"}
    assert all(server.ports.values())
    assert server.ready["home"] == str(server.home)
    assert server.key.startswith("tb_")
    assert {"node", "version", "admin_key"} <= set(server.ready)


@pytest.mark.parametrize("asset", ["BTC", "btc", "\\u0042TC"])
@pytest.mark.parametrize("id_", [None, '"a1"', '"\\u00e9\\n"', "7", "-12345678901234567890"])
def test_a_price_by_udp(server: Server, asset: str, id_: str | None) -> None:
    tail = f',"id":{id_}' if id_ else ""
    [answer] = server.udp(f' {{"asset":"{asset}" , "api_key":"{server.key}"{tail}}}\n'.encode())
    found = PRICE.fullmatch(answer)
    assert found, answer
    assert (found["id"] or b"").decode() == (id_ or "")
    assert len(answer) % 64 == 0
    assert len(answer) >= 256


@pytest.mark.parametrize("exchange", ["coinbase", "kraken", "gemini", "okx", "gateio", "cryptocom", "KRAKEN"])
def test_one_exchange_answers_when_it_is_named(server: Server, exchange: str) -> None:
    [answer] = server.udp({"asset": "BTC", "exchange": exchange})
    assert json.loads(answer)["exchange"] == exchange.lower()


def test_the_price_is_the_same_by_udp_and_http(server: Server) -> None:
    def moment() -> tuple[Any, Any]:
        [by_udp] = server.udp({"asset": "BTC", "exchange": "coinbase"})
        _, _, by_http = server.http("GET", "/price?asset=BTC&exchange=coinbase")
        return tuple({**json.loads(each), "age_ms": 0} for each in (by_udp, by_http))  # type: ignore[return-value]

    assert any(first == second for first, second in (moment() for _ in range(20)))


def test_prices_move(server: Server) -> None:
    seen: set[str] = set()
    deadline = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < deadline:
        [answer] = server.udp({"asset": "BTC"})
        seen.add(json.loads(answer)["timestamp"])
        time.sleep(0.05)
    assert len(seen) >= 3


def test_several_assets_in_one_datagram(server: Server) -> None:
    [answer] = server.udp({"assets": ["BTC", "xyz", "ETH", "btc"], "id": 7})
    told = json.loads(answer)
    assert [entry["asset"] for entry in told["prices"]] == ["BTC", "XYZ", "ETH"]
    assert told["prices"][1]["error"] == "unknown_asset"
    assert (told["part"], told["parts"], told["id"]) == (1, 1, 7)


def test_thirty_assets_come_in_several_datagrams(server: Server) -> None:
    _, _, listed = server.http("GET", "/assets")
    assets = [each["asset"] for each in json.loads(listed)["assets"]][:30]
    # An asset without a trade yet is asked of its exchange.
    answers, parts = server.udp({"assets": assets}, within_s=5), 0
    while parts != len(answers):  # from one answer to the next a price may need a part more, or less
        parts = json.loads(answers[0])["parts"]
        answers = server.udp({"assets": assets}, parts=parts, within_s=5)
        parts = json.loads(answers[0])["parts"]
    assert parts > 1
    assert max(map(len, answers)) <= 1400
    told = sorted((json.loads(answer) for answer in answers), key=lambda part: part["part"])
    assert [entry["asset"] for part in told for entry in part["prices"]] == assets


BAD = b'{"api_key":"%s","asset":"BTC","asset":"BTC","padding":"' + b"x" * 100 + b'"}'


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"asset": "BTC", "max_age_ms": "1"}, "bad_request"),
        ({}, "bad_request"),
        ({"asset": "NOPE"}, "unknown_asset"),
        ({"asset": "BTC", "exchange": "nyse"}, "unknown_exchange"),
        ({"asset": "BTC", "max_age_ms": 0, "allow_stale": True}, "stale"),
    ],
)
def test_errors_by_udp(server: Server, request_: dict[str, Any], code: str) -> None:
    told: dict[str, Any] = {}
    # A trade of this very millisecond is young enough even for max_age_ms 0.
    for _ in range(50):
        [answer] = server.udp({**request_, "id": "q", "padding": "x" * 200})
        told = json.loads(answer)
        if "error" in told:
            break
    assert (told["error"], told["id"]) == (code, "q")
    assert told["message"]


@pytest.mark.parametrize("key", ["tb_wrong", "", None])
def test_without_a_good_key_no_answer_is_longer_than_its_question(server: Server, key: str | None) -> None:
    for padding in (0, 1, 20, 300):
        request = {"asset": "BTC", "padding": "x" * padding}
        sent = json.dumps(request if key is None else {"api_key": key, **request}).encode()
        for answer in server.udp(sent):
            assert len(answer) <= len(sent)
            assert json.loads(answer)["error"] == "unauthorized"


@pytest.mark.parametrize("datagram", [b"", b"{", b"\xff" * 100, b"[]", b'{"asset":"BTC"' + b" " * 2000 + b"}"])
def test_malformed_datagrams_hurt_nobody(server: Server, datagram: bytes) -> None:
    for answer in server.udp(datagram):
        assert len(answer) <= len(datagram)
    assert PRICE.fullmatch(server.udp({"asset": "BTC"})[0])


def test_limits_hold_over_both_protocols(server: Server) -> None:
    made = json.loads(server.beast("keys", "create", "--tier", "free", "--json").stdout)["api_key"]
    deadline = time.monotonic() + 1
    while not server.udp({"asset": "BTC", "padding": "x" * 200}, key=made) and time.monotonic() < deadline:
        pass
    told = []
    for _ in range(4):
        told += [json.loads(each) for each in server.udp({"asset": "BTC", "id": 1}, key=made)]
        status, headers, body = server.http("GET", "/price?asset=BTC", key=made)
        told.append(json.loads(body))
        if status == 429:
            assert int(headers["retry-after"]) == int(headers["ratelimit-reset"]) >= 1
            assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("5", "0")
    refused = [each for each in told if each.get("error") == "rate_limited"]
    assert refused
    assert all(each["retry_after_ms"] > 0 for each in refused)
    assert sum("price" in each for each in told) <= 6
