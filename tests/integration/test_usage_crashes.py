"""Processes are killed at every step of usage's path; in the end every key's total is what its client received."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures import usage_child
from tests.fixtures.usage_crash import Child, totals
from tests.fixtures.usage_path import make_pipeline

from beast._fast import Engine, monotonic_ns
from beast.base.clock import SystemClock
from beast.storage.database import Database
from beast.storage.embedded import EmbeddedPostgres
from beast.storage.migrate import migrate
from beast.usage.verify import tell_what_is_left, verify

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

POINTS = [
    "before spool",
    "mid spool",
    "after spool",
    "before sync",
    "after sync",
    "before sink",
    "before insert",
    "after insert",
    "before copy",
    "after copy",
    "before commit",
    "after sink",
    "after acknowledge",
]
CONSUMER_POINTS = ["before insert", "before copy", "after copy", "before commit", "after commit"]


async def test_a_server_killed_at_any_step_counts_every_answer_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    received: Counter[int] = Counter()
    for point in POINTS:
        child = Child(database_url, tmp_path, point, nth=3)
        try:
            await asyncio.to_thread(child.ask, 60_000)  # it dies long before, however slow the disk is
            assert child.died(), point
            received += child.received
        finally:
            child.close()
        await tell_what_is_left(database, tmp_path, "n1", SystemClock())
        found = await verify(database, SystemClock())
        assert found.ok, (point, found.differences)
        assert found.made == received.total(), point
    last = Child(database_url, tmp_path)
    try:
        await asyncio.to_thread(last.ask, 200)
        last.stop()
        received += last.received
    finally:
        last.close()
    assert await totals(database) == [received] * 2
    found = await verify(database, SystemClock())
    assert (found.ok, found.made, found.waiting) == (True, received.total(), 0)
    assert list((tmp_path / "usage" / "rings").iterdir()) == []


async def test_a_server_killed_at_random_counts_every_answer_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    received: Counter[int] = Counter()
    chance = random.Random(5)
    for _ in range(8):
        child = Child(database_url, tmp_path)
        try:
            timer = threading.Timer(chance.uniform(0.02, 0.6), child.process.kill)
            timer.start()
            await asyncio.to_thread(child.ask, 100_000)
            timer.join()
            received += child.received
        finally:
            child.close()
    last = Child(database_url, tmp_path)
    last.stop()
    assert received.total() > 1000
    assert await totals(database) == [received] * 2
    assert (await verify(database, SystemClock())).ok


async def test_consumers_killed_at_any_step_and_messages_repeated_and_reordered_count_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    queue = tmp_path / "queue"
    child = Child(database_url, tmp_path / "home", queue=queue)
    try:
        await asyncio.to_thread(child.ask, 1500)
        child.stop()
    finally:
        child.close()
    messages = sorted(queue.glob("*.json"))
    assert len(messages) > 2
    chance = random.Random(3)
    names = [f"{number:05d}" for number in range(2 * len(messages))]
    chance.shuffle(names)
    for at, message in enumerate(messages):
        shutil.copy(message, queue / f"{names[2 * at]}.json")
        message.rename(queue / f"{names[2 * at + 1]}.json")
    for point in [*CONSUMER_POINTS, "never"]:
        arguments = [sys.executable, usage_child.__file__, database_url, "-", point, "1", str(queue)]
        done = await asyncio.to_thread(subprocess.run, arguments, timeout=60, check=False)
        assert done.returncode == (0 if point == "never" else -signal.SIGKILL), point
    assert not list(queue.glob("*.json"))
    assert await totals(database) == [child.received] * 2
    assert (await verify(database, SystemClock())).ok


@pytest.fixture
def own_postgres(new_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(new_home)
    server.start()
    migrate(server.url())
    yield server
    server.stop()


async def test_postgresql_killed_under_load_costs_nothing(own_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    engine = Engine(node="test", max_keys=1024, max_instruments=64)
    engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
    engine.set_ttl_ms(86_400_000)
    engine.put_key(sha256(b"tb_1").digest(), 1, per_second=0, burst=0, partner=True)
    asked = 0
    async with Database(own_postgres.url(), connect_timeout_s=2) as database:
        pipeline = make_pipeline(engine, database, tmp_path)
        await pipeline.start()

        async def ask_for(turns: int) -> None:
            nonlocal asked
            for _ in range(turns):
                for _ in range(200):
                    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
                asked += 200
                await asyncio.sleep(0.002)

        for _ in range(3):
            await ask_for(50)
            pid: Any = own_postgres.pid()
            os.kill(pid, signal.SIGKILL)
            await ask_for(50)
            await asyncio.to_thread(own_postgres.ensure_running)
        assert await pipeline.flush(60)
        assert pipeline.pending == 0
        await pipeline.tell_edges()
        assert await totals(database) == [Counter({1: asked})] * 2
        found = await verify(database, SystemClock())
        assert (found.ok, found.made) == (True, asked)
        await pipeline.stop(5)
