"""Several nodes, one key, and everything that may go wrong between them: the bounds of docs/limits.md hold exactly."""

import json
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fixtures.ledger import Line, MemoryLedger

from beast._fast import Engine
from beast.accounts.leases import Leases, Without
from beast.accounts.ledger import Quota
from beast.base.clock import ManualClock

MS = 1_000_000
SECOND = 1_000_000_000
KEY = "tb_model"
OWNER = 41
MONTH = 24_323
QUESTION = json.dumps({"api_key": KEY, "asset": "BTC", "allow_stale": True, "id": "x" * 64}).encode()


class Books:
    """The database: what is booked of each node's answers, and what isn't."""

    def __init__(self, nodes: int) -> None:
        self.answered = [0] * nodes
        self.booked = [0] * nodes

    def known_to(self, node: int) -> int:
        """The rows, and what this node has answered besides."""
        return sum(self.booked) + self.answered[node] - self.booked[node]


class BooksOf:
    """The books as one node sees them."""

    def __init__(self, books: Books, node: int) -> None:
        self._books = books
        self._node = node

    async def find(self, quotas: Sequence[Quota]) -> list[int]:
        """See Seeds."""
        return [self._books.known_to(self._node) for _ in quotas]


class Presence:
    """How many nodes there are."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes

    async def attend(self, node: str, *, gone_s: float) -> int:  # noqa: ARG002
        """See LimitStore."""
        return self._nodes

    async def leave(self, node: str) -> None:
        """See LimitStore."""


class Node:
    """One engine and what settles its keys. Its clocks have nothing to do with anybody else's."""

    def __init__(self, world: "World", number: int, *, skew_ns: int) -> None:
        self.world = world
        self.number = number
        self.clock = ManualClock(monotonic_ns=10**15 + skew_ns, wall_ns=10**18 - skew_ns)
        self.engine = Engine(node=f"n{number}", max_keys=4, max_instruments=4, usage_ring=64, miss_ring=2)
        self.engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
        self.engine.publish(1, b"1.5", 1, 1)
        self.line = Line(world.ledger, f"n{number}")
        self.leases = Leases(
            self.engine,
            self.line,
            Presence(world.nodes),  # type: ignore[arg-type]
            BooksOf(world.books, number),  # type: ignore[arg-type]
            self.clock,
            node=f"n{number}",
            report=lambda _: None,
            note=lambda _: None,
            changed=lambda _: None,
        )
        if not world.wired:
            self.line.wire = "deaf"
        self.leases.tune(without=world.without, settle_ms=50)
        world.wait(self.leases.attend())
        self.read()

    def read(self) -> None:
        """The key sync reads the key."""
        world = self.world
        used = world.books.known_to(self.number)
        self.engine.put_key(
            sha256(KEY.encode()).digest(), 1, quota_id=OWNER, per_second=world.per_second, burst=world.burst,
            lease=world.lease, month=MONTH, allowance=max(0, world.cap - used), used=min(used, world.cap),
        )  # fmt: skip

        self.granted = max(0, world.cap - used)
        self.answered_before = world.books.answered[self.number]

    def ask(self) -> bool:
        """One request; whether it was answered with a price."""
        (answer,) = self.engine.ask(QUESTION, now_ns=self.clock.monotonic_ns(), wall_ns=self.clock.wall_ns())
        told = json.loads(answer)
        if "price" not in told:
            assert told["error"] in {"rate_limited", "quota_exceeded"}
            self.world.refused_for[told["error"]] += 1
        return "price" in told

    def settle(self) -> None:
        """One turn, and counters that are missing."""
        self.world.wait(self.leases.turn(self.line))
        if self.line.wire == "whole":
            self.world.wait(self.leases.begin(self.line))
        self.engine.drain_usage()


