"""Keeps the limits of keys with the other nodes: settles what keys have gone ahead by, many times a second.

The engine lets each key go ahead of the cluster by its lease. What was touched is told to the ledger in one pipeline,
and the ledger's arrival time and counter come back. Without the ledger this node keeps limits as the parameter
`limits_without_valkey` says. docs/limits.md states the bounds and why they hold.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import structlog

from beast._fast import Engine, set_limit_terms, settle_keys, unsettled_keys
from beast.accounts.ledger import Ledger, Quota, Rate
from beast.accounts.limit_store import LimitStore
from beast.accounts.seeds import Seeds
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.storage.database import DatabaseUnavailableError
from beast.storage.valkey import ValkeyUnavailableError

BATCH: Final = 512
"""Keys settled in one turn: a few ms of the event loop."""
RECONNECT_S: Final = 1.0
HEARD_NS: Final = 10**9
"""So often the ledger is asked whether it is there, with keys to settle or without."""
ATTEND_S: Final = 5.0
GONE_S: Final = 30.0
"""A node that has said nothing for so long is not there."""
STOP_S: Final = 2.0


class Dues(NamedTuple):
    """What one key has to settle, as unsettled_keys() gives it."""

    record: int
    admitted: int
    owner: int
    """Of its rate and cap."""
    interval_ns: int
    """0: it has no rate."""
    answered: int
    """-1: it has no cap."""
    floor: int
    month: int


Without = Literal["local", "share", "refuse"]

log = structlog.get_logger("beast.accounts")


class Batch:
    """What is told at once, again and again until it is heard: of each owner one sum, since keys of a line share one.

    Args:
        dues: Of each key.
        mark: Names this batch.
    """

    def __init__(self, dues: list[Dues], mark: str) -> None:
        self.dues = dues
        self.mark = mark
        costs: dict[int, int] = {}
        answers: dict[tuple[int, int], Quota] = {}
        for each in dues:
            if each.interval_ns:
                costs[each.owner] = costs.get(each.owner, 0) + each.admitted * each.interval_ns
            if each.answered >= 0:
                so_far = answers.get((each.owner, each.month), Quota(each.owner, each.month, 0))
                answers[each.owner, each.month] = so_far._replace(
                    answered=so_far.answered + each.answered, floor=max(so_far.floor, each.floor)
                )
        self.rates = [Rate(owner, -(-cost_ns // 1000)) for owner, cost_ns in costs.items()]
        """Rounded up once for all admissions."""
        self.quotas = list(answers.values())
        self.ahead_ns: dict[int, int] = {}
        """What came back of each rate ..."""
        self.used: dict[tuple[int, int], int] = {}
        """... and of each cap ..."""
        self.heard_ns = 0
        """... and when (CLOCK_MONOTONIC)."""

    def hear(self, ahead_us: Sequence[int], used: Sequence[int], now_ns: int) -> list[Quota]:
        """Takes what came back; returns the caps whose counters are missing."""
        self.heard_ns = now_ns
        self.ahead_ns = {each.owner: us * 1000 for each, us in zip(self.rates, ahead_us, strict=True)}
        self.used = {(each.owner, each.month): n for each, n in zip(self.quotas, used, strict=True)}
        return [each for each, n in zip(self.quotas, used, strict=True) if n < 0]

    def waits(self, each: Dues) -> bool:
        """Whether this key's counter is missing."""
        return each.answered >= 0 and self.used[each.owner, each.month] < 0

    def answer(self, each: Dues) -> tuple[int, int]:
        """What settle_keys() wants to know of one key."""
        ahead_ns = self.ahead_ns[each.owner] if each.interval_ns else -1
        return ahead_ns, self.used[each.owner, each.month] if each.answered >= 0 else -1


