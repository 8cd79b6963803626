"""The Python face of the compiled engine: its values, its errors, its life."""

import hashlib
import json
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from beast._fast import (
    COUNTERS,
    FAULTS,
    PUBLIC_COUNTERS,
    RESULTS,
    Engine,
    Watch,
    key_record,
    received_after,
    restrict_key,
    take_answers,
)

NOW = 1_000_000_000_000
WALL = 1_776_003_781_123_456_000
KEY = b"tb_test"
DIGEST = hashlib.sha256(KEY).digest()
ROWS = [
    (0, "BTC", "coinbase", "USD", 10, 0),
    (1, "BTC", "kraken", "USD", 20, 1),
    (2, "ETH", "kraken", "USDT", 20, 1),
]


@pytest.fixture
def engine() -> Engine:
    engine = Engine(node="BeastMain", max_keys=64, max_instruments=8, usage_ring=64)
    engine.load_instruments(ROWS)
    engine.put_key(DIGEST, 7, per_second=0, burst=0)
    return engine


@pytest.fixture
def running() -> Iterator[Engine]:
    engine = Engine(node="BeastMain", max_keys=64, max_instruments=8, usage_ring=64, miss_ring=2)
    engine.load_instruments(ROWS)
    engine.put_key(DIGEST, 7, per_second=1, burst=1)
    engine.start()
    yield engine
    engine.stop()


def ask(engine: Engine, now_ns: int = NOW, **members: object) -> dict[str, object]:
    (answer,) = engine.ask(json.dumps({"api_key": KEY.decode(), **members}).encode(), now_ns=now_ns)
    decoded: dict[str, object] = json.loads(answer)
    return decoded


def test_the_lists_come_from_c() -> None:
    assert PUBLIC_COUNTERS == 24
    assert COUNTERS[PUBLIC_COUNTERS - 1 : PUBLIC_COUNTERS + 1] == ("governor_delays", "udp_answered")
    assert RESULTS[0] == ("ANSWERED", "", 200, "")
    assert ("RATE_LIMITED", "rate_limited", 429, "too many requests for this key") in RESULTS
    assert FAULTS[0] == ("NONE", "")


def test_a_published_price_is_answered_and_peeked(engine: Engine) -> None:
    assert engine.peek(0) is None
    engine.publish(0, b"83421.57", WALL + 789, NOW, tier=2)
    assert engine.peek(0, NOW) == {
        "price": "83421.57",
        "time_ns": WALL + 789,
        "received_ns": NOW,
        "state": "live",
        "by_rest": False,
        "tier": 2,
        "epoch": 0,
    }
    assert ask(engine, NOW + 4_000_000, asset="btc", id="a1") == {
        "asset": "BTC",
        "price": 83421.57,
        "currency": "USD",
        "exchange": "coinbase",
        "source": "coinbase-ws",
        "timestamp": "2026-04-12T14:23:01.123456789Z",
        "age_ms": 4,
        "state": "live",
        "tier": 2,
        "node": "BeastMain",
        "id": "a1",
    }
    engine.forget(0)
    assert engine.peek(0) is None


def test_a_link_proves_and_forgets(engine: Engine) -> None:
    assert engine.link_up(0, 30_000_000_000, NOW) == 1
    engine.link_proven(0, NOW + 5)
    assert engine.link_state(0) == (True, 1, NOW + 5)
    engine.publish(0, b"1", WALL, NOW, fresh_ns=NOW - 60_000_000_000, epoch=1)
    assert ask(engine, asset="BTC")["state"] == "quiet"
    engine.link_down(0)
    assert ask(engine, asset="BTC")["error"] == "stale"
    engine.set_ttl_ms(61_000)
    assert ask(engine, asset="BTC")["error"] == "stale"
    engine.set_live_without_link_ms(1)
    assert ask(engine, asset="BTC")["state"] == "live"
    engine.publish(1, b"2", WALL, NOW)  # not by a link
    engine.set_live_without_link_ms(0)
    assert ask(engine, asset="BTC")["exchange"] == "kraken"


def test_a_doubt_takes_quiet_away_but_not_live(engine: Engine) -> None:
    epoch = engine.link_up(0, 60_000_000_000, NOW)
    engine.publish(0, b"1", WALL, NOW, epoch=epoch)
    later = NOW + 20_000_000_000
    assert ask(engine, later, asset="BTC")["state"] == "quiet"
    engine.doubt(0)
    assert ask(engine, later, asset="BTC")["error"] == "stale"
    assert ask(engine, asset="BTC")["state"] == "live"
    assert (engine.peek(0, NOW) or {})["epoch"] == 0
    engine.publish(0, b"1", WALL, NOW, epoch=epoch)
    assert engine.link_doubt(0) == epoch + 1
    assert ask(engine, later, asset="BTC")["error"] == "stale"
    assert ask(engine, asset="BTC")["state"] == "live"


