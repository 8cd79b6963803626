"""The rules of reports: who may see what, how many, and how one is made."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from beast.accounts.access import Access
from beast.accounts.months import utc
from beast.accounts.types import Scope
from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.base.tasks import Tasks
from beast.cluster.types import Parameters
from beast.reports.asking import write_query
from beast.reports.builder import build
from beast.reports.flow import Flow, State
from beast.reports.formats.csv_text import CsvRecords, CsvReport
from beast.reports.formats.json_text import JsonRecords, JsonReport
from beast.reports.formats.spool import SpoolReport
from beast.reports.limiter import Limiter, Ticket
from beast.reports.lines import LineMaker, about
from beast.reports.store import ReportStore
from beast.reports.summary import TOP, write_summary
from beast.reports.turns import Turns
from beast.reports.types import Allowance, Format, Made, Period, RecordsQuery, ReportKey, ReportQuery
from beast.storage.database import Database, DatabaseUnavailableError

PIECE = 64 << 10
"""Bytes of a file that are read at once."""

OPENS: frozenset[Scope] = frozenset({"report"})

log = structlog.get_logger(__name__)


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants a report."""

    address: str
    """Numeric, for the log."""
    key: ReportKey | None
    """None: the operator, who sees everything and is not limited."""

    @property
    def owner(self) -> int | None:
        """Whose quota it is."""
        return self.key.owner if self.key else None

    @property
    def visible(self) -> tuple[int, ...] | None:
        """API keys whose usage it may see; None: all."""
        return tuple(self.key.line) if self.key else None


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A report on its way."""

    flow: Flow
    allowance: Allowance | None
    """With this one counted; None: it was not."""


class Tally:
    """What is known of a report when it has ended."""

    def __init__(self, asker: Asker, kind: str, form: str, query: str) -> None:
        self.asker = asker
        self.kind = kind
        self.form = form
        self.query = query
        self.rows = 0
        self.begun_ns = 0
        """CLOCK_MONOTONIC."""
        self.ticket: Ticket | None = None


class Reports:
    """Makes reports, and keeps count.

    Args:
        database: An open database.
        clock: The time.
        tasks: Keeps what goes on in the background.
        node: This server's name.
    """

    def __init__(self, database: Database, clock: Clock, tasks: Tasks, *, node: str) -> None:
        self.store = ReportStore(database)
        self.limiter = Limiter(self.store, clock)
        self.turns = Turns(Parameters().reports_at_once)
        self._access = Access(database, clock)
        self._clock = clock
        self._tasks = tasks
        self._node = node
        self._timeout_s = 60.0

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameters that begin with `report`, from now on."""
        self.turns.tune(parameters.reports_at_once)
        self._timeout_s = parameters.report_timeout_s
        self.store.timeout_ms = parameters.report_timeout_s * 1000

    async def who(self, api_key: bytes | None, address: str) -> ReportKey:
        """The key that opens reports to whoever is at `address`, by the rules of all requests with an API key.

        Raises:
            AccessDeniedError: it doesn't; says why.
            TooManyError, DatabaseUnavailableError: nobody knows now.
        """
        row = await self._access.admit(api_key, OPENS, address)
        return ReportKey(id=row.id, owner=row.quota_owner, line=await self.store.find_line(row.quota_owner))

    async def report(self, asker: Asker, query: ReportQuery, form: Format, *, path: str, origin: str) -> Product:
        """Begins one report, and counts it.

        Args:
            asker: Who wants it.
            query: What.
            form: In which format.
            path: Where its records are asked for.
            origin: Of the server, as the client sees it.

        Raises:
            LimitReachedError: the month's reports are made.
            BusyError: too many are being made.
            DatabaseUnavailableError, BuildError: it can't be made; it is not counted.
        """
        tally = Tally(asker, "report", form, write_query(query))
        source = (self._file if form in {"xlsx", "pdf"} else self._text)(query, form, tally, path=path, origin=origin)
        return await self._begin(source, tally, limited=True)

    async def records(self, asker: Asker, query: RecordsQuery, form: Format, *, path: str) -> Product:
        """Begins one page of records; these are not counted as reports. Raises as report() does."""
        tally = Tally(asker, "records", form, write_query(query))
        return await self._begin(self._pages(query, form, tally, path), tally, limited=False)

    async def summary(self, asker: Asker, period: Period, *, room: int) -> bytes:
        """The figures of an owner's usage as one JSON object of at most `room` bytes; counts as a report.

        Raises:
            LimitReachedError: the month's reports are made.
            DatabaseUnavailableError: it can't be made; it is not counted.
        """
        assert asker.key is not None, "an owner"
        tally = Tally(asker, "summary", "udp", f"period={period.name}")
        tally.begun_ns = self._clock.monotonic_ns()
        await self.limiter.expect(asker.key)
        tally.ticket = await self.limiter.take(asker.key)
        try:
            found = await self.store.summary(period, asker.key.line, top=TOP)
        except BaseException:
            await self._log(tally, "failed", 0)
            raise
        body = write_summary(found, period, node=self._node, room=room)
        await self._log(tally, "made", len(body))
        return body

    async def set_addon(self, key_id: int, *, unlimited: bool) -> bool:
        """Gives a customer the add-on that lifts the limit, or takes it; says whether anything changed.

        Raises:
            UsageError: there is no such key.
        """
        changed = await self.store.set_addon(key_id, unlimited=unlimited, now=utc(self._clock.wall_ns()))
        if unlimited and not changed:
            raise UsageError(f"there is no key {key_id}", todo="`beast keys list` shows them")
        return changed

    async def _begin(self, source: AsyncGenerator[bytes, None], tally: Tally, *, limited: bool) -> Product:
        asker = tally.asker
        tally.begun_ns = self._clock.monotonic_ns()
        await self.turns.take(asker.owner)
        try:
            if limited and asker.key is not None:
                tally.ticket = await self.limiter.take(asker.key)
        except BaseException:
            await self.turns.leave(asker.owner)
            raise
        flow = Flow(source, self._tasks, partial(self._ended, tally))
        await flow.begin()
        return Product(flow=flow, allowance=tally.ticket.allowance if tally.ticket else None)

    async def _ended(self, tally: Tally, state: State, sent: int) -> None:
        await self.turns.leave(tally.asker.owner)
        await self._log(tally, state, sent)

    async def _log(self, tally: Tally, state: State, sent: int) -> None:
        asker = tally.asker
        made = Made(
            id=0,
            at=utc(self._clock.wall_ns()),
            key_id=asker.key.id if asker.key else None,
            node=self._node,
            address=asker.address,
            kind=tally.kind,
            format=tally.form,
            query=tally.query,
            rows=tally.rows,
            bytes=sent,
            ms=(self._clock.monotonic_ns() - tally.begun_ns) // 1_000_000,
            state=state,
        )
        try:
            if state == "failed" and tally.ticket is not None:
                await tally.ticket.give_back()
            await self.store.log(made)
        except DatabaseUnavailableError as error:
            log.warning("reports.not_logged", error=str(error), **msgspec.structs.asdict(made))

    async def _text(
        self, query: ReportQuery, form: str, tally: Tally, *, path: str, origin: str
    ) -> AsyncGenerator[bytes, None]:
        """The report line by line, as it comes from the database."""
        writer = JsonReport() if form == "json" else CsvReport() if form == "csv" else SpoolReport()
        now = utc(self._clock.wall_ns())
        maker = LineMaker(query, path)
        async with aclosing(self.store.groups(query)) as batches:
            # The head waits for the first rows: while there are none, an error can still be told.
            head = writer.begin(about(query, now=now, node=self._node, origin=origin))
            async for rows in batches:
                tally.rows += len(rows)
                yield head + writer.lines(maker.make(rows))
                head = b""
        yield writer.end()

    async def _file(
        self, query: ReportQuery, form: str, tally: Tally, *, path: str, origin: str
    ) -> AsyncGenerator[bytes, None]:
        """The lines into a file, of that a spreadsheet or a PDF, and that is sent."""
        with tempfile.TemporaryDirectory(prefix="beast-report-") as name:
            lines, target = Path(name) / "lines", Path(name) / "target"
            with lines.open("wb") as spool:
                async with aclosing(self._text(query, "spool", tally, path=path, origin=origin)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(spool.write, piece)
            await build(form, lines, target, timeout_s=self._timeout_s)
            with target.open("rb") as made:
                while piece := await asyncio.to_thread(_read, made):
                    yield piece

    async def _pages(self, query: RecordsQuery, form: str, tally: Tally, path: str) -> AsyncGenerator[bytes, None]:
        """The records of one page. One more than wanted is asked for: it tells whether there is another page."""
        writer = CsvRecords() if form == "csv" else JsonRecords()
        wanted, last, more = query.limit, None, False
        head = writer.begin()
        async with aclosing(self.store.records(msgspec.structs.replace(query, limit=wanted + 1))) as batches:
            async for batch in batches:
                shown = batch[: wanted - tally.rows]
                more = len(shown) < len(batch)
                last = shown[-1] if shown else last
                tally.rows += len(shown)
                yield head + writer.records(shown)
                head = b""
        following = None
        if more and last is not None:
            further = write_query(msgspec.structs.replace(query, after=last.place))
            following = f"{path}?{further}&limit={wanted}"
        yield head + writer.end(following)


def _read(file: BinaryIO) -> bytes:
    return file.read(PIECE)
