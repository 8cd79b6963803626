"""What an exchange lists: its products by REST, and which asset and currency a symbol means.

As a program (`python -m beast.feeds.rest.products`) it reads an answer to rest_products_url: a megabyte of JSON takes
0.2 s of Python, which is another process's business.
"""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.rows.rest import RefusedError, read_products
from beast.feeds.rows.twin import MalformedError
from beast.feeds.types import Feed, Mapping

BODY_MAX: Final = 16 << 20
"""Bytes of a list of products; the longest known has 1.8 MB."""
LIST_S: Final = 20.0
"""How long it may take, and again its reading."""
DOLLARS: Final = ("USD", "USDT", "USDC")
CURRENCIES: Final = (*DOLLARS, "GUSD", "FDUSD", "TUSD", "USDE", "DAI", "EUR", "GBP", "BTC", "ETH")
"""Quotes known besides those in the tables."""
ALIASES: Final = {"XBT": "BTC", "XDG": "DOGE"}
"""Names in the style of ISO 4217 that REST interfaces still use."""
_ASSET: Final = re.compile(r"[A-Z0-9._-]{1,20}")
_CURRENCY: Final = re.compile(r"[A-Z0-9]{1,10}")


class Pair(NamedTuple):
    """What a symbol means."""

    asset: str
    currency: str


class Names:
    """Reads an exchange's symbols the way its mapped ones are written: with a separator, or without one.

    Args:
        mappings: Those of the exchange.
        currencies: Quotes to look for where nothing separates them.
    """

    def __init__(self, mappings: Iterable[Mapping], currencies: Iterable[str] = CURRENCIES) -> None:
        separators = Counter[str]()
        for row in mappings:
            symbol = row.symbol.upper()
            fits = symbol.startswith(row.asset) and symbol.endswith(row.currency)
            if fits and len(symbol) >= len(row.asset) + len(row.currency):
                separators[symbol[len(row.asset) : len(symbol) - len(row.currency)]] += 1
        self._separator = max(separators, key=lambda each: separators[each], default="-")
        self._currencies = sorted({*currencies, *CURRENCIES}, key=len, reverse=True)

    def read(self, symbol: str) -> Pair | None:
        """The asset and currency, by the names used here; None when it can't be said."""
        text = symbol.upper()
        if self._separator:
            asset, _, currency = text.partition(self._separator)
        else:
            currency = next((each for each in self._currencies if text.endswith(each)), "")
            asset = text.removesuffix(currency)
        if not _ASSET.fullmatch(asset) or not _CURRENCY.fullmatch(currency):
            return None
        return Pair(ALIASES.get(asset, asset), ALIASES.get(currency, currency))


async def list_products(rest: RestPrices, feed: Feed, clock: Clock) -> list[str]:
    """The symbols of all markets that trade at an exchange.

    Raises:
        BeastError: Why they can't be told.
    """
    if not feed.rest_products_url:
        raise BeastError("its row has no rest_products_url", where=feed.name)
    until_ns = clock.monotonic_ns() + int(LIST_S * 1e9)
    try:
        body = await rest.read(feed, feed.rest_products_url, until_ns, body_max=BODY_MAX)
    except RefusedError as error:
        raise BeastError(f"its list of products: {error}", where=feed.name) from None
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "beast.feeds.rest.products"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the server's affair
    )
    try:
        async with asyncio.timeout(LIST_S):
            told, _ = await child.communicate(msgspec.json.encode(feed) + b"\n" + body)
        answer = msgspec.json.decode(told, type=list[str] | str)
    except (TimeoutError, msgspec.DecodeError) as error:
        raise BeastError(f"its list of products could not be read: {error!r}", where=feed.name) from None
    finally:
        if child.returncode is None:
            child.kill()
    if isinstance(answer, str):
        raise BeastError(f"its list of products: {answer}", where=feed.name)
    return answer


def main() -> None:
    """Reads a row and an answer on stdin; writes the symbols, or in one text why there are none, on stdout."""
    row, _, body = sys.stdin.buffer.read().partition(b"\n")
    try:
        told: list[str] | str = read_products(msgspec.json.decode(row, type=Feed), body)
    except (RefusedError, MalformedError) as error:
        told = str(error)
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
