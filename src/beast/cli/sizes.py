"""Sizes on the command line."""

import re
from typing import Final

from beast.base.errors import UsageError
from beast.feeds.recording.recorder import LEAST_BYTES

_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def size_of(text: str, option: str) -> int:
    """The size of a recording in bytes, with or without a decimal unit: 1GB, 500M. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,15})([KMGT]?)B?", text.upper())
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if size < LEAST_BYTES:
        raise UsageError(f"{text!r} is no size of {LEAST_BYTES} bytes at least", where=option, todo="such as 1GB")
    return size
