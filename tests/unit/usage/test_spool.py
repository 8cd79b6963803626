"""What the spool was given it gives back, whatever happens to the process, the machine and the bytes of its files."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.usage import BOOT, make_batch

from beast.usage import spool as spool_room
from beast.usage.frames import Damage, batch_frame, frames, marks_frame
from beast.usage.spool import Spool, SpoolFullError
from beast.usage.types import Batch

ROOM = 1 << 30
BATCHES = [make_batch(1 + at % 3, first=1 + 3 * at) for at in range(6)]


def opened(folder: Path, *, max_bytes: int = ROOM, segment_bytes: int = spool_room.SEGMENT_BYTES) -> Spool:
    spool = Spool(folder, max_bytes=max_bytes, segment_bytes=segment_bytes)
    spool.open()
    return spool


def everything(spool: Spool) -> list[Batch]:
    return spool.take(batches=1000, records=1 << 40)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def test_batches_come_out_once_synced_in_their_order(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(BATCHES[:2])
    assert everything(spool) == []
    spool.sync()
    assert everything(spool) == BATCHES[:2]
    assert everything(spool) == []
    spool.append(BATCHES[2:])
    spool.sync()
    assert spool.take(batches=2, records=1 << 40) == BATCHES[2:4]
    assert spool.take(batches=9, records=1) == BATCHES[4:5]


def test_what_is_given_back_comes_first(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(BATCHES)
    spool.sync()
    taken = spool.take(batches=3, records=1 << 40)
    spool.acknowledge([taken[1].identity])
    spool.give_back([taken[0], taken[2]])
    assert everything(spool) == [taken[0], taken[2], *BATCHES[3:]]


def test_what_was_not_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    spool = opened(tmp_path, segment_bytes=1)
    for batch in BATCHES:
        spool.append([batch])
    spool.sync()
    spool.acknowledge([batch.identity for batch in spool.take(batches=2, records=1 << 40)])
    after = opened(tmp_path)
    assert everything(after) == BATCHES[2:]
    assert after.marks == {(BOOT, 0): BATCHES[-1].last}


def test_acknowledged_files_go_and_their_marks_stay(tmp_path: Path) -> None:
    spool = opened(tmp_path, segment_bytes=1)
    for batch in BATCHES:
        spool.append([batch])
    spool.sync()
    spool.acknowledge([batch.identity for batch in everything(spool)])
    assert len(files(tmp_path)) == 1
    spool.close()
    again = opened(tmp_path)
    assert everything(again) == []
    assert again.marks == {(BOOT, 0): BATCHES[-1].last}


def test_a_file_that_is_spent_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_room, "SPENT_BYTES", 100)
    spool = opened(tmp_path)
    before = files(tmp_path)
    spool.append(BATCHES)
    spool.sync()
    spool.acknowledge([batch.identity for batch in everything(spool)])
    assert len(files(tmp_path)) == 1
    assert files(tmp_path) != before
    assert everything(opened(tmp_path)) == []


def test_a_full_spool_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    size = len(batch_frame(BATCHES[0]))
    spool = opened(tmp_path, max_bytes=size * 4)
    spool.append(BATCHES[:2])
    with pytest.raises(SpoolFullError, match="is full"):
        spool.append(BATCHES[2:])
    spool.sync()
    assert everything(spool) == BATCHES[:2]
    assert spool.marks == {(BOOT, 0): BATCHES[1].last}


def written(batches: Sequence[Batch]) -> tuple[bytes, list[int]]:
    """A file as the spool writes it, and where each of its frames ends."""
    parts = [marks_frame({(BOOT, 9): 77}), *map(batch_frame, batches)]
    ends = [sum(map(len, parts[: at + 1])) for at in range(len(parts))]
    return b"".join(parts), ends


DATA, ENDS = written(BATCHES[:3])


def test_a_file_cut_at_any_byte_gives_the_whole_frames_before(tmp_path: Path) -> None:
    for length in range(len(DATA) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "000000000001.spool").write_bytes(DATA[:length])
        spool = Spool(folder, max_bytes=ROOM)
        shown: list[Batch] = []
        found = spool.open(shown.append)
        whole = sum(end <= length for end in ENDS)
        assert everything(spool) == BATCHES[: max(0, whole - 1)] == shown
        assert (found.torn_bytes, found.damaged_bytes) == (length - ([0, *ENDS])[whole], 0)
        spool.append(BATCHES[4:])
        spool.sync()
        assert everything(spool) == BATCHES[4:]
        spool.close()
        assert everything(opened(folder)) == [*shown, *BATCHES[4:]]


@pytest.mark.parametrize("flip", [0x01, 0x5A, 0xFF])
def test_a_flip_of_any_byte_costs_its_own_frame_only(tmp_path: Path, flip: int) -> None:
    for at in range(len(DATA)):
        flipped = bytearray(DATA)
        flipped[at] ^= flip
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "000000000001.spool").write_bytes(flipped)
        (folder / "000000000002.spool").write_bytes(marks_frame({}))
        spool = Spool(folder, max_bytes=ROOM)
        found = spool.open()
        hit = next(number for number, end in enumerate(ENDS) if at < end)
        left = [batch for number, batch in enumerate(BATCHES[:3], 1) if number != hit]
        assert everything(spool) == left
        assert (found.torn_bytes, found.damaged_bytes) == (0, ENDS[hit] - ([0, *ENDS])[hit])
        assert ((BOOT, 9) in spool.marks) == (hit != 0)
        spool.acknowledge([batch.identity for batch in left])
        assert [path.name for path in folder.glob("*.damaged")] == ["000000000001.damaged"]
        spool.close()


def test_damage_while_it_runs_is_passed_over(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(BATCHES[:3])
    spool.sync()
    [path] = files(tmp_path)
    data = bytearray(path.read_bytes())
    second = [each for each in frames(bytes(data)) if not isinstance(each, Damage)][2]
    data[second.start + 20] ^= 1
    path.write_bytes(data)
    assert everything(spool) == [BATCHES[0], BATCHES[2]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["append", "sync", "take", "acknowledge", "return", "crash", "close"]), max_size=60))
def test_whatever_happens_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = opened(folder, segment_bytes=300)
    made: list[Batch] = []
    done: set[int] = set()
    taken: list[Batch] = []
    for step in steps:
        if step == "append":
            made.append(make_batch(2, first=1 + 2 * len(made)))
            spool.append([made[-1]])
        elif step == "sync":
            spool.sync()
        elif step == "take":
            taken += spool.take(batches=2, records=1 << 40)
        elif step == "acknowledge" and taken:
            done.add(taken[0].first)
            spool.acknowledge([taken.pop(0).identity])
        elif step == "return":
            spool.give_back(taken)
            taken = []
        elif step in {"crash", "close"}:
            if step == "close":
                spool.close()
            spool, taken = opened(folder, segment_bytes=300), []
    spool.sync()
    left = {batch.first for batch in everything(spool)} | {batch.first for batch in taken}
    assert left | done == {batch.first for batch in made}
    if made:
        assert spool.marks[BOOT, 0] == made[-1].last
