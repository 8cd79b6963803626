import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from beast.base.clock import ManualClock, SystemClock
from beast.base.errors import EXIT_FAILED, BeastError
from beast.base.home import HomeLock, kept_secret, make_home
from beast.base.log import configure_logging, mask_text
from beast.base.retry import Backoff
from beast.base.tasks import Tasks, to_its_end

KEY = "tb_" + "aB3-_" * 8


def test_an_error_is_one_line_of_where_what_and_what_to_do() -> None:
    assert str(BeastError("is gone\nfor good", where="it", todo="find it")) == "it: is gone for good (find it)"
    assert str(BeastError("is gone")) == "is gone"
    assert BeastError("x").exit_code == EXIT_FAILED


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(wall_ns=10, monotonic_ns=100)
    clock.advance(1, ms=2, ns=3)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (1_002_000_013, 1_002_000_103)
    clock.set_wall_ns(0)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (0, 1_002_000_103)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


def test_the_system_clock_goes_forward() -> None:
    clock = SystemClock()
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert clock.wall_ns() > 1_700_000_000_000_000_000


@given(st.integers(), st.integers(1, 30))
def test_delays_stay_below_a_bound_that_doubles_up_to_the_limit(seed: int, attempts: int) -> None:
    backoff = Backoff(Random(seed))
    bound = 1.0
    for _ in range(attempts):
        assert 0 <= backoff.next_s() <= bound
        bound = min(60.0, bound * 2)
    backoff.reset()
    assert backoff.next_s() <= 1


def test_jitter_uses_the_whole_range() -> None:
    backoff = Backoff(Random(1), first_s=60)
    delays = [backoff.next_s() for _ in range(1000)]
    assert min(delays) < 1
    assert max(delays) > 59


def test_a_backoff_without_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match="first_s"):
        Backoff(Random(1), first_s=61)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    yield stream
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_reaches_the_log(logged: io.StringIO, style: str) -> None:
    configure_logging("debug", style, logged)  # type: ignore[arg-type]
    log = structlog.get_logger("x")
    text = f"key {KEY}"
    log.info(text, password="hunter2-a", nested={"admin_key": "hunter2-b", "list": [KEY]}, raw=KEY.encode())
    logging.getLogger("y").warning("at %s for %s", "postgresql://u:hunter2-c@h/d", KEY)
    try:
        raise ValueError(f"no {KEY}")
    except ValueError:
        log.exception("failed", key_id=7)
    text = logged.getvalue()
    assert KEY not in text
    assert "hunter2" not in text
    assert "***" in text
    assert "ValueError" in text


def test_json_lines_are_for_machines_and_the_level_holds(logged: io.StringIO) -> None:
    configure_logging("info", "json", logged)
    structlog.get_logger("x").debug("unseen")
    structlog.get_logger("x").info("seen", key_id=7)
    (line,) = logged.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["key_id"], event["level"], event["logger"]) == ("seen", 7, "info", "x")


def test_the_beginning_of_a_key_may_be_shown() -> None:
    assert mask_text("tb_x7Qw0pLm") == "tb_x7Qw0pLm"


@pytest.mark.anyio
async def test_a_failed_task_surfaces_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = Tasks()

    async def fail() -> None:
        raise LookupError("lost")

    waiting = tasks.spawn("waits", asyncio.Event().wait())
    tasks.spawn("fails", fail())
    with pytest.raises(LookupError, match="lost"):
        await tasks.failed()
    with pytest.raises(LookupError):
        await tasks.failed()
    assert not waiting.done()
    assert "fails" in capsys.readouterr().out
    await tasks.cancel()
    assert waiting.cancelled()
    assert len(tasks) == 0


@pytest.mark.anyio
async def test_cancel_waits_for_tasks_that_tidy_up_and_takes_late_ones() -> None:
    tasks = Tasks()
    tidied = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tasks.spawn("late", asyncio.Event().wait())
            await asyncio.sleep(0)
            tidied.append(True)

    tasks.spawn("tidies", tidy())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert tidied == [True]
    assert len(tasks) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("fails", [False, True])
async def test_what_has_to_end_is_not_cancelled_with_its_caller(fails: bool) -> None:  # noqa: FBT001 - a parameter
    going_on = asyncio.Event()
    done = []

    async def commit() -> int:
        await going_on.wait()
        done.append(True)
        if fails:
            raise LookupError("lost")
        return 7

    caller = asyncio.create_task(to_its_end(commit()))
    for _ in range(3):
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    assert (done, caller.done()) == ([], False)
    going_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await caller
    assert done == [True]
    assert isinstance(caught.value.__cause__, LookupError) == fails


@pytest.mark.anyio
async def test_what_has_ended_by_itself_tells_what_came_of_it() -> None:
    async def commit(number: int) -> float:
        return 1 / number

    assert await to_its_end(commit(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        await to_its_end(commit(0))


def test_a_home_is_made_so_that_others_cannot_list_it(tmp_path: Path) -> None:
    assert make_home(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o711
    (tmp_path / "file").touch()
    with pytest.raises(BeastError, match="BEAST_HOME"):
        make_home(tmp_path / "file")


def test_a_second_server_on_a_home_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    with HomeLock(tmp_path), pytest.raises(BeastError, match=f"pid {os.getpid()}"):
        HomeLock(tmp_path).__enter__()
    with HomeLock(tmp_path):
        pass


def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    # Root may write everywhere, but not to a folder as if it were a file.
    (tmp_path / "lock").mkdir()
    with pytest.raises(BeastError, match=r"can't be written: Is a directory.*BEAST_HOME"):
        HomeLock(tmp_path).__enter__()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from beast.base.home import HomeLock\n"
        "with HomeLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BeastError, match=f"pid {process.pid}"):
            HomeLock(tmp_path).__enter__()
        process.kill()
    with HomeLock(tmp_path):
        pass


def test_a_kept_secret_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(BeastError, match="secret"):
        kept_secret(tmp_path / "secret")
