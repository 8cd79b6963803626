"""Runs the drafts, minute by minute, and stands guard over what went live by them.

One node does so, whichever leads; all others follow the rows. What it knows is in the database, so that another goes on
where it stopped.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import msgspec
import structlog

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.base.tasks import Tasks, to_its_end
from beast.feeds.link.tally import Tally
from beast.feeds.shadow.change import digest
from beast.feeds.shadow.observer import Observer, Prices
from beast.feeds.shadow.ripening import Outlook, Progress, Terms, failure, outlook, ripen
from beast.feeds.shadow.store import CHANNEL, DraftStore
from beast.feeds.shadow.trial import Trial, engine_for
from beast.feeds.shadow.types import Draft, DraftDetail, Verdict
from beast.feeds.store import CHANNEL as ROWS_CHANNEL
from beast.storage.database import Database, DatabaseUnavailableError

LOOK_S: Final = 1.0
REREAD_NS: Final = 30 * 10**9
"""The safety net below NOTIFY."""
TOLD: Final = timedelta(days=1)
"""So long health tells that a version fell back, unless a newer one went live."""
LOCK: Final = 0x736861646F77
"""The advisory lock of who leads: "shadow" in ASCII."""
USUAL_MINUTES: Final = 5
WHO: Final = "shadow"

log = structlog.get_logger("beast.feeds")


class Parameters(Protocol):
    """The application parameters that concern drafts; beast.cluster.types says what each of them means."""

    @property
    def shadow_bps(self) -> int: ...  # noqa: D102
    @property
    def shadow_minutes(self) -> int: ...  # noqa: D102
    @property
    def shadow_minute_s(self) -> int: ...  # noqa: D102
    @property
    def shadow_fall_back_minutes(self) -> int: ...  # noqa: D102
    @property
    def shadow_watch_minutes(self) -> int: ...  # noqa: D102
    @property
    def backfill_ms(self) -> int: ...  # noqa: D102
    @property
    def consensus_outlier_bps(self) -> int: ...  # noqa: D102


class _Watch:
    """One exchange that is looked at: a draft's rows on trial, or live rows under guard."""

    def __init__(self, draft: Draft, observer: Observer, trial: Trial | None, due_ns: int) -> None:
        self.draft = draft
        self.observer = observer
        self.trial = trial
        """None: under guard."""
        self.due_ns = due_ns
        self.off = False
        """The exchange is switched off until now."""
        self.failed = 0
        """Minutes in a row."""
        self.usual = float(draft.verdict.tally.trades) if draft.verdict else 0.0
        """Trades that a minute brings."""


