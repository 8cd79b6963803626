"""The exchange admin over HTTP: a real database, simulated exchanges, the workers, and everything that follows rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.fixtures.rows import example_exchange
from tests.fixtures.services import make_services
from tests.fixtures.usage_path import make_pipeline

from beast._fast import Engine
from beast.accounts.service import Accounts
from beast.accounts.sync import KeySync
from beast.base.clock import SystemClock
from beast.base.tasks import Tasks
from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.engine.runtime import Runtime
from beast.feeds.following import follow_rows, load_rows
from beast.feeds.manager import FeedManager
from beast.feeds.rest.slow_tiers import SlowTiers
from beast.feeds.simulator.server import Simulator
from beast.feeds.store import FeedStore
from beast.http.app import build_app
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.server import HttpServer
from beast.prices.catalogue import Catalogue
from beast.storage.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_S = 20.0
ADMIN_KEY = "an-admin-key-of-the-tests"
RUNNING = ("gemini", "okx")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Node:
    """One server's parts, its admin asked over HTTP."""

    def __init__(self, database: Database, simulator: Simulator, home: Path) -> None:
        clock = SystemClock()
        self.database = database
        self.simulator = simulator
        self.engine = Engine(node="test", workers=1, max_keys=1024, max_instruments=1024)
        self.catalogue = Catalogue(self.engine, max_instruments=1024)
        self.feeds = FeedManager(self.engine, self.catalogue, urls=simulator.url)
        self.store = FeedStore(database)
        self.slow = SlowTiers(
            self.engine, self.catalogue, self.feeds, self.store, redis_url="", clock=clock, report=lambda _: None
        )
        self.slow.tune(Parameters())
        self.usage = make_pipeline(self.engine, database, home)
        self.keys = KeySync(self.engine, self.usage, database, clock)
        ports: dict[str, int] = {}
        self.admin = ExchangeAdmin(
            self.engine, self.catalogue, self.feeds, self.slow.rest, database, host="", ports=ports, clock=clock
        )
        services = msgspec.structs.replace(
            make_services(),
            engine=self.engine,
            catalogue=self.catalogue,
            feeds=self.feeds,
            tiers=self.slow.tiers,
            exchange_admin=self.admin,
            ports=ports,
        )
        self.http = HttpServer(build_app(services, ADMIN_KEY), count=self.engine.count)
        self.runtime = Runtime(self.engine, on_connection=self.http.adopt, on_miss=self.slow.tiers.on_miss)
        self.ports = ports
        self.tasks = Tasks()
        self.client = httpx.AsyncClient(trust_env=False, timeout=WAIT_S, headers={"X-Admin-Key": ADMIN_KEY})

    async def start(self) -> None:
        await self.feeds.apply(*await load_rows(self.store))
        self.tasks.spawn("keys", self.keys.run())
        self.tasks.spawn("rows", follow_rows(self.store, self.feeds, self.database, lambda _: None))
        await self.http.start()
        await self.usage.start()
        self.runtime.start()
        self.ports["http"] = self.engine.http_port

    async def stop(self) -> None:
        await self.client.aclose()
        await self.admin.stop()
        await self.tasks.cancel()
        await self.slow.tiers.stop()
        await self.runtime.stop(5)
        await self.usage.stop(5)
        await self.http.stop(grace_s=1)
        await self.slow.close()
        await self.feeds.stop()

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.client.get(f"http://127.0.0.1:{self.ports['http']}/admin/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = await self.client.post(f"http://127.0.0.1:{self.ports['http']}/admin/{path}", content=content)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def feed(self, name: str) -> Any:
        return next(each for each in (await self.get("exchange-feeds"))["feeds"] if each["feed"]["name"] == name)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    made = Simulator(rate=20)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def node(database: Database, simulator: Simulator, tmp_path: Path) -> AsyncIterator[Node]:
    await database.execute(
        b"UPDATE exchange_feeds SET enabled = name = ANY (%(on)s), connect_interval_ms = 0, rest_per_second = 500",
        {"on": list(RUNNING)},
    )
    made = Node(database, simulator, tmp_path)
    await made.start()
    yield made
    await made.stop()


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.02)