class World(RuleBasedStateMachine):
    """Nodes, a ledger and a clock that only the test sees."""

    nodes = 3
    per_second = 100
    burst = 8
    lease = 5
    cap = 30
    without: Without = "refuse"
    wired = True
    """Whether there is a Valkey that nodes reach now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.admitted: list[int] = []
        self.admitted_by: list[list[int]] = [[] for _ in range(self.nodes)]
        self.losses: list[int] = []
        self.forgiven = 0
        self.booked = False
        self.refused_for = {"rate_limited": 0, "quota_exceeded": 0}
        self.ledger = MemoryLedger(lambda: 7 * SECOND + self.now_ns)
        self.books = Books(self.nodes)

    def wait(self, work: Coroutine[Any, Any, Any]) -> None:
        """Nothing in this world waits for anything outside."""
        with suppress(StopIteration):
            work.send(None)

    @initialize(skews=st.lists(st.integers(-(10**14), 10**14), min_size=nodes, max_size=nodes))
    def start(self, skews: list[int]) -> None:
        self.all = [Node(self, number, skew_ns=skew) for number, skew in enumerate(skews)]

    @rule(node=st.integers(0, nodes - 1), times=st.integers(1, 12))
    def ask(self, node: int, times: int) -> None:
        for _ in range(times):
            if self.all[node].ask():
                self.admitted.append(self.now_ns)
                self.admitted_by[node].append(self.now_ns)
                self.books.answered[node] += 1

    @rule(ns=st.one_of(st.integers(0, 30 * MS), st.sampled_from([20 * MS, 160 * MS, SECOND])))
    def pass_time(self, ns: int) -> None:
        self.now_ns += ns
        for node in self.all:
            node.clock.advance(ns=ns)

    @rule(node=st.integers(0, nodes - 1))
    def settle(self, node: int) -> None:
        self.all[node].settle()

    @precondition(lambda self: self.wired)
    @rule(node=st.integers(0, nodes - 1), wire=st.sampled_from(["whole", "whole", "deaf", "mute"]))
    def cut_or_mend(self, node: int, wire: Any) -> None:
        self.all[node].line.wire = wire

    @rule(node=st.integers(0, nodes - 1))
    def book(self, node: int) -> None:
        self.books.booked[node] = self.books.answered[node]
        self.booked = True

    @rule(node=st.integers(0, nodes - 1))
    def read(self, node: int) -> None:
        self.all[node].read()

    @precondition(lambda self: len(self.losses) < 2)
    @rule()
    def forget(self) -> None:
        """Valkey is started again, with an empty memory. What is not booked then, nobody can tell."""
        self.losses.append(self.now_ns)
        self.forgiven += sum(self.books.answered) - sum(self.books.booked)
        self.ledger.forget()

    @invariant()
    def rate_holds(self) -> None:
        """In any time of any length: the limit and a lease of each other node; once more for each loss of memory."""
        if not self.admitted:
            return
        interval = SECOND // self.per_second
        ahead = (self.nodes - 1) * self.lease
        end = self.admitted[-1]
        for first, begin in enumerate(self.admitted):
            losses = sum(begin <= at <= end for at in self.losses)
            bound = (end - begin) // interval + (self.burst + ahead) * (1 + losses)
            assert len(self.admitted) - first <= bound, (begin, end)

    @invariant()
    def cap_holds(self) -> None:
        """The cap and a lease of each other node; and what was not booked when memory was lost."""
        assert sum(self.books.answered) <= self.cap + (self.nodes - 1) * self.lease + self.forgiven

    def teardown(self) -> None:
        """With all mended, every answer is counted. What was booked before it was told may count twice."""
        for _ in range(3):
            for node in getattr(self, "all", ()):
                node.line.wire = "whole"
                node.settle()
        counted = self.ledger.used.get((OWNER, MONTH))
        if counted is not None and not self.losses:
            twice = self.nodes * (self.nodes - 1) * self.lease if self.booked else 0
            assert 0 <= counted - sum(self.books.answered) <= twice


class Alone(World):
    """Nodes without a Valkey, or that never reach it: each by itself keeps what the parameter leaves to it."""

    without: Without = "local"
    wired = False
    parts = 1
    """What a node may use is divided by so many."""

    @invariant()
    def rate_holds(self) -> None:
        """In any time of any length, of each node: the limit, or its part of it, one request at a time at least."""
        interval = SECOND // self.per_second * self.parts
        burst = max(1, self.burst / self.parts)
        for moments in self.admitted_by:
            for first, begin in enumerate(moments):
                assert len(moments) - first <= burst + (moments[-1] - begin) / interval, (begin, moments[-1])

    @invariant()
    def cap_holds(self) -> None:
        """Of each node, since it has read the key: what was left, as far as it knew, or its part of that."""
        for node in getattr(self, "all", ()):
            answered = self.books.answered[node.number] - node.answered_before
            assert answered <= -(-node.granted // self.parts)

    def teardown(self) -> None:
        """Nobody has told anybody anything."""
        assert not self.ledger.used
        assert not self.ledger.arrivals


class Sharing(Alone):
    """The same, each with its part."""

    without: Without = "share"
    parts = World.nodes


class Refusing(Alone):
    """What can't be settled is refused: each node has its lease, once, and the cap that it knows."""

    without: Without = "refuse"

    @invariant()
    def lease_holds(self) -> None:
        """Nothing is ever settled."""
        assert all(len(moments) <= self.lease for moments in self.admitted_by)


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
for alone in (Alone, Sharing, Refusing):
    alone.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestAlone, TestSharing, TestRefusing = Alone.TestCase, Sharing.TestCase, Refusing.TestCase
