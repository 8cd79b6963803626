"""The consumer as AWS Lambda calls it: its answer names what must come again, and nothing else."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.fixtures.usage import make_batch

from beast.base.errors import UsageError
from beast.usage import lambda_handler
from beast.usage.codec import seal
from beast.usage.lambda_handler import AT_ONCE, MARGIN_S, handler
from beast.usage.types import Batch

pytestmark = pytest.mark.integration

AT_NS = 1_776_003_781_000_000_000
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class Time:
    """What Lambda tells of the time that is left."""

    def __init__(self, left_s: float = 60) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return round(self._left_s * 1e3)


def event(*bodies: bytes) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{at}", "body": body.decode()} for at, body in enumerate(bodies)]}


def batches(count: int) -> list[Batch]:
    return [make_batch(5, first=1 + 5 * at, time_ns=AT_NS) for at in range(count)]


def failed(answer: dict[str, Any]) -> list[str]:
    assert set(answer) == {"batchItemFailures"}
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def ask(url: str, query: bytes) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def forget() -> None:
    """As when Lambda ends the process."""
    if lambda_handler._booker.cache_info().currsize:
        lambda_handler._booker().close()
    lambda_handler._booker.cache_clear()


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings of the function; what it keeps from call to call ends with the test."""
    lambda_handler._booker.cache_clear()
    yield monkeypatch
    forget()


def test_what_is_booked_or_dead_or_a_repeat_need_not_come_again(warm: pytest.MonkeyPatch, database_url: str) -> None:
    warm.setenv("DATABASE_URL", database_url)
    bodies = [seal(batch) for batch in batches(3)]
    assert handler(event(bodies[0], b"poison", bodies[1], bodies[0]), Time()) == {"batchItemFailures": []}
    assert failed(handler(event(bodies[1], bodies[2]), Time())) == []
    assert ask(database_url, b"SELECT count(*) FROM usage_logs") == 15
    assert ask(database_url, b"SELECT count(*) FROM usage_dead_letters") == 1


def test_one_connection_serves_all_calls_and_one_that_broke_is_replaced(
    warm: pytest.MonkeyPatch, database_url: str
) -> None:
    warm.setenv("DATABASE_URL", database_url)
    first, second, third = (event(seal(batch)) for batch in batches(3))
    mine = b"SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'beast-lambda'"
    assert failed(handler(first, Time())) == []
    pid = ask(database_url, mine)
    assert failed(handler(second, Time())) == []
    assert ask(database_url, mine) == pid
    ask(database_url, b"SELECT pg_terminate_backend(%d)" % pid)
    assert failed(handler(third, Time())) == []
    assert ask(database_url, mine) != pid
    assert ask(database_url, b"SELECT count(*) FROM usage_logs") == 15


def test_while_the_database_is_away_everything_comes_again(warm: pytest.MonkeyPatch, database_url: str) -> None:
    warm.setenv("DATABASE_URL", NOWHERE)
    made = event(*(seal(batch) for batch in batches(2)))
    assert failed(handler(made, Time())) == ["m0", "m1"]
    forget()
    warm.setenv("DATABASE_URL", database_url)
    assert failed(handler(made, Time())) == []


def test_without_time_what_is_not_booked_comes_again(warm: pytest.MonkeyPatch, database_url: str) -> None:
    warm.setenv("DATABASE_URL", database_url)
    made = event(*(seal(batch) for batch in batches(2)))
    assert failed(handler(made, Time(MARGIN_S))) == ["m0", "m1"]
    assert failed(handler(made, Time())) == []
    assert ask(database_url, b"SELECT count(*) FROM usage_logs") == 10


def test_only_messages_behind_a_failure_come_again(warm: pytest.MonkeyPatch, database_url: str) -> None:
    """The database takes the first group, and is away from the second on."""
    warm.setenv("DATABASE_URL", database_url)
    made = batches(AT_ONCE + 3)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            b"CREATE FUNCTION be_away() RETURNS trigger LANGUAGE plpgsql AS"
            b" $$ BEGIN RAISE EXCEPTION 'shutting down' USING ERRCODE = '57P03'; END $$"
        )
        connection.execute(
            b"CREATE TRIGGER away BEFORE INSERT ON usage_batches FOR EACH ROW"
            b" WHEN (NEW.first >= %d) EXECUTE FUNCTION be_away()" % made[AT_ONCE].first
        )
        left = failed(handler(event(*map(seal, made)), Time()))
        connection.execute(b"DROP TRIGGER away ON usage_batches")
    assert left == [f"m{AT_ONCE + at}" for at in range(3)]
    assert failed(handler(event(*map(seal, made)), Time())) == []
    assert ask(database_url, b"SELECT count(*) FROM usage_logs") == 5 * len(made)


def test_a_function_without_a_database_says_so(warm: pytest.MonkeyPatch) -> None:
    warm.setenv("DATABASE_URL", "")
    with pytest.raises(UsageError, match="DATABASE_URL"):
        handler(event(), Time())
