"""Valkey is killed at every step of a lease, and at a month's turn: limits hold, usage is what was answered."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec
import pytest
from tests.fixtures.valkey import RealValkey, real_valkey

from beast._fast import Engine
from beast.accounts.leases import Leases
from beast.accounts.ledger import Quota, Rate, ValkeyLedger
from beast.accounts.limit_store import LimitStore
from beast.accounts.months import month_date, month_number, month_of
from beast.accounts.seeds import Seeds
from beast.base.clock import SystemClock
from beast.storage.database import Database, DatabaseUnavailableError
from beast.storage.valkey import Valkey, ValkeyUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

KEY = "tb_shared"
DIGEST = sha256(KEY.encode()).digest()
QUESTION = json.dumps({"api_key": KEY, "asset": "BTC", "allow_stale": True, "id": "x" * 64}).encode()
MONTH = month_number(month_of(SystemClock().wall_ns()))
NODES, CAP, BURST, LEASE = 2, 60, 40, 10
A_TURN = 4
"""Requests to each node between two settlements."""
AWAY = 3
"""Turns until a killed Valkey is there again, with an empty memory."""
POINTS = ["before open", "before ask", "after grant", "before begin", "after begin"]


class Id(msgspec.Struct):
    id: int


class Reaper:
    """Kills Valkey the `nth` time that anybody comes to `point`. What was answered by then is booked."""

    def __init__(self, valkey: RealValkey, point: str, nth: int) -> None:
        self.killed = False
        self.nodes: list[Node] = []
        self._valkey = valkey
        self._point = point
        self._left = nth

    def arm(self, point: str) -> None:
        """From now on, the next time that anybody comes there."""
        self._point, self._left = point, 1

    async def reap(self, point: str) -> bool:
        """Whether it is dead now."""
        if point == self._point and not self.killed:
            self._left -= 1
            if self._left == 0:
                for node in self.nodes:
                    await node.book()
                self._valkey.kill()
                self.killed = True
                return True
        return False


class Trapped:
    """The way to a Valkey that dies."""

    def __init__(self, ledger: ValkeyLedger, reaper: Reaper) -> None:
        self._ledger = ledger
        self._reaper = reaper

    async def open(self) -> None:
        """See Ledger."""
        await self._reaper.reap("before open")
        await self._ledger.open()

    async def close(self) -> None:
        """See Ledger."""
        await self._ledger.close()

    async def settle(self, rates: Sequence[Rate], quotas: Sequence[Quota], *, mark: str) -> tuple[list[int], list[int]]:
        """See Ledger."""
        begins = any(quota.seed >= 0 for quota in quotas)
        await self._reaper.reap("before begin" if begins else "before ask")
        told = await self._ledger.settle(rates, quotas, mark=mark)
        if await self._reaper.reap("after begin" if begins else "after grant"):
            raise ValkeyUnavailableError("died before its answer came", where="valkey")
        return told


class Node:
    """One server's limits; its usage is booked when the test says so."""

    def __init__(self, name: str, url: str, database: Database, reaper: Reaper, key_id: int) -> None:
        self.engine = Engine(node=name, max_keys=16, max_instruments=4, usage_ring=1 << 12)
        self.engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
        self.engine.publish(1, b"1.5", 1, 1)
        self.answered: Counter[int] = Counter()
        """By month."""
        self.month = MONTH
        self.recorded = self.booked = 0
        self.booking = asyncio.Lock()
        self.ledger = Trapped(ValkeyLedger(Valkey(url, pool_size=2), name), reaper)
        self._key_id = key_id
        self._database = database
        store = LimitStore(database)
        self.leases = Leases(
            self.engine, self.ledger, store, Seeds(store, self), SystemClock(),
            node=name, report=lambda _: None, note=lambda _: None, changed=lambda _: None,
        )  # fmt: skip
        self.leases.tune(without="refuse", settle_ms=50)

    def unbooked(self) -> dict[int, int]:
        """See Usage."""
        return {self._key_id: self.answered[self.month] - self.booked}

    async def book(self) -> None:
        """What it has answered goes into the key's row."""
        await self._database.execute(
            b"UPDATE api_keys SET usage_month = %(month)s, current_usage = %(n)s"
            b" + CASE WHEN usage_month = %(month)s THEN current_usage ELSE 0 END WHERE id = %(id)s",
            {"n": self.answered[self.month] - self.booked, "id": self._key_id, "month": month_date(self.month)},
        )
        self.booked = self.answered[self.month]

    def read(self, month: int, *, per_second: int) -> None:
        """The key sync reads the key."""
        self.month, self.booked = month, 0
        self.engine.put_key(
            DIGEST, self._key_id, per_second=per_second, burst=BURST if per_second else 0, lease=LEASE, month=month,
            allowance=None if per_second else CAP,
        )  # fmt: skip

    def ask(self) -> None:
        for _ in range(A_TURN):
            self.answered[self.month] += "price" in json.loads(self.engine.ask(QUESTION)[0])
        self.recorded += sum(answers for _, answers in self.engine.drain_usage()[1])

    async def settle(self) -> None:
        """One turn of both long tasks of Leases."""
        await self.leases.turn(self.ledger)
        with suppress(ValkeyUnavailableError, DatabaseUnavailableError):
            await self.leases.begin(self.ledger)


