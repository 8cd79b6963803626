"""Accounts by HTTP: the operator's routes, and what a key's owner sees."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from tests.fixtures.services import make_services
from tests.fixtures.usage_path import count_answers

from beast.accounts.errors import TooManyError
from beast.accounts.own_usage import Nothing
from beast.base.clock import SystemClock
from beast.http.account_admin import AccountAdmin
from beast.http.app import build_app
from beast.http.server import HttpServer
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ADMIN_KEY = "an-admin-key-of-the-tests"


class Waiting(Nothing):
    """Answers that no row holds."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, int] = {}

    def unbooked(self) -> dict[int, int]:
        return self.answers


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def accounts(database: Database, waiting: Waiting) -> AccountAdmin:
    return AccountAdmin(database, SystemClock(), waiting, operator_key=ADMIN_KEY)


@pytest.fixture
async def anybody(accounts: AccountAdmin) -> AsyncIterator[httpx.AsyncClient]:
    server = HttpServer(build_app(msgspec.structs.replace(make_services(), accounts=accounts), ADMIN_KEY))
    await server.start(("127.0.0.1", 0))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    await server.stop(grace_s=1)


@pytest.fixture
async def operator(anybody: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=anybody.base_url, headers={"X-Admin-Key": ADMIN_KEY}) as client:
        yield client


async def made(operator: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await operator.post("/admin/keys", json={"tier": "pro", **fields})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_a_key_from_its_making_to_its_end(operator: httpx.AsyncClient) -> None:
    key = await made(operator, label="ours", networks=["192.0.2.0/24"])
    assert key["api_key"].startswith(key["prefix"])
    path = f"/admin/keys/{key['id']}"
    shown = (await operator.get(path)).json()
    assert (shown["state"], shown["label"], shown["networks"]) == ("active", "ours", ["192.0.2.0/24"])
    assert key["api_key"] not in json.dumps(shown)
    changed = await operator.patch(path, json={"label": "theirs", "networks": []})
    assert (changed.json()["label"], changed.json()["networks"], changed.json()["tier"]) == ("theirs", [], "pro")
    assert (await operator.post(f"{path}/pause")).json()["state"] == "paused"
    assert (await operator.post(f"{path}/resume")).json()["state"] == "active"
    rotated = await operator.post(f"{path}/rotate", json={"grace_s": 60})
    assert rotated.status_code == 201
    old = (await operator.get(path)).json()
    assert (old["state"], old["successor_id"]) == ("rotated", rotated.json()["id"])
    assert refused(await operator.post(f"{path}/rotate")) == (409, "conflict")
    assert (await operator.post(f"{path}/revoke")).json()["state"] == "revoked"
    assert refused(await operator.patch(path, json={"label": "x"})) == (409, "conflict")


async def test_pages_of_keys(operator: httpx.AsyncClient) -> None:
    ids = [(await made(operator, label=f"n{n}"))["id"] for n in range(3)]
    first = (await operator.get("/admin/keys?limit=2")).json()
    assert ([key["id"] for key in first["keys"]], first["next"]) == (ids[:2], ids[1])
    second = (await operator.get(f"/admin/keys?limit=2&after={first['next']}")).json()
    assert ([key["id"] for key in second["keys"]], second["next"]) == (ids[2:], None)
    found = (await operator.get("/admin/keys?label=N1&state=active&tier=pro")).json()
    assert [key["id"] for key in found["keys"]] == [ids[1]]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/admin/keys/999", None, (404, "not_found")),
        ("GET", "/admin/keys/tb_x", None, (404, "not_found")),
        ("GET", f"/admin/keys/{'9' * 5000}", None, (404, "not_found")),
        ("POST", "/admin/keys/0/revoke", None, (404, "not_found")),
        ("GET", "/admin/keys?limit=0", None, (400, "bad_request")),
        ("GET", "/admin/keys?limit=1001", None, (400, "bad_request")),
        ("GET", "/admin/keys?after=99999999999999999999", None, (400, "bad_request")),
        ("GET", "/admin/keys?state=odd", None, (400, "bad_request")),
        ("GET", "/admin/keys?label=%00", None, (400, "bad_request")),
        ("POST", "/admin/keys", {}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "gold"}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "pro", "odd": 1}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "pro", "scopes": ["all"]}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "pro", "networks": ["x"]}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "pro", "expires_at": "2030-01-01T00:00:00"}, (400, "bad_request")),
        ("POST", "/admin/keys", {"tier": "pro", "user_id": 77}, (404, "not_found")),
        ("POST", "/admin/users", {"email": "nobody"}, (400, "bad_request")),
        ("GET", "/admin/users/5", None, (404, "not_found")),
        ("PATCH", "/admin/users/5", {"name": "x"}, (404, "not_found")),
        ("GET", "/admin/users?email=%00", None, (400, "bad_request")),
        ("GET", "/admin/tiers/gold", None, (404, "not_found")),
        ("GET", "/admin/tiers/%00", None, (404, "not_found")),
        ("PUT", "/admin/tiers/pro", {"per_second": 0}, (400, "bad_request")),
        ("PUT", "/admin/tiers/Gold", {}, (400, "bad_request")),
        ("GET", "/admin/usage/alerts?month=2026-13", None, (400, "bad_request")),
        ("GET", "/admin/usage/alerts?month=now", None, (400, "bad_request")),
        ("GET", "/admin/usage/alerts?key_id=5", None, (404, "not_found")),
        ("GET", "/admin/audit?action=%00", None, (400, "bad_request")),
    ],
)
async def test_mistakes(
    operator: httpx.AsyncClient, method: str, path: str, body: object, expected: tuple[int, str]
) -> None:
    assert refused(await operator.request(method, path, json=body)) == expected


