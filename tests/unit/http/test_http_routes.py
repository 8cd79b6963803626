"""The price port's application on a listener of its own, answering from a real engine without workers."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.fixtures.http_app import ADMIN, ADMIN_KEY, serving
from tests.fixtures.services import make_services

from beast.http.app import build_app
from beast.http.health import Health, build_health_app
from beast.http.services import Services

pytestmark = pytest.mark.anyio

KEY = {"X-API-Key": "tb_partner"}


@pytest.fixture
def services() -> Services:
    return make_services()


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(build_app(services, ADMIN_KEY)) as made:
        yield made


async def test_a_price(client: httpx.AsyncClient) -> None:
    answer = await client.get("/price?asset=%42tc", headers=KEY)
    assert answer.status_code == 200
    assert answer.text.startswith(
        '{"asset":"BTC","price":83421.57,"currency":"USDT","exchange":"okx","source":"okx-ws"'
    )
    assert "id" not in answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_several_prices_by_query_and_by_body(client: httpx.AsyncClient) -> None:
    by_query = await client.get("/prices?assets=BTC,%58YZ,btc", headers=KEY)
    by_body = await client.post("/prices", json={"assets": ["BTC", "XYZ", "btc"]}, headers=KEY)
    for answer in (by_query, by_body):
        assert answer.status_code == 200
        first, second = answer.json()["prices"]
        assert first["price"] == 83421.57
        assert second == {"asset": "XYZ", "error": "unknown_asset", "message": "no price is kept for this asset"}
        assert set(answer.json()) == {"prices"}


@pytest.mark.parametrize("path", ["/price?asset=BTC", "/exchanges", "/nothing"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    get, head = await client.get(path, headers=KEY), await client.head(path, headers=KEY)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/price", KEY, 400, "bad_request"),
        ("/price?asset=A&asset=B", KEY, 400, "bad_request"),
        ("/price?asset=BTC", {**KEY, "Authorization": "Bearer tb_partner"}, 400, "bad_request"),
        ("/price?asset=BTC", {}, 401, "unauthorized"),
        ("/price?asset=BTC", {"X-API-Key": "tb_wrong"}, 401, "unauthorized"),
        ("/price?asset=BTC", {"Authorization": "Bearer tb_wrong"}, 401, "unauthorized"),
        ("/price?asset=BTC", {"X-API-Key": "tb_spent"}, 402, "quota_exceeded"),
        ("/price?asset=XYZ", KEY, 404, "unknown_asset"),
        ("/price?asset=BTC&exchange=nyse", KEY, 404, "unknown_exchange"),
        ("/price?asset=ETH", KEY, 503, "stale"),
    ],
)
async def test_every_error(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert list(answer.json()) == ["error", "message"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_rate_limited_answer_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    answers = [await client.get("/price?asset=BTC", headers={"Authorization": "Bearer tb_slow"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    refused = answers[1]
    assert 1 <= refused.json()["retry_after_ms"] <= 1000
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"] == "1"
    assert refused.headers["ratelimit-limit"] == "1"
    assert refused.headers["ratelimit-remaining"] == "0"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"assets":[]}', "assets must be an array of 1 to 30 strings that are not empty"),
        (b'{"assets":["BTC"]', "the request is not one JSON object"),
        (b"{}", "asset or assets is missing"),
        (b"", "the request is not one JSON object"),
    ],
)
async def test_a_bad_body(client: httpx.AsyncClient, body: bytes, message: str) -> None:
    answer = await client.post("/prices", content=body, headers=KEY)
    assert answer.status_code == 400
    assert answer.json() == {"error": "bad_request", "message": message}


async def test_a_long_body_is_not_read_as_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/prices", content=b" " * 70_000, headers=KEY)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_requests_are_counted(client: httpx.AsyncClient, services: Services) -> None:
    await client.get("/price?asset=BTC", headers=KEY)
    await client.get("/price", headers=KEY)
    counters = services.engine.counters()
    assert (counters["tcp_requests"], counters["http_answered"], counters["http_refused"]) == (2, 1, 1)
    assert services.engine.drain_usage()[1] == [(1, 1)]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/price", "GET, HEAD, OPTIONS"), ("PUT", "/prices", "GET, HEAD, OPTIONS, POST")],
)
async def test_another_method_is_told_which_ones_are_allowed(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/price", "GET, HEAD, OPTIONS"),
        ("/price/", "GET, HEAD, OPTIONS"),
        ("/prices", "GET, HEAD, OPTIONS, POST"),
        ("/admin/exchange-feeds", "GET, HEAD, OPTIONS"),
        ("/admin/exchange-feeds/save", "OPTIONS, POST"),
        ("/admin/stress-reset", "GET, OPTIONS"),
        ("/admin/eam/audit", "GET, OPTIONS"),
    ],
)
async def test_options_and_refusals_tell_all_methods(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    for method, status in (("OPTIONS", 204), ("DELETE", 405)):
        answer = await client.request(method, path, headers=ADMIN)
        assert (answer.status_code, answer.headers["allow"]) == (status, allowed), method


@pytest.mark.parametrize("path", ["/admin/stress-reset", "/admin/stress-reset/", "/admin/eam/audit"])
async def test_head_changes_nothing(client: httpx.AsyncClient, services: Services, path: str) -> None:
    services.engine.ask(b'{"api_key":"tb_partner","asset":"BTC"}')
    answer = await client.head(path, headers=ADMIN)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, OPTIONS")
    assert services.telemetry.stats().public["udp_requests"] == 1


@pytest.mark.parametrize("path", ["/", "/nothing", "/price/BTC", "/schema"])
async def test_an_unknown_path(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize("key", [None, "", "wrong", ADMIN_KEY + "x", "\xe9"])
async def test_admin_tells_nothing_without_the_key(client: httpx.AsyncClient, key: str | None) -> None:
    headers = [] if key is None else [(b"X-Admin-Key", key.encode("latin-1"))]
    for path in ("/admin", "/admin/", "/admin/status", "/admin/nothing", "/admin//status", "/%61dmin/status"):
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)


async def test_admin_status(client: httpx.AsyncClient) -> None:
    answer = await client.get("/admin/status", headers=ADMIN)
    assert answer.status_code == 200
    state = answer.json()
    assert (state["node"], state["assets"], state["keys"], state["ports"]) == ("test", 2, 3, {"http": 1})
    assert state["health"]["ready"] is True
    assert "tcp_requests" in state["counters"]
    missing = await client.get("/admin/nothing", headers=ADMIN)
    assert missing.status_code == 404


async def test_the_public_lists(client: httpx.AsyncClient) -> None:
    exchanges = (await client.get("/exchanges")).json()["exchanges"]
    assert [(each["name"], each["display_name"], each["assets"]) for each in exchanges] == [
        ("okx", "OKX", 2),
        ("kraken", "kraken", 1),
    ]
    assets = (await client.get("/assets")).json()["assets"]
    assert [each["asset"] for each in assets] == ["BTC", "ETH"]
    assert [market["exchange"] for market in assets[0]["markets"]] == ["okx", "kraken"]


async def test_the_description_names_every_path(client: httpx.AsyncClient) -> None:
    description = json.loads((await client.get("/openapi.json")).content)
    assert description["openapi"].startswith("3.1")
    assert set(description["paths"]) == {
        *("/price", "/prices", "/stream", "/ws", "/exchanges", "/assets"),
        *("/admin/status", "/admin/stress-stats", "/admin/stress-reset", "/admin/feeds/health", "/admin/why"),
        *("/admin/usage/summary", "/admin/db-insights", "/admin/db-insights/reset", "/admin/sql"),
        "/dashboard/api/admin/daily-rollup",
        *(f"/admin/exchange-{rows}{change}" for rows in ("feeds", "assets") for change in ("", "/save", "/toggle")),
        *(f"/admin/eam/{work}" for work in ("sync", "audit", "discover")),
        *(f"/admin/exchange-shadow{work}" for work in ("", "/{number}", "/start", "/promote", "/reject")),
        "/admin/exchange-versions",
        *("/usage", "/admin/usage/alerts", "/admin/audit", "/admin/tiers", "/admin/tiers/{tier}"),
        *("/admin/users", "/admin/users/{user_id}", "/admin/keys", "/admin/keys/{key_id}"),
        *(f"/admin/keys/{{key_id}}/{act}" for act in ("rotate", "revoke", "pause", "resume", "usage")),
        *(f"/admin/usage{part}" for part in ("", "/verify", "/dead-letters", "/dead-letters/{number}")),
        "/admin/usage/dead-letters/{number}/retry",
    }
    assert "post" in description["paths"]["/prices"]
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "GET /price" in page.text
    assert "http://" not in page.text.replace("http://127.0.0.1", "")
    assert "https://" not in page.text


async def test_health() -> None:
    health = Health()
    async with serving(build_health_app(health)) as client:
        assert (await client.get("/health/ready")).json() == {
            "ready": True, "reasons": {}, "degraded": {}, "facts": {},
        }  # fmt: skip
        health.degrade("database", "away")
        degraded = await client.get("/health/ready")
        assert (degraded.status_code, degraded.json()["degraded"]) == (200, {"database": "away"})
        health.block("stop", "the server is stopping")
        blocked = await client.get("/health/ready")
        assert (blocked.status_code, blocked.json()["reasons"]) == (503, {"stop": "the server is stopping"})
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/price")).json()["error"] == "not_found"
        health.degrade("database", None)
        health.unblock("stop")
        assert (await client.get("/health/ready")).status_code == 200
