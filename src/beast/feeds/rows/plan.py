"""From a row to its extraction plan: the source form that `beast._fast.Plan` compiles.

The source is a JSON object:

    {"fold": "none",                  # "upper", "lower": of the symbol's ASCII letters, before it is looked up
     "strip_prefix": "",              # taken off the symbol before it is folded
     "strip_suffix": "",              # and this off its end
     "bare_symbol": true,             # the symbol may be a number, which stands for one on this connection only
     "sequence": ["sequence_num"],    # the number of a frame, where all frames of a connection are numbered
     "shapes": [                      # the first whose filter holds reads the frame
       {"filter": [{"path": ["channel"], "op": "eq", "value": "trade"},
                   {"path": ["code"], "op": "eq", "value": "0", "bare": true}],
        "price": ["data", "[last]", "price"],
        "scale": 8,                   # the price's point is moved so far to the left
        "symbol": ["data", "[last]", "symbol"],
        "time": ["data", "[last]", "timestamp"], "time_format": "rfc3339",
        "fallback": ["time"], "fallback_format": "unix_s",
        "sequence": ["data", "[last]", "trade_id"]}]}  # the number of a trade, where those of each symbol are

`bare` compares with a number's or a literal's characters instead of a string. `scale`, `time`, `fallback` and either
`sequence` may be missing; one of the two must.

What a plan does with a frame, which `beast.feeds.rows.twin` says again in Python:

- The frame must be one JSON text (RFC 8259) in valid UTF-8, nested at most 64 deep, or it is malformed. Of two members
  with one name the first counts. A null is as good as absent.
- The arrays and objects that the price's path walks give one trade for each innermost element; a path without walks
  gives one. Of an object all members are walked, also those with one name.
- The symbol is a string of 1 to 64 bytes, or, with `bare_symbol`, a number of as many characters. The price is a
  number, or a string that holds one as JSON writes numbers: greater than zero, its digits kept, an exponent written
  out and its point moved by `scale`, at most 40 characters then (64 as it stands in the frame). A trade without such a
  price is dropped and counted.
- Of several trades of one symbol the newest wins: `[first]` and `[last]` say which end of an array that is, an object
  has its newest first, the outermost of them in which two trades stand apart decides. At most 64 symbols of one frame
  are taken.
- A time that can't be read counts as none: then the fallback is asked, then the time of receipt stands in.
- A number is an integer of 64 bits without sign, or a string of at most 20 digits that holds one; anything else is as
  good as absent, and so is a trade's 0. Of the numbers that a symbol's trades in one frame have, the lowest, the
  highest and the count are told; a trade dropped for its price is not among them. A frame's number is told of any frame
  that is not malformed.
"""

from typing import Any, Final

import msgspec

from beast.feeds.rows.paths import WALKS, Path, parse_path, walks_of
from beast.feeds.types import Condition, Feed, Shape

SHAPES_MAX: Final = 4
CONDITIONS_MAX: Final = 32
OPERAND_MAX: Final = 64
"""Bytes of a condition's value."""
STRIP_MAX: Final = 64
"""Bytes taken off either end of a symbol."""
SCALE_MAX: Final = 30
_OTHER_WALK: Final = "walks another array or object than price_path does"
_VALUE_COLUMNS: Final = (
    ("price", "price_path"),
    ("symbol", "symbol_path"),
    ("time", "timestamp_path"),
    ("fallback", "fallback_timestamp_path"),
)


class ColumnError(ValueError):
    """A column of a row can't be meant.

    Args:
        column: The column's name; inside `other_shapes`, with its place: `other_shapes.0.price_path`.
        reason: What is wrong with it.
    """

    def __init__(self, column: str, reason: str) -> None:
        self.column = column
        self.reason = reason
        super().__init__(column, reason)

    def __str__(self) -> str:
        return f"{self.column}: {self.reason}"


def compile_plan(feed: Feed) -> bytes:
    """The plan of a row in its source form. Raises ColumnError."""
    if len(feed.shapes) > SHAPES_MAX:
        raise ColumnError("other_shapes", f"at most {SHAPES_MAX - 1} are possible")
    if sum(len(shape.filter) for shape in feed.shapes) > CONDITIONS_MAX:
        raise ColumnError("other_shapes", f"all filters together hold more than {CONDITIONS_MAX} conditions")
    for column in ("symbol_strip_prefix", "symbol_strip_suffix"):
        if len(getattr(feed, column).encode()) > STRIP_MAX:
            raise ColumnError(column, f"is longer than {STRIP_MAX} bytes")
    shapes = [_shape_spec(shape, number) for number, shape in enumerate(feed.shapes)]
    source: dict[str, Any] = {
        "fold": feed.symbol_fold,
        "strip_prefix": feed.symbol_strip_prefix,
        "strip_suffix": feed.symbol_strip_suffix,
        "shapes": shapes,
    }
    if feed.channel_path:
        source["bare_symbol"] = True
    if sequence := sequence_path(feed):
        holder = source if feed.sequence_scope == "connection" else shapes[0]
        holder["sequence"] = sequence
    return msgspec.json.encode(source)


