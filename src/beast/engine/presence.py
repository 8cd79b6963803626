"""What a running server leaves in its home, for the commands that want to talk to it: `server.json`, mode 0600."""

import contextlib
import os
from pathlib import Path

import msgspec

from beast.base.errors import BeastError


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a server is and how it is spoken to. The file given by --ready-file is the same object."""

    pid: int
    ports: dict[str, int]
    """By the names that stand in `beast status`: http, health, udp."""
    node: str
    version: str
    home: str
    host: str
    """Where clients on this machine reach it."""
    demo_api_key: str = ""
    admin_key: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process is still there: a killed server cannot take its file away."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def write(self, path: Path) -> None:
        """Writes the file. Raises BeastError when it can't be written."""
        write_private(path, msgspec.json.encode(self) + b"\n")


def write_private(path: Path, text: bytes) -> None:
    """Writes a file for its owner only, at once or not at all.

    Raises:
        BeastError: it can't be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise BeastError(f"can't be written: {error.strerror}", where=str(path), todo="name a file of yours") from error


def presence_path(home: Path) -> Path:
    """Where the server of this home leaves word."""
    return home / "server.json"


def find_presence(home: Path) -> Presence | None:
    """The server running on this home; None when none runs or what is there is not readable as such.

    Raises:
        PermissionError: it belongs to another user.
    """
    try:
        found = msgspec.json.decode(presence_path(home).read_bytes(), type=Presence)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return found if found.alive else None
