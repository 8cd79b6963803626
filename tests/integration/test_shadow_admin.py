"""Drafts and versions as operators see them: in the database, over HTTP and on the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.fixtures.rows import ROOT, example_exchange
from tests.fixtures.services import make_services

from beast.__main__ import run
from beast.accounts.audit import Trail
from beast.base.clock import SystemClock
from beast.feeds.link.tally import Tally
from beast.feeds.rows.files import Exchange
from beast.feeds.shadow.change import change_of, digest
from beast.feeds.shadow.ripening import Outlook, Progress
from beast.feeds.shadow.store import CHANNEL, DraftStore, NotNowError, Terms
from beast.feeds.shadow.types import AssetEvidence, Change, DraftDetail, Verdict
from beast.feeds.store import FeedStore
from beast.http.app import build_app
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.server import HttpServer
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ADMIN_KEY = "an-admin-key-of-the-tests"
EXAMPLE = ROOT / "docs" / "examples" / "binance.toml"
RIPE = Outlook(ripe=True, waits_for="a person")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def now() -> datetime:
    return datetime.now(UTC)


def verdict(at: datetime, **members: Any) -> Verdict:
    bitcoin = AssetEvidence(
        asset="BTC",
        currency="USDT",
        standing="agrees",
        price="100.1",
        others=100.0,
        sources=2,
        compared=9,
        off_bps=10.0,
    )
    base: dict[str, Any] = {
        "at": at, "kind": "agreeing", "why": "1 assets compared", "tally": Tally(frames=9, trades=9), "compared": 1,
        "beyond": 0, "worst_bps": 10.0, "assets": (bitcoin,),
    }  # fmt: skip
    return Verdict(**base | members)


async def judged(store: DraftStore, draft: DraftDetail, ahead: Outlook = RIPE, at: datetime | None = None) -> None:
    """One minute, as the node that leads tells it."""
    rows, _ = await store.preview(draft.change)
    at = at or now()
    await store.judge(draft, Progress(3, frozenset({"BTC"}), at), ahead, verdict(at), digest(rows))


async def started(store: DraftStore, change: Change, **terms: Any) -> DraftDetail:
    return await store.start(change, Terms(**terms), who="ada", at=now())


async def test_a_draft_is_kept_with_its_minutes(database: Database) -> None:
    store = DraftStore(database)
    listener = database.listen(CHANNEL)
    assert await anext(listener) is None
    draft = await started(store, change_of(example_exchange()), bps=20, auto=False)
    assert (draft.exchange, draft.who, draft.bps, draft.minutes, draft.auto) == ("binance", "ada", 20, None, False)
    first = now() - timedelta(minutes=70)
    for minute in range(70):
        await judged(store, draft, at=first + timedelta(minutes=minute))
    found = await store.find(draft.id)
    assert (found.state, found.agreed, found.ripe, found.waits_for) == ("agreeing", 3, True, "a person")
    assert len(found.minutes_past) == 60
    assert found.minutes_past[-1].at == first + timedelta(minutes=69) == found.judged_at
    assert found.verdict is not None
    assert found.verdict.assets[0].off_bps == 10.0
    assert found.verdict.tally.trades == 9
    [listed] = await store.list_drafts()
    assert listed.verdict is not None
    assert listed.verdict.assets == ()
    notice = await asyncio.wait_for(anext(listener), 10)
    assert notice is not None
    assert notice.payload == "binance"
    await listener.aclose()


async def test_one_draft_at_a_time_and_none_that_changes_nothing(database: Database) -> None:
    store = DraftStore(database)
    draft = await started(store, Change({"name": "okx", "priority": 7}))
    with pytest.raises(NotNowError, match="runs already"):
        await started(store, Change({"name": "okx", "priority": 8}))
    await store.reject(draft.id, who="ada", at=now(), reason="no")
    with pytest.raises(NotNowError, match="it is rejected"):
        await store.reject(draft.id, who="ada", at=now())
    with pytest.raises(NotNowError, match="changes nothing"):
        await started(store, Change({"name": "okx", "enabled": True}))
    again = await started(store, Change({"name": "okx", "priority": 8}))
    assert [each.id for each in await store.list_drafts("okx")] == [again.id, draft.id]
    assert [each.id for each in await store.list_drafts(before=again.id)] == [draft.id]
    assert await store.list_drafts("kraken") == []


async def test_only_what_was_compared_lately_and_long_enough_goes_live(database: Database) -> None:
    store, rows = DraftStore(database), FeedStore(database)
    draft = await started(store, Change({"name": "okx", "priority": 7}))
    with pytest.raises(NotNowError, match="it waits for the first minute"):
        await store.promote(draft.id, who="ada", at=now())
    await judged(store, draft, Outlook(ripe=False, waits_for="BTC 99 bps off"))
    with pytest.raises(NotNowError, match="BTC 99 bps off"):
        await store.promote(draft.id, who="ada", at=now())
    await judged(store, draft, at=now() - timedelta(minutes=4))
    with pytest.raises(NotNowError, match="nobody has compared it lately"):
        await store.promote(draft.id, who="ada", at=now())
    await judged(store, draft)
    await rows.enable("okx", enabled=False)
    await database.execute(b"UPDATE exchange_feeds SET display_name = 'Okay' WHERE name = 'okx'")
    with pytest.raises(NotNowError, match="the rows have changed meanwhile"):
        await store.promote(draft.id, who="ada", at=now())
    assert (await rows.exchange("okx")).feed.priority != 7
    await judged(store, draft)
    version = await store.promote(draft.id, who="ada", at=now())
    live = (await rows.exchange("okx")).feed
    assert (live.priority, live.display_name, live.enabled) == (7, "Okay", True)
    found = await store.find(draft.id)
    assert (found.state, found.version, found.base, found.ended_by) == ("live", version, version - 1, "ada")
    with pytest.raises(NotNowError, match="it is live"):
        await store.promote(draft.id, who="ada", at=now())


async def test_ten_who_promote_at_once_make_one_version(database: Database) -> None:
    store = DraftStore(database)
    draft = await started(store, change_of(example_exchange()))
    await judged(store, draft)
    told = await asyncio.gather(
        *(store.promote(draft.id, who=f"node {i}", at=now()) for i in range(10)), return_exceptions=True
    )
    assert [each for each in told if not isinstance(each, NotNowError)] == [1]
    assert len(await store.versions("binance")) == 1


async def test_a_fall_back_undoes_the_draft_alone_and_only_once(database: Database) -> None:
    store, rows = DraftStore(database), FeedStore(database)
    before = await rows.exchange("okx")
    bitcoin = next(row for row in before.assets if row.asset == "BTC")
    new = {"asset": "NEW", "symbol": "NEW-USDT", "currency": "USDT"}
    draft = await started(store, Change({"name": "okx", "priority": 7}, ({"asset": "BTC", "band_bps": 7}, new)))
    await judged(store, draft)
    await store.promote(draft.id, who="ada", at=now())
    await database.execute(
        b"UPDATE exchange_asset_map SET prewarm = false WHERE exchange = 'okx' AND asset IN ('ETH', 'SOL')"
    )
    version = await store.fall_back(draft.id, verdict(now()), who="shadow", reason="nothing fits", at=now())
    after = await rows.exchange("okx")
    assert after.feed == before.feed
    assert next(row for row in after.assets if row.asset == "BTC") == bitcoin
    changed = {row.asset for row in after.assets} ^ {row.asset for row in before.assets}
    assert changed == set()
    assert [row.asset for row in after.assets if row not in before.assets] == ["ETH", "SOL"]
    found = await store.find(draft.id)
    assert (found.state, found.reason, found.ended_by) == ("fallen_back", "nothing fits", "shadow")
    newest = (await store.versions("okx"))[0]
    assert (newest.number, newest.columns, newest.changed_assets) == (version, ["priority"], 2)
    assert await store.fall_back(draft.id, verdict(now()), who="shadow", reason="again", at=now()) is None


async def test_a_new_exchange_that_fails_is_switched_off(database: Database) -> None:
    store, rows = DraftStore(database), FeedStore(database)
    draft = await started(store, change_of(example_exchange()))
    await judged(store, draft)
    assert await store.promote(draft.id, who="ada", at=now()) == 1
    assert await store.fall_back(draft.id, verdict(now()), who="shadow", reason="nothing fits", at=now()) == 2
    assert not (await rows.exchange("binance")).feed.enabled


async def test_nothing_is_undone_that_others_have_changed_since(database: Database) -> None:
    store, rows = DraftStore(database), FeedStore(database)
    draft = await started(store, Change({"name": "okx", "priority": 7}))
    await judged(store, draft)
    await store.promote(draft.id, who="ada", at=now())
    await database.execute(b"UPDATE exchange_feeds SET priority = 9 WHERE name = 'okx'")
    assert await store.fall_back(draft.id, verdict(now()), who="shadow", reason="x", at=now()) is None
    assert (await rows.exchange("okx")).feed.priority == 9
    assert (await store.find(draft.id)).state == "live"


async def test_every_change_of_rows_is_a_version_whoever_makes_it(database: Database) -> None:
    store, rows = DraftStore(database), FeedStore(database)
    for _ in range(2):  # the second import changes nothing, and is no version
        await rows.save(example_exchange())
    await rows.enable("binance", enabled=False)
    async with database.transaction() as connection:
        for priority in (1, 2, 3):  # one transaction, one version
            await connection.execute(b"UPDATE exchange_feeds SET priority = %s WHERE name = 'binance'", [priority])
        await connection.execute(b"DELETE FROM exchange_asset_map WHERE exchange = 'binance' AND asset = 'BTC'")
    await asyncio.gather(
        *(
            database.execute(
                b"UPDATE exchange_asset_map SET band_bps = 5 WHERE exchange = 'binance' AND asset = %s", [asset]
            )
            for asset in ("ETH", "SOL")
        )
    )
    await database.execute(b"DELETE FROM exchange_feeds WHERE name = 'binance'")
    told = [(each.columns, each.changed_assets, each.deleted) for each in await store.versions("binance")]
    every = sorted(msgspec.to_builtins(example_exchange().feed))
    assert told[0][1:] == (5, True)
    assert set(every) <= set(told[0][0] or ())
    assert told[1:] == [
        *(([], 1, False), ([], 1, False)),
        *((["priority"], 1, False), (["enabled"], 0, False), (None, None, False)),
    ]
    assert {each.who for each in await store.versions("binance")} == {"tests"}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    services = make_services()
    admin = ExchangeAdmin(
        services.engine,
        services.catalogue,
        services.feeds,
        None,  # type: ignore[arg-type]  # nobody is asked by REST here
        database,
        host="",
        ports={},
        clock=SystemClock(),
    )
    server = HttpServer(build_app(msgspec.structs.replace(services, exchange_admin=admin), ADMIN_KEY))
    await server.start(("127.0.0.1", 0))
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}/admin/", headers={"X-Admin-Key": ADMIN_KEY}
    ) as made:
        yield made
    await server.stop(grace_s=1)


async def test_drafts_over_http(client: httpx.AsyncClient, database: Database) -> None:
    store = DraftStore(database)
    with capture_logs() as logged:
        answer = await client.post("exchange-shadow/start", json={"feed": {"name": "okx", "priority": 7}, "bps": 30})
        assert (answer.status_code, answer.json()["state"], answer.json()["who"]) == (201, "shadow", "operator")
        number = answer.json()["id"]
        assert (await client.get("exchange-shadow?exchange=okx")).json()["drafts"][0]["id"] == number
        waits = await client.post("exchange-shadow/promote", json={"id": number})
        assert (waits.status_code, waits.json()["error"]) == (409, "not_now")
        await judged(store, await store.find(number))
        shown = (await client.get(f"exchange-shadow/{number}")).json()
        assert shown["verdict"]["assets"][0]["off_bps"] == 10.0
        assert shown["change"] == {"feed": {"name": "okx", "priority": 7}, "assets": [], "replace": False}
        live = await client.post("exchange-shadow/promote", json={"id": number})
        assert (live.status_code, live.json()["id"]) == (200, number)
        versions = (await client.get("exchange-versions?exchange=okx")).json()["versions"]
        assert versions[0]["number"] == live.json()["version"]
        assert versions[0]["who"] == f"operator, draft {number}"
        other = (await client.post("exchange-shadow/start", json={"feed": {"name": "okx", "priority": 8}})).json()["id"]
        assert (await client.post("exchange-shadow/reject", json={"id": other, "reason": "no"})).status_code == 200
    told = [line["event"] for line in logged if "client" in line]
    assert told == [
        *("exchange-shadow.start", "exchange-shadow.list", "exchange-shadow.show", "exchange-shadow.promote"),
        *("exchange-versions.list", "exchange-shadow.start", "exchange-shadow.reject"),
    ]


REFUSED: list[tuple[str, Any, int, str]] = [
    ("start", {"feed": {"name": "okx", "price_path": "a..b"}}, 400, "price_path"),
    ("start", {"feed": {"name": "new"}}, 400, "ws_url"),
    ("start", {"feed": {"name": "ok\0x"}}, 400, ""),
    ("start", {"feed": {}}, 400, "name"),
    ("start", {"feed": {"name": "okx", "priority": 7}, "minutes": 0}, 400, "minutes"),
    ("start", {"feed": {"name": "okx"}, "assets": [{"asset": "NEW"}]}, 400, "assets.0 (NEW)"),
    ("start", {"feed": {"name": "okx"}}, 409, "changes nothing"),
    ("start", {}, 400, "feed"),
    ("promote", {"id": 2**31}, 400, "id"),
    ("promote", {"id": 7}, 404, "there is no draft 7"),
    ("reject", {"id": 7}, 404, "there is no draft 7"),
]


async def test_what_can_not_be_done_is_told(client: httpx.AsyncClient) -> None:
    for path, body, status, words in REFUSED:
        answer = await client.post(f"exchange-shadow/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["message"]
    for path in ("exchange-shadow/7", "exchange-shadow/99999999999999999999"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("exchange-shadow?limit=0")).status_code == 400
    description = (await client.get(client.base_url.join("/openapi.json"))).json()["paths"]
    for path in ("start", "promote", "reject"):
        described = description[f"/admin/exchange-shadow/{path}"]["post"]
        assert {"400", "401", "409", "503"} <= set(described["responses"])
        assert "requestBody" in described
    assert "get" in description["/admin/exchange-shadow/{number}"]
    assert "get" in description["/admin/exchange-versions"]


@pytest.fixture
def beast(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on a fresh database; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["feeds", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_drafts_on_the_command_line(beast: Any, database_url: str, tmp_path: Path) -> None:
    assert beast("import", str(EXAMPLE), "--bps", "9")[0] == 2
    code, out, _ = beast("import", str(EXAMPLE), "--shadow", "--bps", "30", "--no-auto")
    assert (code, out) == (0, "draft 1 of binance runs in shadow: beast feeds shadow show 1\n")
    assert "binance" not in beast("list")[1]
    code, out, _ = beast("shadow", "list", "--json")
    listed = json.loads(out)
    assert (listed["bps"], listed["auto"], listed["waits_for"]) == (30, False, "the first minute")
    assert listed["who"].startswith("cli")
    code, out, err = beast("shadow", "promote", "1")
    assert (code, out, err) == (1, "", "beast: draft 1: it waits for the first minute\n")

    async def judge() -> None:
        async with Database(database_url) as database:
            store = DraftStore(database)
            await judged(store, await store.find(1))

    async def noted() -> list[str]:
        async with Database(database_url) as database:
            return [row.action for row in await Trail(database, SystemClock()).list_rows(action="exchange-shadow")]

    asyncio.run(judge())
    shown = beast("shadow", "show", "1")[1]
    assert "BTC USDT" in shown
    assert "10.0 bps" in shown
    assert "waits for: a person" in shown
    assert json.loads(beast("shadow", "show", "1", "--json")[1])["verdict"]["compared"] == 1
    assert "a person" in beast("shadow", "list")[1]
    assert beast("shadow", "promote", "1")[:2] == (0, "draft 1 is live, as version 1 of the rows\n")
    assert "binance" in beast("list")[1]
    assert json.loads(beast("shadow", "versions", "binance", "--json")[1])["who"].endswith(", draft 1")
    edited = tmp_path / "edited.toml"
    edited.write_text(EXAMPLE.read_text().replace("\npriority = ", "\npriority = 1"))
    assert beast("shadow", "start", str(edited))[0] == 0
    assert beast("shadow", "reject", "2", "--reason", "no")[:2] == (0, "draft 2 is rejected\n")
    assert "rejected by cli" in beast("shadow", "list", "binance")[1]
    told = ["exchange-shadow.reject", "exchange-shadow.start", "exchange-shadow.promote", "exchange-shadow.start"]
    assert asyncio.run(noted()) == told
    code, _, err = beast("shadow", "show", "99999999999")
    assert (code, err.count("\n")) == (1, 1)
    assert beast("shadow", "versions", "binance")[1].splitlines()[0].split()[:3] == ["version", "at", "who"]


async def test_what_ran_in_shadow_is_what_the_table_holds(database: Database) -> None:
    store, example = DraftStore(database), example_exchange()
    draft = await started(store, change_of(example))
    await judged(store, draft)
    await store.promote(draft.id, who="ada", at=now())
    stored = await FeedStore(database).exchange("binance")
    assert stored == Exchange(example.feed, tuple(sorted(example.assets, key=lambda row: row.asset)))
