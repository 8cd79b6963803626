"""Keys of requests that the main thread answers: who is let in, what that costs the database, and for how long."""

import asyncio
from datetime import timedelta

import pytest

from beast.accounts.access import KNOWN_MAX, WAITING_MAX, Access, AccessDeniedError
from beast.accounts.errors import TooManyError
from beast.accounts.months import utc
from beast.accounts.service import Accounts
from beast.accounts.types import Scope
from beast.base.clock import ManualClock
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

REPORT: frozenset[Scope] = frozenset({"report"})
HERE = "192.0.2.7"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, clock)


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, clock)


async def test_what_is_known_is_good_for_a_second(
    accounts: Accounts, access: Access, clock: ManualClock, database: Database
) -> None:
    key = (await accounts.create_key("pro")).api_key.encode()
    assert (await access.admit(key, REPORT, HERE)).tier == "pro"
    await database.execute(b"UPDATE api_keys SET scopes = '{price}'")
    clock.advance(ms=999)
    await access.admit(key, REPORT, HERE)
    clock.advance(ms=1)
    with pytest.raises(AccessDeniedError, match="scope report"):
        await access.admit(key, REPORT, HERE)


async def test_an_expiry_is_kept_to_the_moment(accounts: Accounts, access: Access, clock: ManualClock) -> None:
    ends = utc(clock.wall_ns()) + timedelta(milliseconds=500)
    key = (await accounts.create_key("pro", expires_at=ends)).api_key.encode()
    await access.admit(key, REPORT, HERE)
    clock.advance(ms=500)
    with pytest.raises(AccessDeniedError, match="expired"):
        await access.admit(key, REPORT, HERE)


@pytest.mark.parametrize(
    ("networks", "address", "inside"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["2001:db8::/32", "192.0.2.7"], "2001:db8:1::2", True),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["192.0.2.0/24"], "", False),
        (["0.0.0.0/0"], "::1", False),
    ],
)
async def test_networks(accounts: Accounts, access: Access, networks: list[str], address: str, *, inside: bool) -> None:
    key = (await accounts.create_key("pro", networks=networks)).api_key.encode()
    if inside:
        await access.admit(key, REPORT, address)
    else:
        with pytest.raises(AccessDeniedError, match="from this address"):
            await access.admit(key, REPORT, address)


@pytest.mark.parametrize("key", [None, b"", b"tb_", b"\xff\0"])
async def test_what_is_no_key_gets_no_hint(access: Access, key: bytes | None) -> None:
    with pytest.raises(AccessDeniedError, match="missing or not valid"):
        await access.admit(key, REPORT, HERE)


async def test_keys_made_up_wait_in_a_short_line(access: Access, database: Database) -> None:
    made_up = [f"tb_{n}".encode() for n in range(2 * WAITING_MAX)]
    tried = await asyncio.gather(*(access.admit(key, REPORT, HERE) for key in made_up), return_exceptions=True)
    refused = [type(each) for each in tried]
    assert (refused.count(AccessDeniedError), refused.count(TooManyError)) == (WAITING_MAX, WAITING_MAX)
    assert database.counters()["db_open_conns"] <= 5


async def test_one_key_asked_for_often_is_looked_up_once(accounts: Accounts, access: Access) -> None:
    key = (await accounts.create_key("pro")).api_key.encode()
    admitted = await asyncio.gather(*(access.admit(key, REPORT, HERE) for _ in range(2 * WAITING_MAX)))
    assert len({id(row) for row in admitted}) == 1


async def test_not_more_than_so_many_keys_are_remembered(access: Access) -> None:
    for start in range(0, KNOWN_MAX + WAITING_MAX, WAITING_MAX):
        made_up = [f"tb_{n}".encode() for n in range(start, start + WAITING_MAX)]
        await asyncio.gather(*(access.admit(key, REPORT, HERE) for key in made_up), return_exceptions=True)
    assert len(access._known) == KNOWN_MAX
