"""A peer: uvicorn with a bare ASGI app, or with FastAPI. usage: peer_asgi.py bare|fastapi PORT."""

import importlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import uvicorn

ANSWER = {
    "price": 83421.57, "currency": "USD", "exchange": "coinbase", "source": "coinbase-ws",
    "timestamp": "2026-04-12T14:23:01.123456Z", "age_ms": 4, "state": "live", "tier": 1, "node": "asgi",
}  # fmt: skip
BODY = (
    b'{"asset":"%s","price":83421.57,"currency":"USD","exchange":"coinbase","source":"coinbase-ws",'
    b'"timestamp":"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"asgi"}'
)


async def bare(scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The least that an ASGI app can do for a price."""
    body = BODY % parse_qs(scope["query_string"])[b"asset"][0]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def fastapi() -> Any:
    """A FastAPI app with one route."""
    app = importlib.import_module("fastapi").FastAPI()

    async def price(asset: str) -> dict[str, object]:
        return {"asset": asset, **ANSWER}

    app.get("/price")(price)
    return app


if __name__ == "__main__":
    uvicorn.run(
        fastapi() if sys.argv[1] == "fastapi" else bare,
        port=int(sys.argv[2]), access_log=False, log_level="error", lifespan="off", http="httptools", loop="uvloop",
    )  # fmt: skip
