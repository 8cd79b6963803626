"""What earlier servers on this home have left: the records in the rings of those that were killed.

A ring may hold records that are in the spool already, or were booked long ago: the process died before it gave their
places back. The spool's marks tell up to which number each lane was spooled, so that these are passed over, and no
record is ever in two batches. Everything here may be broken off at any point, and begun again.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from beast._fast import recover_usage_ring
from beast.usage.codec import pack
from beast.usage.names import SUFFIX as NAMES
from beast.usage.names import Life, machine_boot, read_names
from beast.usage.records import Run, runs_of
from beast.usage.spool import Spool
from beast.usage.types import RECORD_BYTES, Name

RING, UNFINISHED, UNTRUSTED = ".ring", ".ring.new", ".untrusted"

log = structlog.get_logger(__name__)


class Recovered(msgspec.Struct, frozen=True):
    """One ring's records that were not in the spool."""

    life: Life
    lane: int
    mark: int
    """Up to which number the lane had been spooled before."""
    runs: list[Run]


class Left(msgspec.Struct, frozen=True):
    """A ring that was left behind."""

    path: Path
    life: Life
    lane: int
    records: bytes
    names: dict[int, Name]


def recover_rings(folder: Path, spool: Spool, *, life: Life, longest: int) -> list[Recovered]:
    """Spools what is in the rings of earlier lives, syncs, and removes them. Blocks.

    Args:
        folder: Where the rings and their names are.
        spool: Opened: it knows what is in it.
        life: The present one; its rings are left alone.
        longest: Records that a batch may hold.

    Raises:
        BeastError: There is no room in the spool; what was not spooled is still in its ring.
        OSError: A file can't be read or written.
    """
    recovered = []
    for unfinished in folder.glob(f"*{UNFINISHED}"):
        unfinished.unlink(missing_ok=True)
    for left in left_rings(folder, life, aside=True):
        mark = spool.marks.get((left.life.boot, left.lane), 0)
        runs = [run for run in runs_of(left.records, longest) if run.last > mark]
        runs = [_beyond(run, mark) for run in runs]
        batches = [pack(run, node=left.life.node, boot=left.life.boot, names=left.names) for run in runs]
        if batches:
            spool.append(batches)
            spool.sync()
            log.warning("usage.recovered", ring=left.path.name, records=sum(batch.records for batch in batches))
        left.path.unlink()
        recovered.append(Recovered(left.life, left.lane, mark, runs))
    for names in folder.glob(f"*{NAMES}"):
        if names.stem != str(life.boot) and not list(folder.glob(f"*{int(names.stem):020d}-*{RING}")):
            names.unlink()
    return recovered


def left_rings(folder: Path, present: Life, *, aside: bool) -> Iterable[Left]:
    """The rings that other lives have left, the oldest first, without what can't be read or trusted.

    Args:
        folder: Where they are.
        present: This life, whose rings are left out.
        aside: Rename what can't be read or trusted, so that it is not met again.
    """
    for path in sorted(folder.glob(f"*{RING}")):
        try:
            boot, lane, records = recover_usage_ring(path)
        except BlockingIOError:
            # Its server is alive: this one.
            continue
        except ValueError:
            log.exception("usage.ring_unreadable", ring=path.name)
            _put_aside(path, aside=aside)
            continue
        if boot == present.boot:
            continue
        life, names = _names_of(folder, boot)
        life = life or Life(present.node, boot, present.machine)
        if life.machine != present.machine and records:
            # The power went, or the kernel: pages of the file may be of different moments.
            log.error("usage.ring_untrusted", ring=path.name, records=len(records) // RECORD_BYTES)
            _put_aside(path, aside=aside)
            continue
        yield Left(path, life, lane, records, names)


def this_life(node: str, boot: int) -> Life:
    """Who this server is."""
    return Life(node, boot, machine_boot())


def _put_aside(path: Path, *, aside: bool) -> None:
    if aside:
        path.rename(path.with_suffix(UNTRUSTED))


def _names_of(folder: Path, boot: int) -> tuple[Life | None, dict[int, Name]]:
    try:
        return read_names(folder / f"{boot}{NAMES}")
    except FileNotFoundError:
        return None, {}


def _beyond(run: Run, mark: int) -> Run:
    """The part of a run that comes after the mark."""
    if run.first > mark:
        return run
    [rest] = runs_of(run.records[(mark + 1 - run.first) * RECORD_BYTES :])
    return rest