@pytest.mark.parametrize("path", ["/admin/keys", "/admin/users", "/admin/tiers", "/admin/audit", "/admin/usage/alerts"])
async def test_an_api_key_of_scope_admin_opens_nothing_there(
    anybody: httpx.AsyncClient, operator: httpx.AsyncClient, path: str
) -> None:
    key = await made(operator, scopes=["admin"])
    for headers in ({}, {"X-API-Key": key["api_key"]}, {"X-Admin-Key": key["api_key"]}):
        assert refused(await anybody.get(path, headers=headers)) == (401, "unauthorized")


async def test_a_creation_sent_again_is_answered_again(operator: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    for path, body, other in (
        ("/admin/keys", {"tier": "pro"}, {"tier": "free"}),
        ("/admin/users", {"email": "ada@example.org"}, {"email": "bob@example.org"}),
        ("/admin/keys/1/rotate", {}, {"grace_s": 1}),
    ):
        first = await operator.post(path, json=body, headers=headers)
        again = await operator.post(path, json=body, headers=headers)
        assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
        assert refused(await operator.post(path, json=other, headers=headers)) == (422, "idempotency_key_reused")
    assert len((await operator.get("/admin/keys")).json()["keys"]) == 2
    assert refused(await operator.post("/admin/users", json={}, headers={"Idempotency-Key": ""})) == (
        400,
        "bad_request",
    )


async def test_users(operator: httpx.AsyncClient) -> None:
    ada = (await operator.post("/admin/users", json={"email": "Ada@example.org", "name": "Ada"})).json()
    assert (ada["email"], ada["preferred_lang"], ada["keys"]) == ("ada@example.org", "en", 0)
    assert refused(await operator.post("/admin/users", json={"email": "ada@example.org"})) == (409, "conflict")
    await made(operator, user_id=ada["id"])
    changed = await operator.patch(f"/admin/users/{ada['id']}", json={"preferred_lang": "de"})
    assert (changed.json()["preferred_lang"], changed.json()["keys"]) == ("de", 1)
    assert (await operator.get("/admin/users?email=ADA@example.org")).json()["users"] == [changed.json()]


async def test_tiers(operator: httpx.AsyncClient) -> None:
    tiers = {tier["tier"]: tier for tier in (await operator.get("/admin/tiers")).json()["tiers"]}
    assert tiers["partner"]["partner"] is True
    changed = await operator.put("/admin/tiers/pro", json={"monthly_queries": None})
    assert changed.json() == {**tiers["pro"], "monthly_queries": None}
    assert (await operator.get("/admin/tiers/pro")).json() == changed.json()


async def test_the_audit_log_says_who_and_what_and_no_secret(operator: httpx.AsyncClient) -> None:
    key = await made(operator)
    await operator.post(f"/admin/keys/{key['id']}/pause")
    await operator.get("/admin/stress-reset")
    await operator.get("/admin/keys")
    for _ in range(100):
        page = (await operator.get("/admin/audit")).json()
        if len(page["entries"]) == 3:
            break
        await asyncio.sleep(0.01)
    assert {(entry["actor"], entry["address"]) for entry in page["entries"]} == {("operator", "127.0.0.1")}
    actions = [entry["action"] for entry in page["entries"]]
    assert actions == ["stress-reset", "key.pause", "key.create"]
    assert page["entries"][1]["before"] == {"paused_at": None}
    assert key["api_key"] not in json.dumps(page)
    older = (await operator.get(f"/admin/audit?before={page['entries'][1]['id']}&action=key.")).json()
    assert [entry["action"] for entry in older["entries"]] == ["key.create"]


async def usage_of(anybody: httpx.AsyncClient, key: dict[str, Any], **headers: str) -> httpx.Response:
    return await anybody.get("/usage", headers={"X-API-Key": key["api_key"], **headers})


async def test_the_owner_sees_what_was_used_to_the_last_answer(
    anybody: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    waiting: Waiting,
    database: Database,
) -> None:
    key = await made(operator, label="ours")
    await count_answers(database, SystemClock(), (key["id"], 37_400))
    waiting.answers = {key["id"]: 150, 999: 7}
    now = datetime.now(UTC)
    hour, month = now.replace(minute=0, second=0, microsecond=0), now.date().replace(day=1)
    async with database.connection() as connection:
        await connection.execute("SELECT make_usage_partitions(%s, %s)", [now.date(), now.date()])
        for asset, count in (("BTC", 3), ("ETH", 2)):
            await connection.execute(
                "INSERT INTO usage_logs SELECT %s, %s, %s, 'okx', 'okx-ws', 'n', 1, 0, s, 'udp', 'live', 1, 1, 4, NULL"
                " FROM generate_series(1, %s) AS s",
                [hour, key["id"], asset, count],
            )
    answer = await usage_of(anybody, key)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert (told["used"], told["left"], told["tier"], told["label"]) == (37_550, 12_450, "pro", "ours")
    assert told["limits"] == {"monthly_queries": 50_000, "per_second": 10, "burst": 20, "monthly_reports": 10}
    assert told["month"] == f"{month:%Y-%m}"
    resets = datetime.fromisoformat(told["resets_at"])
    assert resets == (datetime(month.year, month.month, 1, tzinfo=UTC) + timedelta(days=32)).replace(day=1)
    assert told["days"] == [{"day": f"{now:%Y-%m-%d}", "answers": 37_400}]
    assert told["assets"] == [{"asset": "BTC", "answers": 3}, {"asset": "ETH", "answers": 2}]
    assert told["alerts"] == []
    assert (await operator.get(f"/admin/keys/{key['id']}/usage")).json() == told


async def test_rotated_keys_share_what_is_used_and_the_alerts(
    anybody: httpx.AsyncClient, operator: httpx.AsyncClient, database: Database, waiting: Waiting
) -> None:
    old = await made(operator)
    new = (await operator.post(f"/admin/keys/{old['id']}/rotate")).json()
    await count_answers(database, SystemClock(), (old["id"], 20_000))
    await count_answers(database, SystemClock(), (new["id"], 20_000))
    waiting.answers = {old["id"]: 1, new["id"]: 2}
    for key in (old, new):
        told = (await usage_of(anybody, key)).json()
        assert (told["used"], told["left"]) == (40_003, 9_997)
        assert [(alert["percent"], alert["used"], alert["cap"]) for alert in told["alerts"]] == [(75, 40_000, 50_000)]
    await count_answers(database, SystemClock(), (new["id"], 10_000))
    page = (await operator.get(f"/admin/usage/alerts?key_id={new['id']}&limit=2")).json()
    assert [(alert["key_id"], alert["percent"]) for alert in page["alerts"]] == [(old["id"], 75), (old["id"], 90)]
    rest = (await operator.get(f"/admin/usage/alerts?after={page['next']}")).json()
    assert ([alert["percent"] for alert in rest["alerts"]], rest["next"]) == ([100], None)
    assert (await operator.get("/admin/usage/alerts?month=2020-01")).json()["alerts"] == []


async def test_a_partner_has_no_limits(anybody: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    told = (await usage_of(anybody, await made(operator, tier="partner"))).json()
    assert set(told["limits"].values()) == {None}
    assert told["left"] is None


async def test_who_may_not_see_it(anybody: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    reasons = {
        "missing or not valid": {"X-API-Key": "tb_unknown"},
        "lacks the scope price or report": {"X-API-Key": (await made(operator, scopes=["push", "admin"]))["api_key"]},
        "from this address": {"X-API-Key": (await made(operator, networks=["192.0.2.0/24"]))["api_key"]},
    }
    paused = await made(operator)
    await operator.post(f"/admin/keys/{paused['id']}/pause")
    reasons["is paused"] = {"Authorization": f"Bearer {paused['api_key']}"}
    for reason, headers in reasons.items():
        answer = await anybody.get("/usage", headers=headers)
        assert refused(answer) == (401, "unauthorized")
        assert reason in answer.json()["message"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert refused(await anybody.get("/usage")) == (401, "unauthorized")
    twice = await anybody.get("/usage", headers=[("X-API-Key", "a"), ("X-API-Key", "b")])
    assert refused(twice) == (400, "bad_request")
    for fields in ({"scopes": ["report"]}, {"scopes": ["price"]}, {"networks": ["127.0.0.0/8"]}):
        assert (await usage_of(anybody, await made(operator, **fields))).status_code == 200


async def test_a_key_that_was_good_is_refused_within_a_second(
    anybody: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    key = await made(operator)
    assert (await usage_of(anybody, key)).status_code == 200
    await operator.post(f"/admin/keys/{key['id']}/revoke")
    deadline = asyncio.get_running_loop().time() + 1.2
    while (answer := await usage_of(anybody, key)).status_code == 200:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    assert refused(answer) == (401, "unauthorized")


async def test_too_many_at_once_are_told_to_come_back(accounts: AccountAdmin) -> None:
    new = await accounts.keys.create_key("pro")
    key = await accounts.keys.find_key(str(new.id))
    told = await asyncio.gather(*(accounts.usage.of(key) for _ in range(300)), return_exceptions=True)
    assert sum(isinstance(each, TooManyError) for each in told) == 300 - 256
    assert (await accounts.usage.of(key)).used == 0


async def test_the_assets_are_left_out_when_they_can_not_be_counted_in_time(
    accounts: AccountAdmin, database: Database
) -> None:
    new = await accounts.keys.create_key("pro")
    key = await accounts.keys.find_key(str(new.id))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with database.connection() as connection:
        await connection.execute("INSERT INTO usage_key_hours VALUES (%s, %s, 5)", [hour, new.id])
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE usage_logs IN ACCESS EXCLUSIVE MODE")
        told = await asyncio.wait_for(accounts.usage.of(key), 5)
    assert (told.assets, told.assets_at) == (None, None)
    assert [day.answers for day in told.days] == [5]
    assert (await accounts.usage.of(key)).assets == []


async def test_without_accounts_there_is_nothing_to_tell() -> None:
    server = HttpServer(build_app(make_services(), ADMIN_KEY))
    await server.start(("127.0.0.1", 0))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        for path, headers in (("/usage", {}), ("/admin/keys", {"X-Admin-Key": ADMIN_KEY})):
            assert refused(await client.get(path, headers=headers)) == (503, "unavailable")
    await server.stop(grace_s=1)
