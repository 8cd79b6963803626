"""The life of keys against a model: whatever is done in whatever order, rows, engine, usage and alerts say the same."""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from tests.fixtures.usage_path import count_answers

from beast._fast import Engine
from beast.accounts.audit import Trail
from beast.accounts.errors import ConflictError
from beast.accounts.months import month_of
from beast.accounts.own_usage import Nothing, OwnUsage
from beast.accounts.service import Accounts
from beast.accounts.sync import KeySync
from beast.accounts.types import ApiKey, KeyChanges, Scope, State
from beast.base.clock import ManualClock
from beast.storage.database import Database

pytestmark = pytest.mark.integration

NEVER = datetime(2199, 1, 1, tzinfo=UTC)
CAPS = {"free": 1000, "pro": 50_000, "partner": None}
LEVELS = (75, 90, 100)
DAY = 86_400
EXAMPLES = int(os.environ.get("BEAST_EXAMPLES", "40"))


@dataclass
class Model:
    """One key, as it should be."""

    id: int
    text: str
    tier: str
    scopes: list[Scope]
    expires_at: datetime | None
    line: int
    paused: bool = False
    revoked: bool = False
    successor: int | None = None
    used: Counter[str] = field(default_factory=Counter)

    def state(self, now: datetime) -> State:
        if self.revoked:
            return "revoked"
        if (self.expires_at or NEVER) <= now:
            return "expired"
        if self.paused:
            return "paused"
        return "active" if self.successor is None else "rotated"