def sequence_path(feed: Feed) -> Path:
    """Where frames or trades are numbered; empty when they aren't. Raises ColumnError."""
    path = path_of(feed.sequence_path, "sequence_path")
    if bool(path) != bool(feed.sequence_scope):
        raise ColumnError("sequence_path", "needs a sequence_scope" if path else "is empty")
    walked = walks_of(path)
    if feed.sequence_scope == "connection" and walked:
        raise ColumnError("sequence_path", "a frame has one number: the path can't walk an array")
    if walked != walks_of(path_of(feed.price_path, "price_path"))[: len(walked)]:
        raise ColumnError("sequence_path", _OTHER_WALK)
    return path


def path_of(text: str, column: str) -> Path:
    """The steps of the path in a column. Raises ColumnError."""
    try:
        return parse_path(text)
    except ValueError as error:
        raise ColumnError(column, str(error)) from None


def check_condition(condition: Condition, column: str) -> None:
    """Raises ColumnError when a condition can't be meant."""
    if WALKS & set(path_of(condition.path, column)):
        raise ColumnError(column, f"{condition.path!r}: a condition can't walk an array; an index can stand there")
    takes_value = condition.op in {"eq", "prefix", "suffix"}
    if takes_value != (condition.value is not None):
        raise ColumnError(column, f"{condition.op!r} {'needs a' if takes_value else 'takes no'} value")
    if condition.op in {"prefix", "suffix"} and not isinstance(condition.value, str):
        raise ColumnError(column, f"the value of a {condition.op} must be a string")
    if takes_value and len(operand_of(condition)[0].encode()) > OPERAND_MAX:
        raise ColumnError(column, f"the value {condition.value!r} is longer than {OPERAND_MAX} bytes")


def operand_of(condition: Condition) -> tuple[str, bool]:
    """The characters to compare with, and whether they stand without quotes in the frame."""
    value = condition.value
    if isinstance(value, bool):
        return ("true" if value else "false"), True
    if isinstance(value, int):
        return str(value), True
    return value or "", False


def lookup_key(feed: Feed, wire_symbol: str) -> str:
    """The wire symbol as mappings are looked up by."""
    return fold(feed, wire_symbol.removeprefix(feed.symbol_strip_prefix).removesuffix(feed.symbol_strip_suffix))


def fold(feed: Feed, symbol: str) -> str:
    """The symbol with its ASCII letters folded as the row says."""
    if feed.symbol_fold == "none":
        return symbol
    folded = symbol.encode().upper() if feed.symbol_fold == "upper" else symbol.encode().lower()
    return folded.decode()


def _shape_spec(shape: Shape, number: int) -> dict[str, Any]:
    def column(name: str) -> str:
        if number:
            return f"other_shapes.{number - 1}.{name}"
        return "trade_filter" if name == "filter" else name

    if not shape.filter:
        raise ColumnError(column("filter"), "is empty: no frame would ever be read")
    spec: dict[str, Any] = {"filter": [_condition_spec(condition, column("filter")) for condition in shape.filter]}
    for role, name in _VALUE_COLUMNS:
        text = getattr(shape, name)
        if text:
            spec[role] = path_of(text, column(name))
        elif role in {"price", "symbol"}:
            raise ColumnError(column(name), "is empty")
    if not 0 <= shape.price_scale <= SCALE_MAX:
        raise ColumnError(column("price_scale"), f"{shape.price_scale} is not from 0 to {SCALE_MAX}")
    spec["scale"] = shape.price_scale
    spec["time_format"] = shape.timestamp_format
    spec["fallback_format"] = shape.fallback_timestamp_format
    walked = walks_of(spec["price"])
    for role, name in _VALUE_COLUMNS[1:]:
        own = walks_of(spec.get(role, ()))
        if own != walked[: len(own)]:
            raise ColumnError(column(name), _OTHER_WALK)
    return spec


def _condition_spec(condition: Condition, column: str) -> dict[str, Any]:
    check_condition(condition, column)
    if not condition.path:
        raise ColumnError(column, "a frame with trades is told by what is in it: the path is empty")
    value, bare = operand_of(condition)
    return {"path": parse_path(condition.path), "op": condition.op, "value": value, "bare": bare}
