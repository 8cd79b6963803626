import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.base.clock import ManualClock
from beast.base.errors import BeastError
from beast.feeds.recording.file import (
    Damage,
    End,
    Event,
    Frame,
    Gap,
    Head,
    LinkProven,
    LinkUp,
    Symbols,
    find_parts,
    pack,
    pack_block,
    read_blocks,
)
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head

NUMBERS = st.integers(0, 2**63 - 1)
EVENTS = st.one_of(
    st.builds(Frame, NUMBERS, NUMBERS, NUMBERS, st.binary(max_size=300)),
    st.builds(LinkUp, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Symbols, NUMBERS, NUMBERS, st.lists(st.tuples(st.binary(max_size=64), NUMBERS)).map(tuple)),
    st.builds(Gap, NUMBERS, NUMBERS),
    st.builds(End, NUMBERS),
)


def read(data: bytes) -> tuple[list[Event], Damage | None]:
    events: list[Event] = []
    for block in read_blocks(io.BytesIO(data)):
        if isinstance(block, Damage):
            return events, block
        events += block
    return events, None


def head(clock: ManualClock | None = None) -> Head:
    return new_head(clock or ManualClock(), version="1.2.3", max_instruments=16)


@given(st.lists(st.lists(EVENTS)))
def test_what_was_packed_is_read(blocks: list[list[Event]]) -> None:
    data = b"".join(pack_block([pack(event) for event in block]) for block in blocks)
    assert read(data) == ([event for block in blocks for event in block], None)


def three_blocks() -> tuple[list[Event], list[bytes]]:
    events: list[Event] = [Frame(n, 0, n, b'{"price":"%d"}' % n) for n in range(6)]
    return events, [pack_block([pack(event) for event in events[n : n + 2]]) for n in (0, 2, 4)]


def test_a_file_cut_anywhere_is_read_up_to_there() -> None:
    events, blocks = three_blocks()
    data = b"".join(blocks)
    ends = [sum(map(len, blocks[:n])) for n in range(4)]
    for length in range(len(data) + 1):
        whole = max(n for n in range(4) if ends[n] <= length)
        found, damage = read(data[:length])
        assert found == events[: 2 * whole]
        assert (damage is None) == (length in ends)
        assert damage is None or damage.offset == ends[whole]


def test_no_changed_byte_passes_for_what_was_written() -> None:
    events, blocks = three_blocks()
    data = b"".join(blocks)
    for place in range(len(data)):
        found, damage = read(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        assert damage is not None
        assert found == events[: len(found)]


def test_a_block_that_claims_to_be_endless_is_not_unpacked() -> None:
    bomb = pack_block([pack(Frame(1, 2, 3, bytes(65 << 20)))])
    assert len(bomb) < 100_000
    assert read(bomb) == ([], Damage(0, "a block doesn't say its size, or is too long"))


def test_files_are_bounded_and_each_can_be_read_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    limit = 1 << 18
    writer = PartWriter(tmp_path, head(clock), max_bytes=limit)
    writer.write([LinkUp(clock.monotonic_ns(), 3, 10**9, 7)])
    written = []
    for number in range(60):
        clock.advance(1)
        frame = Frame(clock.monotonic_ns(), 0, clock.wall_ns(), number.to_bytes(4, "big") + os.urandom(9_000))
        writer.write([frame])
        written.append(frame)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
    writer.close()
    parts = find_parts([tmp_path])
    assert len(parts) < writer.figures.parts == parts[-1].head.part + 1
    kept = []
    for part in parts:
        events, damage = read(part.path.read_bytes())
        assert damage is None
        assert isinstance(events[0], Head)
        assert [event for event in events if isinstance(event, LinkUp)] != []
        kept += [event for event in events if isinstance(event, Frame)]
    assert kept == written[-len(kept) :]


def test_time_begins_a_new_file(tmp_path: Path) -> None:
    clock = ManualClock()
    writer = PartWriter(tmp_path, head(clock), max_bytes=1 << 20)
    for _ in range(3):
        clock.advance(3601)
        writer.write([Gap(clock.monotonic_ns(), 1)])
    writer.close()
    assert [part.head.part for part in find_parts([tmp_path])] == [0, 1, 2, 3]


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    clock = ManualClock()
    recorder = Recorder(PartWriter(tmp_path, head(clock), max_bytes=1 << 26), clock, waiting_max=5_000)
    for number in range(2_000):
        recorder.offer(Frame(clock.monotonic_ns(), 0, number, bytes(1000)))
        if number % 100 == 0:
            recorder.add(LinkUp(clock.monotonic_ns(), 1, 1, number))
        recorder.offer(LinkProven(clock.monotonic_ns(), 1))
    recorder.close()
    events, damage = read(find_parts([tmp_path])[0].path.read_bytes())
    assert damage is None
    offered = sum(isinstance(event, Frame | LinkProven) for event in events)
    missing = sum(event.missing for event in events if isinstance(event, Gap))
    assert missing > 0
    assert offered + missing == 4_000
    assert sum(isinstance(event, LinkUp) for event in events) == 20
    assert isinstance(events[-1], End)
    assert recorder.figures.missing == missing


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    clock = ManualClock()
    writer = PartWriter(tmp_path, head(clock), max_bytes=1 << 16)
    recorder = Recorder(writer, clock)
    recorder.offer(Frame(clock.monotonic_ns(), 0, 0, os.urandom(1 << 17)))
    with pytest.raises(BeastError, match="don't fit into 65536"):
        recorder.close()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BeastError, match="holds no recording"):
        find_parts([tmp_path])
    other = tmp_path / "x.beast.zst"
    for data, told in (
        (b"", "is empty"),
        (b"not a recording", "no block begins here"),
        (pack_block([pack(End(1))]), "it has no head"),
        (pack_block([pack(Head(1, 99, "1", "x", 0, 1, 1, 16))]), "has format 99"),
    ):
        other.write_bytes(data)
        with pytest.raises(BeastError, match=told):
            find_parts([other])
    with pytest.raises(BeastError, match="can't be read"):
        find_parts([tmp_path / "none"])
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(pack_block([pack(Head(1, 1, "1", name, 0, 1, 1, 16))]))
    with pytest.raises(BeastError, match="more than one recording"):
        find_parts([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(BeastError, match="twice"):
        find_parts([tmp_path / "a", tmp_path / "a"])
