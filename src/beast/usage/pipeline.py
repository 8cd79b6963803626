"""The whole path on one server: rings → batches → spool → sink, started and stopped in the order that loses nothing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from beast._fast import Engine, UsageRings, sum_usage
from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.cluster.types import Parameters
from beast.prices.types import Instrument
from beast.storage.database import Database, DatabaseUnavailableError
from beast.usage.drainer import Drainer
from beast.usage.ledger import Ledger
from beast.usage.names import Life, Names
from beast.usage.partitions import Partitions
from beast.usage.pump import Pump, sums_of_batch
from beast.usage.recovery import recover_rings, this_life
from beast.usage.sink import Sink
from beast.usage.spool import Spool
from beast.usage.store import UsageStore
from beast.usage.types import Batch, Name

TELL_S = 2.0
"""How often the database is told what the lanes have made."""

log = structlog.get_logger(__name__)


def rings_folder(home: Path) -> Path:
    """Where a home's rings and their names are; made when it isn't there."""
    folder = home / "usage" / "rings"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def spool_folder(home: Path) -> Path:
    """Where a home's spool is."""
    return home / "usage" / "spool"


class Reports(msgspec.Struct, frozen=True):
    """Told what is wrong, or None when it is well again."""

    spool: Callable[[str | None], None]
    sink: Callable[[str | None], None]
    letters: Callable[[str | None], None]


class UsagePipeline:
    """What was answered is booked, each answer once.

    Args:
        engine: Whose rings.
        database: Told what the lanes have made, whatever the sink is.
        sink: Where batches go.
        home: Rings and spool are in there.
        node: This server's name.
        clock: The time.
        reports: Told how spool and sink fare, and of dead letters.
    """

    def __init__(
        self, engine: Engine, database: Database, sink: Sink, *, home: Path, node: str, clock: Clock, reports: Reports
    ) -> None:
        self.ledger = Ledger()
        self.life: Life = this_life(node, engine.boot)
        self._folder = rings_folder(home)
        self._names = Names(self._folder, self.life)
        self._spool = Spool(spool_folder(home), max_bytes=Parameters().usage_spool_max_bytes)
        self._store = UsageStore(database)
        self._longest = sink.longest
        self._clock = clock
        self._reports = reports
        self._pump = Pump(self._spool, sink, self.ledger, self._store, report=reports.sink, count=engine.count)
        self.booking = self._pump.booking
        """Held while answers are on their way into the rows."""
        self._drainer = Drainer(
            UsageRings(engine),
            wake_fd=engine.usage_fileno(),
            life=self.life,
            spool=self._spool,
            ledger=self.ledger,
            names=lambda: self._names.current,
            flushed=self._pump.wake,
            report=reports.spool,
            count=engine.count,
            longest=sink.longest,
        )
        self._partitions = Partitions(self._store, clock)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> int:
        """Answers taken from the rings that no row holds yet."""
        return self.ledger.pending

    def unbooked(self) -> Mapping[int, int]:
        """Answers of this month, by API key id, that no row holds; true to the last one while `booking` is held."""
        self._drainer.drain()
        return self.ledger.unbooked(self._clock.wall_ns())

    def tell_names(self, instruments: Iterable[Instrument]) -> None:
        """The engine is about to answer with these. What it has answered until now is of the old names."""
        self._drainer.drain()
        self._names.tell(Name(each.id, each.market.asset, each.market.exchange) for each in instruments)

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameters of usage, from now on."""
        self._drainer.tune(parameters)
        self._pump.tune(parameters)
        self._partitions.tune(parameters)

    async def start(self) -> None:
        """Takes up what earlier servers on this home have left, then starts.

        Raises:
            BeastError: Spool or rings can't be used, or there is no room for what was left.
        """
        # On a thread, which has the ledger to itself until the drainer starts.
        opened = await asyncio.to_thread(self._spool.open, self._take_up)
        await asyncio.to_thread(self._recover)
        with suppress(DatabaseUnavailableError):
            await self._store.reset_edges(self.life.node, self.life.boot)
        if opened.batches:
            log.info("usage.taken_up", batches=opened.batches, answers=self.pending)
        self._drainer.start()
        self._pump.start()
        self._pump.wake()
        self._tasks = [
            asyncio.create_task(self._partitions.run(), name="usage-partitions"),
            asyncio.create_task(self._tell(), name="usage-edges"),
        ]

    async def flush(self, within_s: float) -> bool:
        """Books what was answered until now; False when that was not done in time, or can't be done now."""
        self._drainer.drain()
        return await self._drainer.flush() and await self._pump.emptied(within_s)

    async def stop(self, within_s: float) -> None:
        """To be called when the workers have stopped. What the sink does not take in time waits for the next start."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        drained = await self._drainer.stop()
        emptied = await self._pump.stop(within_s)
        with suppress(DatabaseUnavailableError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self.tell_edges()
        await asyncio.to_thread(self._spool.close)
        if drained:
            self._names.close()
        if not (drained and emptied):
            log.warning("usage.left", answers=self.pending, hint="it is booked after the next start on this home")

    async def tell_edges(self) -> None:
        """Tells the database what the lanes have made and what of it is still here.

        Raises:
            DatabaseUnavailableError: It will be told all of it again.
        """
        try:
            for node, edges in self.ledger.untold().items():
                await self._store.tell_edges(node, edges, utc(self._clock.wall_ns()))
        except BaseException:
            self.ledger.tell_again()
            raise

    def _take_up(self, batch: Batch) -> None:
        self.ledger.find((batch.node, batch.boot, batch.lane), batch.first, batch.last)
        self.ledger.owe(sums_of_batch(batch))

    def _recover(self) -> None:
        try:
            found = recover_rings(self._folder, self._spool, life=self.life, longest=self._longest)
        except OSError as error:
            raise BeastError(f"can't be recovered: {error}", where=str(self._folder)) from error
        for ring in found:
            where = ring.life.node, ring.life.boot, ring.lane
            self.ledger.reach(where, ring.mark)
            for run in ring.runs:
                self.ledger.make(where, run.first, run.last)
                self.ledger.owe(sum_usage(run.records))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            try:
                await self.tell_edges()
                letters = await self._store.count_dead_letters()
            except DatabaseUnavailableError as error:
                log.debug("usage.edges_untold", error=str(error))
            else:
                self._reports.letters(
                    f"{letters} could not be booked; `beast usage dead-letters` shows them" if letters else None
                )