async def test_the_list_of_feeds_says_what_is_mapped_and_what_runs(node: Node) -> None:
    await until(lambda: all(status.connected for status in node.feeds.status()))
    feeds = {each["feed"]["name"]: each for each in (await node.get("exchange-feeds"))["feeds"]}
    assert len(feeds) == 6
    okx = feeds["okx"]
    assert okx["feed"]["ws_url"].startswith("wss://")
    assert okx["assets"] >= okx["enabled_assets"] >= okx["prewarmed_assets"] >= 20
    assert okx["status"]["connected"] is True
    assert okx["fault"] == ""
    assert feeds["kraken"]["status"] is None
    await node.database.execute(b"UPDATE exchange_feeds SET trade_filter = '[1]' WHERE name = 'kraken'")
    assert "trade_filter[0]" in (await node.feed("kraken"))["fault"]


async def test_a_feed_is_switched_by_one_column_and_the_server_follows(node: Node) -> None:
    assert await node.post("exchange-feeds/toggle", {"name": "okx", "enabled": False}) == {
        "name": "okx",
        "enabled": False,
    }
    async with asyncio.timeout(2):
        await until(lambda: "okx" not in {status.name for status in node.feeds.status()})
    assert (await node.post("exchange-feeds/toggle", {"name": "okx"}))["enabled"] is True
    async with asyncio.timeout(2):
        await until(lambda: "okx" in {status.name for status in node.feeds.status()})
    refused = await node.post("exchange-feeds/toggle", {"name": "nyse"}, 404)
    assert refused["error"] == "unknown_exchange"


async def test_a_new_exchange_is_saved_and_goes_live(node: Node) -> None:
    example = example_exchange()
    row = {**msgspec.to_builtins(example.feed), "connect_interval_ms": 0}
    assert (await node.post("exchange-feeds/save", row))["added"] is True
    assets = [msgspec.to_builtins(msgspec.structs.replace(each, exchange="")) for each in example.assets]
    saved = await node.post("exchange-assets/save", {"exchange": "binance", "assets": assets})
    assert saved == {"added": len(assets), "changed": 0, "exchanges": ["binance"]}
    bitcoin = await until_found(node, "binance", "BTC")
    await until(lambda: node.engine.peek(bitcoin))
    # Columns that are left out stay.
    changed = await node.post("exchange-feeds/save", {"name": "binance", "priority": 7})
    assert changed["added"] is False
    assert await node.store.exchange("binance") == (
        msgspec.structs.replace(example.feed, priority=7, connect_interval_ms=0),
        tuple(sorted(example.assets, key=lambda each: each.asset)),
    )


async def until_found(node: Node, exchange: str, asset: str) -> int:
    await until(lambda: node.catalogue.find(exchange, asset))
    instrument = node.catalogue.find(exchange, asset)
    assert instrument is not None
    return instrument.id


BAD_ROWS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "okx", "ws_url": "http://x"}, "ws_url", "is no ws:// or wss:// address"),
    ({"name": "okx", "price_path": ""}, "price_path", ""),
    ({"name": "okx", "price_path": "a..b"}, "price_path", ""),
    ({"name": "okx", "subscribe_template": "{"}, "subscribe_template", "JSON"),
    ({"name": "okx", "timestamp_format": "tai"}, "timestamp_format", "Invalid enum value"),
    ({"name": "okx", "patience_ms": 1}, "patience_ms", "is not from 1000 to 3600000"),
    ({"name": "okx", "priority": "high"}, "priority", "Expected `int`"),
    ({"name": "okx", "colour": 1}, "colour", "unknown field"),
    ({"name": "okx", "display_name": "O\0X"}, "display_name", "NUL"),
    ({"name": "okx", "rest_ticker_url": "ftp://x"}, "rest_ticker_url", "is no http"),
    ({"name": "new"}, "ws_url", "missing required field"),
    ({"name": "No!"}, "ws_url", "missing required field"),
    ({}, "name", "missing required field"),
    ({"name": 7}, "name", "Expected `str`"),
]


