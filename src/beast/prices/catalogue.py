"""Which market has which place in the price table.

Ids outlive every reload, because usage records name instruments by id long after the fact. A link number is
free again as soon as no market needs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from beast.prices.types import Asset, AssetMarket, Exchange, Instrument, Market

MAX_INSTRUMENTS = 1 << 14
"""What the engine has room for unless it is told otherwise."""
MAX_EXCHANGES = 64
"""BEAST_EXCHANGES_MAX in _fast/c/sizes.h."""
MAX_LINKS = 1024
"""BEAST_LINKS_MAX there."""


class PriceTable(Protocol):
    """What the catalogue needs of the engine."""

    def load_instruments(self, rows: Sequence[tuple[int, str, str, str, int, int]]) -> None:
        """(id, asset, exchange, currency, priority, link) of every instrument."""


class Catalogue:
    """The markets being priced, their ids and links.

    Args:
        table: Where the instruments are loaded.
        max_instruments: How many ids there are.
    """

    def __init__(self, table: PriceTable, *, max_instruments: int = MAX_INSTRUMENTS) -> None:
        self._table = table
        self._max_instruments = max_instruments
        self._ids: dict[tuple[str, str], int] = {}
        self._by_id: dict[int, Instrument] = {}
        self._links: dict[tuple[str, int], int] = {}
        self._current: dict[tuple[str, str], Instrument] = {}
        self._display_names: dict[str, str] = {}

    def check(self, markets: Iterable[Market]) -> dict[tuple[str, str], Market]:
        """The markets by (exchange, asset). Raises ValueError when two share a pair, or there is no room for all."""
        wanted: dict[tuple[str, str], Market] = {}
        for market in markets:
            if wanted.setdefault((market.exchange, market.asset), market) is not market:
                raise ValueError(f"{market.exchange} maps {market.asset} twice; one market is priced per exchange")
        exchanges = {market.exchange for market in wanted.values()}
        connections = {(market.exchange, market.connection) for market in wanted.values()}
        for what, there, room in (
            ("markets", len(wanted), self._max_instruments),
            ("exchanges", len(exchanges), MAX_EXCHANGES),
            ("connections", len(connections), MAX_LINKS),
        ):
            if there > room:
                raise ValueError(f"{there} {what}, but the price table holds {room}")
        return wanted

    def load(self, markets: Iterable[Market], display_names: Mapping[str, str] | None = None) -> None:
        """Makes `markets` the ones being priced; prices held of those that stay are kept.

        Args:
            markets: All of them, of all exchanges.
            display_names: What people call each exchange, by name.

        Raises:
            ValueError: See check(). Nothing has changed then.
        """
        wanted = self.check(markets)
        links = self._assign_links(wanted.values())
        self._assign_ids(wanted)
        current = {
            pair: Instrument(self._ids[pair], links[market.exchange, market.connection], market)
            for pair, market in wanted.items()
        }
        self._table.load_instruments([_row(each) for each in current.values()])
        self._links, self._current = links, current
        self._by_id.update((each.id, each) for each in current.values())
        self._display_names = dict(display_names or {})

    def instrument(self, instrument_id: int) -> Instrument | None:
        """Who has, or last had, this id."""
        return self._by_id.get(instrument_id)

    def find(self, exchange: str, asset: str) -> Instrument | None:
        """The instrument of a market being priced."""
        return self._current.get((exchange, asset))

    def instruments(self) -> list[Instrument]:
        """All markets being priced, in the order loaded."""
        return list(self._current.values())

    def of_exchange(self, exchange: str) -> list[Instrument]:
        """The markets of one exchange, in the order loaded."""
        return [each for each in self._current.values() if each.market.exchange == exchange]

    def link(self, exchange: str, connection: int) -> int:
        """The link number of a connection. Raises KeyError when no market needs it."""
        return self._links[exchange, connection]

    def exchanges(self) -> list[Exchange]:
        """The exchanges being priced, by name."""
        assets: dict[str, list[Market]] = {}
        for each in self._current.values():
            assets.setdefault(each.market.exchange, []).append(each.market)
        return [
            Exchange(
                name=name,
                display_name=self._display_names.get(name) or name,
                priority=markets[0].priority,
                assets=len(markets),
            )
            for name, markets in sorted(assets.items())
        ]

    def assets(self) -> list[Asset]:
        """The assets being priced, by name, each with its markets in order of priority."""
        markets: dict[str, list[Market]] = {}
        for each in self._current.values():
            markets.setdefault(each.market.asset, []).append(each.market)
        return [_asset(name, found) for name, found in sorted(markets.items())]

    def _assign_ids(self, wanted: Mapping[tuple[str, str], Market]) -> None:
        """Gives each new pair a fresh id or, when none is left, that of the oldest pair not wanted."""
        unused = (pair for pair in list(self._ids) if pair not in wanted)
        for pair in wanted:
            if pair not in self._ids:
                fresh = len(self._ids)
                self._ids[pair] = fresh if fresh < self._max_instruments else self._ids.pop(next(unused))

    def _assign_links(self, markets: Iterable[Market]) -> dict[tuple[str, int], int]:
        """The lowest free numbers for new connections; known ones keep theirs."""
        wanted = dict.fromkeys((market.exchange, market.connection) for market in markets)
        kept = {name: number for name, number in self._links.items() if name in wanted}
        free = iter(sorted(set(range(len(wanted))) - set(kept.values())))
        return {name: kept[name] if name in kept else next(free) for name in wanted}


def _row(instrument: Instrument) -> tuple[int, str, str, str, int, int]:
    market = instrument.market
    return instrument.id, market.asset, market.exchange, market.currency, market.priority, instrument.link


def _asset(name: str, markets: Sequence[Market]) -> Asset:
    ordered = sorted(markets, key=lambda market: (market.priority, market.exchange))
    return Asset(
        asset=name,
        category=next((market.category for market in ordered if market.category), ""),
        markets=tuple(AssetMarket(market.exchange, market.currency) for market in ordered),
    )
