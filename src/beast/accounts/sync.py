"""Keeps the workers' key table equal to the database.

Changes come by NOTIFY, one key at a time, and reach the workers within a second. A full read at the start, every
half minute and after a lost connection makes good what was missed, and takes in what other nodes have charged
against the caps.
"""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import structlog

from beast._fast import Engine, key_record, restrict_key
from beast.accounts.lease_size import LeaseSize
from beast.accounts.months import month_end_ns, month_number, month_of
from beast.accounts.packed import PackedKey, unpack
from beast.accounts.store import AccountStore
from beast.base.clock import Clock
from beast.storage.database import Database, DatabaseUnavailableError

if TYPE_CHECKING:
    from datetime import datetime

CHANNEL = "beast_keys"
CHUNK = 500
"""Keys read at once: a few ms of the event loop."""
EXPIRY_AHEAD_S = 3600
POLL_S = 1.0
"""How long a change of the wall clock may stay unnoticed."""

_DIGEST = 32

_log = structlog.get_logger("beast.accounts")


class Usage(Protocol):
    """What is needed of beast.usage.drainer.Drainer."""

    booking: asyncio.Lock
    """Held while answers are on their way into the rows."""

    def unbooked(self) -> Mapping[int, int]:
        """Answers by key id that no row holds; exact while `booking` is held."""