async def test_a_bad_row_is_refused_by_column_and_reason(node: Node) -> None:
    before = await load_rows(node.store)
    for row, column, reason in BAD_ROWS:
        told = await node.post("exchange-feeds/save", row, 400)
        assert told["error"] == "bad_request"
        assert [fault["column"] for fault in told["faults"]] == [column], told
        assert reason in told["faults"][0]["reason"]
    assert await load_rows(node.store) == before


async def test_a_column_that_makes_two_assets_one_is_refused(node: Node) -> None:
    await node.post(
        "exchange-assets/save",
        {"assets": [{"exchange": "kraken", "asset": "LOW", "symbol": "btc/usd", "currency": "USD"}]},
    )
    told = await node.post("exchange-feeds/save", {"name": "kraken", "symbol_fold": "upper"}, 400)
    assert told["faults"][0]["column"] == "wire_symbol"
    assert "'BTC/USD' stands in" in told["faults"][0]["reason"]


BAD_REQUESTS: list[tuple[str, Any, int]] = [
    ("exchange-feeds/save", b"[]", 400),
    ("exchange-feeds/save", b"{", 400),
    ("exchange-feeds/save", b'{"name":"' + b"x" * 70_000 + b'"}', 413),
    ("exchange-feeds/toggle", b"", 400),
    ("exchange-feeds/toggle", {"name": "okx", "enabled": "yes"}, 400),
    ("exchange-assets/save", {"assets": []}, 400),
    ("exchange-assets/save", {"assets": [{}] * 10_001}, 400),
    ("exchange-assets/toggle", {}, 400),
    ("exchange-assets/toggle", {"id": 1, "asset": "BTC"}, 400),
    ("exchange-assets/toggle", {"id": 2**40}, 400),
    ("exchange-assets/toggle", {"exchange": "okx", "asset": "NOPE"}, 404),
    ("eam/discover", {"limit": 0}, 400),
]


async def test_a_bad_request_is_told_so(node: Node) -> None:
    for path, body, status in BAD_REQUESTS:
        told = await node.post(path, body, status)
        assert set(told) >= {"error", "message"}


async def test_assets_are_listed_with_their_ids_and_switched_one_at_a_time(node: Node) -> None:
    every = (await node.get("exchange-assets"))["assets"]
    some = (await node.get("exchange-assets?exchange=okx"))["assets"]
    assert some == [row for row in every if row["exchange"] == "okx"]
    assert [row["id"] for row in every] == sorted(row["id"] for row in every)
    assert (await node.get("exchange-assets?exchange=nyse"))["assets"] == []
    row = next(row for row in some if row["asset"] == "BTC")
    off = await node.post("exchange-assets/toggle", {"id": row["id"]})
    assert (off["asset"], off["enabled"], off["prewarm"]) == ("BTC", False, True)
    async with asyncio.timeout(2):
        await until(lambda: node.catalogue.find("okx", "BTC") is None)
    on = await node.post(
        "exchange-assets/toggle", {"exchange": "okx", "asset": "BTC", "enabled": True, "prewarm": False}
    )
    assert (on["id"], on["enabled"], on["prewarm"]) == (row["id"], True, False)
    async with asyncio.timeout(2):
        await until(lambda: node.catalogue.find("okx", "BTC"))
        await until(lambda: "BTC-USDT" not in node.feeds.symbols("okx"))
    others = [each for each in (await node.get("exchange-assets"))["assets"] if each["id"] != row["id"]]
    assert others == [each for each in every if each["id"] != row["id"]]


