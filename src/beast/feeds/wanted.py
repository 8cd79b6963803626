"""An exchange as its rows want it, and how its symbols are spread over connections."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from beast._fast import Plan
from beast.feeds.rows.files import AssetCheck, Exchange, RowsError, feed_faults
from beast.feeds.rows.plan import compile_plan, fold
from beast.feeds.turns import in_turns
from beast.feeds.types import CONNECTING, Feed
from beast.feeds.types import Mapping as Row
from beast.prices.types import Market

Urls = Callable[[str, str], str]
"""Where to connect, by an exchange's name and an address of its row."""


class Wish(msgspec.Struct, frozen=True):
    """An exchange as it is to run: valid rows and what follows from them alone."""

    rows: Exchange
    used: tuple[Row, ...]
    """The assets that are enabled."""
    ws_url: str
    token_url: str
    source: bytes
    """Of the plan; equal plans have equal sources."""
    plan: Plan

    @property
    def feed(self) -> Feed:
        """The exchange's own row."""
        return self.rows.feed

    @property
    def subscribed(self) -> list[Row]:
        """What the connections ask for; the rest waits until a slower tier is asked."""
        return [row for row in self.used if row.prewarm]

    def row(self, asset: str) -> Row | None:
        """The row of a market that is enabled."""
        return next((row for row in self.used if row.asset == asset), None)

    def key(self, row: Row) -> bytes:
        """A symbol as trade frames name it, folded."""
        return fold(self.feed, row.key).encode()

    def keeps_connections(self, other: "Wish") -> bool:
        """Whether connections made by this may stay for the other."""
        same_urls = self.ws_url == other.ws_url and self.token_url == other.token_url
        return same_urls and all(getattr(self.feed, name) == getattr(other.feed, name) for name in CONNECTING)


async def wish_for(rows: Exchange, urls: Urls | None) -> Wish:
    """Checks an exchange's rows. Raises ValueError or BeastError when they can't run."""
    feed = rows.feed
    used = tuple(row for row in rows.assets if row.enabled)
    faults = feed_faults(feed)
    check = AssetCheck(feed)
    async for part in in_turns(used):
        for row in part:
            faults += check.faults(row)
    if faults:
        raise RowsError(faults, where=feed.name)
    source = compile_plan(feed)

    def address(original: str) -> str:
        return urls(feed.name, original) if urls and original and not original.startswith("{") else original

    return Wish(rows, used, address(feed.ws_url), address(feed.token_url), source, Plan(source))


def place(
    symbols: Iterable[str],
    held: Mapping[str, int],
    *,
    left: Collection[str] = (),
    size: int = 0,
    closed: Collection[int] = (),
) -> dict[str, int]:
    """Which connection asks for which symbol.

    What a connection has it keeps, as far as `size` allows; the rest goes where there is room, to a further one else.

    Args:
        symbols: All that are wanted.
        held: The connection of every symbol that has one.
        left: Those of `held` that still come, although they were dropped: they take room on their connection.
        size: How many symbols a connection may have; 0: any number.
        closed: Connections on which nothing more can be asked for.
    """
    wanted = list(symbols)
    counts = Counter(held[symbol] for symbol in set(left).difference(wanted))
    placed: dict[str, int] = {}
    for symbol in wanted:
        number = held.get(symbol)
        if number is not None and not (size and counts[number] >= size):
            placed[symbol] = number
            counts[number] += 1
    number = 0
    for symbol in wanted:
        if symbol in placed:
            continue
        while number in closed or (size and counts[number] >= size):
            number += 1
        placed[symbol] = number
        counts[number] += 1
    return {symbol: placed[symbol] for symbol in wanted}


def markets(wish: Wish, placed: Mapping[str, int]) -> Iterable[Market]:
    """The exchange as the price table sees it."""
    return (
        Market(
            exchange=wish.feed.name,
            asset=row.asset,
            currency=row.currency,
            priority=wish.feed.priority,
            connection=placed.get(row.symbol, 0),
            category=row.category,
            weight=wish.feed.consensus_weight,
            band_bps=row.band_bps,
        )
        for row in wish.used
    )