def test_keys_come_and_go(engine: Engine) -> None:
    other = hashlib.sha256(b"other").digest()
    assert engine.put_keys(key_record(other, 8, 1, 1, partner=False, allowance=None)) == 1
    assert engine.key_count == 2
    assert engine.drop_key(other) is True
    assert engine.drop_key(other) is False
    assert engine.key_count == 1


def test_a_query_is_the_same_answer_for_asgi(engine: Engine) -> None:
    engine.publish(0, b"83421.57", WALL, NOW)
    datagram = json.dumps({"api_key": KEY.decode(), "asset": "BTC"}).encode()
    assert engine.query(KEY, ["BTC"], many=False, now_ns=NOW)[:2] == (
        200,
        engine.ask(datagram, now_ns=NOW)[0].rstrip(),
    )
    status, body, _ = engine.query(KEY, ["btc", 'q"é', "BTC"], many=True, now_ns=NOW)
    assert status == 200
    assert [entry["asset"] for entry in json.loads(body)["prices"]] == ["BTC", 'q"é']


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        ({"assets": [], "many": True}, 400, "bad_request"),
        ({"assets": ["A"] * 31, "many": True}, 400, "bad_request"),
        ({"assets": [""]}, 400, "bad_request"),
        ({"assets": []}, 400, "bad_request"),
        ({"assets": ["\ud800"]}, 400, "bad_request"),
        ({"exchange": ""}, 400, "bad_request"),
        ({"max_age_ms": -1}, 400, "bad_request"),
        ({"exchange": "nowhere"}, 404, "unknown_exchange"),
        ({"assets": ["XYZ"]}, 404, "unknown_asset"),
        ({}, 503, "stale"),
    ],
)
def test_a_query_fails_as_the_table_says(engine: Engine, asked: dict[str, object], status: int, error: str) -> None:
    query = {"assets": ["BTC"], "many": False, "now_ns": NOW} | asked
    got, body, _ = engine.query(KEY, **query)  # type: ignore[arg-type]
    assert (got, json.loads(body)["error"]) == (status, error)


def lines_of(engine: Engine, key: bytes | None = KEY, now_ns: int = NOW, asset: str = "BTC") -> tuple[int, list[str]]:
    status, _, lines = engine.query(key, [asset], many=False, now_ns=now_ns, wall_ns=WALL)
    return status, lines.decode().split("\r\n")[:-1]


def test_a_limited_query_tells_when_to_come_back(engine: Engine) -> None:
    engine.publish(0, b"1.5", WALL, NOW)
    engine.put_key(DIGEST, 7, per_second=2, burst=3)
    policy, scope = 'RateLimit-Policy: "rate";q=3;w=2', "RateLimit-Scope: node"
    for left, reset in ((2, 1), (1, 1), (0, 1)):
        assert lines_of(engine) == (200, [policy, f'RateLimit: "rate";r={left};t={reset}', scope])
    assert lines_of(engine) == (
        429,
        [
            "Retry-After: 1",
            "RateLimit-Limit: 3",
            "RateLimit-Remaining: 0",
            "RateLimit-Reset: 1",
            policy,
            'RateLimit: "rate";r=0;t=1',
            scope,
        ],
    )
    assert lines_of(engine, now_ns=NOW + 3 * 10**9)[1][1] == 'RateLimit: "rate";r=2;t=1'
    assert lines_of(engine, None) == (401, ["WWW-Authenticate: Bearer"])