async def test_a_batch_is_stored_as_a_whole_or_not_at_all(node: Node) -> None:
    before = (await node.get("exchange-assets"))["assets"]
    told = await node.post(
        "exchange-assets/save",
        {
            "assets": [
                {"exchange": "okx", "asset": "GOOD", "symbol": "GOOD-USDT", "currency": "USDT"},
                {"exchange": "okx", "asset": "bad", "symbol": "BAD-USDT", "currency": "usd"},
                {"exchange": "okx", "asset": "TWIN", "symbol": "BTC-USDT", "currency": "USDT"},
                {"exchange": "okx", "asset": "GOOD", "symbol": "GOOD-USD", "currency": "USD"},
                {"exchange": "nyse", "asset": "X", "symbol": "X", "currency": "USD"},
                {"exchange": "okx", "asset": "ETH", "id": 1},
                {"exchange": "okx", "asset": "NEW"},
                7,
            ]
        },
        400,
    )
    assert [(fault["row"], fault["column"]) for fault in told["faults"]] == [
        *((1, "asset"), (1, "currency"), (2, "symbol"), (3, "asset")),
        *((4, "exchange"), (5, "id"), (6, "symbol"), (7, "")),
    ]
    assert told["message"].startswith("7 of 8 rows can't be stored, so none is; row 1, asset: 'bad' does not match")
    assert (await node.get("exchange-assets"))["assets"] == before


async def test_two_assets_exchange_their_symbols_and_ten_thousand_come_at_once(node: Node) -> None:
    rows = {row["asset"]: row for row in (await node.get("exchange-assets?exchange=kraken"))["assets"]}
    swap = [
        {"id": rows["BTC"]["id"], "asset": "BTC", "symbol": rows["ETH"]["symbol"]},
        {"asset": "ETH", "symbol": rows["BTC"]["symbol"]},
    ]
    saved = await node.post("exchange-assets/save", {"exchange": "kraken", "assets": swap})
    assert (saved["added"], saved["changed"]) == (0, 2)
    now = {row["asset"]: row for row in (await node.get("exchange-assets?exchange=kraken"))["assets"]}
    assert now["BTC"]["symbol"] == rows["ETH"]["symbol"]
    assert now["BTC"]["category"] == rows["BTC"]["category"]
    many = [{"asset": f"M{i}", "symbol": f"M{i}/USD", "currency": "USD", "enabled": False} for i in range(10_000)]
    started = asyncio.get_running_loop().time()
    saved = await node.post("exchange-assets/save", {"exchange": "kraken", "assets": many})
    assert saved["added"] == 10_000
    assert asyncio.get_running_loop().time() - started < 10
    assert len((await node.get("exchange-assets?exchange=kraken"))["assets"]) == 10_000 + len(rows)


async def test_sync_writes_lists_that_no_parameter_stumbles_over(node: Node) -> None:
    await node.post("exchange-assets/toggle", {"exchange": "okx", "asset": "BTC", "enabled": False})
    told = await node.post("eam/sync")
    assert set(told["parameters"]) == {f"exchange_assets_{name}" for name in (*RUNNING, "master")}
    await node.post("exchange-feeds/toggle", {"name": "gemini", "enabled": False})
    told = await node.post("eam/sync")
    assert set(told["parameters"]) == {"exchange_assets_okx", "exchange_assets_master"}
    lists = await node.database.fetch(
        b"SELECT name, value #>> '{}' AS value FROM application_parameters ORDER BY name", row=_List
    )
    names = [each.name for each in lists]
    assert names == ["exchange_assets_master", "exchange_assets_okx"]
    assert lists[0].value == lists[1].value
    assets = lists[1].value.split(",")
    assert assets == sorted(set(assets))
    assert "ETH" in assets
    assert "BTC" not in assets
    with capture_logs() as logged:
        assert await ParameterSync(node.database, SystemClock()).load() == Parameters()
    assert logged == []


