"""The built-in list of markets, and what an asset is worth when the simulation starts."""

import zlib
from collections.abc import Iterable
from importlib import resources
from typing import Final, Literal

import msgspec

from beast.feeds.simulator.types import Product

_SHORT: Final = 3


class Listing(msgspec.Struct, frozen=True):
    """The markets of one exchange as a rule."""

    symbol: str
    quotes: tuple[str, ...]
    fold: Literal["none", "upper", "lower"] = "none"
    long_symbol: str = ""
    """The rule for assets of more than three letters, where it is another one."""

    def name(self, asset: str, quote: str) -> str:
        """What a market is called."""
        rule = self.long_symbol if self.long_symbol and len(asset) > _SHORT else self.symbol
        return self.canonical(rule.format(asset=asset, quote=quote))

    def canonical(self, symbol: str) -> str:
        """The symbol as the exchange keeps it, whatever case the caller wrote."""
        return {"none": symbol, "upper": symbol.upper(), "lower": symbol.lower()}[self.fold]


class Catalogue(msgspec.Struct, frozen=True):
    """`products.toml`."""

    halted: frozenset[str]
    money: dict[str, float]
    exchanges: dict[str, Listing]
    assets: dict[str, float]

    def products(self, extra: Iterable[tuple[str, str, str, str]] = ()) -> list[Product]:
        """Every market: those of `extra` (exchange, symbol, asset, quote) and the built-in ones, each once.

        Rows of exchanges that have no listing here are left out.
        """
        listed = [
            Product(
                exchange,
                listing.name(asset, quote),
                asset,
                quote,
                asset in self.halted,
            )
            for exchange, listing in self.exchanges.items()
            for asset in self.assets
            for quote in listing.quotes
            if asset != quote
        ]
        more = [
            Product(exchange, self.exchanges[exchange].canonical(symbol), asset, quote)
            for exchange, symbol, asset, quote in extra
            if exchange in self.exchanges
        ]
        return list({(product.exchange, product.symbol): product for product in [*listed, *more]}.values())

    def price(self, asset: str) -> float:
        """What one unit is worth in USD at the start; an asset nobody listed gets a price of its own by its name."""
        known = self.money.get(asset) or self.assets.get(asset)
        return known or 10.0 ** (zlib.crc32(asset.encode()) % 4000 / 1000 - 2)


def load() -> Catalogue:
    """Read the built-in catalogue."""
    text = resources.files(__package__).joinpath("products.toml").read_bytes()
    return msgspec.toml.decode(text, type=Catalogue)
