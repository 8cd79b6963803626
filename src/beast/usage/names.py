"""What instruments' numbers mean, kept beside the rings: a record in a ring names its instrument by number only.

One file for each life of a server, `BOOT.names`: a line of JSON that says who it is, then one for each instrument, in
the order in which they were told; a later line about the same number wins. A line is written before the engine
can answer with that number, and is the kernel's from then on: it survives the process.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from beast.usage.types import Name

SUFFIX = ".names"
MACHINE_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Life(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: one server, from its start to its end."""

    node: str
    boot: int
    """CLOCK_REALTIME at its start, in ns."""
    machine: str
    """Which life of the machine it was in: what a ring holds is not safe from the power going."""


class Names:
    """The names of this life.

    Args:
        folder: Where the rings are, too.
        life: Who this is.
    """

    def __init__(self, folder: Path, life: Life) -> None:
        self.current: Mapping[int, Name] = {}
        """By number. Never changed, but replaced: who took it has the names of that moment."""
        self.path = folder / f"{life.boot}{SUFFIX}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self._file, msgspec.json.encode(life) + b"\n")

    def tell(self, names: Iterable[Name]) -> None:
        """These are what they say from now on. Raises OSError."""
        told = [name for name in names if self.current.get(name.instrument) != name]
        if told:
            os.write(self._file, b"".join(msgspec.json.encode(name) + b"\n" for name in told))
            self.current = {**self.current, **{name.instrument: name for name in told}}

    def close(self) -> None:
        """Removes the file: nothing is left that needs it."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)


def read_names(path: Path) -> tuple[Life | None, dict[int, Name]]:
    """Whose file it is, None when it doesn't say, and the names in it; a last line cut short is not one."""
    head, *lines = path.read_bytes().split(b"\n")[:-1] or [b""]
    try:
        life = msgspec.json.decode(head, type=Life)
    except msgspec.DecodeError:
        life = None
    names = (msgspec.json.decode(line, type=Name) for line in lines)
    return life, {name.instrument: name for name in names}


def machine_boot() -> str:
    """Which life of this machine it is."""
    return MACHINE_BOOT.read_text("ascii").strip()