@pytest.fixture(scope="module")
def valkey() -> Iterator[RealValkey]:
    with real_valkey() as server:
        yield server


@pytest.fixture
async def key_id(database: Database) -> int:
    made = await database.fetch_one(
        b"INSERT INTO api_keys (key_hash, prefix, tier, current_usage, usage_month)"
        b" VALUES (%(digest)s, 'tb_', 'free', 0, %(month)s) RETURNING id",
        {"digest": DIGEST, "month": month_date(MONTH)},
        row=Id,
    )
    assert made is not None
    return made.id


async def play(nodes: Sequence[Node], reaper: Reaper, valkey: RealValkey, *, turns: int) -> None:
    """Request and settlement in turn; a Valkey that was killed comes back some turns later."""
    away = 0
    for _ in range(turns):
        for node in nodes:
            node.ask()
            await node.settle()
        away += reaper.killed
        if away == AWAY:
            valkey.start()


async def started(valkey: RealValkey, database: Database, key_id: int, point: str, nth: int) -> Reaper:
    valkey.ask("FLUSHALL")
    reaper = Reaper(valkey, point, nth)
    reaper.nodes += [Node(name, valkey.url, database, reaper, key_id) for name in ("one", "two")]
    for _ in range(NODES):
        for node in reaper.nodes:
            await node.leases.attend()
    return reaper


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", POINTS)
async def test_a_cap_holds_though_valkey_is_killed(
    point: str, nth: int, valkey: RealValkey, database: Database, key_id: int
) -> None:
    reaper = await started(valkey, database, key_id, point, 1 if "begin" in point else nth)
    for node in reaper.nodes:
        node.read(MONTH, per_second=0)
    await play(reaper.nodes, reaper, valkey, turns=20)
    answered = sum(node.answered[MONTH] for node in reaper.nodes)
    assert reaper.killed
    assert CAP - NODES * LEASE <= answered <= CAP + NODES * LEASE
    assert [node.recorded for node in reaper.nodes] == [node.answered[MONTH] for node in reaper.nodes]
    for node in reaper.nodes:
        await node.ledger.close()


@pytest.mark.parametrize("point", ["before open", "before ask", "after grant"])
async def test_a_rate_holds_though_valkey_is_killed(
    point: str, valkey: RealValkey, database: Database, key_id: int
) -> None:
    reaper = await started(valkey, database, key_id, point, 2)
    clock, begun = SystemClock(), SystemClock().monotonic_ns()
    for node in reaper.nodes:
        node.read(MONTH, per_second=1)
    await play(reaper.nodes, reaper, valkey, turns=30)
    answered = sum(node.answered[MONTH] for node in reaper.nodes)
    gone_s = (clock.monotonic_ns() - begun) / 1e9
    assert reaper.killed
    assert BURST <= answered <= BURST + gone_s + NODES * LEASE + (BURST + LEASE), (
        "the limit, and once more for the loss"
    )
    assert [node.recorded for node in reaper.nodes] == [node.answered[MONTH] for node in reaper.nodes]
    for node in reaper.nodes:
        await node.ledger.close()


@pytest.mark.parametrize("point", ["before ask", "after grant", "before begin", "after begin"])
async def test_each_month_has_its_cap_though_valkey_is_killed_at_its_turn(
    point: str, valkey: RealValkey, database: Database, key_id: int
) -> None:
    reaper = await started(valkey, database, key_id, "never", 1)
    for node in reaper.nodes:
        node.read(MONTH, per_second=0)
    await play(reaper.nodes, reaper, valkey, turns=8)
    reaper.arm(point)
    for node in reaper.nodes:
        await node.book()
        node.read(MONTH + 1, per_second=0)
    await play(reaper.nodes, reaper, valkey, turns=25)
    assert reaper.killed
    for month in (MONTH, MONTH + 1):
        assert 0 < sum(node.answered[month] for node in reaper.nodes) <= CAP + NODES * LEASE, month
    assert [node.recorded for node in reaper.nodes] == [node.answered.total() for node in reaper.nodes]
    for node in reaper.nodes:
        await node.ledger.close()
