"""Which market has which place in the price table.

Ids outlive every reload, because usage records name instruments by id long after the fact. A link number is
free again as soon as no market needs it.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from beast.prices.consensus import NAME as CONSENSUS
from beast.prices.types import Asset, AssetMarket, Exchange, Instrument, Market

MAX_INSTRUMENTS = 1 << 14
"""What the engine has room for unless it is told otherwise."""
MAX_EXCHANGES = 64
"""BEAST_EXCHANGES_MAX in _fast/c/sizes.h."""
MAX_LINKS = 1024
"""BEAST_LINKS_MAX there."""


STEP = 250
"""Markets that one step deals with."""

Row = tuple[int, str, str, str, int, int, int, int | None]
"""(id, asset, exchange, currency, priority, link, weight, band_bps) of an instrument."""
Markets = dict[tuple[str, str], Market]
"""By (exchange, asset)."""
Result = TypeVar("Result")
Steps = Generator[Callable[[], None] | None, None, Result]
"""Work in steps of a millisecond or so. What one yields is to be called before the next, on any thread."""


class Batch(Protocol):
    """Instruments on their way into the engine."""

    def add(self, rows: Sequence[Row]) -> None:
        """Some more of them."""

    def finish(self) -> None:
        """There are no more."""


class PriceTable(Protocol):
    """What the catalogue needs of the engine."""

    def batch(self) -> Batch:
        """What load_instruments() takes, empty."""

    def load_instruments(self, rows: Any) -> None:
        """All that was added to a batch."""


class Catalogue:
    """The markets being priced, their ids and links.

    Args:
        table: Where the instruments are loaded.
        max_instruments: How many ids there are.
        announce: Told what an id stands for, before the engine can answer with it.
    """

    def __init__(
        self,
        table: PriceTable,
        *,
        max_instruments: int = MAX_INSTRUMENTS,
        announce: Callable[[Sequence[Instrument]], None] = lambda _: None,
    ) -> None:
        self._table = table
        self._announce = announce
        self._max_instruments = max_instruments
        self._ids: dict[tuple[str, str], int] = {}
        self._by_id: dict[int, Instrument] = {}
        self._links: dict[tuple[str, int], int] = {}
        self._current: dict[tuple[str, str], Instrument] = {}
        self._by_asset: dict[str, list[Instrument]] = {}
        self._consensus: dict[tuple[str, str], Instrument] = {}
        self._display_names: dict[str, str] = {}

    def check(self, markets: Iterable[Market]) -> Markets:
        """The markets by (exchange, asset). Raises ValueError when two share a pair, or there is no room for all."""
        return _all_at_once(self.checking(markets))

    def checking(self, markets: Iterable[Market]) -> Steps[Markets]:
        """check() in steps of a millisecond or less."""
        wanted: Markets = {}
        exchanges, connections = set(), set()
        for number, market in enumerate(markets, 1):
            if wanted.setdefault((market.exchange, market.asset), market) is not market:
                raise ValueError(f"{market.exchange} maps {market.asset} twice; one market is priced per exchange")
            if market.exchange == CONSENSUS:
                raise ValueError(f"no exchange may be called {CONSENSUS}")
            exchanges.add(market.exchange)
            connections.add((market.exchange, market.connection))
            if number % STEP == 0:
                yield None
        computed = yield from _consensus(wanted.values())
        for what, there, room in (
            ("markets and consensus", len(wanted) + len(computed), self._max_instruments),
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
        _all_at_once(self.loading(self.check(markets), display_names))

    def loading(self, wanted: Markets, display_names: Mapping[str, str] | None = None) -> Steps[None]:
        """load() of what check() gave, in steps: all is as it was until the last, which is a matter of milliseconds."""
        links = self._assign_links(wanted.values())
        computed = {(CONSENSUS, market.asset): market for market in (yield from _consensus(wanted.values()))}
        ids = self._assign_ids({**wanted, **computed})
        consensus = {pair: Instrument(ids[pair], 0, market) for pair, market in computed.items()}
        current: dict[tuple[str, str], Instrument] = {}
        by_asset: dict[str, list[Instrument]] = {}
        batch = self._table.batch()
        fresh = [each for pair, each in consensus.items() if self._ids.get(pair) != each.id]
        pairs = list(wanted)
        for start in range(0, len(pairs), STEP):
            yield None
            made = []
            for pair in pairs[start : start + STEP]:
                market = wanted[pair]
                each = current[pair] = Instrument(ids[pair], links[market.exchange, market.connection], market)
                by_asset.setdefault(market.asset, []).append(each)
                made.append(_row(each))
                if self._ids.get(pair) != each.id:
                    fresh.append(each)
            batch.add(made)
        for number, each_asset in enumerate(by_asset.values()):
            if number % STEP == 0:
                yield None
            each_asset.sort(key=lambda each: (each.market.priority, each.market.exchange))
        each_consensus = list(consensus.values())
        for start in range(0, len(each_consensus), STEP):
            yield None
            batch.add([_row(each) for each in each_consensus[start : start + STEP]])
        yield batch.finish
        self._announce(fresh)
        self._table.load_instruments(batch)
        self._ids, self._links, self._current, self._by_asset = ids, links, current, by_asset
        self._consensus = consensus
        self._by_id.update((each.id, each) for each in [*current.values(), *consensus.values()])
        self._display_names = dict(display_names or {})

    def instrument(self, instrument_id: int) -> Instrument | None:
        """Who has, or last had, this id."""
        return self._by_id.get(instrument_id)

    def find(self, exchange: str, asset: str) -> Instrument | None:
        """The instrument of a market being priced; of an asset's consensus when `exchange` is that."""
        return self._current.get((exchange, asset)) or self._consensus.get((exchange, asset))

    def instruments(self) -> list[Instrument]:
        """All markets being priced, in the order loaded; no consensus, which is computed from them."""
        return list(self._current.values())

    def of_exchange(self, exchange: str) -> list[Instrument]:
        """The markets of one exchange, in the order loaded."""
        return [each for each in self._current.values() if each.market.exchange == exchange]

    def of_asset(self, asset: str) -> Sequence[Instrument]:
        """The markets of one asset, in the order in which they are asked."""
        return self._by_asset.get(asset, ())

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
        computed = {each.market.asset: each.market.currency for each in self._consensus.values()}
        return [_asset(name, found, computed.get(name, "")) for name, found in sorted(markets.items())]

    def _assign_ids(self, wanted: Markets) -> dict[tuple[str, str], int]:
        """All ids: each new pair gets a fresh one or, when none is left, that of the oldest pair not wanted."""
        ids = self._ids.copy()
        unused = (pair for pair in self._ids if pair not in wanted)
        for pair in wanted:
            if pair not in ids:
                fresh = len(ids)
                ids[pair] = fresh if fresh < self._max_instruments else ids.pop(next(unused))
        return ids

    def _assign_links(self, markets: Iterable[Market]) -> dict[tuple[str, int], int]:
        """The lowest free numbers for new connections; known ones keep theirs."""
        wanted = dict.fromkeys((market.exchange, market.connection) for market in markets)
        kept = {name: number for name, number in self._links.items() if name in wanted}
        free = iter(sorted(set(range(len(wanted))) - set(kept.values())))
        return {name: kept[name] if name in kept else next(free) for name in wanted}


