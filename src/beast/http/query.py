"""Reads a price request that came by HTTP, with the faults and the order of docs/protocol.md, section 1.

The workers read plain queries themselves; here come those with percent signs, and the bodies of POST.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from beast._fast import FAULTS

MESSAGES: Final = dict(FAULTS)
ASSETS_MAX: Final = 30
DEPTH_MAX: Final = 8
AGE_MAX: Final = (1 << 53) - 1
KEY_HEADERS: Final = (b"authorization", b"x-api-key")


class BadRequestError(Exception):
    """A fault by its name in FAULTS."""

    def __init__(self, fault: str) -> None:
        super().__init__(MESSAGES[fault])
        self.message = MESSAGES[fault]


class PriceQuery(msgspec.Struct):
    """What is asked for, whichever way it was said."""

    assets: list[str] = []
    exchange: str | None = None
    max_age_ms: int | None = None
    allow_stale: bool = False


def read_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The API key as sent; None when there is none or another scheme is used.

    Raises:
        BadRequestError: more than one header claims to hold it.
    """
    claims = [(name, value) for name, value in headers if name in KEY_HEADERS]
    if len(claims) > 1:
        raise BadRequestError("TWICE")
    for name, value in claims:
        if name == b"x-api-key":
            return value or None
        scheme, _, key = value.partition(b" ")
        return (key.strip() or None) if scheme.lower() == b"bearer" else None
    return None


def read_query(text: bytes, *, many: bool) -> PriceQuery:
    """Reads a query string; `many` says that it asks for `assets`, not for `asset`.

    Raises:
        BadRequestError: the first fault from the left.
    """
    wanted = "assets" if many else "asset"
    readers: dict[str, Callable[[PriceQuery, str], None]] = {
        wanted: _query_assets if many else _query_asset,
        "exchange": _set_exchange,
        "max_age_ms": _query_age,
        "allow_stale": _query_stale,
    }
    query = PriceQuery()
    seen = set()
    for part in text.split(b"&"):
        raw_name, _, raw_value = part.partition(b"=")
        name = _decoded(raw_name)
        if name not in readers:
            continue
        if name in seen:
            raise BadRequestError("TWICE")
        seen.add(name)
        readers[name](query, _decoded(raw_value))
    if not query.assets:
        raise BadRequestError("NO_ASSET")
    return query


def read_body(body: bytes) -> PriceQuery:
    """Reads the JSON body of POST /prices.

    Raises:
        BadRequestError: a fault of the whole text, else the first one from the left.
    """
    members = _members(body)
    query = PriceQuery()
    seen = set()
    for name, value in members:
        read = _BODY_READERS.get(name)
        if read is None:
            continue
        if name in seen:
            raise BadRequestError("TWICE")
        seen.add(name)
        if value is not None:
            read(query, value)
    if not query.assets:
        raise BadRequestError("NO_ASSET")
    return query


class _Members(list[tuple[str, Any]]):
    """A JSON object with its members in order, repeated ones too."""


def _members(body: bytes) -> _Members:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("UTF8") from error
    try:
        whole = json.loads(text, object_pairs_hook=_Members, parse_constant=_no_constant, parse_int=_parse_int)
    except RecursionError as error:
        raise BadRequestError("DEPTH") from error
    except ValueError as error:
        raise BadRequestError("SYNTAX") from error
    if not isinstance(whole, _Members):
        raise BadRequestError("SYNTAX")
    _check(whole, 1)
    for name, value in whole:
        if name in _BODY_READERS:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    _encodable(text)
    return whole


def _parse_int(digits: str) -> int:
    # Python refuses to convert thousands of digits, and no member takes so many.
    return int(digits) if len(digits) <= len(str(AGE_MAX)) else AGE_MAX + 1


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: object, depth: int) -> None:
    """Refuses what nests too deeply and names that are not valid UTF-8."""
    if isinstance(value, list) and depth > DEPTH_MAX:
        raise BadRequestError("DEPTH")
    if isinstance(value, _Members):
        for name, inner in value:
            _encodable(name)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError("UTF8") from error


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("UTF8") from error


def _query_asset(query: PriceQuery, value: str) -> None:
    if not value:
        raise BadRequestError("ASSET")
    query.assets = [value]


def _query_assets(query: PriceQuery, value: str) -> None:
    _set_assets(query, value.split(","))


def _query_age(query: PriceQuery, value: str) -> None:
    _set_age(query, int(value) if value.isascii() and value.isdigit() and len(value) <= len(str(AGE_MAX)) else -1)


def _query_stale(query: PriceQuery, value: str) -> None:
    _set_stale(query, {"true": True, "false": False}.get(value))


def _set_assets(query: PriceQuery, value: object) -> None:
    if not isinstance(value, list) or isinstance(value, _Members) or not 1 <= len(value) <= ASSETS_MAX:
        raise BadRequestError("ASSETS")
    for asset in value:
        if not isinstance(asset, str) or not asset:
            raise BadRequestError("ASSETS")
    query.assets = value


def _set_exchange(query: PriceQuery, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise BadRequestError("EXCHANGE")
    query.exchange = value


def _set_age(query: PriceQuery, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= AGE_MAX:
        raise BadRequestError("MAX_AGE")
    query.max_age_ms = value


def _set_stale(query: PriceQuery, value: object) -> None:
    if not isinstance(value, bool):
        raise BadRequestError("ALLOW_STALE")
    query.allow_stale = value


_BODY_READERS: Final[dict[str, Callable[[PriceQuery, Any], None]]] = {
    "assets": _set_assets,
    "exchange": _set_exchange,
    "max_age_ms": _set_age,
    "allow_stale": _set_stale,
}
