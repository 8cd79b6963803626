"""The home directory: everything one Beast keeps on this machine."""

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from beast.base.errors import BeastError


def make_home(home: Path) -> Path:
    """Creates the home if it isn't there, so that others can't list it, and returns it.

    Raises:
        BeastError: It can't be made or isn't a directory.
    """
    try:
        # Search permission only: the embedded database may run as another user and must get to its own folder.
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise BeastError(
            f"can't be made: {error.strerror}", where=str(home), todo="set BEAST_HOME to a folder of yours"
        ) from error
    return home


def kept_secret(path: Path) -> str:
    """The secret kept in the file at `path`, or a new one of 256 random bits, kept there with mode 0600.

    Raises:
        BeastError: The file can't be read or made.
    """
    try:
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        if not path.exists():
            # Written aside and linked: of two starters one wins, and nobody reads half a secret.
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text("ascii").strip()
    except OSError as error:
        raise BeastError(f"can't be read or made: {error.strerror}", where=str(path)) from error


class HomeLock:
    """At most one server runs on a home. The lock dies with its process, however that ends.

    Used as a context manager; entering raises BeastError, naming the holder's pid, when another process has it, and
    when the home can't be written.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "lock"
        self._file: int | None = None

    def __enter__(self) -> Self:
        home = make_home(self._path.parent)
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BeastError(
                f"can't be written: {error.strerror}", where=str(home), todo="set BEAST_HOME to a folder of yours"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise BeastError(
                f"another server already runs on this home, pid {holder}",
                where=str(home),
                todo="stop it, or set BEAST_HOME to another folder",
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