class Life(RuleBasedStateMachine):
    """Keys are made, changed, used and ended while time passes."""

    keys: Bundle[Model] = Bundle("keys")

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.clock = ManualClock(wall_ns=int(datetime(2026, 3, 30, tzinfo=UTC).timestamp()) * 1_000_000_000)
        self.accounts = Accounts(database, self.clock)
        self.usage = OwnUsage(database, self.clock, Nothing())
        self.trail = Trail(database, self.clock)
        self.engine = Engine(node="test", max_keys=1024, max_instruments=64)
        self.engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
        self.engine.publish(1, b"100.5", 1, 1_000_000)
        self.sync = KeySync(self.engine, Nothing(), database, self.clock)
        self.engine_ns = 2_000_000
        self.made: dict[int, Model] = {}
        self.alerts: set[tuple[int, str, int]] = set()
        self.changes = 0
        self.run(
            database.execute(
                b"TRUNCATE users, api_keys, api_keys_deleted, usage_key_hours, usage_alerts, audit_log RESTART IDENTITY"
            )
        )

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @property
    def now(self) -> datetime:
        return self.accounts.now

    @property
    def month(self) -> str:
        return month_of(self.clock.wall_ns()).isoformat()

    def line_of(self, key: Model) -> list[Model]:
        return [each for each in self.made.values() if each.line == key.line]

    def line_used(self, key: Model) -> int:
        return sum(each.used[self.month] for each in self.line_of(key))

    @rule(
        target=keys,
        tier=st.sampled_from(sorted(CAPS)),
        scopes=st.sampled_from([["price"], ["price", "report"], ["report"], ["push", "admin"]]),
        ends_s=st.none() | st.integers(1, 3 * DAY),
    )
    def create(self, tier: str, scopes: list[Scope], ends_s: int | None) -> Model:
        ends = None if ends_s is None else self.now + timedelta(seconds=ends_s)
        new = self.run(self.accounts.create_key(tier, scopes=scopes, expires_at=ends))
        key = Model(new.id, new.api_key, tier, scopes, ends, new.id)
        self.made[key.id] = key
        self.changes += 1
        return key

    @rule(target=keys, key=keys, grace_s=st.sampled_from([0, 1, 3600, DAY]))
    def rotate(self, key: Model, grace_s: int) -> Any:
        work = self.accounts.rotate_key(str(key.id), grace=timedelta(seconds=grace_s))
        if key.successor is not None or key.state(self.now) not in {"active", "paused"}:
            with pytest.raises(ConflictError):
                self.run(work)
            return multiple()
        new = self.run(work)
        successor = Model(new.id, new.api_key, key.tier, key.scopes, key.expires_at, key.line, key.paused)
        key.expires_at = min(key.expires_at or NEVER, self.now + timedelta(seconds=grace_s))
        key.successor = successor.id
        self.made[successor.id] = successor
        self.changes += 2
        return successor

    def attempt(self, key: Model, work: Any, *, differs: bool) -> bool:
        """Whether it was done: not to a revoked key."""
        if key.revoked:
            with pytest.raises(ConflictError):
                self.run(work)
            return False
        self.run(work)
        self.changes += differs
        return True

    @rule(key=keys)
    def pause(self, key: Model) -> None:
        if self.attempt(key, self.accounts.pause_key(str(key.id)), differs=not key.paused):
            key.paused = True

    @rule(key=keys)
    def resume(self, key: Model) -> None:
        if self.attempt(key, self.accounts.resume_key(str(key.id)), differs=key.paused):
            key.paused = False

    @rule(key=keys)
    def revoke(self, key: Model) -> None:
        self.run(self.accounts.revoke_key(str(key.id)))
        self.changes += not key.revoked
        key.revoked = True

    @rule(key=keys, ends_s=st.none() | st.integers(1, 3 * DAY))
    def expire(self, key: Model, ends_s: int | None) -> None:
        ends = None if ends_s is None else self.now + timedelta(seconds=ends_s)
        work = self.accounts.update_key(str(key.id), KeyChanges(expires_at=ends))
        if self.attempt(key, work, differs=key.expires_at != ends):
            key.expires_at = ends

    @rule(key=keys, tier=st.sampled_from(sorted(CAPS)))
    def move(self, key: Model, tier: str) -> None:
        work = self.accounts.update_key(str(key.id), KeyChanges(tier=tier))
        if self.attempt(key, work, differs=key.tier != tier):
            for each in self.line_of(key):
                each.tier = tier

    @rule(key=keys, count=st.sampled_from([1, 400, 750, 20_000]))
    def use(self, key: Model, count: int) -> None:
        self.run(count_answers(self.database, self.clock, (key.id, count)))
        key.used[self.month] += count
        cap, used = CAPS[key.tier], self.line_used(key)
        if cap is not None:
            self.alerts |= {(key.line, self.month, level) for level in LEVELS if used * 100 >= cap * level}

    @rule(seconds=st.sampled_from([1, 3599, DAY]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_rows_say_so(self) -> None:
        rows: list[ApiKey] = self.run(self.accounts.list_keys())
        assert {row.id: row.state_at(self.now) for row in rows} == {
            key.id: key.state(self.now) for key in self.made.values()
        }
        assert {row.id: (row.tier, row.successor_id, row.expires_at, row.quota_owner) for row in rows} == {
            key.id: (key.tier, key.successor, key.expires_at, key.line) for key in self.made.values()
        }

    @invariant()
    def the_engine_does_so(self) -> None:
        self.run(self.sync.reread())
        for key in self.made.values():
            question = {"api_key": key.text, "asset": "BTC", "allow_stale": True, "id": "x" * 64}
            # The workers' clock runs ahead, so that neither the key's rate nor its source's is a reason to refuse.
            self.engine_ns += 3_600_000_000_000
            (answer,) = self.engine.ask(msgspec.json.encode(question), now_ns=self.engine_ns)
            admitted = msgspec.json.decode(answer).get("error") != "unauthorized"
            assert admitted == (key.state(self.now) in {"active", "rotated"} and "price" in key.scopes)

    @rule(key=keys)
    def look(self, key: Model) -> None:
        """What its owner and who lists keys are told: too dear to be asked after every step."""
        told = self.run(self.usage.of(self.run(self.accounts.find_key(str(key.id)))))
        cap, used = CAPS[key.tier], self.line_used(key)
        assert (told.used, told.left) == (used, None if cap is None else max(0, cap - used))
        reached = {level for line, month, level in self.alerts if (line, month) == (key.line, self.month)}
        assert [level.percent for level in told.alerts] == sorted(reached)
        state = key.state(self.now)
        listed = {row.id for row in self.run(self.accounts.list_keys(state=state))}
        assert listed == {each.id for each in self.made.values() if each.state(self.now) == state}

    @invariant()
    def every_alert_is_stored_once(self) -> None:
        stored = self.run(self.usage.alerts(limit=1000))
        assert len(stored) == len(self.alerts)
        assert {(each.key_id, each.month.isoformat(), each.percent) for each in stored} == self.alerts

    @invariant()
    def the_audit_log_has_each_change_once(self) -> None:
        assert len(self.run(self.trail.list_rows(limit=1000))) == self.changes


def test_the_life_of_keys(database_url: str) -> None:
    with asyncio.Runner() as runner:
        database = Database(database_url, application_name="tests", max_size=2)
        runner.run(database.open())
        try:

            class Here(Life):
                def __init__(self) -> None:
                    super().__init__(runner, database)

            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=25,
                    deadline=None,
                    phases=[Phase.explicit, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(database.close())