def test_what_is_left_of_a_cap_is_told(engine: Engine) -> None:
    engine.publish(0, b"1.5", WALL, NOW)
    engine.put_key(DIGEST, 7, per_second=100, burst=10, allowance=2, used=48)
    policy = 'RateLimit-Policy: "rate";q=100;w=1, "month";q=50;w=2592000'
    month = "t=1589819"
    assert lines_of(engine) == (
        200,
        [policy, f'RateLimit: "rate";r=9;t=1, "month";r=1;{month}', "RateLimit-Scope: node"],
    )
    assert lines_of(engine, asset="XYZ") == (
        404,
        [policy, f'RateLimit: "rate";r=8;t=1, "month";r=1;{month}', "RateLimit-Scope: node"],
    )
    assert lines_of(engine)[0] == 200
    assert lines_of(engine) == (
        402,
        [
            "Retry-After: 1589819",
            policy,
            f'RateLimit: "rate";r=6;t=1, "month";r=0;{month}',
            "RateLimit-Scope: node",
        ],
    )
    engine.put_key(DIGEST, 7, per_second=0, burst=0)
    assert lines_of(engine) == (200, [])
    engine.put_key(DIGEST, 7, per_second=1, burst=1, allowance=0, partner=True)
    assert lines_of(engine) == (200, [])


def test_a_key_opens_only_what_its_scopes_say_and_from_where_its_networks_say(engine: Engine) -> None:
    engine.publish(0, b"1.5", WALL, NOW)
    engine.put_key(DIGEST, 7, per_second=1, burst=1, priced=False)
    watch = Watch(engine)
    status, body, lines = engine.query(KEY, ["BTC"], many=False, now_ns=NOW)
    assert (status, json.loads(body)["message"]) == (401, "the API key has not the scope price")
    assert lines == b"WWW-Authenticate: Bearer\r\n"
    assert not watch.knows(DIGEST)

    engine.put_key(DIGEST, 7, per_second=0, burst=1, restricted=True)
    restrict_key(engine, DIGEST, ["10.1.0.0/16", "2001:db8::/32"])
    question = b'{"api_key":"tb_test","asset":"BTC","id":"%s"}' % (b"x" * 60)
    for address, inside in (
        ("10.1.255.1", True), ("::ffff:10.1.0.7", True), ("2001:db8::1", True),
        ("10.2.0.1", False), ("2001:db9::1", False), ("127.0.0.1", False),
    ):  # fmt: skip
        (answer,) = engine.ask(question, now_ns=NOW, source=(address, 9))
        told = json.loads(answer)
        assert ("price" in told) == inside, address
        if not inside:
            assert told["error"] == "unauthorized"
            assert len(answer) <= len(question), "who is somewhere else has proven nothing"
        assert (engine.query(KEY, ["BTC"], many=False, peer=address, now_ns=NOW)[0] == 200) == inside
        assert watch.knows(DIGEST, address) == inside
    assert engine.query(KEY, ["BTC"], many=False, now_ns=NOW)[0] == 401, "nobody knows from where"
    assert watch.knows(DIGEST)
    with pytest.raises(ValueError, match="at most 16"):
        restrict_key(engine, DIGEST, ["10.0.0.0/8"] * 17)
    with pytest.raises(LookupError):
        restrict_key(engine, b"n" * 32, [])


def test_a_query_that_is_asked_again_after_the_slower_tiers_costs_one(engine: Engine) -> None:
    engine.put_key(DIGEST, 7, per_second=1, burst=1, allowance=1)
    asked = {"assets": ["BTC", "ETH"], "many": True, "now_ns": NOW}
    assert engine.query(KEY, **asked, turn=1) == (0, b"", b"")  # type: ignore[arg-type]
    assert engine.counters()["usage_records"] == 0
    engine.publish(0, b"1.5", WALL, NOW, tier=3)
    status, body, _ = engine.query(KEY, **asked, turn=2)  # type: ignore[arg-type]
    assert (status, [each.get("tier") for each in json.loads(body)["prices"]]) == (200, [3, None])
    assert engine.query(KEY, **asked)[0] == 429  # type: ignore[arg-type]
    assert engine.query(KEY, **{**asked, "now_ns": NOW + 10**9})[0] == 402  # type: ignore[arg-type]
    assert engine.query(b"tb_wrong", **asked, turn=2)[0] == 401  # type: ignore[arg-type]
    assert engine.drain_usage()[1] == [(7, 1)]
    assert take_answers(engine) == {0: 1}
    assert take_answers(engine) == {}


def test_only_what_a_slower_tier_may_know_is_missed(engine: Engine) -> None:
    epoch = engine.link_up(0, 10**10, NOW)
    engine.publish(0, b"1.5", WALL, NOW - 10**9, epoch=epoch)
    asked = {"assets": ["BTC"], "many": False, "now_ns": NOW, "turn": 1}
    assert engine.query(KEY, **asked)[0] == 200  # type: ignore[arg-type]
    assert engine.query(KEY, **{**asked, "assets": ["XYZ"]})[0] == 404  # type: ignore[arg-type]
    assert engine.query(KEY, **asked, max_age_ms=500)[0] == 503  # type: ignore[arg-type]
    engine.link_down(0)
    assert engine.query(KEY, **asked, max_age_ms=500)[0] == 0  # type: ignore[arg-type]