class KeySync:
    """Feeds the key table; `run()` is its one long task.

    Args:
        table: The engine.
        usage: What it has answered and the rows don't say yet: it is held against the caps.
        database: An open database.
        clock: Its wall clock decides what has expired and which month it is.
        reread_s: Seconds between two full reads; may be set at any time.
    """

    def __init__(
        self, table: Engine, usage: Usage, database: Database, clock: Clock, *, reread_s: float = 30.0
    ) -> None:
        self.reread_s = reread_s
        self.lease_size = LeaseSize()
        """How far keys may go ahead of the cluster; may be set at any time."""
        self.shared = False
        """Whether caps are settled with other nodes; see keep_shared()."""
        self._table = table
        self._usage = usage
        self._database = database
        self._store = AccountStore(database)
        self._clock = clock
        self._loaded = asyncio.Event()
        self._wake = asyncio.Event()
        self._reread_asked = True
        self._read_ns = 0
        self._read_at: datetime | None = None
        self._month = month_of(clock.wall_ns())
        self._expiring: list[tuple[int, bytes]] = []
        self._lines: defaultdict[int, set[int]] = defaultdict(set)
        self._full = False
        self._single = asyncio.Lock()
        self._touched: set[bytes] | None = None

    async def loaded(self) -> None:
        """Waits until all keys have been read once."""
        await self._loaded.wait()

    async def run(self) -> None:
        """Runs until cancelled. While the database is away the workers keep the keys they have."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="keys: listen")
            tasks.create_task(self._keep_time(), name="keys: read")

    async def tick(self) -> float:
        """Does what is due now; returns the seconds until something else may be.

        Raises:
            DatabaseUnavailableError: It is still due.
        """
        now_ns = self._clock.wall_ns()
        while self._expiring and self._expiring[0][0] <= now_ns:
            entry = heapq.heappop(self._expiring)
            try:
                # The row decides, not the entry: it may have been prolonged since.
                await self.refresh(entry[1])
            except BaseException:
                heapq.heappush(self._expiring, entry)
                raise
        if self._reread_due():
            await self.reread()
        due_s = self.reread_s - (self._clock.monotonic_ns() - self._read_ns) / 1e9
        now_ns = self._clock.wall_ns()
        # Caps begin anew with the month, not some time later.
        due_s = min(due_s, (month_end_ns(now_ns) - now_ns) / 1e9)
        if self._expiring:
            due_s = min(due_s, (self._expiring[0][0] - now_ns) / 1e9)
        return max(0.0, due_s)

    def keep_shared(self, shared: bool) -> None:  # noqa: FBT001 - it is what changes
        """From now on caps are settled with other nodes, or no longer: all keys are read again, for new allowances."""
        self.shared = shared
        self._reread_asked = True
        self._wake.set()

    async def refresh(self, digest: bytes) -> None:
        """Reads one key again."""
        async with self._single, self._usage.booking:
            chunk = await self._store.key_by_hash(key_hash=digest, month=self._month)
            if self._touched is not None:
                self._touched.add(digest)
            if chunk.rows:
                self._apply(unpack(chunk.records))
            else:
                self._table.drop_key(digest)

    async def reread(self) -> None:
        """Reads all keys again. Single keys may change meanwhile: what was read of them before is not applied."""
        self._reread_asked = False
        self._month = month_of(self._clock.wall_ns())
        self._full = False
        self._touched = touched = set[bytes]()
        self._expiring = []
        after = total = 0
        try:
            deleted = await self._store.deleted_keys(since=self._read_at)
            for start in range(0, len(deleted.records), _DIGEST):
                self._table.drop_key(deleted.records[start : start + _DIGEST])
            while True:
                async with self._usage.booking:
                    chunk = await self._store.key_chunk(after=after, limit=CHUNK, month=self._month)
                    self._apply(key for key in unpack(chunk.records) if key.digest not in touched)
                after, total = chunk.last_id, total + chunk.rows
                if chunk.rows < CHUNK:
                    break
        except BaseException:
            self._reread_asked = True
            raise
        finally:
            self._touched = None
        self._read_at = deleted.at
        self._read_ns = self._clock.monotonic_ns()
        if self._full:
            _log.error("there are more API keys than memory has room for; raise max_keys", keys=total)
        if not self._loaded.is_set():
            _log.info("API keys loaded", keys=total)
            self._loaded.set()

    def _apply(self, keys: Iterable[PackedKey]) -> None:
        now_ns = self._clock.wall_ns()
        # Later expiries are seen by a later full read.
        horizon_ns = now_ns + round((EXPIRY_AHEAD_S + 2 * self.reread_s) * 1e9)
        unbooked = self._usage.unbooked()
        month = month_number(self._month)
        records = []
        restricted = []
        for key in keys:
            if not key.enabled or 0 < key.expires_ns <= now_ns:
                self._table.drop_key(key.digest)
                continue
            records.append(self._record(key, unbooked, month))
            if key.networks:
                restricted.append(key)
            if 0 < key.expires_ns < horizon_ns:
                heapq.heappush(self._expiring, (key.expires_ns, key.digest))
        try:
            self._table.put_keys(b"".join(records))
            for key in restricted:
                restrict_key(self._table, key.digest, key.networks)
        except (OverflowError, LookupError):
            self._full = True

    def _record(self, key: PackedKey, unbooked: Mapping[int, int], month: int) -> bytes:
        capped = key.cap >= 0 and not key.partner
        left, used = None, 0
        if capped:
            used = key.used + self._unbooked_of(key, unbooked)
            left = max(0, key.cap - used)
            if not self.shared:
                # The keys of a line have an allowance each, and nobody else to settle it with.
                left = -(-left // len(self._lines.get(key.quota_id, (key.key_id,))))
            used = max(0, key.cap - left)
        return key_record(
            key.digest,
            key.key_id,
            key.per_second,
            key.burst,
            key.partner,
            left,
            used=used,
            quota_id=key.quota_id,
            lease=0 if key.partner else self.lease_size.of(key.per_second, key.burst, capped=capped),
            month=month,
            priced=key.priced,
            restricted=bool(key.networks),
        )

    def _unbooked_of(self, key: PackedKey, unbooked: Mapping[int, int]) -> int:
        """What this node has answered to the key's line and no row says."""
        if key.quota_id != key.key_id:
            self._lines[key.quota_id] |= {key.quota_id, key.key_id}
        if key.quota_id not in self._lines:
            return unbooked.get(key.key_id, 0)
        return sum(unbooked.get(each, 0) for each in self._lines[key.quota_id])

    def _reread_due(self) -> bool:
        return (
            self._reread_asked
            or self._clock.monotonic_ns() - self._read_ns >= self.reread_s * 1e9
            or month_of(self._clock.wall_ns()) != self._month
        )

    async def _keep_time(self) -> None:
        # Listening comes first: what changes during the first read is then told apart.
        await self._wake.wait()
        while True:
            self._wake.clear()
            try:
                wait_s = await self.tick()
            except DatabaseUnavailableError as error:
                _log.warning("API keys could not be read", error=str(error))
                wait_s = POLL_S
            try:
                await asyncio.wait_for(self._wake.wait(), min(wait_s, POLL_S))
            except TimeoutError:
                continue

    async def _listen(self) -> None:
        async for notice in self._database.listen(CHANNEL):
            digest = _digest(notice.payload) if notice else None
            if digest is not None:
                try:
                    await self.refresh(digest)
                except DatabaseUnavailableError as error:
                    _log.warning("an API key could not be read", error=str(error))
                else:
                    continue
            self._reread_asked = True
            self._wake.set()


def _digest(payload: str) -> bytes | None:
    """The key that a notification names; None when it means all (or says something that only people send)."""
    try:
        digest = bytes.fromhex(payload)
    except ValueError:
        return None
    return digest if len(digest) == _DIGEST else None
