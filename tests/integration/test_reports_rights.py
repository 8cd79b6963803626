"""Which API keys open reports, at each of the three ports: the same rules as everywhere."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from tests.fixtures.http_app import ADMIN_KEY, serving
from tests.fixtures.reports import NOW, about, clock_at, record, store

from beast.accounts.audit import Trail
from beast.accounts.service import Accounts
from beast.accounts.types import KeyChanges, NewKey
from beast.base.tasks import Tasks
from beast.http.health import Health, build_health_app
from beast.http.report_app import build_report_app
from beast.http.report_services import ReportServices
from beast.http.routes.telemetry import metrics_route
from beast.reports.service import Reports
from beast.reports.sources import Sources
from beast.reports.udp import ReportDatagrams
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATHS = ("/report", "/report/records", "/report/limit")


class Doors:
    """One node's reports, by HTTP and by UDP, and its accounts."""

    def __init__(self, database: Database) -> None:
        self.clock = clock_at()
        self.tasks = Tasks()
        self.database = database
        self.accounts = Accounts(database, self.clock)
        self.http = httpx.AsyncClient()
        self.udp_port = 0

    async def by_http(self, key: str) -> list[tuple[int, str]]:
        """Status and error of each path."""
        answers = [await self.http.get(path, headers={"X-API-Key": key}) for path in PATHS]
        return [(each.status_code, each.json().get("error", "")) for each in answers]

    async def by_udp(self, key: str) -> str:
        """The error that a datagram tells; empty when it tells the summary."""
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            sock.connect(("127.0.0.1", self.udp_port))
            await loop.sock_sendall(sock, json.dumps({"api_key": key}).encode())
            async with asyncio.timeout(10):
                return str(json.loads(await loop.sock_recv(sock, 4096)).get("error", ""))


@pytest.fixture
async def doors(database: Database) -> AsyncIterator[Doors]:
    made = Doors(database)
    reports = Reports(database, made.clock, made.tasks, node="test")
    sources = Sources(made.clock, 50)
    datagrams = ReportDatagrams(reports, sources, made.clock, node="test", count=lambda _: None)
    services = ReportServices(
        reports=reports,
        sources=sources,
        clock=made.clock,
        trail=Trail(database, made.clock),
        count=lambda _: None,
        about=about(database),
    )
    async with serving(build_report_app(services, ADMIN_KEY)) as client:
        made.http = client
        made.udp_port = await datagrams.start("127.0.0.1", 0)
        yield made
        await datagrams.stop()
    await made.tasks.cancel()


async def no_scope(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.update_key(str(key.id), KeyChanges(scopes=["price"]))


async def elsewhere(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.update_key(str(key.id), KeyChanges(networks=["192.0.2.0/24", "2001:db8::/32"]))


async def paused(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.pause_key(str(key.id))


async def revoked(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.revoke_key(str(key.id))


async def expired(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.update_key(str(key.id), KeyChanges(expires_at=NOW + timedelta(seconds=1)))


async def rotated(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.rotate_key(str(key.id), grace=timedelta())


async def near(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.update_key(str(key.id), KeyChanges(networks=["127.0.0.0/8"]))


async def in_grace(doors: Doors, key: NewKey) -> object:
    return await doors.accounts.rotate_key(str(key.id), grace=timedelta(hours=1))


Change = Callable[[Doors, NewKey], Awaitable[object]]


@pytest.mark.parametrize("change", [no_scope, elsewhere, paused, revoked, expired, rotated])
async def test_a_key_that_opens_nothing_any_more_is_refused_within_a_second(doors: Doors, change: Change) -> None:
    key = await doors.accounts.create_key("pro")
    assert await doors.by_http(key.api_key) == [(200, "")] * 3
    await change(doors, key)
    doors.clock.advance(1)
    assert await doors.by_http(key.api_key) == [(401, "unauthorized")] * 3
    assert await doors.by_udp(key.api_key) == "unauthorized"
    other = await doors.accounts.create_key("pro")
    assert await doors.by_udp(other.api_key) == ""


@pytest.mark.parametrize("change", [near, in_grace])
async def test_a_key_that_is_good_here_and_now_opens_all(doors: Doors, change: Change) -> None:
    key = await doors.accounts.create_key("pro")
    await change(doors, key)
    assert await doors.by_http(key.api_key) == [(200, "")] * 3
    assert await doors.by_udp(key.api_key) == ""


async def test_the_keys_of_a_line_see_the_usage_of_all_of_it(doors: Doors) -> None:
    old = await doors.accounts.create_key("pro")
    new = await doors.accounts.rotate_key(str(old.id), grace=timedelta(hours=1))
    stranger = await doors.accounts.create_key("pro")
    await store(doors.database, [record(n, key_id=key.id) for n, key in enumerate((old, new, stranger), 1)])
    for key, answers, keys in ((old, 2, [old.id, new.id]), (new, 2, [old.id, new.id]), (stranger, 1, [stranger.id])):
        report = (await doors.http.get("/report", headers={"X-API-Key": key.api_key})).json()
        assert (report["totals"]["answers"], report["report"]["keys"]) == (answers, keys)


async def test_a_key_that_is_used_for_reports_alone_is_seen_to_be_used(doors: Doors) -> None:
    key = await doors.accounts.create_key("pro")
    assert await doors.by_udp(key.api_key) == ""
    assert (await doors.accounts.find_key(str(key.id))).last_used_at == NOW


async def test_the_health_port_tells_nothing_of_reports_whoever_asks(doors: Doors) -> None:
    key = await doors.accounts.create_key("pro")

    async def expose() -> str:
        return "# EOF\n"

    async with serving(build_health_app(Health(), metrics_route(expose))) as health:
        for headers in ({}, {"X-API-Key": key.api_key}, {"X-Admin-Key": ADMIN_KEY}):
            for path in (*PATHS, "/admin/report", "/admin/status"):
                assert (await health.get(path, headers=headers)).status_code == 404
            assert (await health.get("/health/ready", headers=headers)).json()["ready"]
