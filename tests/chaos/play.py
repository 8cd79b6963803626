"""One seed: ten minutes of trading, faults and questions, judged."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import structlog
from tests.chaos.house import House
from tests.chaos.loop import run
from tests.chaos.model import Asked, LieError, Model, judge_gaps
from tests.chaos.world import ASSETS, QUOTES, World

from beast.base.clock import ManualClock

SECONDS: Final = 600.0
CALM_S: Final = 150.0
"""At the end nothing goes wrong: within this every asset is live again."""
QUESTIONS_S: Final = 0.5
LOG: Final = 40
KINDS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "silence": ({},),
    "half_open": ({},),
    "disconnect": ({"code": 0}, {"code": 1001}),
    "duplicate": ({"every": 1}, {"every": 3}),
    "reorder": ({"every": 2, "ms": 400}, {"every": 5, "ms": 3_000}),
    "skew": ({"ahead_ms": 60_000}, {"ahead_ms": 0, "behind_ms": 4_000}, {"ahead_ms": 0, "behind_ms": 40_000}),
    "schema": ({}, {"member": "symbol"}, {"member": "channel"}),
    "malformed": ({"every": 1}, {"every": 4}),
    "spike": ({"factor": 10.0}, {"factor": 0.2}),
    "slow": ({"ms": 1_500}, {"ms": 9_000}),
    "refuse": ({},),
    "too_many": ({},),
    "rest": ({},),
}


@dataclass
class Played:
    """What came of a seed."""

    seed: int
    lie: str = ""
    answers: int = 0
    refusals: int = 0
    wires: int = 0
    gaps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    states: dict[str, int] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG))

    def __str__(self) -> str:
        if not self.lie:
            return f"seed {self.seed}: {self.answers} answers, {self.refusals} refusals"
        log = "\n  ".join(self.log)
        return f"seed {self.seed}: {self.lie}\nrepeat it with: python -m bench.chaos.run --seed {self.seed}\n  {log}"


def plan(draw: Random) -> Iterator[tuple[float, str, str, float, dict[str, Any]]]:
    """(when, exchange, kind, seconds, arguments) of each fault; a storm is one of several exchanges at once."""
    at_s = 0.0
    while (at_s := at_s + draw.expovariate(1 / 12)) < SECONDS - CALM_S:
        kind = draw.choice(list(KINDS))
        seconds = min(draw.choice([0.0, draw.uniform(0, 3), draw.uniform(3, 25), draw.uniform(25, 90)]), 90.0)
        seconds = min(seconds, SECONDS - CALM_S - at_s)
        names = draw.sample(list(QUOTES), draw.choice([1, 1, 1, 2, len(QUOTES)]) if kind != "spike" else 1)
        for name in names:
            yield at_s, name, kind, seconds, draw.choice(KINDS[kind])


class _Game:
    def __init__(self, seed: int, clock: ManualClock) -> None:
        self.played = Played(seed)
        self.clock = clock
        self.world = World(seed, clock)
        self.house = House(self.world, seed)
        self.draw = Random(f"questions {seed}")
        self.faults = list(plan(Random(f"faults {seed}")))
        self.began_ns = clock.monotonic_ns()
        feeds = {each.feed.name: each.feed for each in self.world.rows()}
        self.model = Model(self.world, {name: feed.patience_ms * 10**6 for name, feed in feeds.items()})

    @property
    def now_s(self) -> float:
        return (self.clock.monotonic_ns() - self.began_ns) / 1e9

    def note(self, text: str) -> None:
        self.played.log.append(f"{self.now_s:8.3f} {text}")

    async def play(self) -> None:
        await self.house.start()
        trading = asyncio.create_task(self.world.run())
        spoiling = asyncio.create_task(self.spoil())
        asking = asyncio.create_task(self.question())
        try:
            tasks = trading, spoiling, asking
            await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            await self.end()
        finally:
            for task in (asking, spoiling, trading):
                task.cancel()
            await self.house.stop()
            await asyncio.gather(asking, spoiling, trading, return_exceptions=True)
        self.leaks()

    async def spoil(self) -> None:
        for at_s, name, kind, seconds, args in self.faults:
            if at_s > self.now_s:
                await asyncio.sleep(at_s - self.now_s)
            self.note(f"{name}: {kind} for {seconds:.1f} s {args}")
            self.played.faults[kind] += 1
            self.world.fault(
                name,
                kind,
                seconds,
                **{each: float(value) if not isinstance(value, str) else value for each, value in args.items()},
            )

    async def question(self) -> None:
        asking = set[asyncio.Task[None]]()
        try:
            while True:
                await asyncio.sleep(self.draw.uniform(0, 2 * QUESTIONS_S))
                for asked in [self.a_question() for _ in range(4)]:
                    if (body := self.house.ask_memory(*asked.where, **asked.more)) is not None:
                        self.judge(asked, body)
                    else:
                        asking.add(asyncio.create_task(self.ask_tiers(asked)))
                self.house.engine.drain_usage()
                for task in [task for task in asking if task.done()]:
                    asking.discard(task)
                    task.result()
        finally:
            for task in asking:
                task.cancel()

    def a_question(self) -> Asked:
        draw = self.draw
        return Asked(
            asset=draw.choice(ASSETS),
            exchange=draw.choice([None, "consensus", *QUOTES, *QUOTES]),
            max_age_ms=draw.choice([None, None, None, 500, 5_000]),
            allow_stale=draw.random() < 0.3,
        )

    async def ask_tiers(self, asked: Asked) -> None:
        self.judge(asked, await self.house.ask_tiers(*asked.where, **asked.more))

    def judge(self, asked: Asked, body: bytes) -> None:
        try:
            self.model.judge(asked, body)
        except LieError as lie:
            self.note(f"asked {asked}, told {body.decode()}")
            raise LieError(f"at {self.now_s:.3f} s: {lie}: {body.decode()}") from None

    async def end(self) -> None:
        """Whatever has happened, all is well again."""
        for name in QUOTES:
            for asset in ASSETS:
                body = self.house.ask_memory(asset, name) or await self.house.ask_tiers(asset, name)
                if b'-ws","' not in body or (b'"live"' not in body and b'"quiet"' not in body):
                    raise LieError(f"{asset} of {name} did not recover: {body.decode()}")
        await self.house.watchdog.look()
        lost = {name: list(self.world.lost(name)) for name in QUOTES}
        judge_gaps(
            self.world,
            lost,
            [(gap.exchange, gap.first_missing, gap.last_missing, gap.cause) for gap in self.house.book.gaps],
        )

    def leaks(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        sessions = sum(len(exchange.sessions) for exchange in self.world.exchanges.values())
        if left or sessions:
            raise LieError(f"{len(left)} tasks and {sessions} connections were left over: {left}")


def play(seed: int) -> Played:
    """Plays one seed to its end, or to the first lie."""
    clock = ManualClock()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    game = _Game(seed, clock)
    try:
        run(game.play(), clock)
    except LieError as lie:
        game.played.lie = str(lie)
    played = game.played
    played.answers, played.refusals, played.states = game.model.answers, game.model.refusals, game.model.states
    played.wires, played.gaps = game.world.wire_count, len(game.house.book.gaps)
    return played
