"""What a symbol in an exchange's list means, judged by the symbols that are mapped."""

import pytest

from beast.feeds.rest.products import Names, Pair
from beast.feeds.types import Mapping


def rows(*symbols: tuple[str, str, str]) -> list[Mapping]:
    return [Mapping(asset=asset, symbol=symbol, currency=currency) for asset, symbol, currency in symbols]


DASHED = rows(("BTC", "BTC-USD", "USD"), ("ETH", "ETH-USD", "USD"), ("POL", "MATIC/USD", "USD"))
SLASHED = rows(("BTC", "BTC/USD", "USD"))
BARE = rows(("BTC", "btcusd", "USD"), ("ETH", "ethusd", "USD"))


@pytest.mark.parametrize(
    ("mapped", "symbol", "pair"),
    [
        (DASHED, "SOL-USDC", Pair("SOL", "USDC")),
        (DASHED, "SOL", None),
        (DASHED, "BTC-USD-PERP", None),
        (SLASHED, "XBT/USD", Pair("BTC", "USD")),
        (SLASHED, "ETH/XBT", Pair("ETH", "BTC")),
        (BARE, "dogegusd", Pair("DOGE", "GUSD")),
        (BARE, "dogeusdt", Pair("DOGE", "USDT")),
        (BARE, "dogesgd", None),
        (BARE, "btcgusdperp", None),
        (BARE, "usd", None),
        ([], "SOL-USD", Pair("SOL", "USD")),
    ],
)
def test_symbols_are_read_as_the_mapped_ones_are_written(mapped: list[Mapping], symbol: str, pair: Pair | None) -> None:
    assert Names(mapped).read(symbol) == pair
