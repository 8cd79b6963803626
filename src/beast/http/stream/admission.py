"""Who may open a stream, and of what: asked of the engine like any request for several prices."""

import msgspec
from litestar.status_codes import HTTP_401_UNAUTHORIZED

from beast._fast import Engine
from beast.http.errors import Fault

Place = tuple[str, str | None]


class Admission(msgspec.Struct, frozen=True):
    """What the engine said. Without places, `status` and `body` are the refusal, as GET /prices would answer."""

    status: int
    body: bytes
    lines: bytes
    """Headers; see Engine.query()."""
    places: list[Place]
    """(asset, exchange) of every asset that is priced, though perhaps not now."""
    unknown: list[bytes]
    """The entries of the others."""


class _Entry(msgspec.Struct):
    asset: str
    error: str = ""


class _Prices(msgspec.Struct):
    prices: list[msgspec.Raw] = []


def admit(engine: Engine, key: bytes | None, peer: str | None, assets: list[str], exchange: str | None) -> Admission:
    """One request for all these prices, against the key's limits; it is billed if it finds a price."""
    status, body, lines = engine.query(key, assets, many=True, exchange=exchange, allow_stale=True, peer=peer)
    places: list[Place] = []
    unknown = []
    for raw in msgspec.json.decode(body, type=_Prices).prices:
        entry = msgspec.json.decode(raw, type=_Entry)
        if entry.error == "unknown_asset":
            unknown.append(bytes(raw))
        else:
            places.append((entry.asset, None if exchange is None else exchange.lower()))
    return Admission(status, body, lines, places, unknown)


def refusal(fault: Fault) -> Admission:
    """One that the engine was not asked for."""
    lines = b"WWW-Authenticate: Bearer\r\n" if fault.status == HTTP_401_UNAUTHORIZED else b""
    return Admission(fault.status, fault.body, lines, [], [])
