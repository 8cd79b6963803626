"""How a spreadsheet and a PDF say things: the same titles, colours and units in both."""

from datetime import datetime

from beast.reports.lines import About
from beast.reports.types import DIMENSIONS, Dimension, Grouping

INK = "#1F2933"
FAINT = "#66727F"
BLUE = "#2F6FDE"
ORANGE = "#E07B39"
GREEN = "#2E9E6B"
GRID = "#D5DBE3"
BAND = "#EEF2F7"

TITLES: dict[Dimension, str] = {
    "asset": "Asset",
    "exchange": "Exchange",
    "source": "Source",
    "node": "Node",
    "protocol": "Protocol",
    "state": "State",
    "tier": "Tier",
    "day": "Day (UTC)",
    "hour": "Hour (UTC)",
    "key": "API key",
}
assert tuple(TITLES) == DIMENSIONS, "a title for each, in order"
TIERS = {1: "1, memory", 2: "2, Valkey", 3: "3, exchange"}


def title_of(grouping: Grouping) -> str:
    """`By day and asset`."""
    return "By " + " and ".join("API key" if name == "key" else name for name in grouping)


def value_of(name: Dimension, value: str | int) -> str:
    """One value of a dimension, for people."""
    if name == "tier" and isinstance(value, int):
        return TIERS.get(value, str(value))
    if name == "hour":
        return str(value).replace("T", " ").removesuffix("Z")
    return str(value)


def moment(at: datetime) -> str:
    """A time, for people; seconds only where they tell something."""
    text = f"{at:%Y-%m-%d %H:%M:%S}" if at.second else f"{at:%Y-%m-%d %H:%M}"
    return text.removesuffix(" 00:00")


def period_of(about: About) -> str:
    """What the report is about, in one line."""
    named = f"{about.period}: " if about.period else ""
    return f"{named}{moment(about.since)} to {moment(about.until)} UTC"


def scope_of(about: About) -> str:
    """Whose answers, and which of them."""
    if about.keys is None:
        whose = "all API keys"
    else:
        whose = f"API key{'s' if len(about.keys) > 1 else ''} {', '.join(str(key) for key in about.keys)}"
    return "; ".join([whose, *(f"{name} {value}" for name, value in about.filters.items() if name != "key")])


def percent(share: float | None) -> str:
    """`12.3 %`; a dash for none."""
    return "-" if share is None else f"{share * 100:.1f} %"


def micros(us: float | None) -> str:
    """A latency in µs or ms; a dash for none."""
    if us is None:
        return "-"
    return f"{us:,.1f} µs" if us < 1000 else f"{us / 1000:,.2f} ms"  # noqa: PLR2004 - a millisecond
