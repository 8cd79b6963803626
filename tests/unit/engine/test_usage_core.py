"""Usage records in C: what is encoded comes back whole, rows and sums say what the records say, damage is refused."""

import struct
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.usage_records import AT_NS, RECORD, engine_that_answers, realistic, record

from beast._fast import (
    COPY_HEADER,
    COPY_TRAILER,
    UsageRings,
    decode_usage,
    encode_usage,
    sum_usage,
    usage_copy_rows,
    usage_instruments,
    usage_runs,
)

HOUR_NS = 3_600_000_000_000

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
MEMBERS = {
    "time_ns": st.integers(-(2**63), 2**63 - 1),
    "key_id": U64,
    "key_number": U32,
    "instrument": U32,
    "age_ms": U32,
    "latency_ns": U32,
    "state": U8,
    "tier": U8,
    "protocol": U8,
    "prices": U16,
    "way": U8,
    "reserved": U8,
}


@given(
    first=st.integers(0, 2**64 - 100),
    lane=U8,
    rows=st.lists(st.tuples(st.fixed_dictionaries({}, optional=MEMBERS), st.integers(1, 4)), min_size=1, max_size=24),
)
def test_every_member_comes_back(first: int, lane: int, rows: Sequence[tuple[dict[str, int], int]]) -> None:
    flat = [members for members, times in rows for _ in range(times)]
    records = b"".join(record(first + i, lane=lane, **members) for i, members in enumerate(flat))
    assert decode_usage(encode_usage(records)) == records


def varint(data: bytes, at: int, value: int = 0, shift: int = 0) -> tuple[int, int]:
    """A number as docs/usage.md writes them, and where it ends."""
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def column(data: bytes, at: int, count: int, base: int, *, before: bool) -> tuple[list[int], int]:
    """The values of one column, by the documentation."""
    values: list[int] = []
    while len(values) < count:
        told, repeats, first = data[at] & 0x3F, 0, data[at]
        at += 1
        if first & 0x80:
            told, at = varint(data, at, told, 6)
        if first & 0x40:
            repeats, at = varint(data, at)
            repeats += 1
        value = base + ((told >> 1) ^ -(told & 1) if before else told)
        values += [value] * (1 + repeats)
        base = value if before else base
    return values, at


def decode_as_documented(data: bytes) -> bytes:
    """The readable twin of decode_usage(), for whole runs."""
    assert data[0] == 1
    count, at = varint(data, 2)
    first, at = varint(data, at)
    times, at = column(data, at, count, 0, before=True)
    others = []
    for _ in range(11):
        least, at = varint(data, at)
        values, at = column(data, at, count, least, before=False)
        others.append(values)
    assert at == len(data)
    keys, numbers, instruments, ages, latencies, states, tiers, protocols, ways, prices, reserved = others
    rows = zip(keys, numbers, instruments, ages, latencies, states, tiers, protocols, strict=True)
    ends = zip(prices, ways, reserved, strict=True)
    return b"".join(
        RECORD.pack(time_ns, first + i, *row, data[1], *end)
        for i, (time_ns, row, end) in enumerate(zip(times, rows, ends, strict=True))
    )


def test_the_bytes_are_those_of_the_documentation() -> None:
    records = realistic(3_000)
    assert decode_as_documented(encode_usage(records)) == records


def test_a_record_takes_ten_bytes_at_most() -> None:
    records = realistic(20_000)
    encoded = encode_usage(records)
    assert decode_usage(encoded) == records
    assert len(encoded) <= 10 * 20_000


def test_a_run_is_one_lane_without_a_gap() -> None:
    for other in (record(3), record(2, lane=3), record(1)):
        with pytest.raises(ValueError, match="one lane"):
            encode_usage(record(1) + other)
    with pytest.raises(ValueError, match="not 0"):
        encode_usage(b"")
    with pytest.raises(ValueError, match="48 bytes"):
        encode_usage(record(1)[:-1])


def test_records_fall_into_runs() -> None:
    records = record(1) + record(2) + record(4) + record(5, lane=3) + record(6, lane=3)
    assert usage_runs(records) == [(2, 1, 2), (2, 4, 1), (3, 5, 2)]
    assert usage_runs(b"") == []


def test_damage_is_refused_or_decodes_to_another_run() -> None:
    records = realistic(200)
    encoded = encode_usage(records)
    for at in range(len(encoded)):
        with pytest.raises(ValueError, match="usage records"):
            decode_usage(encoded[:at])
    with pytest.raises(ValueError, match="damaged"):
        decode_usage(encoded + b"\0")
    with pytest.raises(ValueError, match="version"):
        decode_usage(bytes([encoded[0] + 1]) + encoded[1:])


