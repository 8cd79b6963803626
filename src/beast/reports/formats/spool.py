"""The lines of a report in a file, on their way to the process that builds a spreadsheet or a PDF of them."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from beast.reports.lines import About, Line


class SpoolReport:
    """One line of JSON what the report is about, then one for a few lines at a time."""

    def begin(self, about: About) -> bytes:
        """The first line."""
        return msgspec.json.encode(about) + b"\n"

    def lines(self, lines: Sequence[Line]) -> bytes:
        """The next one."""
        return msgspec.json.encode(list(lines)) + b"\n"

    def end(self) -> bytes:
        """Nothing."""
        return b""


def read_about(file: BinaryIO) -> About:
    """The first line of the file."""
    return msgspec.json.decode(file.readline(), type=About)


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines behind it."""
    decoder = msgspec.json.Decoder(list[Line])
    for batch in file:
        yield from decoder.decode(batch)
