"""How a stream is opened, and refused, on a listener of its own: a real engine without workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.fixtures.services import make_services

from beast.http.app import build_app
from beast.http.server import HttpServer
from beast.http.services import Services
from beast.http.stream.hub import Hub

pytestmark = pytest.mark.anyio

KEY = {"X-API-Key": "tb_partner"}
UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(services: Services, hub: Hub) -> AsyncIterator[tuple[HttpServer, httpx.AsyncClient]]:
    server = HttpServer(build_app(services, "an-admin-key-of-the-tests", hub), count=services.engine.count)
    await server.start(("127.0.0.1", 0))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield server, client
    await server.stop(grace_s=1)


@pytest.fixture
def services() -> Services:
    return make_services()


@pytest.fixture
def hub(services: Services) -> Hub:
    return Hub(services.engine, services.clock)


@pytest.fixture
async def client(services: Services, hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(services, hub) as (_, made):
        yield made


@pytest.mark.parametrize(
    ("query", "headers", "refusal"),
    [
        ("", KEY, (400, "bad_request")),
        ("?assets=", KEY, (400, "bad_request")),
        ("?assets=" + ",".join(f"A{n}" for n in range(31)), KEY, (400, "bad_request")),
        ("?assets=BTC", {**KEY, "Authorization": "Bearer tb_partner"}, (400, "bad_request")),
        ("?assets=BTC", {}, (401, "unauthorized")),
        ("?assets=BTC", {"X-API-Key": "tb_wrong"}, (401, "unauthorized")),
        ("?assets=BTC", {"X-API-Key": "tb_spent"}, (402, "quota_exceeded")),
        ("?assets=BTC&exchange=nyse", KEY, (404, "unknown_exchange")),
    ],
)
@pytest.mark.parametrize("path", ["/stream", "/ws"])
async def test_every_refusal(
    client: httpx.AsyncClient, path: str, query: str, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    if (path, query) == ("/ws", ""):
        return
    answer = await client.get(path + query, headers={**headers, **(UPGRADE if path == "/ws" else {})})
    assert (answer.status_code, answer.json()["error"]) == refusal
    assert ("www-authenticate" in answer.headers) == (refusal[0] == 401)


async def test_unknown_assets_alone_are_refused_as_prices_would_be(client: httpx.AsyncClient) -> None:
    answer = await client.get("/stream?assets=XYZ,ABC", headers=KEY)
    assert answer.status_code == 404
    assert [each["error"] for each in answer.json()["prices"]] == ["unknown_asset"] * 2


async def test_too_many_at_once_are_told_when_to_come_back(client: httpx.AsyncClient) -> None:
    slow = {"X-API-Key": "tb_slow"}
    assert (await client.get("/price?asset=BTC", headers=slow)).status_code == 200
    refused = await client.get("/stream?assets=BTC", headers=slow)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


async def test_no_room_for_one_more(client: httpx.AsyncClient, hub: Hub, services: Services) -> None:
    hub.tune(interval_ms=50, idle_ms=1_000, max_clients=0)
    refused = await client.get("/stream?assets=BTC", headers=KEY)
    assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
    assert (await client.get("/stream?assets=BTC")).status_code == 401
    assert services.engine.counters()["streams_refused"] == 1


async def test_a_stream_is_one_request(client: httpx.AsyncClient, services: Services) -> None:
    async with client.stream("GET", "/stream?assets=BTC,ETH", headers=KEY) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 1000"
    counters = services.engine.counters()
    assert (counters["tcp_requests"], counters["http_answered"], counters["streams_opened"]) == (1, 1, 1)
    assert services.engine.drain_usage()[1] == [(1, 1)]


async def test_head_tells_the_headers_only(client: httpx.AsyncClient, hub: Hub) -> None:
    answer = await client.head("/stream?assets=BTC", headers=KEY)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")
    assert hub.clients == 0


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "dGhl"}, 400),
        ({"Sec-WebSocket-Key": "\xe9"}, 400),
    ],
)
async def test_no_handshake_no_socket(client: httpx.AsyncClient, changed: dict[str, str], status: int) -> None:
    given = {**KEY, **UPGRADE, **changed}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    answer = await client.get("/ws?assets=BTC", headers=headers)
    assert answer.status_code == status
    assert ("sec-websocket-version" in answer.headers) == (status == 426)


async def test_a_socket_without_assets_needs_a_key_all_the_same(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"X-API-Key": "tb_wrong"}):
        assert (await client.get("/ws", headers={**UPGRADE, **headers})).status_code == 401