class _List(msgspec.Struct):
    name: str
    value: str


async def finished(node: Node) -> Any:
    began = await node.get("eam/audit", 202)
    assert began["state"] == "running"
    assert [layer["name"] for layer in began["layers"]] == ["products", "drift", "freshness", "price_api"]
    again = await node.get("eam/audit", 202)
    assert again["id"] == began["id"]

    async def ended() -> bool:
        return bool((await node.get(f"eam/audit?id={began['id']}"))["state"] != "running")

    await until(ended)
    return await node.get(f"eam/audit?id={began['id']}")


async def test_an_audit_of_healthy_exchanges_finds_nothing(node: Node) -> None:
    await until(node.feeds.ready)
    await until(lambda: all(node.engine.peek(each.id) for each in node.catalogue.instruments()))
    audit = await finished(node)
    assert audit["state"] == "done", audit
    assert audit["found"] == 0, audit["layers"]
    assert audit["assets"] == len(audit["freshness"]) == len(node.catalogue.instruments())
    for layer in audit["layers"]:
        assert (layer["state"], layer["checked"]) == ("done", audit["assets"])
    assert {each["state"] for each in audit["freshness"]} <= {"live", "quiet"}
    keys = await Accounts(node.database, SystemClock()).list_keys()
    assert [(key.label, key.tier, key.enabled) for key in keys] == [("exchange audit", "partner", False)]
    assert (await node.get("eam/audit?id=nothing", 404))["error"] == "not_found"


async def test_an_audit_tells_what_each_layer_sees(node: Node) -> None:
    await until(node.feeds.ready)
    await until(lambda: all(node.engine.peek(each.id) for each in node.catalogue.instruments()))
    await node.post(
        "exchange-assets/save",
        {"exchange": "okx", "assets": [{"asset": "GHOST", "symbol": "GHOST-USDT", "currency": "USDT"}]},
    )
    await until(lambda: "GHOST-USDT" in node.feeds.status()[1].refused)
    node.simulator.fault("gemini", "rest")
    audit = await finished(node)
    found = {
        layer["name"]: {(each["exchange"], each["asset"]) for each in layer["findings"]} for layer in audit["layers"]
    }
    assert found["products"] == {("gemini", ""), ("okx", "GHOST")}
    assert found["drift"] == found["freshness"] == found["price_api"] == {("okx", "GHOST")}
    assert audit["found"] == 5
    assert audit["state"] == "done"


async def test_discovery_ranks_what_is_not_mapped_by_its_volume(node: Node) -> None:
    await until(node.feeds.ready)
    await node.database.execute(
        b"DELETE FROM exchange_asset_map WHERE (exchange, asset) IN (('okx', 'BTC'), ('gemini', 'ETH'), ('okx', 'SOL'))"
    )
    told = await node.post("eam/discover", {"limit": 1000, "seconds": 20})
    found = {(each["exchange"], each["asset"]): each for each in told["markets"]}
    assert {("okx", "BTC"), ("gemini", "ETH"), ("okx", "SOL")} <= set(found)
    bitcoin = found["okx", "BTC"]
    instrument = node.simulator.exchanges["okx"].instruments["BTC-USDT"]
    assert (bitcoin["symbol"], bitcoin["currency"]) == ("BTC-USDT", "USDT")
    assert bitcoin["volume_24h"] == instrument.volume_24h
    assert "gemini" in bitcoin["mapped_at"]
    quote = float(bitcoin["volume_24h"]) * float(bitcoin["price"])
    assert float(bitcoin["quote_volume_24h"]) == pytest.approx(quote, rel=1e-6)
    ranks = [float(each["usd_volume_24h"]) for each in told["markets"] if each["usd_volume_24h"]]
    assert ranks == sorted(ranks, reverse=True)
    mapped = {(row["exchange"], row["asset"]) for row in (await node.get("exchange-assets"))["assets"]}
    assert not mapped & set(found)
    assert {each["exchange"]: each["error"] for each in told["exchanges"]} == dict.fromkeys(RUNNING, "")
    for each in told["exchanges"]:
        assert each["known"] == each["uncovered"] > 0
    top = await node.post("eam/discover", {"limit": 2, "exchange": "okx"})
    assert [each["exchange"] for each in top["markets"]] == ["okx", "okx"]
    assert [each["exchange"] for each in top["exchanges"]] == ["okx"]


