"""Times as the exchanges write them."""

import time

SECOND_NS = 1_000_000_000


def rfc3339(wall_ns: int, digits: int = 6) -> str:
    """UTC with so many digits of the second."""
    seconds, fraction = divmod(wall_ns, SECOND_NS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}"[: 20 + digits] + "Z"


def rfc3339_short(wall_ns: int, digits: int = 9) -> str:
    """The same without zeros at the end, as Go writes it."""
    return rfc3339(wall_ns, digits)[:-1].rstrip("0").rstrip(".") + "Z"


def milliseconds(wall_ns: int) -> int:
    """Whole ms since 1970."""
    return wall_ns // 1_000_000


def fractional_milliseconds(wall_ns: int) -> str:
    """Ms since 1970 with six more digits."""
    return f"{wall_ns // 1_000_000}.{wall_ns % 1_000_000:06d}"
