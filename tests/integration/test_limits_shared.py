"""Two engines on one Valkey: the bounds of docs/limits.md under ten times the load, and while Valkey is away."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from hashlib import sha256

import pytest
from tests.fixtures.ledger import Line, MemoryLedger
from tests.fixtures.rates import most_in_any_time
from tests.fixtures.valkey import RealValkey, real_valkey

from beast._fast import Engine
from beast.accounts.leases import Leases
from beast.accounts.ledger import Quota, Rate, ValkeyLedger
from beast.accounts.limit_store import LimitStore
from beast.accounts.months import month_number, month_of
from beast.accounts.seeds import Seeds
from beast.base.clock import SystemClock
from beast.base.tasks import Tasks
from beast.storage.database import Database
from beast.storage.valkey import Valkey, ValkeyUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

KEY = "tb_shared"
DIGEST = sha256(KEY.encode()).digest()
QUESTION = json.dumps({"api_key": KEY, "asset": "BTC", "allow_stale": True, "id": "x" * 64}).encode()
PER_SECOND, BURST, LEASE = 200, 20, 40
MONTH = month_number(month_of(SystemClock().wall_ns()))


@pytest.fixture(scope="module")
def valkey() -> Iterator[RealValkey]:
    with real_valkey() as server:
        yield server


class Unbooked:
    """Usage that never reaches the database."""

    def __init__(self, node: "Node") -> None:
        self.booking = asyncio.Lock()
        self._node = node

    def unbooked(self) -> dict[int, int]:
        return {self._node.owner: len(self._node.answered)}


class Node:
    def __init__(self, name: str, url: str, database: Database) -> None:
        self.engine = Engine(node=name, max_keys=16, max_instruments=4, usage_ring=1 << 12)
        self.engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
        self.engine.publish(1, b"1.5", 1, 1)
        self.owner = 0
        self.facts: list[str] = []
        self.trouble: str | None = None
        self.changes: list[bool] = []
        store, ledger = LimitStore(database), ValkeyLedger(Valkey(url, pool_size=4), name)
        self.leases = Leases(
            self.engine, ledger, store, Seeds(store, Unbooked(self)), SystemClock(),
            node=name, report=self.note_trouble, note=self.facts.append, changed=self.changes.append,
        )  # fmt: skip
        self.codes: list[str] = []
        self.answered: list[float] = []

    def note_trouble(self, reason: str | None) -> None:
        self.trouble = reason

    def put(self, owner: int, *, per_second: int = PER_SECOND, allowance: int | None = None) -> None:
        self.owner = owner
        self.engine.put_key(
            DIGEST, owner, per_second=per_second, burst=BURST if per_second else 0, lease=LEASE, month=MONTH,
            allowance=allowance,
        )  # fmt: skip

    def ask(self) -> str:
        told = json.loads(self.engine.ask(QUESTION)[0])
        code = "price" if "price" in told else str(told["error"])
        if code == "price":
            self.answered.append(time.monotonic())
        self.codes.append(code)
        return code

    async def load(self, per_second: float, seconds: float) -> None:
        """Asks at this pace."""
        begin = time.monotonic()
        while (gone := time.monotonic() - begin) < seconds:
            for _ in range(round(gone * per_second) - len(self.codes)):
                self.ask()
            self.engine.drain_usage()
            await asyncio.sleep(0.002)


@pytest.fixture
async def nodes(valkey: RealValkey, database: Database) -> AsyncIterator[list[Node]]:
    valkey.ask("FLUSHALL")
    tasks = Tasks()
    both = [Node(name, valkey.url, database) for name in ("one", "two")]
    for node in both:
        await node.leases.start(tasks)
    for node in both:
        await node.leases.attend()
    yield both
    for node in both:
        await node.leases.stop()
    await tasks.cancel()


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for raises no event
            await asyncio.sleep(0.02)


async def test_ten_times_the_load_gets_the_limit_and_no_more(nodes: list[Node]) -> None:
    for node in nodes:
        node.put(11)
    await asyncio.gather(*(node.load(5 * PER_SECOND, 2.0) for node in nodes))
    moments = sorted(nodes[0].answered + nodes[1].answered)
    assert most_in_any_time(moments, PER_SECOND) <= BURST + LEASE + 1, "the limit, and a lease of the other node"
    assert len(moments) >= 0.8 * PER_SECOND * 2, "nobody is cheated of what the key allows"
    assert {code for node in nodes for code in node.codes} == {"price", "rate_limited"}
    assert all(node.facts[-1] == "cluster: 2 nodes" and node.trouble is None for node in nodes)


async def test_a_cap_is_one_for_all(nodes: list[Node], valkey: RealValkey) -> None:
    for node in nodes:
        node.put(12, per_second=0, allowance=300)
    await asyncio.gather(*(node.load(400, 1.5) for node in nodes))

    def answered() -> int:
        return sum(len(node.answered) for node in nodes)

    # On a busy machine the last of it is settled later.
    await eventually(lambda: {node.ask() for node in nodes} == {"quota_exceeded"} and answered() >= 300)
    assert answered() <= 300 + LEASE
    assert nodes[0].ask() == nodes[1].ask() == "quota_exceeded"
    await asyncio.sleep(0.3)
    counted = valkey.ask(f"HGET quota:12:{month_of(SystemClock().wall_ns()):%Y%m} used")
    assert 0 <= int(counted.split(b"\r\n")[1]) - answered() <= LEASE, (
        "what came while the counter was begun counts twice"
    )


async def test_a_counter_begins_with_what_the_database_knows(nodes: list[Node], database: Database) -> None:
    month = month_of(SystemClock().wall_ns())
    async with database.connection() as connection:
        row = await connection.execute(
            "INSERT INTO api_keys (key_hash, prefix, tier, current_usage, usage_month)"
            " VALUES (%s, 'tb_', 'free', 990, %s) RETURNING id",
            (DIGEST, month),
        )
        (owner,) = (await row.fetchall())[0]
    nodes[0].put(owner, per_second=0, allowance=1000)  # what it knows of is old
    await nodes[0].load(200, 1.0)
    assert 5 <= len(nodes[0].answered) <= LEASE, "10 are left; what comes while the counter is begun counts twice"
    assert nodes[0].ask() == "quota_exceeded"


async def test_without_valkey_each_node_does_as_the_parameter_says(nodes: list[Node], valkey: RealValkey) -> None:
    one, two = nodes
    for node in nodes:
        node.put(14)
        node.leases.tune(without="share", settle_ms=50)
    valkey.kill()
    try:
        await eventually(lambda: not one.leases.reached and not two.leases.reached)
        assert one.facts[-1] == "node: 1/2 of the limits"
        assert one.trouble is not None
        assert one.changes[-1] is False
        for node in nodes:
            node.put(14)
            assert [node.ask() for _ in range(BURST)].count("price") <= BURST // 2 + 1
        one.leases.tune(without="refuse", settle_ms=50)
        two.leases.tune(without="local", settle_ms=50)
        await asyncio.sleep(0.2)
        assert one.facts[-1] == "node: what is settled"
        assert [one.ask() for _ in range(10 * LEASE)].count("price") <= LEASE
        assert two.facts[-1] == "node: the full limits"
        _, _, lines = two.engine.query(KEY.encode(), ["BTC"], many=False)
        assert b"RateLimit-Scope: node\r\n" in lines
    finally:
        valkey.start()
    await eventually(lambda: one.leases.reached and two.leases.reached)
    _, _, lines = two.engine.query(KEY.encode(), ["BTC"], many=False)
    assert b"RateLimit-Scope: cluster\r\n" in lines
    assert one.trouble is None


class Swallowing(Line):
    """Answers a cancellation as a client may that was just about to fail: with an error of its own."""

    def __init__(self) -> None:
        super().__init__(MemoryLedger(time.time_ns), "one")
        self.asked = 0
        self.waits = asyncio.Event()

    async def open(self) -> None:
        self.asked += 1
        if self.asked > 1:
            self.waits.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        raise ValkeyUnavailableError("cut")


async def test_an_error_in_place_of_the_cancellation_ends_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beast.accounts.leases.RECONNECT_S", 0.01)
    node = Node("one", "redis://127.0.0.1:1", database)
    ledger = node.leases._ledger = Swallowing()
    tasks = Tasks()
    await node.leases.start(tasks)
    async with asyncio.timeout(20):
        await ledger.waits.wait()
        await node.leases.stop()
    assert len(tasks) == 0
    assert ledger.asked == 2


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def ledgers(request: pytest.FixtureRequest, valkey: RealValkey) -> AsyncIterator[list[ValkeyLedger | Line]]:
    """Those of two nodes: on a ledger in memory, on a real Valkey, on a cluster of one."""
    async with AsyncExitStack() as stack:
        url = valkey.url
        if request.param == "cluster":
            server = stack.enter_context(real_valkey("--cluster-enabled", "yes"))
            assert server.ask("CLUSTER ADDSLOTSRANGE 0 16383") == b"+OK\r\n"
            await eventually(lambda: b"cluster_state:ok" in server.ask("CLUSTER INFO"))
            url = server.url
        memory = MemoryLedger(time.time_ns)
        both: list[ValkeyLedger | Line] = [Line(memory, "a"), Line(memory, "b")]
        if request.param != "memory":
            valkey.ask("FLUSHALL")
            both = [ValkeyLedger(Valkey(url), name) for name in ("a", "b")]
        for ledger in both:
            await ledger.open()
            stack.push_async_callback(ledger.close)
        yield both


async def test_all_ledgers_do_the_same(ledgers: list[ValkeyLedger | Line]) -> None:
    a, b = ledgers
    ((first,), _) = await a.settle([Rate(1, 5_000_000)], [], mark="a1")
    ((second, other), _) = await b.settle([Rate(1, 2_000_000), Rate(2, 10)], [], mark="b1")
    assert (first, other) == (5_000_000, 10)
    assert 6_000_000 < second <= 7_000_000
    steps = [
        (a, Quota(1, MONTH, 3), "a2", -1),  # there is none yet
        (a, Quota(1, MONTH, 3, -1, 40), "a2", 40),  # it holds what is told already
        (b, Quota(1, MONTH, 5, -1, 7), "b2", 45),
        (b, Quota(1, MONTH, 5), "b2", 45),  # told again
        (b, Quota(1, MONTH, 5), "b3", 50),
        (a, Quota(1, MONTH, 0), "a3", 50),
        (a, Quota(1, MONTH, 2, 60), "a4", 62),  # more was known of than it holds
        (a, Quota(1, MONTH, 2, 60), "a4", 62),
        (b, Quota(1, MONTH + 1, 1), "b4", -1),
    ]
    for number, (ledger, quota, mark, expected) in enumerate(steps):
        assert await ledger.settle([], [quota], mark=mark) == ([], [expected]), number
    # Of many owners at once: in a cluster, of many slots.
    many = range(100, 400)
    ahead, used = await a.settle(
        [Rate(owner, owner) for owner in many], [Quota(owner, MONTH, 0, -1, owner) for owner in many], mark="a5"
    )
    assert (ahead, used) == (list(many), list(many))
