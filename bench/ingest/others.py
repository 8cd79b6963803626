"""Other libraries on the same frames; runs in an environment of its own, so it imports nothing of ours.

Reads {exchange: {frame, base, quote, symbol}} as JSON, prints {library: {"version", "us": {exchange: µs a frame}}}. A
dialect that a library does not read is left out.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

ROUNDS, ROUND_S = 5, 0.1
CLASSES = {"coinbase": "Coinbase", "kraken": "Kraken", "gateio": "Gate", "okx": "OKX", "binance": "Binance"}
CCXT_NAMES = {"gateio": "gate"}


def best_us(run: Callable[[int], None]) -> float:
    """µs a call, the best of the rounds; `run` does so many calls."""
    n, took = 100, 0.0
    while took < ROUND_S:
        n *= 2
        before = time.perf_counter()
        run(n)
        took = time.perf_counter() - before
    times = [took]
    for _ in range(ROUNDS - 1):
        before = time.perf_counter()
        run(n)
        times.append(time.perf_counter() - before)
    return min(times) / n * 1e6


def cryptofeed(exchange: str, frame: str, base: str, quote: str, symbol: str) -> float | None:
    """Its feed's own message handler, with a callback that counts."""
    trades, symbols = import_module("cryptofeed.defines").TRADES, import_module("cryptofeed.symbols").Symbols
    feed_class: Any = getattr(import_module("cryptofeed.exchanges"), CLASSES[exchange])
    symbols.set(feed_class.id, {f"{base}-{quote}": symbol}, {"instrument_type": {f"{base}-{quote}": "spot"}})
    seen: list[object] = []

    async def count(trade: object, _receipt: float) -> None:
        seen[:] = [trade]

    feed = feed_class(symbols=[f"{base}-{quote}"], channels=[trades], callbacks={trades: count})

    async def handle(n: int) -> None:
        for _ in range(n):
            await feed.message_handler(frame, None, 1.0)

    asyncio.run(handle(1))
    return best_us(lambda n: asyncio.run(handle(n))) if seen else None


class _Client:
    """What ccxt.pro calls when it has read a frame."""

    url = ""
    resolved = 0

    def __init__(self) -> None:
        self.subscriptions: dict[str, object] = {}

    def resolve(self, result: object, _message_hash: str) -> object:
        self.resolved += 1
        return result


def ccxt(exchange: str, frame: str, base: str, quote: str, symbol: str) -> float | None:
    """ccxt.pro's message handler, after the JSON decoder that it would take."""
    pro: Any = getattr(import_module("ccxt.pro"), CCXT_NAMES.get(exchange, exchange))()
    pro.set_markets([
        {**pro.safe_market_structure(), "id": symbol, "symbol": f"{base}/{quote}", "base": base, "quote": quote,
         "baseId": base, "quoteId": quote, "type": "spot", "spot": True, "wsId": symbol},
    ])  # fmt: skip
    client = _Client()

    def handle(n: int) -> None:
        for _ in range(n):
            pro.handle_message(client, json.loads(frame))

    handle(1)
    return best_us(handle) if client.resolved else None


def main() -> None:
    frames, results = json.load(sys.stdin), {}
    for name, measure in (("cryptofeed", cryptofeed), ("ccxt", ccxt)):
        us = {}
        for exchange in CLASSES:
            try:
                us[exchange] = measure(exchange, **frames[exchange])
            except Exception as error:  # noqa: BLE001 - a library that can't read a dialect is a result
                print(f"{name}, {exchange}: {type(error).__name__}: {error}", file=sys.stderr)
        results[name] = {"version": version(name), "us": {k: round(v, 3) for k, v in us.items() if v is not None}}
    print(json.dumps(results))


main()