def test_the_source_tells_the_way_a_price_came(engine: Engine) -> None:
    for tier, by_rest, way in (
        (1, False, "ws"),
        (1, True, "rest"),
        (2, False, "ws"),
        (2, True, "rest"),
        (3, True, "rest"),
    ):
        engine.publish(0, b"1.5", WALL, NOW, tier=tier, by_rest=by_rest)
        for _ in range(2):
            held = engine.peek(0, NOW)
            assert held is not None
            assert (held["tier"], held["by_rest"]) == (tier, by_rest)
            told = ask(engine, NOW, asset="BTC")
            assert (told["tier"], told["source"]) == (tier, f"coinbase-{way}")
            engine.load_instruments(ROWS)  # the price moves into another layout
    assert received_after(engine, NOW - 1) == [0]
    assert received_after(engine, NOW) == []


def test_usage_is_drained_and_summed(engine: Engine) -> None:
    engine.publish(0, b"1", WALL, NOW)
    for _ in range(5):
        ask(engine, asset="BTC")
    records, counts = engine.drain_usage()
    assert len(records) == 5 * 48
    assert [struct.unpack_from("<qQQ", records, 48 * i)[1:] for i in range(5)] == [(i + 1, 7) for i in range(5)]
    assert counts == [(7, 5)]
    assert engine.drain_usage() == (b"", [])
    assert engine.counters()["usage_records"] == 5


