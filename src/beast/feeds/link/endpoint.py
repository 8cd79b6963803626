"""Where to connect: the row's own address, or what the exchange answers when it is asked for a token.

Some exchanges hand out a token over HTTP, and with it the address to connect to and how often they want to be pinged.
Both are good for one connection, so they are asked for before each. The token is a secret: it reaches no log, and no
error tells more of an answer than what looks like its own words.
"""

import ssl
import uuid
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

import httpx
import msgspec

from beast.base.clock import Clock
from beast.feeds.rows.templates import raw_at, render_url
from beast.feeds.types import Feed

TIMEOUT_S: Final = 5.0
"""For each of connecting, sending and every read, in seconds; whoever asks sets a limit to the whole."""
BODY_MAX: Final = 1 << 20
"""Longest answer read, in bytes."""
TOKEN_MAX: Final = 8 << 10
"""Longest token or address taken, in bytes."""
_PING_MS: Final = (1_000, 3_600_000)
_OK: Final = 200
_WORDS: Final = ("code", "label", "msg", "message", "error")
_WORDS_MAX: Final = 80


class EndpointError(Exception):
    """The exchange gave no address; says why, and never a secret."""


class Address(NamedTuple):
    """Where one connection goes."""

    url: str
    ping_interval_ms: int
    """Between two pings of ours in the exchange's own words; 0: none."""
    secret: str = ""
    """What must not be shown."""

    def hide(self, text: str) -> str:
        """The text without the secret, plain or as it stands in the URL."""
        for secret in filter(None, (self.secret, _quote(self.secret))):
            text = text.replace(secret, "***")
        return text


class Finder(Protocol):
    """Says where the next connection goes."""

    async def find(self, feed: Feed, symbols: list[str]) -> Address:
        """The address for a connection that is to bring these symbols, decorated already. Raises EndpointError."""


class Endpoint:
    """The addresses of one exchange's connections.

    Args:
        ws_url: The row's `ws_url`, or where to connect instead.
        token_url: The row's `token_url`, or where to ask instead.
        clock: The time.
        tls: For https.
    """

    def __init__(self, ws_url: str, token_url: str, *, clock: Clock, tls: ssl.SSLContext) -> None:
        self._ws_url = ws_url
        self._token_url = token_url
        self._clock = clock
        self._tls = tls

    async def find(self, feed: Feed, symbols: list[str]) -> Address:
        """See Finder."""
        wall_ns = self._clock.wall_ns()
        values = {"UUID": str(uuid.uuid4()), "NOW_S": str(wall_ns // 10**9), "NOW_MS": str(wall_ns // 10**6)}
        ping_ms = feed.ping_interval_ms
        token = ""
        if self._token_url:
            answer = await self._ask(feed.token_method)
            if feed.token_path:
                token = _text_at(answer, feed.token_path, "token")
                values["TOKEN"] = _quote(token)
            if feed.endpoint_path:
                values["ENDPOINT"] = self._checked(_text_at(answer, feed.endpoint_path, "address"))
            ping_ms = _interval(answer, feed) or ping_ms
        return Address(render_url(self._ws_url, symbols, values), ping_ms, token)

    async def _ask(self, method: str) -> bytes:
        """The body of the answer. A compressed one is not taken: its size is anybody's guess."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_S, trust_env=False) as client,
                client.stream(method, self._token_url, headers=headers) as response,
            ):
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > BODY_MAX:
                        raise EndpointError(f"no token: the answer is longer than {BODY_MAX} bytes")
        except httpx.HTTPError as error:
            raise EndpointError(f"no token: {str(error) or type(error).__name__}") from None
        if response.status_code != _OK or "content-encoding" in response.headers:
            encoding = response.headers.get("content-encoding", "")
            raise EndpointError(f"no token: HTTP {response.status_code} {encoding} {_words(bytes(body))}".rstrip())
        return bytes(body)

    def _checked(self, url: str) -> str:
        """An address that was answered: a WebSocket's, and no less protected than the question was."""
        schemes = ("wss://",) if self._token_url.startswith("https://") else ("wss://", "ws://")
        if not url.startswith(schemes):
            raise EndpointError(f"the answer's address does not begin with {' or '.join(schemes)}")
        return url


def _quote(text: str) -> str:
    return quote(text, safe="")


def _text_at(answer: bytes, path: str, what: str) -> str:
    try:
        text: Any = msgspec.json.decode(raw_at(answer, path))
    except (LookupError, msgspec.DecodeError):
        text = None
    if not isinstance(text, str) or not 0 < len(text) <= TOKEN_MAX or not text.isprintable() or " " in text:
        raise EndpointError(f"the answer has no {what} at {path!r} {_words(answer)}".rstrip())
    return text


def _interval(answer: bytes, feed: Feed) -> int:
    """How often to ping, in ms; 0: the answer doesn't say, or nothing that can be meant."""
    try:
        value: Any = msgspec.json.decode(raw_at(answer, feed.ping_interval_path)) if feed.ping_interval_path else 0
        interval = int(value)
    except (LookupError, TypeError, ValueError, msgspec.DecodeError):
        return 0
    return interval if _PING_MS[0] <= interval <= _PING_MS[1] else 0


def _words(answer: bytes) -> str:
    """What the answer says of an error: its outermost members that are called like one."""
    found = []
    for name in _WORDS:
        try:
            value: Any = msgspec.json.decode(raw_at(answer, name))
        except (LookupError, msgspec.DecodeError):
            continue
        if isinstance(value, str | int):
            found.append(f"{name}={value}"[:_WORDS_MAX])
    return f"({', '.join(found)})" if found else ""
