"""Batches through a queue of SQS, a real emulator of it: whatever the queue does wrong, each record is booked once."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from tests.fixtures.emulator import CREDENTIALS, Emulator, running_emulator
from tests.fixtures.queue_faults import Fault, FaultyQueue, faulty
from tests.fixtures.usage import BOOT, NOW_NS, make_batch
from tests.fixtures.usage_records import realistic

from beast.base.clock import ManualClock
from beast.base.errors import BeastError
from beast.cluster.types import Parameters
from beast.storage.database import Database
from beast.usage.admin import UsageAdmin
from beast.usage.codec import halves, pack, seal, unpack
from beast.usage.consuming import Consuming
from beast.usage.records import runs_of
from beast.usage.sqs import OLDER_MESSAGE_BYTES, QueueError, SqsQueue
from beast.usage.sqs_sink import SqsSink
from beast.usage.sqs_source import SqsSource
from beast.usage.store import UsageStore
from beast.usage.types import BATCH_RECORDS, Batch, Identity

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLOCK = ManualClock(NOW_NS)


class Row(msgspec.Struct):
    value: Any


async def one(database: Database, query: bytes) -> Any:
    row = await database.fetch_one(query, row=Row)
    assert row is not None
    return row.value


async def booked(database: Database) -> tuple[int, int]:
    """Rows of usage_logs, and what usage_key_hours adds up to."""
    return (
        await one(database, b"SELECT count(*) AS value FROM usage_logs"),
        await one(database, b"SELECT coalesce(sum(answers), 0)::bigint AS value FROM usage_key_hours"),
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def wire(emulator: Emulator) -> Iterator[FaultyQueue]:
    with faulty(emulator.url) as house:
        yield house


class Path:
    """A sink and a source on a queue of its own, seen through the wire."""

    def __init__(self, emulator: Emulator, wire: FaultyQueue, database: Database, name: str) -> None:
        self.emulator, self.wire, self.database = emulator, wire, database
        self.direct = emulator.make_queue(name)
        self.url = wire.queue(self.direct)
        self.dead: list[str] = []
        self.sink = SqsSink(SqsQueue(self.url, timeout_s=5), database, self.dead.append)
        self.source = SqsSource(SqsQueue(self.url), wait_s=0)
        self.consuming = Consuming(self.source, database, CLOCK)

    async def consume(self) -> Consuming:
        """Until the queue is empty."""
        await self.consuming.run(asyncio.Event(), until_empty=True)
        return self.consuming

    def ask(self, action: str, **parameters: Any) -> Any:
        """Past the wire."""
        return getattr(self.emulator.client, action)(QueueUrl=self.direct, **parameters)

    def left(self) -> int:
        """Messages in the queue, received or not."""
        told = self.ask("get_queue_attributes", AttributeNames=["All"])["Attributes"]
        return int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
async def path(emulator: Emulator, wire: FaultyQueue, database: Database, request: pytest.FixtureRequest) -> Path:
    made = Path(emulator, wire, database, f"q{abs(hash(request.node.nodeid))}")
    await made.sink.open()
    return made


def batches(count: int, records: int = 20) -> list[Batch]:
    return [make_batch(records, first=1 + at * records) for at in range(count)]


def irregular(records: int) -> Batch:
    """One that no compression makes short."""
    [run] = runs_of(realistic(records))
    return pack(run, node="n1", boot=BOOT, names={})


def identities(made: Sequence[Batch]) -> list[Identity]:
    return [batch.identity for batch in made]


async def test_batches_travel_ten_to_a_call_and_are_booked(path: Path) -> None:
    made = batches(23)
    assert await path.sink.put(made) == identities(made)
    assert sorted(path.wire.entries) == [3, 10, 10]
    assert path.sink.messages == 23
    done = await path.consume()
    assert (done.booked, done.repeated, done.dead) == (23, 0, 0)
    assert await booked(path.database) == (460, 460)
    assert path.left() == 0


async def test_the_parameter_says_how_many_messages_a_call_takes(path: Path) -> None:
    path.sink.tune(Parameters(sqs_batch_size=4))
    await path.sink.put(batches(9))
    assert sorted(path.wire.entries) == [1, 4, 4]


async def test_entries_that_failed_are_not_acknowledged_and_come_with_the_next_call(path: Path) -> None:
    made = batches(10)
    path.wire.will("SendMessageBatch", Fault.HALF)
    assert await path.sink.put(made) == identities(made[::2])
    assert await path.sink.put(made[1::2]) == identities(made[1::2])
    await path.consume()
    assert await booked(path.database) == (200, 200)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.AWAY, "ConnectionClosedError"),
        (Fault.THROTTLED, "RequestThrottled"),
        (Fault.UNAVAILABLE, "ServiceUnavailable"),
        (Fault.DENIED, "AccessDeniedException"),
    ],
)
async def test_a_call_that_fails_is_told_and_loses_nothing(path: Path, fault: Fault, code: str) -> None:
    made = batches(3)
    path.wire.will("SendMessageBatch", fault)
    with pytest.raises(QueueError, match=code):
        await path.sink.put(made)
    assert path.wire.calls["SendMessageBatch"] == 1
    assert path.left() == 0
    assert await path.sink.put(made) == identities(made)
    await path.consume()
    assert await booked(path.database) == (60, 60)


async def test_a_call_that_fails_costs_only_what_was_in_it(path: Path) -> None:
    made = batches(30)
    path.wire.will("SendMessageBatch", Fault.NONE, Fault.THROTTLED)
    taken = await path.sink.put(made)
    assert len(taken) == 20
    await path.sink.put([batch for batch in made if batch.identity not in taken])
    await path.consume()
    assert await booked(path.database) == (600, 600)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.GARBLED, Fault.TWICE])
async def test_what_the_queue_may_have_is_sent_again_and_booked_once(path: Path, fault: Fault) -> None:
    made = batches(4)
    path.wire.will("SendMessageBatch", fault)
    try:
        taken = await path.sink.put(made)
    except BeastError:
        taken = []
    assert len(taken) == (4 if fault is Fault.TWICE else 0)
    if not taken:
        assert await path.sink.put(made) == identities(made)
    done = await path.consume()
    assert (done.booked, done.repeated) == (4, 0 if fault is Fault.GARBLED else 4)
    assert await booked(path.database) == (80, 80)


async def test_a_queue_that_does_not_answer_is_given_up_in_time(path: Path) -> None:
    path.sink.tune(Parameters(sqs_timeout_ms=200))
    path.wire.will("SendMessageBatch", Fault.HANGS)
    with pytest.raises(QueueError, match="ReadTimeoutError"):
        await path.sink.put(batches(1))
    path.sink.tune(Parameters(sqs_timeout_ms=60_000))
    assert len(await path.sink.put(batches(1))) == 1


async def test_a_message_that_is_refused_becomes_a_dead_letter_here_and_is_told(path: Path) -> None:
    made = batches(3)
    path.wire.will("SendMessageBatch", Fault.BLAMED)
    assert await path.sink.put(made) == identities(made)
    assert "InvalidMessageContents" in path.dead[0]
    [letter] = await UsageStore(path.database).dead_letters(before=100, limit=10)
    assert await UsageStore(path.database).dead_letter(letter.id) == seal(made[0])
    await path.consume()
    assert await booked(path.database) == (40, 40)


async def test_credentials_that_have_expired_are_read_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.wire.will("SendMessageBatch", Fault.EXPIRED)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "renewed")
    with pytest.raises(QueueError, match="Expired"):
        await path.sink.put(batches(1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "000000000000")
    assert len(await path.sink.put(batches(1))) == 1
    assert path.wire.access_keys[-2:] == ["test", "000000000000"]


async def test_batches_longer_than_the_queues_messages_travel_in_parts(path: Path) -> None:
    path.ask("set_queue_attributes", Attributes={"MaximumMessageSize": "1024"})
    await path.sink.open()
    assert path.sink.longest == 1024 // 24
    made = irregular(700)
    assert await path.sink.put([made]) == [made.identity]
    assert not path.dead
    bodies = path.ask("receive_message", MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
    assert max(len(each["Body"]) for each in bodies) <= 1024
    store = UsageStore(path.database)
    assert await store.known([(made.identity, made.last)]) == set()
    done = await path.consume()
    assert done.booked > 2
    assert await booked(path.database) == (700, 700)
    assert await store.known([(made.identity, made.last)]) == {made.identity}


async def test_a_limit_that_was_lowered_meanwhile_is_noticed(path: Path) -> None:
    path.ask("set_queue_attributes", Attributes={"MaximumMessageSize": "1024"})
    made = irregular(700)
    assert await path.sink.put([made]) == []
    assert await path.sink.put([made]) == [made.identity]
    assert not path.dead
    await path.consume()
    assert await booked(path.database) == (700, 700)


async def test_what_can_not_be_cut_to_length_is_a_dead_letter(path: Path) -> None:
    path.ask("set_queue_attributes", Attributes={"MaximumMessageSize": "1024"})
    await path.sink.open()
    [made] = batches(1, 1)
    [name] = made.names
    long = msgspec.structs.replace(made, names=(msgspec.structs.replace(name, asset="A" * 1000),))
    assert await path.sink.put([long]) == [long.identity]
    assert "cut" in path.dead[0]
    assert path.left() == 0


async def test_a_queue_away_at_the_start_is_asked_later(path: Path) -> None:
    sink = SqsSink(SqsQueue(path.url), path.database, path.dead.append)
    path.wire.will("GetQueueAttributes", Fault.AWAY, Fault.THROTTLED)
    await sink.open()
    assert sink.longest == OLDER_MESSAGE_BYTES // 24
    with pytest.raises(QueueError, match="Throttled"):
        await sink.put(batches(1))
    assert len(await sink.put(batches(1))) == 1
    assert sink.longest == BATCH_RECORDS


async def test_a_queue_whose_limit_may_not_be_asked_takes_what_every_queue_takes(path: Path) -> None:
    sink = SqsSink(SqsQueue(path.url), path.database, path.dead.append)
    path.wire.will("GetQueueAttributes", Fault.DENIED)
    await sink.open()
    assert len(await sink.put(batches(1))) == 1


async def test_poison_is_a_dead_letter_and_does_not_come_again(path: Path) -> None:
    path.ask("send_message", MessageBody="what is this?")
    path.ask("send_message", MessageBody='{"type":"invoice","payload":{}}')
    await path.sink.put(batches(2))
    done = await path.consume()
    assert (done.booked, done.dead) == (2, 2)
    assert path.left() == 0
    letters = await UsageStore(path.database).dead_letters(before=100, limit=10)
    assert {letter.type for letter in letters} == {"", "invoice"}


async def test_messages_that_could_not_be_deleted_come_again_and_are_repeats(path: Path) -> None:
    await path.sink.put(batches(6))
    source = SqsSource(SqsQueue(path.url), wait_s=1, hidden_s=1)
    path.wire.will("DeleteMessageBatch", Fault.HALF)
    consuming = Consuming(source, path.database, CLOCK)
    while path.left():
        await consuming.turn()
    assert (consuming.booked, consuming.repeated) == (6, 3)
    assert await booked(path.database) == (120, 120)


async def test_what_is_booked_and_could_not_be_acknowledged_is_acknowledged_later(path: Path) -> None:
    await path.sink.put(batches(2))
    path.wire.will("DeleteMessageBatch", Fault.AWAY, Fault.LOST)
    path.wire.will("ReceiveMessage", Fault.UNAVAILABLE)
    done = await path.consume()
    assert (done.booked, path.left()) == (2, 0)
    assert path.wire.calls["ReceiveMessage"] == 3
    assert await booked(path.database) == (40, 40)


async def test_messages_stay_hidden_for_as_long_as_they_are_held(path: Path) -> None:
    await path.sink.put(batches(3))
    source = SqsSource(SqsQueue(path.url), wait_s=0, hidden_s=1)
    messages = await source.receive()
    assert len(messages) == 3
    path.wire.will("ChangeMessageVisibilityBatch", Fault.AWAY)
    assert await asyncio.to_thread(path.wire.wait_for, "ChangeMessageVisibilityBatch", 3)
    await source.acknowledge(messages)
    assert path.left() == 0
    assert source._keeper is None


async def test_a_consumer_that_is_stopped_while_the_database_is_away_gives_back_what_it_holds(path: Path) -> None:
    await path.sink.put(batches(3))
    stop = asyncio.Event()

    class Away(Database):
        """Its first connection never comes."""

        async def execute(self, *_: object) -> int:
            stop.set()
            raise BeastError("is away", where="database")

    consuming = Consuming(path.source, Away(path.database.url), CLOCK)
    await consuming.run(stop)
    messages = path.ask("receive_message", MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert [each["Attributes"]["ApproximateReceiveCount"] for each in messages] == ["2"] * 3


async def test_verification_tells_what_the_queue_says_and_concludes_nothing(path: Path) -> None:
    await path.sink.put(batches(3))
    await SqsQueue(path.url).receive(wait_s=0, hidden_s=60)
    await path.sink.put(batches(2))
    usage = UsageAdmin(path.database, CLOCK, SqsQueue(path.url))
    found = await usage.verify(None, None)
    assert found.queue is not None
    assert (found.ok, found.queue.messages, found.queue.in_flight) == (True, 2, 3)
    path.wire.will("GetQueueAttributes", Fault.THROTTLED)
    found = await usage.verify(None, None)
    assert found.queue is not None
    assert (found.ok, found.queue.messages) == (True, None)
    assert "Throttled" in found.queue.told
    assert json.loads(msgspec.json.encode(found))["queue"]["queue"] == path.url


def test_halves_hold_the_same_records_and_are_always_the_same() -> None:
    [made] = batches(1, 101)
    first, second = halves(made)
    assert unpack(first) + unpack(second) == unpack(made)
    assert (first.first, first.last, second.first, second.last) == (1, 50, 51, 101)
    assert [half.digest() for half in halves(made)] == [first.digest(), second.digest()]
    assert {name for half in (first, second) for name in half.names} == set(made.names)
    with pytest.raises(ValueError, match="no halves"):
        halves(make_batch(1))
    assert made.boot == BOOT
