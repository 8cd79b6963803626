"""The dry run of an exchange's rows: recorded frames in, what they would come to out.

Each frame is judged alone: no age, no order against earlier frames, no plausibility.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from beast._fast import Plan
from beast.feeds.rows import twin
from beast.feeds.rows.classify import Classifier
from beast.feeds.rows.plan import compile_plan, fold, lookup_key
from beast.feeds.rows.unpack import unpack
from beast.feeds.types import Feed, Mapping

_NO_FRAME: Final = "the line is no JSON object with a string `raw` or `raw_base64`"

Kind = Literal["trade", "ack", "error", "heartbeat", "notice", "ignored"]


class CheckedTrade(msgspec.Struct, frozen=True):
    """The newest trade of one symbol in a frame."""

    symbol: str
    """As on the wire."""
    asset: str | None
    """None: no row maps this symbol."""
    price: str
    timestamp: str | None
    """RFC 3339, UTC, with 6 digits of fraction, or 9 where the last three are not zero; None: the frame has none."""


class CheckedFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one frame comes to."""

    line: int
    kind: Kind
    trades: list[CheckedTrade]
    reason: str = ""
    """Why a frame was ignored; the exchange's words for an error."""


class Checker:
    """Runs frames through the rows of one exchange. Raises ColumnError when the rows can't be meant."""

    def __init__(self, feed: Feed, mappings: Iterable[Mapping]) -> None:
        self._feed = feed
        self._plan = Plan(compile_plan(feed))
        self._classify = Classifier(feed)
        self._assets = {fold(feed, mapping.key): mapping.asset for mapping in mappings}

    def check(self, line: int, frame: bytes) -> CheckedFrame:
        """What one frame comes to."""
        kind, trades, _ = self._plan.extract(frame)
        if kind != twin.TRADE:
            answer = self._classify(frame)
            told: Kind = "heartbeat" if answer.kind == "pong" else answer.kind
            return CheckedFrame(line, told, [], answer.text)
        if not trades:
            return CheckedFrame(line, "ignored", [], self._why_none(frame))
        return CheckedFrame(line, "trade", [self._trade(*trade[:3]) for trade in trades])

    def check_lines(self, lines: Iterable[str]) -> Iterator[CheckedFrame]:
        """What each recorded line comes to: a JSON object whose `raw` is the frame, or `raw_base64` its bytes.

        Blank lines are skipped.
        """
        for number, line in enumerate(lines, 1):
            if line.strip():
                frame = self._frame_of(line)
                yield (
                    self.check(number, frame)
                    if isinstance(frame, bytes)
                    else CheckedFrame(number, "ignored", [], frame)
                )

    def _frame_of(self, line: str) -> bytes | str:
        """The text of the frame that a recorded line holds, or why it holds none."""
        try:
            record: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"the line is not JSON: {error}"
        found = record if isinstance(record, dict) else {}
        raw, packed = found.get("raw"), found.get("raw_base64")
        if isinstance(raw, str):
            return raw.encode(errors="surrogatepass")
        if not isinstance(packed, str):
            return _NO_FRAME
        try:
            return unpack(base64.b64decode(packed, validate=True), self._feed.compression)
        except ValueError as error:
            return f"`raw_base64` is no base64: {error}"

    def _trade(self, wire: bytes, price: bytes, time_ns: int) -> CheckedTrade:
        symbol = wire.decode()
        asset = self._assets.get(lookup_key(self._feed, symbol))
        return CheckedTrade(symbol, asset, price.decode(), format_ns(time_ns) if time_ns else None)

    def _why_none(self, frame: bytes) -> str:
        found = twin.extract(self._feed, frame)
        if found.bad_prices:
            return "the price is missing, not a number, not greater than zero, or too long"
        return "the symbol is missing" if found.nameless else "a frame of trades that holds none"


def format_ns(time_ns: int) -> str:
    """A time in ns since 1970 as RFC 3339, with 6 digits of fraction, or 9 where the last three are not zero."""
    s, ns = divmod(time_ns, 10**9)
    digits = f"{ns:09}"
    fraction = digits if ns % 1000 else digits[:6]
    return f"{datetime.fromtimestamp(s, UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"


def count_kinds(frames: Sequence[CheckedFrame]) -> dict[str, int]:
    """How many frames there were of each kind."""
    kinds: dict[str, int] = {}
    for frame in frames:
        kinds[frame.kind] = kinds.get(frame.kind, 0) + 1
    return kinds