def _all_at_once(steps: Steps[Result]) -> Result:
    while True:
        try:
            work = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if work is not None:
            work()


def _row(instrument: Instrument) -> Row:
    number, link, market = instrument.id, instrument.link, instrument.market
    return (
        number, market.asset, market.exchange, market.currency, market.priority, link, market.weight, market.band_bps,
    )  # fmt: skip


def _consensus(markets: Iterable[Market]) -> Steps[list[Market]]:
    """One for each asset that two exchanges or more price in one currency.

    Of several such currencies the one with most exchanges, then the one whose best priority is lowest.
    """
    sources: dict[str, dict[str, list[int]]] = {}
    for number, market in enumerate(markets, 1):
        if market.weight:
            sources.setdefault(market.asset, {}).setdefault(market.currency, []).append(market.priority)
        if number % STEP == 0:
            yield None
    found = []
    for number, (asset, currencies) in enumerate(sources.items(), 1):
        _, _, currency = min((-len(each), min(each), currency) for currency, each in currencies.items())
        if len(currencies[currency]) > 1:
            found.append(Market(exchange=CONSENSUS, asset=asset, currency=currency))
        if number % STEP == 0:
            yield None
    return found


def _asset(name: str, markets: Sequence[Market], consensus: str) -> Asset:
    ordered = sorted(markets, key=lambda market: (market.priority, market.exchange))
    return Asset(
        asset=name,
        category=next((market.category for market in ordered if market.category), ""),
        markets=tuple(AssetMarket(market.exchange, market.currency) for market in ordered),
        consensus=consensus,
    )
