"""Messages to an exchange, rendered from the templates of its row.

A template is JSON (a ping may be plain text) with placeholders inside its strings:

- `"{SYMBOLS}"`, alone in its string: a JSON array of all symbols of the message;
- `{SYMBOLS:SEP}`, anywhere in a string or in the URL: the symbols joined by SEP;
- `{SYMBOL}` in the only element of an array: that element once for each symbol;
- `{SYMBOL}` anywhere else: one message for each symbol;
- `{CHANNEL}` in an unsubscription: the number that the exchange gave a symbol; one message for each;
- `{NOW_S}`, `{NOW_MS}`, `{ID}`: a JSON number when alone in its string, else text;
- `{FRAME:path}`: a value of the frame that is being answered, its digits untouched.

A subscription may be an array of several messages; each is rendered by itself.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from beast.feeds.rows.paths import NAMED, ONLY, WALKS, parse_path
from beast.feeds.types import Feed

_PLACEHOLDER = re.compile(r"\{([A-Z][A-Z_]*)(?::([^{}]*))?\}")
_PER_MESSAGE = frozenset({"NOW_S", "NOW_MS", "ID"})
_OF_SYMBOLS = frozenset({"SYMBOL", "SYMBOLS"})
_OF_ONE = frozenset({"SYMBOL", "CHANNEL"})
_OF_URL = frozenset({"TOKEN", "ENDPOINT", "UUID", "NOW_S", "NOW_MS"})
_URL_SAFE = "@:!$*,;._~-"
"""What RFC 3986 allows in a path segment, less what means something in a query."""

_Container = dict[str, msgspec.Raw] | list[msgspec.Raw]
Lookup = Callable[[str, str | None], Any]
"""The JSON value of a placeholder: its name and what stands behind the colon."""
Spread = Literal["none", "together", "each"]
"""How a message takes symbols: not at all, as many as a chunk holds, or one."""


class MessageTemplate(msgspec.Struct, frozen=True):
    """One message of a subscription."""

    body: Any
    spread: Spread

    def reply_id(self, message_id: int) -> str:
        """How an answer repeats the `{ID}` of a message, as text; empty when the message has none."""
        texts = (text for text in _strings(self.body) if "{ID}" in text)
        return next(texts, "").replace("{ID}", str(message_id))

    @property
    def names_channel(self) -> bool:
        """Whether it can only be sent for a symbol whose number is known."""
        return any("{CHANNEL}" in text for text in _strings(self.body))

    def room(self, chunk: int) -> int:
        """How many symbols one message may carry where `chunk` is the limit (0: none)."""
        return 1 if self.spread == "each" else chunk or sys.maxsize

    def render(self, symbols: Sequence[str], *, message_id: int, wall_ns: int, channel: str = "") -> str:
        """The message for `symbols` (decorated already), as JSON text; `channel` is the number of the only one."""

        def lookup(name: str, separator: str | None) -> Any:
            if name == "SYMBOLS":
                return list(symbols) if separator is None else separator.join(symbols)
            if name == "CHANNEL":
                return int(channel) if channel.isdecimal() else channel
            return symbols[0] if name == "SYMBOL" else _per_message(name, message_id, wall_ns)

        return msgspec.json.encode(_fill(self.body, lookup, symbols)).decode()


def parse_subscription(template: str) -> list[MessageTemplate]:
    """The messages of a subscription's template, or an unsubscription's. Raises ValueError: what is wrong with it."""
    if not template:
        return []
    body = _decode(template)
    parts = body if isinstance(body, list) else [body]
    if not all(isinstance(part, dict | list) for part in parts):
        raise ValueError("every message must be a JSON object or array")
    return [MessageTemplate(body=part, spread=_spread(part)) for part in parts]


def decorate(symbol: str, symbol_template: str) -> str:
    """`symbol` as the exchange wants it in a subscription."""
    return symbol_template.replace("{SYMBOL}", symbol)


def render_url(url: str, symbols: Sequence[str], values: Mapping[str, str] | None = None) -> str:
    """The URL with its placeholders replaced: `{SYMBOLS:SEP}` by the symbols, percent-encoded, others by `values`."""

    def fill(match: re.Match[str]) -> str:
        if match[1] == "SYMBOLS":
            return (match[2] or "").join(quote(symbol, safe=_URL_SAFE) for symbol in symbols)
        return (values or {})[match[1]]

    return _PLACEHOLDER.sub(fill, url)


def render_message(template: str, *, message_id: int, wall_ns: int, frame: bytes | None = None) -> str:
    """A ping, or the reply to a heartbeat `frame`. Raises LookupError when the frame lacks what is to be copied."""

    def lookup(name: str, path: str | None) -> Any:
        if name == "FRAME" and frame is not None:
            return raw_at(frame, path or "")
        return _per_message(name, message_id, wall_ns)

    try:
        body = msgspec.json.decode(template)
    except msgspec.DecodeError:
        return _fill_text(template, lookup)
    return msgspec.json.encode(_fill(body, lookup, ())).decode()


def raw_at(frame: bytes, path: str) -> msgspec.Raw:
    """The JSON text at `path` of `frame`. Raises LookupError when there is none."""
    value = msgspec.Raw(frame)
    try:
        for step in parse_path(path):
            inner: Any = msgspec.json.decode(value, type=_Container)
            if step == ONLY:
                (value,) = inner.values()
            else:
                value = inner[step]
    except (msgspec.DecodeError, AttributeError, LookupError, TypeError, ValueError):
        raise LookupError(f"the frame has nothing at {path!r}") from None
    return value


def validate_templates(feed: Feed) -> list[str]:
    """What is wrong with the row's templates, each message beginning with the column's name; empty when nothing is."""
    checks: tuple[tuple[str, Callable[[Feed], None]], ...] = (
        ("ws_url", _check_url),
        ("symbol_template", lambda feed: _check_symbol_template(feed.symbol_template)),
        ("subscribe_template", _check_subscription),
        ("unsubscribe_template", _check_unsubscription),
        ("ping_template", _check_ping),
        ("heartbeat_reply_template", lambda feed: _check_placeholders(feed.heartbeat_reply_template, {"FRAME"})),
        ("error_scope", _check_scope),
    )
    faults = []
    for column, check in checks:
        try:
            check(feed)
        except ValueError as fault:
            faults.append(f"{column}: {fault}")
    return faults


def _per_message(name: str, message_id: int, wall_ns: int) -> int:
    return {"ID": message_id, "NOW_S": wall_ns // 10**9, "NOW_MS": wall_ns // 10**6}[name]


def _decode(template: str) -> Any:
    try:
        return msgspec.json.decode(template)
    except msgspec.DecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _fill(node: Any, lookup: Lookup, symbols: Sequence[str]) -> Any:
    """A copy of the template's tree with every placeholder replaced."""
    if isinstance(node, str):
        alone = _PLACEHOLDER.fullmatch(node)
        return lookup(alone[1], alone[2]) if alone else _fill_text(node, lookup)
    if isinstance(node, dict):
        return {name: _fill(value, lookup, symbols) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    if _repeats(node):
        return [_fill(node[0], _for_symbol(symbol, lookup), ()) for symbol in symbols]
    return [_fill(value, lookup, symbols) for value in node]


def _for_symbol(symbol: str, lookup: Lookup) -> Lookup:
    return lambda name, argument: symbol if name == "SYMBOL" else lookup(name, argument)


def _fill_text(text: str, lookup: Lookup) -> str:
    def as_text(match: re.Match[str]) -> str:
        value = lookup(match[1], match[2])
        if isinstance(value, msgspec.Raw):
            token = bytes(value)
            return msgspec.json.decode(token, type=str) if token.startswith(b'"') else token.decode()
        return str(value)

    return _PLACEHOLDER.sub(as_text, text)


def _repeats(node: list[Any]) -> bool:
    """Whether `node` is an array whose only element stands for one symbol."""
    return len(node) == 1 and any(name == "SYMBOL" for name, _, _ in _placeholders(node[0]))


def _strings(node: Any) -> Iterator[str]:
    """Every string value in a template's tree."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _strings(value)


def _placeholders(node: Any) -> Iterator[tuple[str, str | None, bool]]:
    """Name, argument and "alone in its string" of every placeholder in a template's tree."""
    for text in _strings(node):
        for match in _PLACEHOLDER.finditer(text):
            yield match[1], match[2], match[0] == text


def _spread(node: Any) -> Spread:
    if isinstance(node, dict | list):
        if isinstance(node, list) and _repeats(node):
            return "together"
        found = {_spread(value) for value in (node.values() if isinstance(node, dict) else node)}
        if {"together", "each"} <= found:
            raise ValueError("one message holds both a list of symbols and a single {SYMBOL}")
        return next((spread for spread in ("together", "each") if spread in found), "none")
    names = {name for name, _, _ in _placeholders(node)}
    if "SYMBOLS" in names and names & _OF_ONE:
        raise ValueError("one message holds both a list of symbols and a single {SYMBOL}")
    return "together" if "SYMBOLS" in names else "each" if names & _OF_ONE else "none"


def _check_placeholders(template: str, extra: set[str] | frozenset[str]) -> None:
    """Only known placeholders, whole and in values; raises ValueError else."""
    try:
        body = msgspec.json.decode(template)
    except msgspec.DecodeError:
        body = template
    known = _PER_MESSAGE | extra
    for name, argument, alone in _placeholders(body):
        if name not in known:
            allowed = ", ".join(f"{{{each}}}" for each in sorted(known))
            raise ValueError(f"{{{name}}} is not known here; there are {allowed}")
        if name == "SYMBOLS" and argument is None and not alone:
            raise ValueError("{SYMBOLS} inside a longer string needs a separator, as in {SYMBOLS:,}")
        if name == "FRAME" and not argument:
            raise ValueError("{FRAME} needs a path, as in {FRAME:id}")
        if name == "FRAME" and (WALKS | {NAMED}) & set(parse_path(argument or "")):
            raise ValueError(f"{{FRAME:{argument}}} walks an array or names a member; an index can stand there")
        if name not in {"SYMBOLS", "FRAME"} and argument is not None:
            raise ValueError(f"{{{name}}} takes nothing behind a colon")
    for key in _keys(body):
        if _PLACEHOLDER.search(key):
            raise ValueError(f"a placeholder can't stand in a member's name: {key!r}")


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _keys(value)


def _check_url(feed: Feed) -> None:
    for name, argument, _ in _placeholders(feed.ws_url):
        if (name == "SYMBOLS") != (argument is not None) or name not in _OF_URL | {"SYMBOLS"}:
            known = ", ".join(f"{{{each}}}" for each in sorted(_OF_URL))
            raise ValueError(f"{{{name}}} is not known here; there are {{SYMBOLS:SEP}}, {known}")
    for name, column in (("TOKEN", "token_path"), ("ENDPOINT", "endpoint_path")):
        if (f"{{{name}}}" in feed.ws_url) != bool(getattr(feed, column)):
            raise ValueError(f"{{{name}}} and {column} need each other")
    answers = feed.token_path or feed.endpoint_path
    if bool(feed.token_url) != bool(answers):
        raise ValueError("token_url and token_path or endpoint_path need each other")


def _check_symbol_template(template: str) -> None:
    if [name for name, _, _ in _placeholders(template)] != ["SYMBOL"]:
        raise ValueError(f"must hold {{SYMBOL}} once and no other placeholder: {template!r}")


def _check_subscription(feed: Feed) -> None:
    _check_placeholders(feed.subscribe_template, _OF_SYMBOLS)
    spreads = {message.spread for message in parse_subscription(feed.subscribe_template)}
    if spreads <= {"none"} and "{SYMBOLS:" not in feed.ws_url:
        raise ValueError("names no symbol, and ws_url doesn't either: {SYMBOLS} or {SYMBOL} is missing")


def _check_unsubscription(feed: Feed) -> None:
    _check_placeholders(feed.unsubscribe_template, _OF_SYMBOLS | {"CHANNEL"})
    messages = parse_subscription(feed.unsubscribe_template)
    if any(message.spread == "none" for message in messages):
        raise ValueError("every message must name a symbol: {SYMBOLS}, {SYMBOL} or {CHANNEL} is missing")
    if any(message.names_channel for message in messages) and not feed.channel_path:
        raise ValueError("{CHANNEL} needs channel_path")


def _check_ping(feed: Feed) -> None:
    _check_placeholders(feed.ping_template, frozenset())
    if bool(feed.ping_interval_ms or feed.ping_interval_path) != bool(feed.ping_template):
        raise ValueError("ping_template and ping_interval_ms (or ping_interval_path) need each other")


def _check_scope(feed: Feed) -> None:
    if feed.error_scope == "message" and not (feed.reply_id_path or feed.ack_filter):
        raise ValueError("`message` needs reply_id_path or ack_filter, or nobody can tell which message was refused")
