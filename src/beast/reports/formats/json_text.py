"""Reports and records as one JSON object each, a few lines at a time."""

from collections.abc import Sequence
from typing import Any

import msgspec

from beast.reports.asking import stamp
from beast.reports.lines import About, Line
from beast.reports.types import Grouping, Record


class JsonReport:
    """`{"report":{…},"totals":{…},"groups":[{"by":["asset"],"rows":[…]}]}`."""

    def __init__(self) -> None:
        self._waiting: list[Grouping] = []
        self._open = self._rows = False

    def begin(self, about: About) -> bytes:
        """What comes before the lines."""
        self._waiting = list(about.groupings)
        told = {**msgspec.to_builtins(about), "from": stamp(about.since), "to": stamp(about.until)}
        told["generated_at"] = stamp(about.generated_at)
        del told["origin"]
        return b'{"report":' + msgspec.json.encode(told)

    def lines(self, lines: Sequence[Line]) -> bytes:
        """The next lines. The first one of all is that of everything."""
        out = bytearray()
        for line in lines:
            cells = line.cells()
            if not line.by:
                out += b',"totals":' + msgspec.json.encode(cells) + b',"groups":['
                continue
            while self._waiting and line.by != self._current:
                out += self._next_group()
            out += (b"," if self._rows else b"") + msgspec.json.encode(cells)
            self._rows = True
        return bytes(out)

    def end(self) -> bytes:
        """What comes after them; groupings without a group are told, too."""
        out = bytearray()
        while self._waiting:
            out += self._next_group()
        return bytes(out) + (b"]}" if self._open else b"") + b"]}\n"

    _current: Grouping = ()

    def _next_group(self) -> bytes:
        self._current = self._waiting.pop(0)
        before = b"]}," if self._open else b""
        self._open, self._rows = True, False
        return before + b'{"by":' + msgspec.json.encode(self._current) + b',"rows":['


class JsonRecords:
    """`{"records":[…],"next":"/report/records?…"}`; `next` is null on the last page."""

    def __init__(self) -> None:
        self._some = False

    def begin(self) -> bytes:
        """What comes before the records."""
        return b'{"records":['

    def records(self, records: Sequence[Record]) -> bytes:
        """The next ones."""
        if not records:
            return b""
        before = b"," if self._some else b""
        self._some = True
        return before + b",".join(msgspec.json.encode(_shown(record)) for record in records)

    def end(self, following: str | None) -> bytes:
        """What comes after them: the address of the next page."""
        return b'],"next":' + msgspec.json.encode(following) + b"}\n"


def _shown(record: Record) -> dict[str, Any]:
    return {**msgspec.structs.asdict(record), "at": stamp(record.at)}