class Keeper:
    """What one node does about drafts.

    Args:
        live: The exchanges that clients are answered from.
        database: Where drafts and rows are.
        clock: The time.
        report: Told by part what is wrong, or None when it is well again.
        note: Told of every change of rows made here, for the audit log: what was done, and details.
    """

    def __init__(
        self,
        live: Prices,
        database: Database,
        *,
        clock: Clock,
        report: Callable[[str, str | None], None],
        note: Callable[[str, Mapping[str, object]], None],
    ) -> None:
        self.store = DraftStore(database)
        self._live = live
        self._database = database
        self._clock = clock
        self._report = report
        self._note = note
        self._parameters: Parameters
        self._changed = asyncio.Event()
        self._leads = False
        self._read_ns = 0
        self._drafts: list[DraftDetail] = []
        self._watches: dict[int, _Watch] = {}
        self._faults: dict[int, str] = {}
        """Why a version that should have fallen back could not."""
        self._told: set[str] = set()

    def tune(self, new: Parameters) -> None:
        """Takes the parameters, from now on. To be called before anything else."""
        self._parameters = new
        for watch in self._watches.values():
            self._tune(watch)

    @property
    def _minute_ns(self) -> int:
        return self._parameters.shadow_minute_s * 10**9

    async def run(self) -> None:
        """Runs until cancelled."""
        tasks = Tasks()
        tasks.spawn("shadow leader", self._follow_leader())
        tasks.spawn("shadow notices", self._follow_notices())
        try:
            while True:
                try:
                    await self.step()
                except DatabaseUnavailableError as error:
                    log.warning("drafts have to wait", error=str(error))
                await asyncio.sleep(min(LOOK_S, self._minute_ns / 4e9))
        finally:
            await tasks.cancel()
            await self._drop(list(self._watches))

    async def step(self) -> None:
        """Does what is due now. Raises DatabaseUnavailableError."""
        now_ns = self._clock.monotonic_ns()
        if self._changed.is_set() or not self._read_ns or now_ns - self._read_ns > REREAD_NS:
            self._changed.clear()
            self._read_ns = now_ns
            try:
                await self._reread()
            except DatabaseUnavailableError:
                self._changed.set()
                raise
        if not self._leads:
            await self._drop(list(self._watches))
            return
        for watch in list(self._watches.values()):
            await watch.observer.look()
            if now_ns >= watch.due_ns:
                watch.due_ns = now_ns + self._minute_ns
                await self._end_minute(watch)

    async def _follow_leader(self) -> None:
        async for leads in self._database.lead(LOCK):
            self._leads = leads
            self._changed.set()

    async def _follow_notices(self) -> None:
        async for _ in self._database.listen(CHANNEL, ROWS_CHANNEL):
            self._changed.set()

    # What is looked at

    async def _reread(self) -> None:
        self._drafts = await self.store.at_work()
        self._tell()
        if not self._leads:
            return
        wanted = {draft.id: draft for draft in self._drafts if draft.state != "fallen_back"}
        over = [
            number
            for number, watch in self._watches.items()
            if number not in wanted or (watch.trial is None) != (wanted[number].state == "live")
        ]
        await self._drop(over)
        for draft in wanted.values():
            if draft.state != "live":
                await self._try(draft)
            elif self._is_guarded(draft):
                self._guard(draft)
            else:
                await self._drop([draft.id])

    async def _try(self, draft: DraftDetail) -> None:
        """Has a draft's rows run as they are by now."""
        watch = self._watches.get(draft.id)
        try:
            rows, off = await self.store.preview(draft.change)
            if watch is not None and watch.trial is not None and digest(watch.trial.rows) == digest(rows):
                watch.off = off
                return
            await self._drop([draft.id])
            feeds = self._live.feeds
            trial = Trial(
                rows, self._live, await engine_for(rows), urls=feeds.address, tls=feeds.tls, clock=self._clock
            )
            await trial.start()
        except DatabaseUnavailableError:
            raise
        except BeastError as error:
            await self._drop([draft.id])
            await self._refuse(draft, str(error))
            return
        watch = _Watch(draft, trial.observer, trial, self._clock.monotonic_ns() + self._minute_ns)
        watch.off = off
        self._watches[draft.id] = watch
        self._tune(watch)
        log.info("draft runs", exchange=draft.exchange, draft=draft.id)

    async def _refuse(self, draft: DraftDetail, reason: str) -> None:
        """Tells, once, that a draft doesn't go together with the rows as they are by now."""
        if draft.waits_for == reason:
            return
        log.warning("draft can't run", exchange=draft.exchange, draft=draft.id, error=reason)
        verdict = Verdict(
            at=self._now(), kind="broken", why=reason, tally=Tally(), compared=0, beyond=0, worst_bps=None
        )
        await self.store.judge(draft, Progress(), Outlook(ripe=False, waits_for=reason), verdict, "")

    def _guard(self, draft: DraftDetail) -> None:
        """Stands guard over a version that went live."""
        if draft.id not in self._watches:
            observer = Observer(draft.exchange, self._live, self._live, self._clock)
            watch = _Watch(draft, observer, None, self._clock.monotonic_ns() + self._minute_ns)
            self._watches[draft.id] = watch
            self._tune(watch)

    def _is_guarded(self, draft: Draft) -> bool:
        longest = timedelta(minutes=self._parameters.shadow_watch_minutes)
        return draft.live_at is not None and self._now() - draft.live_at < longest

    async def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            watch = self._watches.pop(number, None)
            if watch is not None and watch.trial is not None:
                await watch.trial.stop()

    def _tune(self, watch: _Watch) -> None:
        watch.observer.outlier_bps = self._parameters.consensus_outlier_bps
        if watch.trial is not None:
            watch.trial.set_backfill(self._parameters.backfill_ms)

    # What follows from a minute

    async def _end_minute(self, watch: _Watch) -> None:
        bps = watch.draft.bps or self._parameters.shadow_bps
        verdict = await watch.observer.end_minute(bps)
        if watch.trial is None:
            await self._consider_falling_back(watch, verdict)
        else:
            await self._ripen(watch, watch.trial, verdict)

    async def _ripen(self, watch: _Watch, trial: Trial, verdict: Verdict) -> None:
        draft, tested = watch.draft, digest(trial.rows)
        before = Progress()
        if draft.tested == tested:
            before = Progress(draft.agreed, frozenset(draft.proven), draft.judged_at)
        progress = ripen(before, verdict, timedelta(seconds=self._parameters.shadow_minute_s))
        terms = Terms(draft.minutes or self._parameters.shadow_minutes, draft.auto)
        ahead = outlook(progress, verdict, terms)
        if watch.off and ahead.ripe and not ahead.waits_for:
            ahead = Outlook(ripe=True, waits_for="a person: the exchange is switched off")
        await self.store.judge(draft, progress, ahead, verdict, tested)
        watch.draft = msgspec.structs.replace(
            draft, tested=tested, agreed=progress.agreed, proven=tuple(progress.proven), judged_at=verdict.at
        )
        log.info(
            "draft judged", exchange=draft.exchange, draft=draft.id, verdict=verdict.kind, why=verdict.why,
            agreed=progress.agreed, waits_for=ahead.waits_for,
        )  # fmt: skip
        if ahead.ripe and not ahead.waits_for:
            await self._promote(watch.draft, verdict)

    async def _promote(self, draft: Draft, verdict: Verdict) -> None:
        self._changed.set()
        try:
            await to_its_end(self._go_live(draft, verdict))
        except DatabaseUnavailableError:
            raise
        except BeastError as error:
            log.warning("draft can't go live", exchange=draft.exchange, draft=draft.id, error=str(error))

    async def _go_live(self, draft: Draft, verdict: Verdict) -> None:
        version = await self.store.promote(draft.id, who=WHO, at=self._now())
        details = {"exchange": draft.exchange, "draft": draft.id, "version": version, "agreed": draft.agreed}
        self._note("exchange-shadow.live", {**details, "why": verdict.why})

    async def _consider_falling_back(self, watch: _Watch, verdict: Verdict) -> None:
        reason = failure(verdict, watch.usual)
        if trades := verdict.tally.trades:
            watch.usual += (trades - watch.usual) / USUAL_MINUTES
        watch.failed = watch.failed + 1 if reason else 0
        limit = self._parameters.shadow_fall_back_minutes
        if not reason or not limit or watch.failed < limit:
            return
        told = f"for {watch.failed} minutes in a row: {reason}"
        self._changed.set()
        try:
            await to_its_end(self._fall_back(watch.draft, verdict, told))
        except DatabaseUnavailableError:
            raise
        except BeastError as error:
            self._faults[watch.draft.id] = f"does not fit what comes {told}; it can't fall back: {error}"

    async def _fall_back(self, draft: Draft, verdict: Verdict, told: str) -> None:
        details: dict[str, object] = {"exchange": draft.exchange, "draft": draft.id, "version": draft.version}
        version = await self.store.fall_back(draft.id, verdict, who=WHO, reason=told, at=self._now())
        if version is None:
            log.info("nothing to fall back from: the rows have changed since", reason=told, **details)
            return
        self._note("exchange-shadow.fall-back", {**details, "now": version, "why": told})

    def _tell(self) -> None:
        """Health tells what fell back lately; every node says so."""
        wrong = {
            f"exchange {draft.exchange} rows": f"version {draft.version} fell back to the rows before it {draft.reason}"
            for draft in self._drafts
            if draft.state == "fallen_back" and draft.ended_at is not None and self._now() - draft.ended_at < TOLD
        }
        self._faults = {draft.id: self._faults[draft.id] for draft in self._drafts if draft.id in self._faults}
        for draft in self._drafts:
            if fault := self._faults.get(draft.id):
                wrong[f"exchange {draft.exchange} rows"] = f"version {draft.version} {fault}"
        for part in self._told - wrong.keys():
            self._report(part, None)
        for part, reason in wrong.items():
            self._report(part, reason)
        self._told = set(wrong)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
