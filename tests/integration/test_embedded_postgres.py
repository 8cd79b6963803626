import asyncio
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psycopg
import pytest

from beast.base.errors import BeastError
from beast.storage import embedded_layout
from beast.storage.embedded import NICE, EmbeddedPostgres
from beast.storage.embedded_layout import lay_out

pytestmark = pytest.mark.integration
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")

HOLDER = """
import encodings.idna, os, sys
from pathlib import Path
from random import Random
from beast.storage.embedded import EmbeddedPostgres
if len(sys.argv) > 2:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def server(new_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(new_home)
    server.start()
    yield server
    server.stop()


def ask(server: EmbeddedPostgres, statement: str = "SELECT current_user") -> str:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return str(row[0])


def process_state(pid: int) -> str:
    """One letter as in proc(5), or nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while process_state(pid) not in ("", "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def holder(home: Path, *user: int) -> subprocess.Popen[str]:
    """A process that uses the server of `home` until its input ends, as another user if asked to."""
    arguments = [sys.executable, "-c", HOLDER, str(home), *map(str, user)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_it_is_set_up_as_promised(server: EmbeddedPostgres) -> None:
    assert ask(server) == "beast"
    assert ask(server, "SHOW data_checksums") == "on"
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SHOW shared_preload_libraries") == "pg_stat_statements"
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == "0"
    assert stat.S_IMODE(server.layout.password_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.layout.folder.stat().st_mode) == 0o700


def test_it_leaves_the_processor_to_those_who_answer(server: EmbeddedPostgres) -> None:
    pid = server.pid()
    assert pid is not None
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        assert os.getpriority(os.PRIO_PROCESS, row[0]) == os.getpriority(os.PRIO_PROCESS, pid)


def test_a_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(), password="wrong")


def test_variables_of_other_servers_do_not_reach_it(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    server = EmbeddedPostgres(new_home)
    server.start()
    try:
        assert ask(server, "SHOW port") == "5432"
    finally:
        server.stop()


def test_it_starts_and_stops_in_less_than_a_second(server: EmbeddedPostgres) -> None:
    started = time.monotonic()
    server.stop()
    assert server.pid() is None
    server.start()
    assert time.monotonic() - started < 1
    assert ask(server) == "beast"


def test_the_last_to_leave_stops_it(server: EmbeddedPostgres, new_home: Path) -> None:
    guest = EmbeddedPostgres(new_home)
    guest.start()
    assert guest.pid() == server.pid()
    guest.stop()
    assert ask(server) == "beast"


def test_a_user_killed_hard_leaves_a_server_that_is_adopted(new_home: Path) -> None:
    with holder(new_home) as first:
        assert first.stdout
        pid = int(first.stdout.readline())
        first.kill()
    os.kill(pid, 0)
    server = EmbeddedPostgres(new_home)
    server.start()
    assert server.pid() == pid
    assert ask(server) == "beast"
    server.stop()
    wait_until_gone(pid)


def test_a_postmaster_killed_hard_is_started_again_with_its_data(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    server.ensure_running()
    assert server.pid() not in (None, pid)
    assert ask(server, "SELECT n FROM kept") == "42"


@pytest.mark.anyio
async def test_a_server_that_dies_while_in_use_is_started_again(server: EmbeddedPostgres) -> None:
    guard = asyncio.create_task(server.keep_running(Random(1)))
    await asyncio.sleep(0.2)
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while server.pid() in {None, pid}:  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.05)
    await asyncio.to_thread(server.ensure_running)
    assert ask(server) == "beast"
    guard.cancel()
    with suppress(asyncio.CancelledError):
        await guard


def test_a_stale_pid_file_that_names_another_process_does_not_matter(new_home: Path) -> None:
    server = EmbeddedPostgres(new_home)
    server.start()
    server.stop()
    with subprocess.Popen(["sleep", "60"], **server.layout.account.popen_arguments()) as other:
        (server.layout.data / "postmaster.pid").write_text(f"{other.pid}\n{server.layout.data}\n1\n5432\n\n\n\nready\n")
        server.start()
        assert server.pid() not in (None, other.pid)
        server.stop()
        assert other.poll() is None
        other.kill()


def test_a_set_up_that_was_interrupted_begins_again(new_home: Path) -> None:
    layout = lay_out(new_home)
    (layout.folder / "data.new").mkdir()
    (layout.folder / "data.new" / "half").touch()
    server = EmbeddedPostgres(new_home)
    server.start()
    assert ask(server) == "beast"
    server.stop()


def test_starters_at_once_share_one_server(new_home: Path) -> None:
    starters = [holder(new_home) for _ in range(5)]
    pids = {int(starter.stdout.readline()) for starter in starters if starter.stdout}
    assert len(pids) == 1
    for starter in starters:
        starter.communicate(timeout=30)
        assert starter.returncode == 0
    wait_until_gone(pids.pop())


def test_two_homes_are_two_servers(server: EmbeddedPostgres) -> None:
    with tempfile.TemporaryDirectory(prefix="beast-test-") as other_home:
        Path(other_home).chmod(0o711)
        other = EmbeddedPostgres(Path(other_home))
        other.start()
        assert other.pid() != server.pid()
        other.stop()
    assert ask(server) == "beast"


def test_a_long_path_gets_a_short_socket(new_home: Path) -> None:
    server = EmbeddedPostgres(new_home / ("long" * 30))
    server.start()
    assert ask(server) == "beast"
    short = server.layout.socket_dir
    assert len(str(short)) < 60
    assert stat.S_IMODE(short.stat().st_mode) == 0o700
    server.stop()
    short.rmdir()
    server.start()
    assert ask(server) == "beast"
    server.stop()
    server.layout.socket_dir.rmdir()


def test_quotes_and_commas_in_the_path_are_no_trouble(new_home: Path) -> None:
    server = EmbeddedPostgres(new_home / 'it\'s a "home", 100% $(mine)')
    server.start()
    assert ask(server) == "beast"
    server.stop()
    server.layout.socket_dir.rmdir()


def test_a_folder_of_somebody_else_is_refused(new_home: Path) -> None:
    (new_home / "postgres").mkdir(mode=0o755)
    with pytest.raises(BeastError, match="closed to others"):
        EmbeddedPostgres(new_home).start()


def test_a_server_that_cannot_start_says_why(new_home: Path) -> None:
    server = EmbeddedPostgres(new_home)
    server.start()
    server.stop()
    with (server.layout.data / "postgresql.conf").open("a") as file:
        file.write("\nno_such_setting = 1\n")
    with pytest.raises(BeastError, match="no_such_setting"):
        server.start()


@as_root
def test_as_root_closed_parents_stay_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_home: Path) -> None:
    monkeypatch.setattr(embedded_layout, "ROOT_STATE", new_home / "state")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "home")
    server.start()
    assert ask(server) == "beast"
    pid = server.pid()
    assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert (closed / "home" / "postgres").readlink().parent == new_home / "state"
    server.stop()
    again = EmbeddedPostgres(closed / "home")
    again.start()
    assert again.layout.folder == server.layout.folder
    again.stop()


@as_root
def test_as_root_programs_in_a_closed_folder_are_copied(monkeypatch: pytest.MonkeyPatch, new_home: Path) -> None:
    monkeypatch.setattr(embedded_layout, "ROOT_STATE", new_home / "state")
    monkeypatch.setattr(embedded_layout, "_reachable", lambda path: "pginstall" not in path.parts)
    server = EmbeddedPostgres(new_home)
    server.start()
    assert server.layout.programs.is_relative_to(new_home / "state")
    assert ask(server) == "beast"
    server.stop()


@as_root
def test_an_ordinary_user_runs_it_as_himself(new_home: Path) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(new_home, user.pw_uid, user.pw_gid)
    with holder(new_home / "home", user.pw_uid) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").stat().st_uid == user.pw_uid
        process.communicate(timeout=30)
    assert process.returncode == 0