class Leases:
    """Settles from `start` to `stop`.

    Args:
        engine: Whose keys.
        ledger: What the nodes share; None: there is none.
        store: Which nodes there are.
        seeds: What counters begin with.
        clock: The time.
        node: This node's name.
        report: Told what is wrong, or None when all is well again.
        note: Told how limits are kept, whenever that changes.
        changed: Told whether they are settled with others, whenever that changes: allowances are to be granted anew.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger | None,
        store: LimitStore,
        seeds: Seeds,
        clock: Clock,
        *,
        node: str,
        report: Callable[[str | None], None],
        note: Callable[[str], None],
        changed: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._store = store
        self._seeds = seeds
        self._clock = clock
        self._node = node
        self._report = report
        self._note = note
        self._changed = changed
        self._without: Without = "local"
        self._settle_s = 0.05
        self._boot = clock.wall_ns()
        self._told = 0
        self._doubt: Batch | None = None
        self._unbegun: deque[Batch] = deque()
        self._missing = asyncio.Event()
        self._heard_ns = 0
        self._terms: tuple[bool, int, int, bool, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.reached = False
        """Whether limits are those of the cluster at this moment."""
        self.nodes = 1
        """How many there are, as far as is known."""
        self._agree()

    def tune(self, *, without: Without, settle_ms: int) -> None:
        """Takes new parameters, from now on."""
        self._without = without
        self._settle_s = settle_ms / 1e3
        self._agree()

    @property
    def scope(self) -> str:
        """How limits are kept at this moment, for people."""
        if self.reached:
            return f"cluster: {self.nodes} nodes"
        how = {"local": "the full limits", "share": f"1/{self.nodes} of the limits", "refuse": "what is settled"}
        return f"node: {how[self._without]}"

    async def start(self, tasks: Tasks) -> None:
        """Finds out how limits are kept, then goes on settling."""
        await self.attend()
        if self._ledger is not None:
            await self.turn(self._ledger)
        self._task = tasks.spawn("limits", self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._attend(), name="limits: nodes")
            if self._ledger is not None:
                tasks.create_task(self._keep_settling(self._ledger), name="limits: settle")
                tasks.create_task(self._keep_beginning(self._ledger), name="limits: counters")

    async def stop(self) -> None:
        """Settles what is left and says goodbye: nothing is admitted any more."""
        # Told as well as cancelled: an answer that fails just then may take the cancellation's place.
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            self._missing.set()
            await asyncio.wait({self._task})
        with suppress(TimeoutError, ValkeyUnavailableError, DatabaseUnavailableError):
            async with asyncio.timeout(STOP_S):
                if self._ledger is not None and self.reached:
                    while await self.settle(self._ledger):
                        await self.begin(self._ledger)
                await self._store.leave(self._node)
        if self._ledger is not None:
            await self._ledger.close()

    async def turn(self, ledger: Ledger) -> int:
        """Settles one batch, connecting first where that is needed; returns how many keys it was."""
        now_ns = self._clock.monotonic_ns()
        try:
            if not self.reached or now_ns - self._heard_ns > HEARD_NS:
                await ledger.open()
                self._heard_ns = now_ns
            settled = await self.settle(ledger)
        except ValkeyUnavailableError as error:
            self._lost(str(error))
            return 0
        if not self.reached:
            self.reached = True
            self._report(None)
            self._agree()
        return settled

    async def settle(self, ledger: Ledger) -> int:
        """Settles one batch.

        Raises:
            ValkeyUnavailableError: Nobody knows whether it was heard. It is told again, before all others.
        """
        if self._doubt is None:
            dues = [Dues._make(each) for each in unsettled_keys(self._engine, BATCH)]
            if not dues:
                return 0
            self._told += 1
            self._doubt = Batch(dues, f"{self._boot}:{self._told}")
        batch = self._doubt
        ahead_us, used = await ledger.settle(batch.rates, batch.quotas, mark=batch.mark)
        missing = batch.hear(ahead_us, used, self._clock.monotonic_ns())
        self._doubt = None
        self._apply(batch, [each for each in batch.dues if not batch.waits(each)])
        if missing:
            self._unbegun.append(batch)
            self._missing.set()
        return len(batch.dues)

    async def begin(self, ledger: Ledger) -> None:
        """Begins counters that are missing with what the database knows. Their keys wait: nobody knows what is left.

        Raises:
            ValkeyUnavailableError: To be tried again, as with
            DatabaseUnavailableError: the other one.
        """
        while self._unbegun:
            batch = self._unbegun[0]
            quotas = [each for each in batch.quotas if batch.used[each.owner, each.month] < 0]
            seeds = await self._seeds.find(quotas)
            begun = [each._replace(seed=seed) for each, seed in zip(quotas, seeds, strict=True)]
            _, used = await ledger.settle([], begun, mark=batch.mark)
            waiting = [each for each in batch.dues if batch.waits(each)]
            batch.used |= {(each.owner, each.month): n for each, n in zip(quotas, used, strict=True)}
            self._unbegun.popleft()
            self._apply(batch, waiting)

    def _apply(self, batch: Batch, dues: Sequence[Dues]) -> None:
        settle_keys(self._engine, list(dues), [batch.answer(each) for each in dues], batch.heard_ns)

    async def _keep_settling(self, ledger: Ledger) -> None:
        while not self._stopping:
            settled = await self.turn(ledger)
            if settled < BATCH:
                await asyncio.sleep(self._settle_s if self.reached else RECONNECT_S)

    async def _keep_beginning(self, ledger: Ledger) -> None:
        """Beside the settling, since the database may take its time."""
        while not self._stopping:
            await self._missing.wait()
            self._missing.clear()
            try:
                await self.begin(ledger)
            except (DatabaseUnavailableError, ValkeyUnavailableError) as error:
                log.warning("a cap's counter could not be begun", error=str(error))
                self._missing.set()
                await asyncio.sleep(RECONNECT_S)

    async def _attend(self) -> None:
        while not self._stopping:
            await self.attend()
            await asyncio.sleep(ATTEND_S)

    async def attend(self) -> None:
        """Says that this node is here, and asks how many are."""
        with suppress(DatabaseUnavailableError):
            self.nodes = await self._store.attend(self._node, gone_s=GONE_S)
        self._agree()

    def _lost(self, reason: str) -> None:
        if self.reached:
            log.warning("limits are kept by this node alone", reason=reason, nodes=self.nodes)
        self.reached = False
        self._report(f"{self.scope}: {reason}")
        self._agree()

    def _agree(self) -> None:
        """Tells the engine how limits are kept now, if that is news."""
        leasing = self.reached or self._without == "refuse"
        share = self.nodes if not leasing and self._without == "share" else 1
        retry_ms = round((self._settle_s if self.reached else RECONNECT_S) * 1e3)
        terms = (leasing, share, self.nodes, self.reached, retry_ms)
        if terms == self._terms:
            return
        before, self._terms = self._terms, terms
        self._note(self.scope)
        set_limit_terms(
            self._engine, leasing=leasing, share=share, nodes=self.nodes, cluster=self.reached, retry_ms=retry_ms
        )
        if before is None or before[:2] != terms[:2]:
            self._changed(leasing)
