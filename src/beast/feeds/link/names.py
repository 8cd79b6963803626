"""Whom an exchange means: the symbols of a connection by every name that an answer may give them."""

from collections.abc import Iterable, Iterator

from beast.feeds.rows.templates import decorate
from beast.feeds.types import Feed, Mapping


class Names:
    """The names of one connection's symbols, as written and with their case folded.

    Args:
        feed: The exchange's row, for its `symbol_template`.
    """

    def __init__(self, feed: Feed) -> None:
        self._template = feed.symbol_template
        self._symbols: dict[str, dict[str, None]] = {}

    def add(self, mapping: Mapping) -> None:
        """Its names mean its symbol from now on."""
        for name in self._names(mapping):
            self._symbols.setdefault(name, {})[mapping.symbol] = None

    def remove(self, mapping: Mapping) -> None:
        """They don't any more."""
        for name in self._names(mapping):
            symbols = self._symbols.get(name, {})
            symbols.pop(mapping.symbol, None)
            if not symbols:
                self._symbols.pop(name, None)

    def resolve(self, names: Iterable[str]) -> list[str]:
        """The symbols meant, each once, in order."""
        found = (self._symbols.get(name) or self._symbols.get(name.casefold(), {}) for name in names)
        return list(dict.fromkeys(symbol for symbols in found for symbol in symbols))

    def _names(self, mapping: Mapping) -> Iterator[str]:
        for name in (mapping.symbol, decorate(mapping.symbol, self._template), mapping.key):
            yield name
            yield name.casefold()
