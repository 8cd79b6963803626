"""The slow, readable reading of a UDP request: docs/protocol.md, section 1, and nothing else.

It is the twin of `_fast/c/request.c`; tests hold the two together.
"""

import re
from dataclasses import dataclass, field

from beast._fast import FAULTS

DATAGRAM_MAX = 1232
"""Bytes of the longest request."""
ASSETS_MAX = 30
DEPTH_MAX = 8
ID_MAX = 64
MAX_AGE_MAX = 9_007_199_254_740_991
"""2^53 - 1, the largest integer that every JSON implementation keeps exact (RFC 8259, section 6)."""

FAULT_MESSAGES = dict(FAULTS)

_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_UNIT = re.compile(rb"\\u([0-9a-fA-F]{4})")
_PAIR = re.compile(rb"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_SPACE = b" \t\n\r"
_LITERALS = {b"true": True, b"false": False, b"null": None}
_ESCAPES = {
    0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t",
}  # fmt: skip
_UPPER = bytes.maketrans(bytes(range(97, 123)), bytes(range(65, 91)))
_LOWER = bytes.maketrans(bytes(range(65, 91)), bytes(range(97, 123)))


@dataclass(frozen=True, slots=True)
class Name:
    """An asset or exchange as asked: `text` decoded and folded, `raw` as it stood between the quotes."""

    text: bytes
    raw: bytes

    def echo(self) -> bytes:
        """The name as an error entry repeats it."""
        return self.raw if b"\\" in self.raw else self.raw.translate(_UPPER)


@dataclass(slots=True)
class Request:
    """What a request says. `fault` names what is wrong with it; NONE when nothing is."""

    fault: str = "NONE"
    api_key: bytes | None = None
    assets: list[Name] = field(default_factory=list)
    many: bool = False
    exchange: Name | None = None
    id: bytes | None = None
    max_age_ms: int | None = None
    allow_stale: bool = False


class _Fatal(Exception):
    """Reading can't go on: the request has no id and no key."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class _Text:
    """A string: its bytes between the quotes, and what they mean."""

    raw: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class _Number:
    raw: bytes


class _Array(list["_Value"]):
    """A JSON array."""


class _Object:
    """A JSON object below the outer one: its members mean nothing to us."""


_Value = _Text | _Number | _Array | _Object | bool | None


def parse(datagram: bytes) -> Request:
    """Reads one datagram; never raises."""
    try:
        return _Reader(datagram).request()
    except _Fatal as fatal:
        return Request(fault=fatal.fault)


def parse_members(datagram: bytes, known: frozenset[bytes]) -> tuple[str, dict[bytes, bytes]]:
    """Reads the known members of another kind of datagram by the same rules of JSON; never raises.

    Returns:
        The fault, `NONE` when there is none; and by name the text of each value as it came: a string between its
        quotes, a number. A known member that is neither is told as empty bytes, null as if it were not there.
    """
    try:
        reader = _Members(datagram, known)
        reader.request()
    except _Fatal as fatal:
        return fatal.fault, {}
    return reader.fault, reader.found


class _Reader:
    def __init__(self, data: bytes) -> None:
        if len(data) > DATAGRAM_MAX:
            raise _Fatal("TOO_LARGE")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise _Fatal("UTF8") from None
        self.data = data
        self.at = 0
        self.single = False
        self.lenient = False  # inside an unknown member: strings need no meaning

    def request(self) -> Request:
        request = Request()
        seen: set[bytes] = set()
        self.space()
        self.expect(b"{")
        self.space()
        if self.peek() == b"}":
            self.at += 1
        else:
            while True:
                self.member(request, seen)
                if self.separator(b"}"):
                    break
        self.space()
        if self.at != len(self.data):
            raise _Fatal("SYNTAX")
        if request.fault == "NONE":
            if request.many and self.single:
                request.fault = "BOTH_ASSETS"
            elif not request.assets:
                request.fault = "NO_ASSET"
        return request

    def member(self, request: Request, seen: set[bytes]) -> None:
        name = self.string().text
        read = _MEMBERS.get(name)
        self.space()
        self.expect(b":")
        self.space()
        self.lenient = read is None
        value = self.value(depth=2)
        self.lenient = False
        if read is None:
            return
        fault = "TWICE" if name in seen else "NONE"
        seen.add(name)
        if fault == "NONE" and value is not None:
            if name == b"asset":
                self.single = True
            fault = read(request, value)
        if request.fault == "NONE":
            request.fault = fault

    def value(self, depth: int) -> _Value:
        first = self.peek()
        if first == b'"':
            return self.string()
        if first in (b"{", b"["):
            if depth > DEPTH_MAX:
                raise _Fatal("DEPTH")
            return self.object(depth) if first == b"{" else self.array(depth)
        for word, meaning in _LITERALS.items():
            if self.data.startswith(word, self.at):
                self.at += len(word)
                return meaning
        number = _NUMBER.match(self.data, self.at)
        if number is None:
            raise _Fatal("SYNTAX")
        self.at = number.end()
        return _Number(number.group())

    def object(self, depth: int) -> _Object:
        self.at += 1
        self.space()
        if self.peek() == b"}":
            self.at += 1
            return _Object()
        while True:
            self.string()
            self.space()
            self.expect(b":")
            self.space()
            self.value(depth + 1)
            if self.separator(b"}"):
                return _Object()

    def array(self, depth: int) -> _Array:
        self.at += 1
        self.space()
        items = _Array()
        if self.peek() == b"]":
            self.at += 1
            return items
        while True:
            items.append(self.value(depth + 1))
            if self.separator(b"]"):
                return items

    def separator(self, end: bytes) -> bool:
        """True at the end of an object or array; past a comma otherwise."""
        self.space()
        if self.peek() == end:
            self.at += 1
            return True
        self.expect(b",")
        self.space()
        return False

    def string(self) -> _Text:
        self.expect(b'"')
        start = self.at
        text = ""
        while True:
            plain = _PLAIN.match(self.data, self.at)
            assert plain is not None
            text += plain.group().decode()
            self.at = plain.end()
            mark = self.peek()
            if mark == b'"':
                raw = self.data[start : self.at]
                self.at += 1
                return _Text(raw, text.encode())
            if mark != b"\\":
                raise _Fatal("SYNTAX")
            text += self.escape()

    def escape(self) -> str:
        pair = _PAIR.match(self.data, self.at)
        if pair is not None:
            self.at = pair.end()
            high, low = int(pair[1], 16), int(pair[2], 16)
            return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        unit = _UNIT.match(self.data, self.at)
        if unit is not None:
            self.at = unit.end()
            code = int(unit[1], 16)
            if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - half of a pair, alone
                if not self.lenient:
                    raise _Fatal("UTF8")
                return ""
            return chr(code)
        self.at += 1
        mark = self.peek()
        if mark == b"" or mark[0] not in _ESCAPES:
            raise _Fatal("SYNTAX")
        self.at += 1
        return _ESCAPES[mark[0]]

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def expect(self, mark: bytes) -> None:
        if self.peek() != mark:
            raise _Fatal("SYNTAX")
        self.at += 1

    def space(self) -> None:
        while self.at < len(self.data) and self.data[self.at] in _SPACE:
            self.at += 1


class _Members(_Reader):
    """Keeps the known members, whatever they mean."""

    def __init__(self, data: bytes, known: frozenset[bytes]) -> None:
        super().__init__(data)
        self.known = known
        self.found: dict[bytes, bytes] = {}
        self.fault = "NONE"

    def member(self, request: Request, seen: set[bytes]) -> None:  # noqa: ARG002 - the request is not one for prices
        name = self.string().text
        self.space()
        self.expect(b":")
        self.space()
        self.lenient = name not in self.known
        value = self.value(depth=2)
        self.lenient = False
        if name not in self.known:
            return
        if name in seen:
            self.fault = "TWICE"
        seen.add(name)
        if isinstance(value, _Text):
            self.found[name] = b'"' + value.raw + b'"'
        elif value is not None:
            self.found[name] = value.raw if isinstance(value, _Number) else b""


def _api_key(request: Request, value: _Value) -> str:
    if not isinstance(value, _Text):
        return "API_KEY"
    request.api_key = value.text
    return "NONE"


def _asset(request: Request, value: _Value) -> str:
    if not isinstance(value, _Text) or not value.text:
        return "ASSET"
    if not request.many:
        request.assets = [Name(value.text.translate(_UPPER), value.raw)]
    return "NONE"


def _assets(request: Request, value: _Value) -> str:
    request.many = True
    if not isinstance(value, _Array):
        return "ASSETS"
    names: dict[bytes, Name] = {}
    for item in value:
        if not isinstance(item, _Text) or not item.text:
            return "ASSETS"
        text = item.text.translate(_UPPER)
        names.setdefault(text, Name(text, item.raw))
    if not 1 <= len(value) <= ASSETS_MAX:
        return "ASSETS"
    request.assets = list(names.values())
    return "NONE"


def _exchange(request: Request, value: _Value) -> str:
    if not isinstance(value, _Text) or not value.text:
        return "EXCHANGE"
    request.exchange = Name(value.text.translate(_LOWER), value.raw)
    return "NONE"


def _id(request: Request, value: _Value) -> str:
    if isinstance(value, _Text) and len(value.raw) <= ID_MAX:
        request.id = b'"' + value.raw + b'"'
        return "NONE"
    if isinstance(value, _Number) and len(value.raw) <= ID_MAX and _INTEGER.fullmatch(value.raw):
        request.id = value.raw
        return "NONE"
    return "ID"


def _max_age(request: Request, value: _Value) -> str:
    if not isinstance(value, _Number) or not _INTEGER.fullmatch(value.raw):
        return "MAX_AGE"
    age = int(value.raw)
    if not 0 <= age <= MAX_AGE_MAX:
        return "MAX_AGE"
    request.max_age_ms = age
    return "NONE"


def _allow_stale(request: Request, value: _Value) -> str:
    if not isinstance(value, bool):
        return "ALLOW_STALE"
    request.allow_stale = value
    return "NONE"


_MEMBERS = {
    b"api_key": _api_key,
    b"asset": _asset,
    b"assets": _assets,
    b"exchange": _exchange,
    b"id": _id,
    b"max_age_ms": _max_age,
    b"allow_stale": _allow_stale,
}
