"""Two servers on one database: every change of a key reaches both within a second; counts of alerts are exact."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.fixtures.usage_path import count_answers

from beast._fast import Engine
from beast.accounts.own_usage import Nothing, OwnUsage
from beast.accounts.service import Accounts, key_digest
from beast.accounts.sync import CHANNEL, KeySync
from beast.accounts.tiers import Tiers
from beast.accounts.types import KeyChanges, TierChanges
from beast.base.clock import SystemClock
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WITHIN_S = 1.0


def ask(engine: Engine, key: str, now_ns: int) -> str:
    question = msgspec.json.encode({"api_key": key, "asset": "BTC", "allow_stale": True, "id": "x" * 64})
    (answer,) = engine.ask(question, now_ns=now_ns)
    return str(msgspec.json.decode(answer).get("error", "price"))


class Nodes:
    """Two engines whose keys follow the database."""

    def __init__(self) -> None:
        self.engines = [Engine(node=f"node{n}", max_keys=1024, max_instruments=64) for n in range(2)]
        for engine in self.engines:
            engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
            engine.publish(1, b"100.5", 1, 1_000_000)
        self.now_ns = 2_000_000

    async def both(self, key: str, expected: str) -> None:
        """Both must answer so within a second from now."""
        answers: list[str] = []
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            # The workers' clock runs ahead, so that the key's rate is no reason to refuse.
            self.now_ns += 3_600_000_000_000
            answers = [ask(engine, key, self.now_ns) for engine in self.engines]
            if answers == [expected] * 2:
                return
            await asyncio.sleep(0.005)
        pytest.fail(f"not {expected} within a second: {answers}")


@pytest.fixture
async def nodes(database: Database) -> AsyncIterator[Nodes]:
    nodes = Nodes()
    syncs = [KeySync(engine, Nothing(), database, SystemClock()) for engine in nodes.engines]
    tasks = [asyncio.create_task(sync.run()) for sync in syncs]
    for sync in syncs:
        await asyncio.wait_for(sync.loaded(), 5)
    yield nodes
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database, SystemClock())


async def test_pause_resume_and_revocation(nodes: Nodes, accounts: Accounts) -> None:
    key = await accounts.create_key("partner")
    await nodes.both(key.api_key, "price")
    await accounts.pause_key(str(key.id))
    await nodes.both(key.api_key, "unauthorized")
    await accounts.resume_key(str(key.id))
    await nodes.both(key.api_key, "price")
    await accounts.revoke_key(str(key.id))
    await nodes.both(key.api_key, "unauthorized")


async def test_scopes(nodes: Nodes, accounts: Accounts) -> None:
    key = await accounts.create_key("partner", scopes=["report"])
    await nodes.both(key.api_key, "unauthorized")
    await accounts.update_key(str(key.id), KeyChanges(scopes=["report", "price"]))
    await nodes.both(key.api_key, "price")
    await accounts.update_key(str(key.id), KeyChanges(scopes=["push"]))
    await nodes.both(key.api_key, "unauthorized")


async def test_a_rotation_without_grace(nodes: Nodes, accounts: Accounts) -> None:
    old = await accounts.create_key("partner")
    await nodes.both(old.api_key, "price")
    new = await accounts.rotate_key(str(old.id), grace=timedelta())
    await nodes.both(new.api_key, "price")
    await nodes.both(old.api_key, "unauthorized")


async def test_the_end_of_a_grace(nodes: Nodes, accounts: Accounts) -> None:
    old = await accounts.create_key("partner")
    new = await accounts.rotate_key(str(old.id), grace=timedelta(seconds=1.5))
    ends = time.monotonic() + 1.5
    await nodes.both(old.api_key, "price")
    await nodes.both(new.api_key, "price")
    await asyncio.sleep(max(0.0, ends - time.monotonic()))
    await nodes.both(old.api_key, "unauthorized")
    await nodes.both(new.api_key, "price")


async def test_a_tier_and_its_limits(nodes: Nodes, accounts: Accounts, database: Database) -> None:
    key = await accounts.create_key("partner")
    await nodes.both(key.api_key, "price")
    tiers = Tiers(database, SystemClock())
    await tiers.set("spent", TierChanges(monthly_queries=0))
    await accounts.update_key(str(key.id), KeyChanges(tier="spent"))
    await nodes.both(key.api_key, "quota_exceeded")
    await tiers.set("spent", TierChanges(monthly_queries=None))
    await nodes.both(key.api_key, "price")


async def test_what_one_of_a_line_has_used_is_used_for_the_other(
    nodes: Nodes, accounts: Accounts, database: Database
) -> None:
    old = await accounts.create_key("free")
    await count_answers(database, SystemClock(), (old.id, 1000))
    new = await accounts.rotate_key(str(old.id))
    await nodes.both(new.api_key, "quota_exceeded")
    # Taken back from the one, it is given back to the other.
    await database.execute(b"UPDATE api_keys SET current_usage = 0 WHERE successor_id IS NOT NULL")
    await nodes.both(new.api_key, "price")


async def test_networks_are_told_of(accounts: Accounts, database: Database) -> None:
    key = await accounts.create_key("partner")
    notices = database.listen(CHANNEL)
    assert await asyncio.wait_for(anext(notices), 5) is None
    await accounts.update_key(str(key.id), KeyChanges(networks=["192.0.2.0/24"]))
    notice = await asyncio.wait_for(anext(notices), 5)
    assert notice is not None
    assert notice.payload == key_digest(key.api_key).hex()
    # A label and a count are nobody's business.
    await accounts.update_key(str(key.id), KeyChanges(label="ours"))
    await count_answers(database, SystemClock(), (key.id, 1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(notices), 0.2)
    await notices.aclose()


async def test_counts_of_one_line_that_race_store_every_alert_once(accounts: Accounts, database: Database) -> None:
    line = [await accounts.create_key("free")]
    for _ in range(3):
        line.append(await accounts.rotate_key(str(line[-1].id)))
    other = await accounts.create_key("free")
    ids = [key.id for key in line]
    batches = [[(ids[n % 4], 9), (other.id, 10), (ids[(n + 1) % 4], 1)] for n in range(100)]
    await asyncio.gather(*(count_answers(database, SystemClock(), *batch) for batch in batches))
    month = datetime.now(UTC).date().replace(day=1)
    alerts = await OwnUsage(database, SystemClock(), Nothing()).alerts(month=month)
    assert sorted((each.key_id, each.percent) for each in alerts) == sorted(
        (owner, percent) for owner in (ids[0], other.id) for percent in (75, 90, 100)
    )
    assert {each.used for each in alerts if each.percent == 100} == {1000}


async def test_levels_are_rows(accounts: Accounts, database: Database) -> None:
    await database.execute(b"DELETE FROM usage_alert_levels")
    await database.execute(b"INSERT INTO usage_alert_levels VALUES (1), (50)")
    key = await accounts.create_key("free")
    await count_answers(database, SystemClock(), (key.id, 9))
    usage = OwnUsage(database, SystemClock(), Nothing())
    assert await usage.alerts() == []
    await count_answers(database, SystemClock(), (key.id, 1))
    await count_answers(database, SystemClock(), (key.id, 500))
    assert [(each.percent, each.used) for each in await usage.alerts()] == [(1, 10), (50, 510)]
