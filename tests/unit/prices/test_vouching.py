"""What a node says of its connections to the others, and how long they believe it."""

import re

import msgspec
import pytest

from beast._fast import Engine
from beast.base.clock import ManualClock
from beast.prices.vouching import KEY, LASTS_MS, RENEW_NS, Proof, Vouching, proven_for_ns
from beast.storage.valkey import Stored

SECOND = 10**9
MS = 10**6
WALL = 1_776_003_781 * SECOND
LINK = 7


class House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.engine = Engine(node="test", max_instruments=4)
        self.vouching = Vouching(self.engine, self.clock)

    def connect(self) -> int:
        return self.engine.link_up(LINK, 30 * SECOND, self.clock.monotonic_ns())

    def told(self) -> list[Proof]:
        entries = list(self.vouching.entries())
        assert all((key, keep_ms >= 1) == (self.vouching.key(LINK), True) for key, _, keep_ms in entries)
        return [msgspec.json.decode(value, type=Proof) for _, value, _ in entries]


@pytest.fixture
def house() -> House:
    return House()


def test_a_connection_is_vouched_for_until_it_is_lost(house: House) -> None:
    assert house.told() == []
    epoch = house.connect()
    connection = house.vouching.vouch(LINK, epoch)
    assert house.told() == [Proof(connection, house.clock.wall_ns(), LASTS_MS)]
    assert house.told() == []
    house.clock.advance(ns=RENEW_NS)
    assert house.told() == [Proof(connection, house.clock.wall_ns(), LASTS_MS)]
    house.engine.link_down(LINK)
    assert house.told() == [Proof(0, house.clock.wall_ns(), LASTS_MS)]
    house.clock.advance(1)
    assert house.told() == []
    assert house.vouching.vouch(LINK, epoch) == 0


def test_another_connection_proves_nothing_that_the_one_before_it_brought(house: House) -> None:
    epoch = house.connect()
    first = house.vouching.vouch(LINK, epoch)
    house.told()
    doubted = house.engine.link_doubt(LINK)
    assert house.vouching.vouch(LINK, epoch) == house.vouching.vouch(LINK, doubted) == first
    again = house.connect()
    assert [proof.connection for proof in house.told()] == [0]
    assert house.vouching.vouch(LINK, epoch) == 0
    second = house.vouching.vouch(LINK, again)
    assert second not in {0, first}
    assert [proof.connection for proof in house.told()] == [second]


def test_a_silent_connection_is_vouched_for_no_longer_than_its_patience(house: House) -> None:
    house.vouching.vouch(LINK, house.connect())
    house.clock.advance(29.9)
    assert [proof.lasts_ms for proof in house.told()] == [100]
    house.clock.advance(0.1)
    assert [proof.connection for proof in house.told()] == [0]


def test_every_process_has_proofs_of_its_own(house: House) -> None:
    keys = {house.vouching.key(0), House().vouching.key(0)}
    assert len(keys) == 2
    assert all(re.match(KEY, key) for key in keys)


@pytest.mark.parametrize(
    ("connection", "lasts_ms", "left_ms", "old_ms", "believed_ms"),
    [
        (5, 1_000, 1_000, 0, 1_000),
        (5, 1_000, 400, 0, 400),  # it has lain there
        (5, 1_000, 1_000, 700, 300),  # it was long on its way, or the reader's clock is ahead
        (5, 1_000, 1_000, -60_000, 1_000),  # the reader's clock is behind
        (5, 60_000, 60_000, 0, 1_000),
        (5, 100, 100, 0, 100),
        (5, 1_000, -1, 0, -1e-6),
        (5, 1_000, 1_000, 1_500, -500),
        (4, 1_000, 1_000, 0, 0),
        (0, 1_000, 1_000, 0, 0),
    ],
)
def test_a_proof_is_believed_for_the_shortest_time_it_can_mean(
    connection: int, lasts_ms: int, left_ms: int, old_ms: int, believed_ms: float
) -> None:
    value = msgspec.json.encode(Proof(5, WALL, lasts_ms))
    told = proven_for_ns(connection, Stored(value, left_ms), WALL + old_ms * MS)
    assert told == believed_ms * MS if left_ms > 0 else told <= 0


def test_what_is_no_proof_proves_nothing() -> None:
    assert proven_for_ns(5, None, WALL) == 0
    lost = msgspec.json.encode(Proof(0, WALL, 1_000))
    for value, connection in ((b"{}", 5), (b"\xff", 5), (lost, 0), (lost, 5)):
        assert proven_for_ns(connection, Stored(value, 1_000), WALL) == 0