async def test_what_discovery_has_no_time_for_is_asked_for_by_the_next_call(node: Node) -> None:
    await node.database.execute(
        b"UPDATE exchange_feeds SET rest_per_second = CASE name WHEN 'okx' THEN 8 ELSE 0.01 END"
    )
    await node.database.execute(b"DELETE FROM exchange_asset_map WHERE exchange = 'okx' AND asset <> 'BTC'")
    first = await node.post("eam/discover", {"exchange": "okx", "seconds": 1})
    second = await node.post("eam/discover", {"exchange": "okx", "seconds": 1})
    assert 0 < first["exchanges"][0]["known"] <= 5
    assert first["exchanges"][0]["known"] < second["exchanges"][0]["known"] <= 10


async def test_without_the_key_there_is_nothing_and_all_of_it_is_described(node: Node) -> None:
    url = f"http://127.0.0.1:{node.ports['http']}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as anybody:
        for path in ("exchange-feeds", "exchange-assets", "eam/audit"):
            assert (await anybody.get(f"/admin/{path}")).status_code == 401
        description = (await anybody.get("/openapi.json")).json()["paths"]
    posts = ("feeds/save", "feeds/toggle", "assets/save", "assets/toggle")
    for path in ("/admin/exchange-feeds", "/admin/exchange-assets", "/admin/eam/audit", "/exchanges"):
        assert "get" in description[path]
    for path in (*(f"/admin/exchange-{each}" for each in posts), "/admin/eam/sync", "/admin/eam/discover"):
        assert "post" in description[path]
        assert "400" in description[path]["post"]["responses"]
    assert "requestBody" in description["/admin/exchange-assets/save"]["post"]


async def test_each_call_is_in_the_audit_log(node: Node) -> None:
    row = {"asset": "BTC", "symbol": "BTC-USDT"}
    with capture_logs() as logged:
        await node.get("exchange-feeds")
        await node.post("exchange-feeds/save", {"name": "okx", "priority": 9})
        await node.post("exchange-feeds/toggle", {"name": "okx"})
        await node.get("exchange-assets")
        await node.post("exchange-assets/save", {"exchange": "okx", "assets": [row]})
        await node.post("exchange-assets/toggle", {"exchange": "okx", "asset": "BTC"})
        await node.post("eam/sync")
        await node.get("eam/audit", 202)
        await node.post("eam/discover", {"exchange": "gemini", "seconds": 1})
    told = [line["event"] for line in logged if "client" in line]
    assert told == [
        *("exchange-feeds.list", "exchange-feeds.save", "exchange-feeds.toggle"),
        *("exchange-assets.list", "exchange-assets.save", "exchange-assets.toggle"),
        *("eam.sync", "eam.audit", "eam.discover"),
    ]
    saved = next(line for line in logged if line["event"] == "exchange-feeds.save")
    assert (saved["exchange"], saved["columns"], saved["client"]) == ("okx", ["name", "priority"], "127.0.0.1")


async def test_a_database_that_is_away_is_told(node: Node, database_url: str) -> None:
    async with Database(database_url, max_size=1) as small:
        small._pool.timeout = 0.2
        node.admin.store._database = small
        async with small.connection():
            told = await node.get("exchange-feeds", 503)
    assert told["error"] == "unavailable"
    assert "no connection in time" in told["message"]
