"""Ten reports a month are ten, however many are asked for at once and on however many nodes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.fixtures.reports import NOW, clock_at, make_key

from beast.base.clock import ManualClock
from beast.base.tasks import Tasks
from beast.reports.limiter import Limiter, LimitReachedError, next_month
from beast.reports.service import Reports
from beast.reports.store import COUNT_CHECK, COUNT_UPSERT, ReportStore
from beast.reports.types import ReportKey
from beast.storage.database import Database
from beast.storage.statements import Statements

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def clock() -> ManualClock:
    return clock_at()


@pytest.fixture
def limiter(database: Database, clock: ManualClock) -> Limiter:
    return Limiter(ReportStore(database), clock)


async def known(database: Database, api_key: str) -> ReportKey:
    return await Reports(database, clock_at(), Tasks(), node="test").who(api_key.encode(), "192.0.2.1")


async def a_key(database: Database, tier: str = "pro") -> ReportKey:
    return await known(database, (await make_key(database, tier)).api_key)


async def made(limiter: Limiter, key: ReportKey, times: int) -> int:
    """How many of so many at once are let through."""
    results = await asyncio.gather(*(limiter.take(key) for _ in range(times)), return_exceptions=True)
    assert all(isinstance(each, LimitReachedError) or not isinstance(each, BaseException) for each in results)
    return sum(not isinstance(each, BaseException) for each in results)


async def test_fifty_at_once_from_two_nodes_make_ten(database: Database, database_url: str, clock: ManualClock) -> None:
    key = await a_key(database)
    async with Database(database_url) as other:
        here, there = Limiter(ReportStore(database), clock), Limiter(ReportStore(other), clock)
        counts = await asyncio.gather(made(here, key, 25), made(there, key, 25))
    assert sum(counts) == 10
    allowance = await here.check(key)
    assert (allowance.allowed, allowance.in_month, allowance.in_day) == (10, 10, 10)


async def test_the_server_has_the_two_statements_prepared(database_url: str, clock: ManualClock) -> None:
    statements = Statements(COUNT_CHECK, COUNT_UPSERT)
    async with Database(database_url, statements=statements) as database:
        key = await a_key(database)
        assert statements.prepared == {COUNT_CHECK.name: True, COUNT_UPSERT.name: True}
        assert await made(Limiter(ReportStore(database), clock), key, 30) == 10


async def test_refusals_do_not_count_and_say_when(limiter: Limiter, database: Database) -> None:
    key = await a_key(database)
    assert await made(limiter, key, 12) == 10
    with pytest.raises(LimitReachedError, match="the 10 reports of this month are made") as refused:
        await limiter.expect(key)
    assert refused.value.allowance.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert (await limiter.check(key)).in_month == 10


async def test_a_new_month_and_a_new_day_begin_by_themselves(
    limiter: Limiter, database: Database, clock: ManualClock
) -> None:
    key = await a_key(database)
    assert await made(limiter, key, 4) == 4
    clock.advance(86_400)
    assert await made(limiter, key, 3) == 3
    allowance = await limiter.check(key)
    assert (allowance.in_month, allowance.in_day) == (7, 3)
    clock.set_wall_ns(int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000_000)
    assert (await limiter.check(key)).in_month == 0
    assert await made(limiter, key, 12) == 10


async def test_a_node_whose_clock_is_behind_opens_no_old_month(
    limiter: Limiter, database: Database, clock: ManualClock
) -> None:
    key = await a_key(database)
    ahead = Limiter(ReportStore(database), clock_at(datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC)))
    clock.set_wall_ns(int(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000_000)
    assert await made(limiter, key, 10) == 10
    assert await made(ahead, key, 6) == 6
    assert await made(limiter, key, 10) == 4
    assert await made(ahead, key, 1) == 0


async def test_what_was_not_made_is_given_back(limiter: Limiter, database: Database, clock: ManualClock) -> None:
    key = await a_key(database)
    tickets = [await limiter.take(key) for _ in range(10)]
    await tickets[0].give_back()
    assert (await limiter.check(key)).in_month == 9
    assert await made(limiter, key, 2) == 1
    clock.set_wall_ns(int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000_000)
    assert await made(limiter, key, 2) == 2
    await tickets[1].give_back()
    assert (await limiter.check(key)).in_month == 2


@pytest.mark.parametrize(
    ("tier", "allowed"), [("free", 10), ("enterprise", 10), ("unlimited", None), ("partner", None)]
)
async def test_a_tier_says_how_many(limiter: Limiter, database: Database, tier: str, allowed: int | None) -> None:
    key = await a_key(database, tier)
    assert (await limiter.check(key)).allowed == allowed
    assert await made(limiter, key, 15) == (allowed or 15)


async def test_a_tier_without_reports_makes_none(limiter: Limiter, database: Database) -> None:
    key = await a_key(database, "free")
    await database.execute(b"UPDATE rate_limit_template SET monthly_reports = 0 WHERE tier = 'free'")
    assert await made(limiter, key, 3) == 0


async def test_the_add_on_lifts_the_limit_where_it_may_be_bought(
    limiter: Limiter, database: Database, clock: ManualClock
) -> None:
    reports = Reports(database, clock, Tasks(), node="test")
    pro, free = await a_key(database, "pro"), await a_key(database, "free")
    assert await reports.set_addon(pro.id, unlimited=True)
    assert await reports.set_addon(free.id, unlimited=True)
    assert await made(limiter, pro, 15) == 15
    assert await made(limiter, free, 15) == 10
    assert await reports.set_addon(pro.id, unlimited=False)
    assert not await reports.set_addon(pro.id, unlimited=False)
    assert await made(limiter, pro, 1) == 0


async def test_a_rotated_key_goes_on_where_it_was(limiter: Limiter, database: Database) -> None:
    old, new = await make_key(database), await make_key(database)
    await database.execute(b"UPDATE api_keys SET quota_key_id = %(old)s", {"old": old.id})
    first, second = await known(database, old.api_key), await known(database, new.api_key)
    assert first.owner == second.owner == old.id
    assert first.line == second.line == [old.id, new.id]
    assert await made(limiter, first, 6) == 6
    assert await made(limiter, second, 6) == 4


def test_months_end_in_december_too() -> None:
    assert next_month(datetime(2026, 12, 31, 23, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(NOW) - NOW == timedelta(days=4, hours=6, minutes=30)
