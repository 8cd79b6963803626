"""What becomes of keys, users and tiers, in the rows and in the audit log."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beast.accounts.audit import Actor, AuditRow, Trail
from beast.accounts.errors import ConflictError, ReusedRequestError, UnknownAccountError
from beast.accounts.months import utc
from beast.accounts.once import Once
from beast.accounts.service import Accounts
from beast.accounts.tiers import Tiers
from beast.accounts.types import KeyChanges, TierChanges, UserChanges
from beast.accounts.users import Users
from beast.base.clock import ManualClock
from beast.base.errors import UsageError
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ADA = Actor("ada", "192.0.2.1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ns=int(datetime(2026, 3, 10, tzinfo=UTC).timestamp()) * 1_000_000_000)


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, clock)


@pytest.fixture
def users(database: Database, clock: ManualClock) -> Users:
    return Users(database, clock)


@pytest.fixture
def tiers(database: Database, clock: ManualClock) -> Tiers:
    return Tiers(database, clock)


@pytest.fixture
def trail(database: Database, clock: ManualClock) -> Trail:
    return Trail(database, clock)


def once(key: str = "k", body: bytes = b"{}") -> Once:
    return Once.named(key, path="/admin/keys", body=body, operator_key="o" * 16)


async def told(trail: Trail, **wanted: Any) -> list[tuple[str, str, object, object]]:
    return [(row.action, row.subject, row.before, row.after) for row in await trail.list_rows(**wanted)]


async def test_a_key_has_what_it_was_given(accounts: Accounts, users: Users) -> None:
    ada = await users.create("ada@example.org")
    new = await accounts.create_key(
        "pro",
        label="ours",
        user_id=ada.id,
        scopes=["report", "price"],
        networks=["::ffff:192.0.2.0/120", "2001:DB8::/32"],
    )
    key = await accounts.find_key(str(new.id))
    assert (key.tier, key.label, key.user_id) == ("pro", "ours", ada.id)
    assert (key.scopes, key.networks) == (["price", "report"], ["192.0.2.0/24", "2001:db8::/32"])
    assert key.state_at(accounts.now) == "active"
    assert (await users.find("ADA@example.org")).keys == 1


async def test_a_key_of_nobody_is_not_made(accounts: Accounts) -> None:
    with pytest.raises(UnknownAccountError, match="user 5"):
        await accounts.create_key("pro", user_id=5)
    assert await accounts.list_keys() == []


async def test_a_rotated_key_and_its_successor_are_both_good_until_the_grace_is_over(
    accounts: Accounts, clock: ManualClock
) -> None:
    old = await accounts.create_key("pro", label="ours", networks=["192.0.2.0/24"])
    new = await accounts.rotate_key(str(old.id), grace=timedelta(hours=1))
    assert new.api_key != old.api_key
    before, after = await accounts.list_keys()
    assert (before.successor_id, before.expires_at) == (new.id, utc(clock.wall_ns()) + timedelta(hours=1))
    assert (after.tier, after.label, after.networks, after.expires_at) == ("pro", "ours", ["192.0.2.0/24"], None)
    assert [key.quota_owner for key in (before, after)] == [old.id, old.id]
    assert [key.state_at(accounts.now) for key in (before, after)] == ["rotated", "active"]
    clock.advance(3600)
    assert [key.state_at(accounts.now) for key in (before, after)] == ["expired", "active"]


async def test_a_key_that_ends_before_the_grace_does_so_and_its_successor_as_well(
    accounts: Accounts, clock: ManualClock
) -> None:
    ends = utc(clock.wall_ns()) + timedelta(minutes=5)
    old = await accounts.create_key("pro", expires_at=ends)
    await accounts.rotate_key(str(old.id), grace=timedelta(hours=1))
    assert [key.expires_at for key in await accounts.list_keys()] == [ends, ends]


async def test_only_the_last_of_a_line_is_rotated_and_only_while_it_is_good(
    accounts: Accounts, clock: ManualClock
) -> None:
    first = await accounts.create_key("pro")
    second = await accounts.rotate_key(str(first.id))
    with pytest.raises(ConflictError, match=f"has been rotated .rotate key {second.id}."):
        await accounts.rotate_key(str(first.id))
    third = await accounts.rotate_key(str(second.id), grace=timedelta())
    assert [key.quota_owner for key in await accounts.list_keys()] == [first.id] * 3
    assert (await accounts.find_key(str(second.id))).state_at(accounts.now) == "expired"
    await accounts.revoke_key(str(third.id))
    with pytest.raises(ConflictError, match="is revoked"):
        await accounts.rotate_key(str(third.id))
    short = await accounts.create_key("pro", expires_at=utc(clock.wall_ns()) + timedelta(seconds=1))
    clock.advance(1)
    with pytest.raises(ConflictError, match="is expired"):
        await accounts.rotate_key(str(short.id))


async def test_two_who_rotate_the_same_key_get_one_successor(accounts: Accounts) -> None:
    old = await accounts.create_key("pro")
    tried = await asyncio.gather(*(accounts.rotate_key(str(old.id)) for _ in range(5)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in tried) == ["ConflictError"] * 4 + ["NewKey"]
    assert len(await accounts.list_keys()) == 2


async def test_a_pause_is_ended_and_a_revocation_is_not(accounts: Accounts, clock: ManualClock) -> None:
    which = str((await accounts.create_key("pro")).id)
    paused = await accounts.pause_key(which)
    clock.advance(5)
    assert await accounts.pause_key(which) == paused
    assert paused.state_at(accounts.now) == "paused"
    assert (await accounts.resume_key(which)).state_at(accounts.now) == "active"
    assert (await accounts.revoke_key(which)).state_at(accounts.now) == "revoked"
    for act in (accounts.pause_key, accounts.resume_key):
        with pytest.raises(ConflictError, match="for ever"):
            await act(which)
    with pytest.raises(ConflictError, match="for ever"):
        await accounts.update_key(which, KeyChanges(label="x"))


async def test_the_successor_of_a_paused_key_is_paused(accounts: Accounts) -> None:
    old = await accounts.create_key("pro")
    await accounts.pause_key(str(old.id))
    new = await accounts.rotate_key(str(old.id))
    assert (await accounts.find_key(str(new.id))).state_at(accounts.now) == "paused"


async def test_what_is_left_out_stays(accounts: Accounts, clock: ManualClock) -> None:
    ends = utc(clock.wall_ns()) + timedelta(days=1)
    new = await accounts.create_key("pro", label="ours", expires_at=ends, networks=["192.0.2.0/24"])
    which = str(new.id)
    assert (await accounts.update_key(which, KeyChanges(label="theirs"))).networks == ["192.0.2.0/24"]
    changed = await accounts.update_key(which, KeyChanges(expires_at=None, networks=[], scopes=["push"]))
    assert (changed.label, changed.expires_at, changed.networks, changed.scopes) == ("theirs", None, [], ["push"])
    assert await accounts.find_key(which) == changed


@pytest.mark.parametrize(
    "changes",
    [
        KeyChanges(tier="gold"),
        KeyChanges(label="\0"),
        KeyChanges(expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
        KeyChanges(user_id=7),
        KeyChanges(scopes=[]),
        KeyChanges(networks=["nowhere"]),
    ],
)
async def test_a_bad_change_changes_nothing(accounts: Accounts, trail: Trail, changes: KeyChanges) -> None:
    new = await accounts.create_key("pro")
    before = await accounts.find_key(str(new.id))
    with pytest.raises(UsageError):
        await accounts.update_key(str(new.id), changes)
    assert await accounts.find_key(str(new.id)) == before
    assert len(await trail.list_rows()) == 1


async def test_a_tier_is_its_whole_lines(accounts: Accounts) -> None:
    first, other = await accounts.create_key("pro"), await accounts.create_key("pro")
    second = await accounts.rotate_key(str(first.id))
    await accounts.update_key(str(second.id), KeyChanges(tier="enterprise"))
    assert {key.id: key.tier for key in await accounts.list_keys()} == {
        first.id: "enterprise",
        second.id: "enterprise",
        other.id: "pro",
    }


async def test_keys_are_listed_by_what_they_are(accounts: Accounts, users: Users, clock: ManualClock) -> None:
    ada = await users.create("ada@example.org")
    ends = utc(clock.wall_ns()) + timedelta(seconds=1)
    made = {
        "active": await accounts.create_key("pro", label="Ada's laptop", user_id=ada.id),
        "rotated": await accounts.create_key("free"),
        "paused": await accounts.create_key("free"),
        "expired": await accounts.create_key("free", expires_at=ends),
        "revoked": await accounts.create_key("free", expires_at=ends),
    }
    await accounts.rotate_key(str(made["rotated"].id))
    await accounts.pause_key(str(made["paused"].id))
    await accounts.revoke_key(str(made["revoked"].id))
    clock.advance(1)
    for key in await accounts.list_keys():
        assert key in await accounts.list_keys(state=key.state_at(accounts.now))
    counted = {state: len(await accounts.list_keys(state=state)) for state in ("active", "paused", "disabled")}
    assert counted == {"active": 2, "paused": 1, "disabled": 0}
    for wanted in ({"label": "LAPTOP"}, {"user_id": ada.id}, {"tier": "pro"}):
        assert [key.id for key in await accounts.list_keys(**wanted)] == [made["active"].id]
    assert await accounts.list_keys(label="%") == []


async def test_a_creation_that_is_sent_again_makes_no_other_key(accounts: Accounts, database: Database) -> None:
    new = await accounts.create_key("pro", once=once())
    assert await accounts.create_key("pro", once=once()) == new
    assert (await accounts.create_key("pro", once=once("other"))).id != new.id
    assert len(await accounts.list_keys()) == 2
    async with database.connection() as connection:
        rows = await (
            await connection.execute("SELECT to_jsonb(idempotent_answers)::text FROM idempotent_answers")
        ).fetchall()
    assert not any(new.api_key[11:] in row[0] for row in rows)


async def test_creations_sent_at_once_make_one_key(accounts: Accounts) -> None:
    made = await asyncio.gather(*(accounts.create_key("pro", once=once()) for _ in range(8)))
    assert len({each.api_key for each in made}) == 1
    assert len(await accounts.list_keys()) == 1


async def test_a_rotation_that_is_sent_again_makes_no_other_key(accounts: Accounts) -> None:
    old = await accounts.create_key("pro")
    new = await accounts.rotate_key(str(old.id), once=once())
    assert await accounts.rotate_key(str(old.id), once=once()) == new


async def test_the_same_name_for_another_request_is_refused(accounts: Accounts) -> None:
    await accounts.create_key("pro", once=once())
    with pytest.raises(ReusedRequestError):
        await accounts.create_key("free", once=once(body=b'{"tier":"free"}'))
    assert len(await accounts.list_keys()) == 1


async def test_a_failed_creation_may_be_sent_again(accounts: Accounts) -> None:
    with pytest.raises(UnknownAccountError):
        await accounts.create_key("pro", user_id=9, once=once())
    assert (await accounts.create_key("pro", once=once())).tier == "pro"


async def test_an_answer_is_kept_for_a_day(accounts: Accounts, clock: ManualClock) -> None:
    new = await accounts.create_key("pro", once=once())
    clock.advance(24 * 3600)
    assert await accounts.create_key("pro", once=once()) == new
    clock.advance(ms=1)
    assert (await accounts.create_key("pro", once=once())).id != new.id


async def test_an_answer_is_not_opened_with_another_operators_key(accounts: Accounts) -> None:
    await accounts.create_key("pro", once=once())
    other = Once.named("k", path="/admin/keys", body=b"{}", operator_key="another" * 3)
    with pytest.raises(ConflictError, match="can't be told again"):
        await accounts.create_key("pro", once=other)


async def test_users_have_an_address_of_their_own(users: Users) -> None:
    ada = await users.create("Ada@example.org", name="Ada", preferred_lang="pt-BR", once=once())
    assert await users.create("Ada@example.org", once=once()) == ada
    with pytest.raises(ConflictError, match="user with the address ada"):
        await users.create("ADA@example.org")
    bob = await users.create("bob@example.org")
    with pytest.raises(ConflictError, match="user with the address ada"):
        await users.update(str(bob.id), UserChanges(email="ada@example.org"))
    moved = await users.update("ada@example.org", UserChanges(email="lovelace@example.org"))
    assert (moved.name, moved.preferred_lang) == ("Ada", "pt-BR")
    assert [user.email for user in await users.list_page()] == ["lovelace@example.org", "bob@example.org"]
    assert [user.id for user in await users.list_page(email="BOB@example.org")] == [bob.id]
    for which in ("99", "ada@example.org"):
        with pytest.raises(UnknownAccountError):
            await users.find(which)


async def test_two_who_want_the_same_address_at_once_do_not_both_get_it(users: Users) -> None:
    made = [await users.create(f"{n}@example.org") for n in range(4)]
    wanted = UserChanges(email="one@example.org")
    tried = await asyncio.gather(*(users.update(str(user.id), wanted) for user in made), return_exceptions=True)
    assert sum(isinstance(each, ConflictError) for each in tried) == 3
    assert sum(user.email == "one@example.org" for user in await users.list_page()) == 1


async def test_tiers_are_changed_and_added(tiers: Tiers, accounts: Accounts) -> None:
    pro = await tiers.set("pro", TierChanges(monthly_queries=60_000))
    assert (pro.monthly_queries, pro.per_second, pro.burst) == (60_000, 10, 20)
    gold = await tiers.set("gold", TierChanges(per_second=5, burst=5))
    assert gold in await tiers.list_all()
    assert (await accounts.create_key("gold")).tier == "gold"
    with pytest.raises(UsageError, match="partner"):
        await tiers.set("pro", TierChanges(partner=True))
    with pytest.raises(UsageError, match="is no name"):
        await tiers.set("Pro\0", TierChanges())
    assert await tiers.find("pro") == pro
    with pytest.raises(UnknownAccountError):
        await tiers.find("silver")


async def test_every_change_is_in_the_audit_log_once(
    accounts: Accounts, users: Users, tiers: Tiers, trail: Trail, clock: ManualClock
) -> None:
    ada = await users.create("ada@example.org", by=ADA)
    await users.update(str(ada.id), UserChanges(name="Ada"), by=ADA)
    await users.update(str(ada.id), UserChanges(name="Ada"), by=ADA)
    await tiers.set("pro", TierChanges(burst=30), by=ADA)
    await tiers.set("pro", TierChanges(burst=30), by=ADA)
    old = await accounts.create_key("pro", by=ADA)
    new = await accounts.rotate_key(str(old.id), by=ADA)
    await accounts.pause_key(str(new.id), by=ADA)
    await accounts.resume_key(str(new.id), by=ADA)
    await accounts.update_key(str(new.id), KeyChanges(scopes=["push"]), by=ADA)
    await accounts.revoke_key(str(new.id), by=ADA)
    await accounts.revoke_key(str(new.id), by=ADA)
    rows = await trail.list_rows()
    assert {(row.actor, row.address, row.at) for row in rows} == {("ada", "192.0.2.1", utc(clock.wall_ns()))}
    assert [row.action for row in reversed(rows)] == [
        "user.create",
        "user.update",
        "tier.set",
        "key.create",
        "key.rotate",
        "key.create",
        "key.pause",
        "key.resume",
        "key.update",
        "key.revoke",
    ]
    assert ("tier.set", "tier pro", {"burst": 20}, {"burst": 30}) in await told(trail)
    scopes = ("key.update", f"key {new.id}", {"scopes": ["price", "report"]}, {"scopes": ["push"]})
    assert await told(trail, action="key.u") == [scopes]
    assert [row.subject for row in await trail.list_rows(subject=f"key {old.id}")] == [f"key {old.id}"] * 2


async def test_no_secret_gets_into_the_audit_log(accounts: Accounts, trail: Trail) -> None:
    old = await accounts.create_key("pro", label="tb_" + "s" * 43)
    new = await accounts.rotate_key(str(old.id))
    trail.put(ADA, "something.else", {"api_key": "hidden", "told": f"it is {new.api_key}", "list": [old.api_key]})
    await trail.flush()
    text = repr(await trail.list_rows())
    for secret in (old.api_key[3:], new.api_key[3:], "hidden", "s" * 43):
        assert secret not in text


async def test_pages_of_the_audit_log_go_back_in_time(trail: Trail) -> None:
    for number in range(5):
        trail.put(ADA, f"act.{number}", {})
    await trail.flush()
    first = await trail.list_rows(limit=3)
    second = await trail.list_rows(before=first[-1].id, limit=3)
    assert [row.action for row in (*first, *second)] == [f"act.{n}" for n in (4, 3, 2, 1, 0)]
    assert await trail.list_rows(actor="eve") == []


async def test_what_is_told_while_the_trail_runs_is_written_by_its_end(trail: Trail) -> None:
    async with trail.running():
        for number in range(20):
            trail.put(ADA, f"act.{number}", {"number": number})
            await asyncio.sleep(0)
    rows: list[AuditRow] = await trail.list_rows()
    assert [row.after for row in reversed(rows)] == [{"number": number} for number in range(20)]


async def test_entries_wait_while_the_database_can_not_take_them(
    database_url: str, database: Database, clock: ManualClock
) -> None:
    async with Database(database_url, statement_timeout_ms=50, application_name="tests") as hasty:
        trail = Trail(hasty, clock)
        async with trail.running():
            async with database.transaction() as connection:
                await connection.execute("LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE")
                for number in range(3):
                    trail.put(ADA, f"act.{number}", {})
                await asyncio.sleep(0.2)
                assert len(trail._waiting) == 3
            trail.put(ADA, "act.3", {})
    assert [row.action for row in reversed(await Trail(database, clock).list_rows())] == [f"act.{n}" for n in range(4)]


async def test_what_does_not_fit_any_more_is_in_the_log_alone(
    trail: Trail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beast.accounts.audit.WAITING_MAX", 2)
    for number in range(3):
        trail.put(ADA, f"act.{number}", {})
    assert "act.2" in "".join(capsys.readouterr())
    await trail.flush()
    assert [row.action for row in await trail.list_rows()] == ["act.1", "act.0"]
