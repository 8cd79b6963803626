"""A PostgreSQL of Beast's own, from a wheel: nothing needs to be installed.

Processes on one home share one server. The first starts it, each holds a shared lock while it uses it, and the
last to leave stops it. A process that is killed only loses its lock: the server runs on until the next user adopts
it and leaves in order.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from random import Random
from urllib.parse import quote

import structlog

from beast.base.errors import BeastError
from beast.base.retry import Backoff
from beast.storage.embedded_layout import SOCKET_NAME, Layout, exclusive, lay_out

ROLE = "beast"
DATABASE = "beast"
START_TIMEOUT_S = 60
POLLS_PER_S = 20
NICE = 5
"""Where a processor is short, an answer goes before the booking of those that were given: usage waits in its spool."""

_SETTINGS = """# Written by Beast at every start. Your own settings belong into postgresql.conf, below the include.
listen_addresses = ''
port = 5432
unix_socket_permissions = 0700
shared_preload_libraries = 'pg_stat_statements'
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
"""

# The question that any client may ask first: length 8, code 80877103 (PostgreSQL manual, "Message Formats").
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

_log = structlog.get_logger("beast.storage")


class EmbeddedPostgres:
    """The server of one home. All methods block; from asyncio call them in a thread.

    Args:
        home: Beast's home folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._layout: Layout | None = None
        self._user_lock: int | None = None

    @property
    def layout(self) -> Layout:
        """Where its files are; found at start()."""
        if self._layout is None:
            raise RuntimeError("the embedded PostgreSQL has not been started")
        return self._layout

    def start(self) -> None:
        """Makes the server run, whatever state its files are in, and registers this process as a user.

        Raises:
            BeastError: It can't be started; tells the end of its log.
        """
        if self._user_lock is not None:
            raise RuntimeError("start() was called twice")
        self._layout = lay_out(self._home)
        with exclusive(self._starting):
            lock = os.open(self.layout.folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                self._ensure_running()
            except BaseException:
                os.close(lock)
                raise
            self._user_lock = lock

    def ensure_running(self) -> None:
        """Starts the server again if it has died.

        Raises:
            BeastError: It can't be started.
        """
        with exclusive(self._starting):
            self._ensure_running()

    def stop(self) -> None:
        """Leaves; the last user of this home stops the server (sessions are ended, data is safe)."""
        if self._user_lock is None:
            return
        with exclusive(self._starting):
            try:
                fcntl.flock(self._user_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.debug("the embedded PostgreSQL has other users")
            else:
                if self.pid() is not None:
                    self._run("pg_ctl", "stop", "-D", self.layout.data.name, "-m", "fast", "-w", "-t", "60")
            finally:
                os.close(self._user_lock)
                self._user_lock = None

    def pid(self) -> int | None:
        """The postmaster's process id, or None when none serves this data directory."""
        try:
            pid = int((self.layout.data / "postmaster.pid").read_text().split("\n", 1)[0])
            # The file outlives a killed server and its number may have been given to another process since.
            at_home = Path(f"/proc/{pid}/cwd").readlink() == self.layout.data
        except (OSError, ValueError):
            return None
        return pid if at_home else None

    def url(self, database: str = DATABASE) -> str:
        """The connection URL of one of its databases, password included."""
        password = self.layout.password_file.read_text().strip()
        socket_dir = quote(str(self.layout.socket_dir), safe="")
        return f"postgresql://{ROLE}:{quote(password, safe='')}@/{quote(database, safe='')}?host={socket_dir}&port=5432"

    async def keep_running(self, rng: Random) -> None:
        """Starts the server again whenever it dies; runs until cancelled."""
        backoff = Backoff(rng)
        while True:
            pid = await asyncio.to_thread(self.pid)
            if pid is not None:
                backoff.reset()
                await _ended(pid)
                _log.error("the embedded PostgreSQL died; starting it again", pid=pid)
            try:
                await asyncio.to_thread(self.ensure_running)
            except BeastError as error:
                _log.error("the embedded PostgreSQL can't be started", error=str(error))
            await asyncio.sleep(backoff.next_s())

    @property
    def _starting(self) -> Path:
        return self.layout.folder / "start.lock"

    def _ensure_running(self) -> None:
        data = self.layout.data
        for _ in range(START_TIMEOUT_S * POLLS_PER_S):
            if self._answers():
                return
            if self.pid() is None:
                break
            # It may still be recovering, or leaving: either ends by itself.
            time.sleep(1 / POLLS_PER_S)
        else:
            raise self._failure(f"runs as pid {self.pid()} but did not get ready")
        if not data.exists():
            self._init()
        crashed = (data / "postmaster.pid").exists()
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._write(data / "beast.conf", f"{_SETTINGS}unix_socket_directories = '{self.layout.socket_dir}'\n")
        # Relative to the folder, as in stop(): pg_ctl hands these words to a shell.
        start = ("start", "-D", data.name, "-l", self.layout.log.name, "-s", "-w", "-t", str(START_TIMEOUT_S))
        # After a crash, orphaned sessions hold the shared memory for a moment.
        self._run("pg_ctl", *start, attempts=10 * POLLS_PER_S if crashed else 1, nice=NICE)

    def _answers(self) -> bool:
        """Whether a server is ready at the socket, be it one in another container that shares this home."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.settimeout(1)
                probe.connect(str(self.layout.socket_dir / SOCKET_NAME))
                probe.sendall(_SSL_REQUEST)
                if not probe.recv(1):
                    return False
            except OSError:
                return False
        return self.pid() is None or self._status() == "ready"

    def _status(self) -> str:
        """What the postmaster says of itself (miscadmin.h, LOCK_FILE_LINE_PM_STATUS)."""
        try:
            return (self.layout.data / "postmaster.pid").read_text().split("\n")[7].strip()
        except (OSError, IndexError):
            return ""

    def _init(self) -> None:
        """Makes the data directory aside, so that a half-made one is never taken for a whole one."""
        fresh = self.layout.folder / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        if not self.layout.password_file.exists():
            self._write(self.layout.password_file, secrets.token_urlsafe(32) + "\n")
        # The built-in locale sorts by code point on every machine, whatever its C library knows.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8")
        password = f"--pwfile={self.layout.password_file}"
        self._run("initdb", "-D", str(fresh), "-U", ROLE, "--auth=scram-sha-256", password, "--data-checksums", *locale)
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude 'beast.conf'\n")
        # A database of the role's own name, made by the server in single-user mode while nobody else can connect.
        self._write(fresh / "beast.conf", "")
        self._run("postgres", "--single", "-D", str(fresh), "postgres", stdin=f"CREATE DATABASE {DATABASE}\n")
        fresh.rename(self.layout.data)

    def _write(self, path: Path, text: str) -> None:
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        os.chown(fresh, self.layout.account.uid, self.layout.account.gid)
        fresh.rename(path)

    def _run(self, program: str, *arguments: str, stdin: str = "", attempts: int = 1, nice: int = 0) -> None:
        # Nothing is inherited: PGPORT and its like would reach the server.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        for _ in range(attempts):
            done = subprocess.run(  # noqa: S603 - our own programs and paths, no shell
                ["nice", "-n", str(nice), self.layout.programs / program, *arguments],  # noqa: S607 - by the PATH above
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                cwd=self.layout.folder,
                env=environment,
                **self.layout.account.popen_arguments(),
            )
            if done.returncode == 0:
                return
            time.sleep(1 / POLLS_PER_S)
        raise self._failure(f"{program} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _failure(self, what: str) -> BeastError:
        try:
            tail = " | ".join(self.layout.log.read_text(errors="replace").splitlines()[-3:])
        except OSError:
            tail = "it wrote no log"
        return BeastError(f"{what}; {tail}", where="embedded PostgreSQL", todo=f"see {self.layout.log}")


async def _ended(pid: int) -> None:
    """Waits until the process has ended; it needn't be a child."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(watch, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watch)
        os.close(watch)
