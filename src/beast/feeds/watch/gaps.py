"""When prices may have been missed: kept in memory, written to `feed_gaps` in batches, off every hot path.

A database that is away costs nothing but memory: up to WAITING_MAX gaps wait for it, what is more is counted as lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
import structlog

from beast.base.clock import Clock
from beast.storage.database import Database, DatabaseUnavailableError
from beast.storage.queries import Queries

WRITE_S: Final = 1.0
WAITING_MAX: Final = 10_000
"""Gaps that wait for the database."""
BATCH: Final = 500
"""Gaps a statement."""

_QUERIES = Queries("beast.feeds")

log = structlog.get_logger(__name__)


class Gap(msgspec.Struct, kw_only=True):
    """From when to when trades may have been missed, and which."""

    exchange: str
    connection: int
    symbol: str = ""
    """Empty: all of the connection."""
    began_at: datetime
    ended_at: datetime
    first_missing: int | None = None
    """The exchange's own numbers, where it gives them."""
    last_missing: int | None = None
    cause: str
    filled_at: datetime | None = None
    """When every price concerned had been told anew, by a trade or by REST."""
    id: UUID = msgspec.field(default_factory=uuid4)


class GapBook:
    """The gaps of this process.

    Args:
        database: Where they are written.
        node: Whose they are.
        clock: The time.
    """

    def __init__(self, database: Database, *, node: str, clock: Clock) -> None:
        self._database = database
        self._node = node
        self._clock = clock
        self._waiting: dict[UUID, Gap] = {}
        self._day = ""
        self._today: Counter[tuple[str, int, str]] = Counter()
        self.lost = 0
        """Gaps that found no room while the database was away."""

    def add(self, gap: Gap) -> None:
        """Takes a gap down."""
        self._turn_day()
        self._today[gap.exchange, gap.connection, gap.symbol] += 1
        log.warning(
            "feeds.gap",
            exchange=gap.exchange,
            connection=gap.connection,
            symbol=gap.symbol,
            ms=round((gap.ended_at - gap.began_at).total_seconds() * 1e3),
            cause=gap.cause,
        )
        self._put(gap)

    def fill(self, gap: Gap) -> None:
        """Every price concerned has been told anew."""
        gap.filled_at = self.time()
        self._put(gap)

    def today(self, exchange: str, connection: int, symbol: str) -> int:
        """How many there were since midnight (UTC), or since the start: of the symbol and of its whole connection."""
        self._turn_day()
        own = self._today[exchange, connection, symbol] if symbol else 0
        return own + self._today[exchange, connection, ""]

    @property
    def waiting(self) -> int:
        """How many are not yet with the database."""
        return len(self._waiting)

    def time(self, monotonic_ns: int | None = None) -> datetime:
        """What the clock on the wall said then; now unless given."""
        now_ns = self._clock.monotonic_ns()
        ago_ns = now_ns - (now_ns if monotonic_ns is None else monotonic_ns)
        return datetime.fromtimestamp((self._clock.wall_ns() - ago_ns) / 1e9, UTC)

    async def run(self, report: Callable[[str | None], None]) -> None:
        """Writes what waits, until cancelled; `report` is told what keeps it from being written, or None."""
        while True:
            await asyncio.sleep(WRITE_S)
            try:
                await self.write()
            except DatabaseUnavailableError as error:
                report(f"{len(self._waiting)} gaps wait for the database, {self.lost} found no room: {error}")
            else:
                report(None)

    async def write(self) -> None:
        """Writes what waits; what comes meanwhile stays for the next time. Raises DatabaseUnavailableError."""
        while batch := dict(list(self._waiting.items())[:BATCH]):
            rows = msgspec.json.encode(list(batch.values())).decode()
            sent = {each: gap.filled_at for each, gap in batch.items()}
            await self._database.execute(_QUERIES["save_gaps"], {"node": self._node, "gaps": rows})
            for each, filled_at in sent.items():
                if batch[each].filled_at == filled_at:
                    self._waiting.pop(each, None)

    def _put(self, gap: Gap) -> None:
        if len(self._waiting) < WAITING_MAX or gap.id in self._waiting:
            self._waiting[gap.id] = gap
        else:
            self.lost += 1

    def _turn_day(self) -> None:
        day = self.time().date().isoformat()
        if day != self._day:
            self._day = day
            self._today.clear()
