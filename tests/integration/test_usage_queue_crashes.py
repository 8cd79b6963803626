"""Server, consumer and queue die at every step of the way through SQS; the totals are what the client received."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures import usage_child
from tests.fixtures.emulator import CREDENTIALS, Emulator, running_emulator
from tests.fixtures.queue_faults import Fault, faulty
from tests.fixtures.usage import NOW_NS, make_batch
from tests.fixtures.usage_crash import Child, totals

from beast.base.clock import ManualClock, SystemClock
from beast.base.errors import BeastError
from beast.storage.database import Database
from beast.usage.consuming import Consuming
from beast.usage.pipeline import spool_folder
from beast.usage.spool import spooled
from beast.usage.sqs import SqsQueue
from beast.usage.sqs_sink import SqsSink
from beast.usage.sqs_source import SqsSource
from beast.usage.verify import tell_what_is_left, verify

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

POINTS = ["before sink", "after sink", "after acknowledge"]
CONSUMER_POINTS = ["after receive", "before insert", "after copy", "after commit", "after delete"]
LIMIT_S = 60.0


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_emulator() as running:
        yield running


def in_queue(emulator: Emulator, url: str) -> int:
    """Messages, received or not."""
    told = emulator.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])


def until_empty(emulator: Emulator, url: str, consumer: subprocess.Popen[str] | None = None) -> None:
    """Waits until somebody has emptied the queue."""
    begun = time.monotonic()
    while in_queue(emulator, url):
        assert consumer is None or consumer.poll() is None, "the consumer has ended"
        assert time.monotonic() - begun < LIMIT_S
        time.sleep(0.05)


def consume(database_url: str, url: str, point: str = "never") -> int:
    """A consumer, until the queue is empty or it dies; returns its exit code."""
    arguments = [sys.executable, usage_child.__file__, database_url, "-", point, "1", url]
    return subprocess.run(arguments, timeout=LIMIT_S, check=False).returncode


def consume_all(database_url: str, emulator: Emulator, url: str) -> None:
    """What a dead consumer had received comes again after a second."""
    while in_queue(emulator, url):
        assert consume(database_url, url) == 0


async def assert_exact(database: Database, received: Counter[int]) -> None:
    assert await totals(database) == [received] * 2
    found = await verify(database, SystemClock())
    assert (found.ok, found.made, found.waiting) == (True, received.total(), 0), found.differences


async def test_servers_and_consumers_killed_at_any_step_count_every_answer_once(
    database: Database, database_url: str, tmp_path: Path, emulator: Emulator
) -> None:
    url = emulator.make_queue("killed")
    received: Counter[int] = Counter()
    for point in [*POINTS, "never"]:
        child = Child(database_url, tmp_path, point, nth=2, queue=url)
        try:
            await asyncio.to_thread(child.ask, 300 if point == "never" else 60_000)
            if point == "never":
                child.stop()
            else:
                assert child.died(), point
            received += child.received
        finally:
            child.close()
    for point in CONSUMER_POINTS:
        while (code := await asyncio.to_thread(consume, database_url, url, point)) == 0:
            assert in_queue(emulator, url), point
        assert code == -signal.SIGKILL, point
    await asyncio.to_thread(consume_all, database_url, emulator, url)
    await tell_what_is_left(database, tmp_path, "n1", SystemClock())
    await assert_exact(database, received)


async def test_a_queue_frozen_and_then_away_fills_the_spool_which_drains_when_it_is_back(
    database: Database, database_url: str, tmp_path: Path, emulator: Emulator
) -> None:
    url = emulator.make_queue("away")
    spool = spool_folder(tmp_path)
    child = Child(database_url, tmp_path, queue=url)

    def ask_and_see_the_spool_grow() -> None:
        """What comes into the spool now can't leave it."""
        before, begun = len(list(spooled(spool))), time.monotonic()
        child.ask(200)
        while len(list(spooled(spool))) <= before:
            assert time.monotonic() - begun < LIMIT_S
            time.sleep(0.05)

    try:
        await asyncio.to_thread(child.ask, 200)
        emulator.freeze()
        await asyncio.to_thread(ask_and_see_the_spool_grow)
        emulator.thaw()
        await asyncio.to_thread(child.ask, 200)
        emulator.stop()
        await asyncio.to_thread(ask_and_see_the_spool_grow)
        emulator.start()
        await asyncio.to_thread(child.ask, 200)
        child.stop()
    finally:
        child.close()
    while any(spooled(spool)):
        # It had not the time to send everything while it stopped: the next start does.
        again = Child(database_url, tmp_path, queue=url)
        again.stop()
    await asyncio.to_thread(consume_all, database_url, emulator, url)
    await assert_exact(database, child.received)


async def test_whatever_the_queue_does_wrong_at_random_each_record_is_booked_once(
    database: Database, emulator: Emulator
) -> None:
    chance = random.Random(11)
    faults = [Fault.NONE, Fault.AWAY, Fault.LOST, Fault.TWICE, Fault.HALF, Fault.THROTTLED, Fault.GARBLED]
    batches = [make_batch(20, lane=lane, first=1 + 20 * at) for lane in range(4) for at in range(15)]
    chance.shuffle(batches)
    direct = emulator.make_queue("random")
    with faulty(emulator.url) as wire:
        for action in ("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
            wire.will(action, *chance.choices(faults, k=12))
        url = wire.queue(direct)
        sink = SqsSink(SqsQueue(url), database, pytest.fail)
        left = {batch.identity: batch for batch in batches}
        while left:
            try:
                for identity in await sink.put(list(left.values())):
                    del left[identity]
            except BeastError:
                continue
        await shuffle(emulator, direct, chance)
        stop = asyncio.Event()
        sources = [SqsSource(SqsQueue(url), wait_s=1, hidden_s=1) for _ in range(2)]
        consuming = [Consuming(source, database, ManualClock(NOW_NS)) for source in sources]
        running = asyncio.gather(*(each.run(stop) for each in consuming))
        await asyncio.to_thread(until_empty, emulator, direct)
        stop.set()
        await running
    assert sum(each.booked for each in consuming) == len(batches)
    assert sum(each.dead for each in consuming) == 0
    assert await totals(database) == [Counter({1: 20 * len(batches)})] * 2


async def shuffle(emulator: Emulator, url: str, chance: random.Random) -> None:
    """Whatever is in the queue comes in another order, and a third of it twice."""

    def work() -> None:
        client, bodies = emulator.client, []
        while received := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                bodies.append(message["Body"])
                client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        bodies += chance.sample(bodies, len(bodies) // 3)
        chance.shuffle(bodies)
        for body in bodies:
            client.send_message(QueueUrl=url, MessageBody=body)

    await asyncio.to_thread(work)


def test_a_consumer_is_stopped_by_a_signal_when_it_has_booked_what_it_had(
    database_url: str, emulator: Emulator, tmp_path: Path
) -> None:
    url = emulator.make_queue("stopped")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEAST_")}
    environment = {**kept, "DATABASE_URL": database_url, "BEAST_HOME": str(tmp_path)}
    beast = [str(Path(sys.executable).with_name("beast")), "consume", "--queue-url", url]
    with subprocess.Popen(beast, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(3):
                emulator.client.send_message(QueueUrl=url, MessageBody="no envelope")
            until_empty(emulator, url, process)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "0 batches booked, 0 repeated, 3 dead letters\n")