def test_counting_by_name(engine: Engine) -> None:
    engine.count("ws_trades", 3)
    engine.count("ws_trades")
    assert engine.counters()["ws_trades"] == 4
    with pytest.raises(ValueError, match="no counter 'nope'"):
        engine.count("nope")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"node": 'a"b'}, "node"),
        ({"node": ""}, "node"),
        ({"host": "localhost"}, "host"),
        ({"workers": 0}, "workers"),
        ({"udp_port": 70_000}, "udp_port"),
        ({"usage_ring": 1000}, "usage_ring must be a power of two"),
        ({"ttl_ms": -1}, "ttl_ms"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(**({"node": "n"} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((8, "BTC", "okx", "USD", 1, 0), "id"),
        ((3, "btc", "okx", "USD", 1, 0), "asset"),
        ((3, "BTC", "OKX", "USD", 1, 0), "exchange"),
        ((3, "BTC", "okx", "", 1, 0), "currency"),
        ((3, "BTC", "okx", "USD", 1, 5000), "link"),
        ((2, "BTC", "okx", "USD", 1, 0), "twice"),
        ((3, "BTC", "kraken", "EUR", 1, 0), "same asset and exchange"),
    ],
)
def test_a_bad_instrument_is_named(engine: Engine, row: tuple[int, str, str, str, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.load_instruments([*ROWS, row])
    assert engine.peek(2) is None  # the rows before are still loaded


def test_bad_values_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="not loaded"):
        engine.publish(5, b"1", WALL, NOW)
    with pytest.raises(ValueError, match="price"):
        engine.publish(0, b"", WALL, NOW)
    with pytest.raises(ValueError, match="32 bytes"):
        engine.put_key(b"short", 1, per_second=1, burst=1)
    with pytest.raises(ValueError, match="whole key records"):
        engine.put_keys(b"x" * 63)
    with pytest.raises(OverflowError, match="no room"):
        engine.put_keys(b"".join(key_record(bytes([i] * 32), i, 1, 1, False, None) for i in range(100)))  # noqa: FBT003


def test_an_engine_lives_once(running: Engine) -> None:
    assert running.running
    assert running.udp_port > 0
    assert running.http_port > 0
    assert running.udp_buffer > 0
    with pytest.raises(RuntimeError):
        running.start()
    for taken in ({"udp_port": running.udp_port}, {"http_port": running.http_port}):
        with pytest.raises(OSError, match=f"{next(iter(taken)).removesuffix('_port')} 127.0.0.1:") as caught:
            Engine(node="second", **taken).start()  # type: ignore[arg-type]
        assert caught.value.errno == 98
    running.stop()
    running.stop()
    assert not running.running


def test_a_miss_is_resumed(running: Engine) -> None:
    running.set_park_misses(True, wait_ms=5_000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", running.udp_port))
        client.settimeout(5)
        client.send(b'{"api_key":"tb_test","asset":"ETH"}')
        assert select.select([running.fileno()], [], [], 5)[0]
        os.read(running.fileno(), 8)
        miss = running.take_miss()
        assert miss is not None
        assert running.take_miss() is None
        assert miss.datagram == b'{"api_key":"tb_test","asset":"ETH"}'
        received = miss.deadline_ns - 5_000_000_000
        running.publish(2, b"3000", WALL, received, tier=3)
        running.resume(miss)
        assert json.loads(client.recv(2048))["tier"] == 3


def test_a_cold_request_is_handed_over(running: Engine) -> None:
    with socket.create_connection(("127.0.0.1", running.http_port), timeout=5) as client:
        client.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert select.select([running.fileno()], [], [], 5)[0]
        taken = running.take_connection()
        assert taken is not None
        with socket.socket(fileno=taken[0]) as server:
            assert taken[1].startswith(b"GET /docs")
            server.sendall(b"bye")
            assert client.recv(3) == b"bye"
    assert running.take_connection() is None


def test_features_and_histograms_of_a_running_engine() -> None:
    engine = Engine(node="BeastMain", max_keys=64, max_instruments=8, spin_us=50, latency_sample=1)
    engine.load_instruments(ROWS)
    engine.put_key(DIGEST, 7, per_second=0, burst=0)
    assert engine.features == {"gro": False, "segment": False, "rcvbuf": 0}
    engine.start()
    assert engine.features["rcvbuf"] == engine.udp_buffer > 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", engine.udp_port))
        for _ in range(20):
            client.send(json.dumps({"api_key": KEY.decode(), "asset": "BTC"}).encode())
            client.recv(2048)
    engine.stop()
    timed = engine.histograms()
    assert timed["http"] == timed["visible"] == []
    assert sum(count for _, count in timed["udp"]) == 20
    edges = [edge for edge, _ in timed["udp"]]
    assert edges == sorted(edges)
    assert 0 < edges[0] < 5_000_000_000


@pytest.mark.parametrize("wrong", [{"spin_us": 51}, {"spin_us": -1}, {"latency_sample": -1}])
def test_options_out_of_range_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Engine(node="BeastMain", **wrong)  # type: ignore[arg-type]


def test_sources_can_be_tried_and_excepted(engine: Engine) -> None:
    engine.set_source_per_second(1)
    engine.set_source_dry_run(dry_run=True)
    refused = b'{"api_key":"nobody","asset":"BTC","exchange":"kraken","id":"one of them"}'
    assert [len(engine.ask(refused, now_ns=NOW)) for _ in range(3)] == [1, 1, 1]
    assert engine.counters()["source_dry_run"] == 2
    engine.set_source_dry_run(dry_run=False)
    assert engine.ask(refused, now_ns=NOW) == []
    engine.set_source_exceptions(["127.0.0.0/8", "2001:db8::/32"])
    assert len(engine.ask(refused, now_ns=NOW)) == 1
    assert len(engine.ask(refused, now_ns=NOW, source=("2001:db8::7", 9))) == 1
    engine.set_source_exceptions([])
    assert engine.ask(refused, now_ns=NOW) == []
    with pytest.raises(ValueError, match="at most 32"):
        engine.set_source_exceptions([f"10.{n}.0.0/16" for n in range(33)])
    with pytest.raises(ValueError, match="host bits"):
        engine.set_source_exceptions(["10.0.0.1/8"])


def test_a_source_over_its_limit_gets_the_benefit_of_the_doubt_so_often(engine: Engine) -> None:
    engine.publish(0, b"1", WALL, NOW)
    engine.set_source_per_second(1)
    good = json.dumps({"api_key": KEY.decode(), "asset": "BTC"}).encode()
    refused = b'{"api_key":"nobody %d","asset":"BTC","exchange":"kraken","id":"one of them"}'
    for number in range(5):
        engine.ask(refused % number, now_ns=NOW)
    assert engine.counters()["source_limited"] == 4
    assert len(engine.ask(good, now_ns=NOW)) == 1  # never seen before, and found all the same
    for number in range(5, 5000):
        engine.ask(refused % number, now_ns=NOW)
    counted = engine.counters()
    assert counted["source_limited"] == 4999
    assert 1000 <= counted["auth_rejected"] <= 1010  # the rest was not even looked up
    assert len(engine.ask(good, now_ns=NOW)) == 1