def test_sums_are_per_key_and_hour() -> None:
    hour = AT_NS // HOUR_NS
    records = b"".join(record(i + 1, key_id=i % 5, time_ns=AT_NS + (i % 3) * HOUR_NS) for i in range(600))
    sums = {(key, at): (answers, last) for key, at, answers, last in sum_usage(records)}
    assert sums == {(key, hour + h): (40, AT_NS + h * HOUR_NS) for key in range(5) for h in range(3)}
    assert sum_usage(record(1, time_ns=-1)) == [(7, -1, 1, -1)]
    assert sum_usage(b"") == []


@given(st.lists(st.tuples(st.sampled_from([0, 1, 7, 2**40, 2**63]), st.integers(0, 3)), max_size=200))
def test_sums_add_up(rows: list[tuple[int, int]]) -> None:
    records = b"".join(record(i + 1, key_id=key, time_ns=h * HOUR_NS) for i, (key, h) in enumerate(rows))
    assert Counter({(key, hour): answers for key, hour, answers, _ in sum_usage(records)}) == Counter(rows)


def test_instruments_are_told_once() -> None:
    assert usage_instruments(b"".join(record(i + 1, instrument=i % 3 * 5) for i in range(50))) == [0, 5, 10]


def fields(row: bytes) -> tuple[list[bytes | None], bytes]:
    """One row of a binary COPY, and what is behind it."""
    (count,) = struct.unpack_from(">h", row)
    at, found = 2, list[bytes | None]()
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, at)
        at += 4
        found.append(None if length < 0 else row[at : at + length])
        at += max(length, 0)
    return found, row[at:]


def test_a_row_has_the_columns_of_the_table() -> None:
    members = {"age_ms": 2**32 - 1, "latency_ns": 0, "protocol": 2, "state": 1, "tier": 3, "prices": 30, "way": 1}
    rows = usage_copy_rows(record(9, **members) + record(10), "BeastMain", AT_NS, {3: ("BTC", "kraken")})
    first, rest = fields(rows)
    at = struct.pack(">q", AT_NS // 1_000 - 946_684_800_000_000)
    boot = struct.pack(">q", AT_NS)
    assert first == [
        *(at, struct.pack(">q", 7), b"BTC", b"kraken", b"kraken-rest", b"BeastMain", boot),
        *(b"\0\x02", struct.pack(">q", 9), b"http", b"quiet", b"\0\x03", b"\0\x1e", b"\x7f\xff\xff\xff", None),
    ]
    second, rest = fields(rest)
    assert rest == b""
    assert second[8:] == [struct.pack(">q", 10), b"udp", b"live", b"\0\x01", b"\0\x01", b"\0\0\0\x04", b"\0\0\x23\x28"]
    assert usage_copy_rows(b"", "n", 0, {}) == b""
    assert (b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff") == (COPY_HEADER, COPY_TRAILER)


@pytest.mark.parametrize(
    ("members", "names", "message"),
    [
        ({}, {}, "instrument 3 of usage record 0 has no name"),
        ({}, {2: ("BTC", "okx"), 4: ("BTC", "okx")}, "has no name"),
        ({"instrument": 2**32 - 1}, {3: ("BTC", "okx")}, "has no name"),
        ({"state": 3}, {3: ("BTC", "okx")}, "usage record 0: not a valid value"),
        ({"protocol": 3}, {3: ("BTC", "okx")}, "not a valid value"),
        ({"way": 3}, {3: ("BTC", "okx")}, "not a valid value"),
        ({"key_id": 2**63}, {3: ("BTC", "okx")}, "not a valid value"),
        ({}, {3: ("B\0C", "okx")}, "asset must be"),
        ({}, {3: ("BTC", "x" * 65)}, "exchange must be"),
        ({}, {2**20: ("BTC", "okx")}, "instrument must be"),
        ({}, {-1: ("BTC", "okx"), 3: ("BTC", "okx")}, "instrument must be"),
    ],
)
def test_what_can_not_be_a_row_is_refused(
    members: dict[str, int], names: dict[int, tuple[str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        usage_copy_rows(record(1, **members), "node", 1, names)


def test_records_stay_in_their_ring_until_released() -> None:
    engine = engine_that_answers(usage_ring=4)
    rings = UsageRings(engine)
    own = len(rings) - 1
    for _ in range(4):
        engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    records = rings.read(own)
    assert [RECORD.unpack_from(records, 48 * i)[1] for i in range(4)] == [1, 2, 3, 4]
    assert rings.read(own) == b""
    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    assert engine.counters()["usage_lost"] == 1
    with pytest.raises(ValueError, match="records must be from 0 to 4"):
        rings.release(own, 5)
    rings.release(own, 3)
    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    assert usage_runs(rings.read(own)) == [(own, 6, 1)]
    with pytest.raises(ValueError, match="lane must be"):
        rings.read(own + 1)
