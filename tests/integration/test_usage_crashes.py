"""Processes are killed at every step of usage's path; in the end every key's total is what its client received."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fixtures import usage_child
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
KEYS = (1, 2, 3)


class Row(msgspec.Struct):
    key_id: int
    answers: int


class Child:
    """One server, and a client that counts what it receives."""

    def __init__(self, url: str, home: Path, point: str = "never", nth: int = 1, queue: Path | None = None) -> None:
        self.received: Counter[int] = Counter()
        arguments = [url, str(home), point, str(nth), *([str(queue)] if queue else [])]
        self.process = subprocess.Popen(
            [sys.executable, usage_child.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(line) if line else 0

    def ask(self, times: int) -> None:
        """Asks so often, several at a time, or until the server is dead; then reads what it had still sent."""
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self.port))
            sock.settimeout(0.2)
            for turn in range(times):
                burst = 1 + turn % 8
                for at in range(burst):
                    with contextlib.suppress(ConnectionRefusedError):
                        sock.send(b'{"api_key":"tb_%d","asset":"BTC","id":%d}' % (KEYS[(turn + at) % 3], at))
                if self._receive(sock, burst, turn) < burst and self.process.poll() is not None:
                    break

    def _receive(self, sock: socket.socket, burst: int, turn: int) -> int:
        got = 0
        while got < burst:
            try:
                answer = sock.recv(2048)
            except TimeoutError:
                break
            except ConnectionRefusedError:
                continue
            assert b'"price":1.5' in answer
            at = int(answer.rstrip(b" }\n").rsplit(b":", 1)[1])
            self.received[KEYS[(turn + at) % 3]] += 1
            got += 1
        return got

    def stop(self) -> None:
        """In order."""
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0

    def died(self) -> bool:
        """Whether it has killed itself, as it was told."""
        return self.process.wait(timeout=60) == -signal.SIGKILL

    def close(self) -> None:
        """Leaves nothing behind."""
        self.process.kill()
        self.process.communicate()


async def totals(database: Database) -> list[Counter[int]]:
    """By key: what rows, hours and batches say; the last only in sum."""
    rows = await database.fetch(b"SELECT key_id, count(*) AS answers FROM usage_logs GROUP BY key_id", row=Row)
    hours = await database.fetch(
        b"SELECT key_id, sum(answers)::bigint AS answers FROM usage_key_hours GROUP BY key_id", row=Row
    )
    return [Counter({row.key_id: row.answers for row in each}) for each in (rows, hours)]


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
