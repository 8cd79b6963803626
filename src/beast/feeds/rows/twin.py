"""The slow, readable twin of the compiled extraction: the same answers from the same plan, in plain Python.

It is the specification that tests hold the C program to, and it says why a frame gave no trade. The standard
library's JSON parser is used because it hands out a number's own characters.
"""

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from beast.feeds.rows.paths import EACH, LAST, NAMED, ONLY, WALKS, Path, Step, parse_path
from beast.feeds.rows.plan import operand_of
from beast.feeds.types import Condition, Feed, Shape, TimeFormat

OTHER: Final = 0
TRADE: Final = 1
MALFORMED: Final = 2

DEPTH_MAX: Final = 64
VALUE_MAX: Final = 64
"""Bytes of a price, symbol or time as the frame writes it."""
PRICE_MAX: Final = 40
SYMBOLS_MAX: Final = 64
_NS: Final = {"unix_s": 10**9, "unix_ms": 10**6, "unix_us": 10**3, "unix_ns": 1}
_TIME_MAX: Final = 2**63 - 1
_SEQUENCE_MAX: Final = 2**64 - 1

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DECIMAL = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_SEQUENCE = re.compile(r"\d{1,20}", re.ASCII)
_UNIX = re.compile(r"(\d{1,19})(?:\.(\d+))?", re.ASCII)
_RFC3339 = re.compile(
    r"(19[7-9]\d|2[01]\d\d|22[0-5]\d|226[01])-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
    r"(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


class MalformedError(ValueError):
    """The frame is not JSON."""


class Number(str):
    """A number's own characters."""

    __slots__ = ()


class Object(dict[str, Any]):
    """A JSON object, of whose members with one name the first is kept."""

    pairs: list[tuple[str, Any]]
    """All that there were."""


class Member(int):
    """A step to a member by its place."""

    __slots__ = ()


class Trade(NamedTuple):
    """The newest trade of a symbol: wire symbol, price text, time in ns since 1970 (0: the frame has none)."""

    symbol: bytes
    price: bytes
    time_ns: int
    sequence_first: int = 0
    """The lowest and the highest number of the symbol's trades in the frame; 0: none has one."""
    sequence: int = 0
    sequenced: int = 0
    """How many of them have one."""


class Extraction(NamedTuple):
    """What a frame came to."""

    kind: int
    trades: list[Trade]
    bad_prices: int = 0
    nameless: int = 0
    sequence: int | None = None
    """The frame's own number."""


def extract(feed: Feed, frame: bytes) -> Extraction:
    """Runs the plan of a row over one frame."""
    try:
        root = decode(frame)
    except MalformedError:
        return Extraction(MALFORMED, [])
    of_frame = feed.sequence_scope == "connection"
    number = sequence(look_up(root, parse_path(feed.sequence_path))) if of_frame else None
    for i, shape in enumerate(feed.shapes):
        if all(holds(condition, root) for condition in shape.filter):
            numbered = feed.sequence_path if feed.sequence_scope == "symbol" and i == 0 else ""
            return _read(shape, root, numbered, bare=bool(feed.channel_path))._replace(sequence=number)
    return Extraction(OTHER, [], sequence=number)


def decode(frame: bytes) -> Any:
    """The frame's JSON: numbers as Number, objects as Object. Raises MalformedError."""
    try:
        text = frame.decode()
        deep = _depth(text) > DEPTH_MAX
        root = None if deep else _parse(text)
    except ValueError as error:
        raise MalformedError(str(error)) from None
    if deep:
        raise MalformedError(f"nested deeper than {DEPTH_MAX}")
    return root


def look_up(value: Any, path: Path) -> Any:
    """The value at a path without walks; None when there is none, or null."""
    name = None
    for step in path:
        if step == NAMED:
            value = name
        elif isinstance(value, Object):
            name, value = _member(value, step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = None if isinstance(step, Member) else value[step]
        else:
            return None
    return value


def _member(value: Object, step: Step) -> tuple[str | None, Any]:
    """The member that a step leads to."""
    if isinstance(step, Member):
        return value.pairs[step] if step < len(value.pairs) else (None, None)
    if step == ONLY:
        return value.pairs[0] if len(value.pairs) == 1 else (None, None)
    return None, value.get(step) if isinstance(step, str) else None


def holds(condition: Condition, root: Any) -> bool:
    """Whether a frame meets a condition."""
    value = look_up(root, parse_path(condition.path))
    if condition.op == "present":
        return value is not None
    if condition.op == "absent":
        return value is None
    operand, bare = operand_of(condition)
    if isinstance(value, bool):
        return bare and operand == ("true" if value else "false")
    if not isinstance(value, str) or bare != isinstance(value, Number):
        return False
    encoded = _encoded(value)
    if encoded is None or condition.op == "prefix":
        return encoded is not None and value.startswith(operand)
    return value == operand or (condition.op == "suffix" and len(encoded) <= VALUE_MAX and value.endswith(operand))


def price_text(value: Any, scale: int = 0) -> bytes | None:
    """The price as decimal text without exponent, or None when it is not one greater than zero.

    Args:
        value: What the frame has.
        scale: How far its point is moved to the left.
    """
    text = _short(value)
    if text is None or not _DECIMAL.fullmatch(text):
        return None
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
        number = Decimal((sign, digits, int(exponent) - scale))
    except ArithmeticError:  # an exponent beyond any measure
        return None
    if not number or abs(number.adjusted()) > PRICE_MAX:
        return None
    plain = format(number, "f") if scale or "e" in text.lower() else text
    return plain.encode() if len(plain) <= PRICE_MAX else None


def time_ns(value: Any, form: TimeFormat) -> int:
    """A time in ns since 1970, what is below a nanosecond cut off; 0 when it can't be read."""
    text = _short(value)
    if text is None:
        return 0
    if form == "rfc3339":
        return _rfc3339_ns(text)
    match = _UNIX.fullmatch(text)
    if not match:
        return 0
    unit = _NS[form]
    ns = int(match[1]) * unit + int((match[2] or "0")[:9].ljust(9, "0")) * unit // 10**9
    return ns if ns <= _TIME_MAX else 0


def sequence(value: Any) -> int | None:
    """A number that counts frames or trades; None when it can't be read."""
    text = _short(value)
    number = int(text) if text is not None and _SEQUENCE.fullmatch(text) else -1
    return number if 0 <= number <= _SEQUENCE_MAX else None


def _rfc3339_ns(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if not match:
        return 0
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    offset_h, offset_m = int(match[9] or 0), int(match[10] or 0)
    try:
        days = (date(year, month, day) - date(1970, 1, 1)).days
    except ValueError:
        return 0
    offset_s = (offset_h * 60 + offset_m) * (-60 if match[8] == "-" else 60)
    s = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_s
    return s * 10**9 + int((match[7] or "0")[:9].ljust(9, "0")) if s >= 0 else 0


def _read(shape: Shape, root: Any, sequence_path: str, *, bare: bool) -> Extraction:
    price_path = parse_path(shape.price_path)
    newest: dict[bytes, tuple[tuple[int, ...], Trade]] = {}
    numbers: dict[bytes, list[int]] = {}
    ends = [step for step in price_path if step in WALKS]
    bad_prices = nameless = 0
    for places in _elements(root, price_path):

        def at(path: str, places: tuple[int, ...] = places) -> Any:
            return look_up(root, _placed(parse_path(path), places)) if path else None

        symbol = at(shape.symbol_path)
        wire = _short(symbol) if bare or not isinstance(symbol, Number) else None
        price = price_text(at(shape.price_path), shape.price_scale)
        if wire is None:
            nameless += 1
        elif price is None:
            bad_prices += 1
        else:
            ns = time_ns(at(shape.timestamp_path), shape.timestamp_format)
            ns = ns or time_ns(at(shape.fallback_timestamp_path), shape.fallback_timestamp_format)
            key = wire.encode()
            room = len(newest) < SYMBOLS_MAX
            if _newer(places, newest[key][0], ends) if key in newest else room:
                newest[key] = places, Trade(key, price, ns)
            numbers.setdefault(key, []).append(sequence(at(sequence_path)) or 0)
    trades = [_numbered(trade, numbers[key]) for key, (_, trade) in newest.items()]
    return Extraction(TRADE, trades, bad_prices, nameless)


def _numbered(trade: Trade, numbers: list[int]) -> Trade:
    there = [number for number in numbers if number]
    return trade._replace(sequence_first=min(there), sequence=max(there), sequenced=len(there)) if there else trade


def _elements(value: Any, path: Path) -> Iterator[tuple[int, ...]]:
    """The places in the walked arrays and objects of every innermost element."""
    for i, step in enumerate(path):
        if step in WALKS:
            walked = look_up(value, path[:i])
            if step == EACH:
                elements = [element for _, element in walked.pairs] if isinstance(walked, Object) else []
            else:
                elements = walked if isinstance(walked, list) else []
            for place, element in enumerate(elements):
                for inner in _elements(element, path[i + 1 :]):
                    yield (place, *inner)
            return
    yield ()


def _placed(path: Path, places: tuple[int, ...]) -> Path:
    """The path with its walks replaced by places."""
    left = iter(places)
    return tuple(Member(next(left)) if step == EACH else next(left) if step in WALKS else step for step in path)


def _newer(places: tuple[int, ...], than: tuple[int, ...], ends: list[Any]) -> bool:
    return next((end == LAST for one, other, end in zip(places, than, ends, strict=True) if one != other), False)


def _encoded(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _short(value: Any) -> str | None:
    """The characters of a string or number that is not too long to be used."""
    if not isinstance(value, str):
        return None
    encoded = _encoded(value)
    return value if encoded is not None and 1 <= len(encoded) <= VALUE_MAX else None


def _parse(text: str) -> Any:
    return json.loads(
        text, object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_no_constant
    )


def _object(pairs: list[tuple[str, Any]]) -> Object:
    found = Object()
    for name, value in pairs:
        name.encode()
        found.setdefault(name, value)
    found.pairs = pairs
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(text: str) -> int:
    depth = deepest = 0
    for c in _STRING.sub("", text):
        depth += (c in "[{") - (c in "]}")
        deepest = max(deepest, depth)
    return deepest
