"""What a value of tier 2 says about the age of its price, whatever the clocks of two nodes say."""

import msgspec
import pytest

from beast.prices.shared import FOR_EVER, SharedPrice, found, key_of
from beast.storage.valkey import Stored

SECOND = 10**9
WALL = 1_776_003_781 * SECOND
WRITTEN = SharedPrice(
    exchange="kraken",
    currency="USD",
    price="1.50",
    source="kraken-ws",
    time_ns=WALL,
    received_ns=WALL,
    age_ms=20,
    ttl_ms=13_000,
)


def age_s(left_ms: int, wall_ns: int) -> float:
    told = found("BTC", Stored(msgspec.json.encode(WRITTEN), left_ms), wall_ns)
    assert told is not None
    return told.age_ns / SECOND


def test_the_keys_are_those_of_the_cluster() -> None:
    assert (key_of("BTC", "kraken"), key_of("BTC", None)) == ("price:kraken:BTC", "price:BTC")


@pytest.mark.parametrize(
    ("left_ms", "ahead_s", "told_s"),
    [
        (13_000, 0.02, 0.02),
        (12_000, 1.02, 1.02),
        (12_000, -60, 1.02),  # the reader's clock is behind: Valkey's own clock says how long it has lain there
        (12_000, 61.02, 61.02),  # ahead, or the value was long on its way: the older age is believed
        (12_980, 5.0, 5.0),
        (-1, 1.0, 13.021),
    ],
)
def test_a_price_is_never_younger_than_it_can_be(left_ms: int, ahead_s: float, told_s: float) -> None:
    assert age_s(left_ms, WALL + round(ahead_s * SECOND)) == pytest.approx(told_s)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xff",
        msgspec.json.encode(WRITTEN).replace(b"1.50", b"1e5"),
        msgspec.json.encode(WRITTEN).replace(b"1.50", b"-1"),
        msgspec.json.encode(WRITTEN).replace(b"1.50", b"1" * 41),
    ],
)
def test_a_value_that_says_nothing_is_none(value: bytes) -> None:
    assert found("BTC", Stored(value, 1), WALL) is None


def test_only_what_rest_told_needs_nobody_who_vouches_for_it() -> None:
    for source, until_ns in (("kraken-rest", FOR_EVER), ("kraken-ws", 0)):
        value = msgspec.json.encode(msgspec.structs.replace(WRITTEN, source=source))
        told = found("BTC", Stored(value, 13_000), WALL)
        assert told is not None
        assert told.until_ns == until_ns


@pytest.mark.parametrize("key", ["price:BTC", "link:0:1", "link:0123456789abcdef:1\n", "link:0123456789abcdef:12345"])
def test_a_proof_is_looked_for_nowhere_else(key: str) -> None:
    value = msgspec.json.encode(msgspec.structs.replace(WRITTEN, proof=key))
    assert found("BTC", Stored(value, 13_000), WALL) is None


def test_a_member_that_a_newer_node_adds_is_no_fault() -> None:
    value = msgspec.json.encode({**msgspec.to_builtins(WRITTEN), "venue": "x"})
    assert found("BTC", Stored(value, 13_000), WALL) is not None
