"""Usage rings in files: a killed process leaves every record behind that was not released, and none that was."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.fixtures.usage_records import AT_NS, RECORD, engine_that_answers

from beast._fast import UsageRings, recover_usage_ring, usage_runs

LEAVES_RECORDS = textwrap.dedent(
    """
    import sys, time
    from beast._fast import UsageRings
    from tests.fixtures.usage_records import AT_NS, engine_that_answers
    engine = engine_that_answers(usage_dir=sys.argv[1], boot=AT_NS, usage_ring=16)
    rings = UsageRings(engine)
    for _ in range(20):
        engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
        if len(rings.read(2)) == 0:
            raise SystemExit("nothing to read")
        rings.release(2, 1)
    for _ in range(5):
        engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    rings.read(2)
    rings.release(2, 2)
    print("ready", flush=True)
    time.sleep(60)
    """
)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_process_leaves_what_was_not_released(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", LEAVES_RECORDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        names = [f"{AT_NS:020}-{lane:03}.ring" for lane in range(3)]
        assert files(tmp_path) == names
        with pytest.raises(BlockingIOError):
            recover_usage_ring(tmp_path / names[2])
        child.send_signal(signal.SIGKILL)
    boot, lane, records = recover_usage_ring(tmp_path / names[2])
    assert (boot, lane, usage_runs(records)) == (AT_NS, 2, [(2, 23, 3)])
    assert recover_usage_ring(tmp_path / names[0]) == (AT_NS, 0, b"")
    assert recover_usage_ring(tmp_path / names[2])[2] == records, "the file stays as it is"


def test_a_forked_helper_holds_no_ring(tmp_path: Path) -> None:
    code = "import os\n" + LEAVES_RECORDS.replace(
        'print("ready", flush=True)',
        'if os.fork() == 0: print("ready", flush=True), os.close(1), sys.stdin.read(), os._exit(0)',
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(BlockingIOError):
            recover_usage_ring(tmp_path / f"{AT_NS:020}-002.ring")
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert usage_runs(recover_usage_ring(tmp_path / f"{AT_NS:020}-002.ring")[2]) == [(2, 23, 3)]


def test_an_engine_that_left_nothing_leaves_no_file(tmp_path: Path) -> None:
    engine = engine_that_answers(usage_dir=tmp_path)
    assert engine.boot > AT_NS
    assert len(files(tmp_path)) == 3
    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    rings = UsageRings(engine)
    del engine, rings
    [left] = files(tmp_path)
    boot, lane, records = recover_usage_ring(tmp_path / left)
    assert (left, RECORD.unpack(records)[1:3]) == (f"{boot:020}-{lane:03}.ring", (1, 1))


def test_what_can_not_be_a_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        engine_that_answers(usage_dir=tmp_path / "nowhere")
    engine = engine_that_answers(usage_dir=tmp_path, boot=1)
    with pytest.raises(FileExistsError):
        engine_that_answers(usage_dir=tmp_path, boot=1)
    assert engine.boot == 1
    assert len(files(tmp_path)) == 3


def test_no_room_on_the_disk_is_an_error_at_once(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: posix_fallocate meets both in the same place."""
    code = textwrap.dedent(
        """
        import resource, signal, sys
        from beast._fast import Engine
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            Engine(node="test", max_keys=1, max_instruments=1, usage_dir=sys.argv[1], usage_ring=1 << 16)
        except OSError as error:
            print(error.errno, error.filename)
        """
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout == f"27 {tmp_path}\n"
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda whole: whole[:100], id="no page"),
        pytest.param(lambda whole: whole[:-1], id="cut"),
        pytest.param(lambda whole: b"x" + whole[1:], id="magic"),
        pytest.param(lambda whole: whole[:8] + b"\x02" + whole[9:], id="version"),
        pytest.param(lambda whole: whole[:28] + b"\x03" + whole[29:], id="capacity"),
        pytest.param(lambda whole: whole[:128] + b"\xff" + whole[129:], id="tail beyond head"),
        pytest.param(lambda whole: whole[:70] + b"\x01" + whole[71:], id="head beyond the ring"),
    ],
)
def test_what_is_no_ring_is_refused(tmp_path: Path, damage: object) -> None:
    engine = engine_that_answers(usage_dir=tmp_path, boot=1)
    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    del engine
    [left] = [path for path in tmp_path.iterdir() if path.name.endswith("-002.ring")]
    assert callable(damage)
    left.write_bytes(damage(left.read_bytes()))
    with pytest.raises(ValueError, match="not a ring of usage records"):
        recover_usage_ring(left)
    with pytest.raises(FileNotFoundError):
        recover_usage_ring(tmp_path / "nowhere")


def test_pages_of_different_ages_give_no_record_twice(tmp_path: Path) -> None:
    """After a loss of power the page of an earlier lap, or an empty one, may stand where a later one should."""
    engine = engine_that_answers(usage_dir=tmp_path, boot=1, usage_ring=8)
    rings = UsageRings(engine)
    for _ in range(9):
        engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
        rings.release(2, len(rings.read(2)) // 48)
    for _ in range(4):
        engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
    del engine, rings
    left = tmp_path / "00000000000000000001-002.ring"
    whole = bytearray(left.read_bytes())
    assert usage_runs(recover_usage_ring(left)[2]) == [(2, 10, 4)]
    second, third = 4096 + 48 * 2, 4096 + 48 * 3
    RECORD.pack_into(whole, second, *RECORD.unpack_from(whole, second)[:1], 3, *RECORD.unpack_from(whole, second)[2:])
    whole[third : third + 48] = bytes(48)
    left.write_bytes(whole)
    assert usage_runs(recover_usage_ring(left)[2]) == [(2, 10, 1), (2, 13, 1)]


def test_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    engine = engine_that_answers(usage_dir=tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert engine.boot
