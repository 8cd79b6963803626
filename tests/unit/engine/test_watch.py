import json
from hashlib import sha256

import pytest

from beast._fast import Engine, Watch

NOW_NS = 1_000_000_000_000
TIME_NS = 1_776_003_781_000_000_000
SECOND_NS = 1_000_000_000
ROWS = [(0, "BTC", "okx", "USDT", 1, 0), (1, "BTC", "kraken", "USD", 2, 1), (2, "ETH", "okx", "USDT", 1, 0)]


@pytest.fixture
def engine() -> Engine:
    made = Engine(node="test", max_keys=1024, max_instruments=64, ttl_ms=13_000)
    made.load_instruments(ROWS)
    made.put_key(sha256(b"tb_k").digest(), 1, per_second=0, burst=0)
    return made


def test_what_is_watched_is_what_would_be_answered(engine: Engine) -> None:
    watch = Watch(engine)
    places = [("btc", None), ("BTC", "Kraken"), ("ETH", None), ("XYZ", None), ("ETH", "kraken")]
    numbers = [watch.add(asset, exchange) for asset, exchange in places]
    engine.publish(0, b"1.50", TIME_NS, NOW_NS)
    engine.publish(1, b"0.001", TIME_NS, NOW_NS)
    for later_ns in (0, SECOND_NS, 20 * SECOND_NS):
        for number, (asset, exchange) in zip(numbers, places, strict=True):
            now_ns = NOW_NS + later_ns
            answer = engine.query(b"tb_k", [asset], many=True, exchange=exchange, allow_stale=True, now_ns=now_ns)
            assert answer[0] != 429
            assert b'{"prices":[%b]}' % watch.read(number, now_ns)[1] == answer[1]


def test_only_the_age_may_differ_between_two_answers_that_say_the_same(engine: Engine) -> None:
    watch = Watch(engine)
    best = watch.add("BTC")
    assert len(watch.look(0, 10, NOW_NS)) == 1
    assert watch.look(0, 10, NOW_NS) == []
    engine.publish(0, b"1.5", TIME_NS, NOW_NS)
    assert [number for number, _ in watch.look(0, 10, NOW_NS)] == [best]
    assert watch.look(0, 10, NOW_NS + 2 * SECOND_NS) == []
    engine.publish(1, b"1.6", TIME_NS, NOW_NS)
    assert watch.look(0, 10, NOW_NS) == [], "another source does not answer"
    engine.publish(0, b"1.5", TIME_NS, NOW_NS)
    assert watch.look(0, 10, NOW_NS) == [], "the same trade again"
    ((_, body),) = watch.look(0, 10, NOW_NS + 14 * SECOND_NS)
    assert json.loads(body)["state"] == "stale"
    engine.forget(0)
    engine.forget(1)
    ((_, body),) = watch.look(0, 10, NOW_NS)
    assert json.loads(body)["error"] == "stale"
    engine.load_instruments(ROWS[2:])
    ((_, body),) = watch.look(0, 10, NOW_NS)
    assert json.loads(body)["error"] == "unknown_asset"


def test_an_age_of_more_digits_is_still_an_age(engine: Engine) -> None:
    watch = Watch(engine)
    number = watch.add("BTC")
    engine.publish(0, b"1.5", TIME_NS, NOW_NS)
    watch.read(number, NOW_NS + 20 * SECOND_NS)
    assert watch.read(number, NOW_NS + 2_000_000 * SECOND_NS)[0] is False


def test_numbers_are_given_again_and_looked_at_in_shares(engine: Engine) -> None:
    watch = Watch(engine)
    numbers = [watch.add("BTC") for _ in range(100)]
    assert numbers == list(range(100))
    watch.remove(40)
    assert [number for number, _ in watch.look(30, 20, NOW_NS)] == [*range(30, 40), *range(41, 50)]
    assert watch.add("ETH") == 40
    assert len(watch) == 100
    with pytest.raises(ValueError, match="number must be from 0 to 99"):
        watch.read(100)
    watch.remove(40)
    for act in (watch.read, watch.remove):
        with pytest.raises(ValueError, match="place 40 is not watched"):
            act(40)


@pytest.mark.parametrize(
    ("asset", "exchange"), [("", None), ("A" * 21, None), ("\xe9", None), ("BTC", ""), ("BTC", "a b")]
)
def test_names_that_no_table_can_hold(engine: Engine, asset: str, exchange: str | None) -> None:
    with pytest.raises(ValueError, match="no price is ever kept"):
        Watch(engine).add(asset, exchange)


def test_looking_is_free_and_asks_no_key(engine: Engine) -> None:
    watch = Watch(engine)
    number = watch.add("BTC")
    engine.publish(0, b"1.5", TIME_NS, NOW_NS)
    before = engine.counters()
    watch.read(number, NOW_NS)
    watch.look(0, 1)
    assert engine.counters() == before
    assert engine.drain_usage() == (b"", [])


def test_a_key_is_known_by_its_digest_until_it_is_dropped(engine: Engine) -> None:
    watch, digest = Watch(engine), sha256(b"tb_k").digest()
    assert watch.knows(digest)
    assert not watch.knows(sha256(b"tb_other").digest())
    engine.drop_key(digest)
    assert not watch.knows(digest)
    with pytest.raises(ValueError, match="32 bytes"):
        watch.knows(b"short")
