"""Tier 3: the exchanges asked by REST, within their limits, the sick ones left alone."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpx
import structlog

from beast.base.breaker import Breaker
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.rest.limiter import Limiter
from beast.feeds.rows.rest import RefusedError, Ticker, read_ticker, ticker_url
from beast.feeds.rows.twin import MalformedError
from beast.feeds.types import Feed, Mapping
from beast.prices.types import Market, Quote

Rows = Callable[[str, str], tuple[Feed, Mapping] | None]
"""The rows of a market by exchange and asset; None when it is not priced any more."""
Urls = Callable[[str, str], str]
"""Where to ask, by an exchange's name and the address in its row."""

BODY_MAX: Final = 64 << 10
"""Bytes of an answer that are read: a ticker needs a few hundred, and reading JSON holds the loop."""
REFUSED_NS: Final = 60 * 10**9
"""So long a market is not asked for again that its exchange says nothing about."""
RETRY_AFTER_NS: Final = 10**9
"""How long to stop when the exchange says that it was too much, but not for how long."""
RETRY_AFTER_MAX_NS: Final = 3600 * 10**9
TOO_MANY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, 418})
"""418 is Binance's, to who goes on after 429."""
REFUSED: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})
"""The market's fault, not the exchange's."""

log = structlog.get_logger(__name__)
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # else each request is a line


class _TooManyError(Exception):
    def __init__(self, pause_ns: int) -> None:
        super().__init__(pause_ns)
        self.pause_ns = pause_ns


class _FailedError(Exception):
    """The exchange is not well."""


class _Exchange:
    """What is known of one exchange's REST side."""

    def __init__(self, clock: Clock) -> None:
        self.breaker = Breaker(clock)
        self.limiter = Limiter(clock)
        self.refused_ns: dict[str, int] = {}
        """Until when, by asset."""


class RestStatus(NamedTuple):
    """How an exchange's REST side fares."""

    exchange: str
    breaker: str


class RestPrices:
    """Asks exchanges for prices.

    Args:
        rows: The rows in force.
        clock: The time.
        urls: Says where to ask instead, for a simulator.
        tls: For https; the machine's trust store unless given.
        transport: How requests travel; over the network unless given.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        clock: Clock,
        urls: Urls | None = None,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._urls = urls or (lambda _name, original: original)
        self._client = httpx.AsyncClient(
            verify=tls or ssl.create_default_context(),
            trust_env=False,
            headers={"user-agent": "trinity-beast"},
            transport=transport,
        )
        self._exchanges: dict[str, _Exchange] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[Quote | None]] = {}

    async def close(self) -> None:
        """Closes all connections."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._client.aclose()

    def status(self) -> list[RestStatus]:
        """Every exchange that was asked so far."""
        return [RestStatus(name, exchange.breaker.state) for name, exchange in sorted(self._exchanges.items())]

    async def fetch(self, markets: Sequence[Market], until_ns: int) -> Quote | None:
        """The price of the first of these markets whose exchange tells it in time.

        An exchange over its limit is passed by; when no other could tell, it is waited for.

        Args:
            markets: In the order in which they are asked.
            until_ns: When the answer is no use any more, CLOCK_MONOTONIC.
        """
        left = list(markets)
        while left:
            delays = []
            for market in list(left):
                exchange = self._exchanges.setdefault(market.exchange, _Exchange(self._clock))
                if delay_ns := self._delay_ns(market, exchange):
                    delays.append(delay_ns)
                    continue
                left.remove(market)
                if quote := await self._ask_once(market, exchange, until_ns):
                    return quote
            now_ns = self._clock.monotonic_ns()
            if not delays or now_ns + min(delays) >= until_ns:
                return None
            await asyncio.sleep(min(delays) / 1e9)
        return None

    def _delay_ns(self, market: Market, exchange: _Exchange) -> int:
        """How long to wait before asking; an answer that is on its way already costs nothing."""
        row = self._rows(market.exchange, market.asset)
        if row is None or (market.exchange, market.asset) in self._asking:
            return 0
        return exchange.limiter.delay_ns(row[0].rest_per_second)

    async def _ask_once(self, market: Market, exchange: _Exchange, until_ns: int) -> Quote | None:
        """One request for all who want the same; None when there is no price to be had."""
        place = market.exchange, market.asset
        task = self._asking.get(place)
        if task is None:
            row = self._rows(*place)
            left_ns = until_ns - self._clock.monotonic_ns()
            if row is None or not row[0].rest_ticker_url or left_ns <= 0 or not self._admits(market, exchange):
                return None
            exchange.limiter.take(row[0].rest_per_second)
            task = asyncio.get_running_loop().create_task(self._ask(exchange, *row), name=f"rest {market.exchange}")
            self._asking[place] = task
            task.add_done_callback(lambda _: self._asking.pop(place, None))
        return await asyncio.shield(task)

    def _admits(self, market: Market, exchange: _Exchange) -> bool:
        refused_ns = exchange.refused_ns.get(market.asset, 0)
        return self._clock.monotonic_ns() >= refused_ns and exchange.breaker.admit()

    async def _ask(self, exchange: _Exchange, feed: Feed, mapping: Mapping) -> Quote | None:
        """Asks, and draws the consequences for the exchange."""
        try:
            ticker = await self._ticker(feed, mapping)
        except RefusedError as error:
            exchange.breaker.succeeded()
            exchange.refused_ns[mapping.asset] = self._clock.monotonic_ns() + REFUSED_NS
            log.info("rest.refused", exchange=feed.name, asset=mapping.asset, reason=str(error))
            return None
        except _TooManyError as error:
            exchange.breaker.succeeded()
            exchange.limiter.pause(error.pause_ns)
            log.warning("rest.too_many", exchange=feed.name, pause_s=error.pause_ns / 1e9)
            return None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, MalformedError, _FailedError) as error:
            exchange.breaker.failed()
            log.warning("rest.failed", exchange=feed.name, error=str(error) or type(error).__name__)
            return None
        exchange.breaker.succeeded()
        return Quote(
            exchange=feed.name,
            asset=mapping.asset,
            price=ticker.price,
            time_ns=ticker.time_ns or self._clock.wall_ns(),
            received_ns=self._clock.monotonic_ns(),
            volume_24h=ticker.volume_24h,
        )

    async def read(self, feed: Feed, url: str, until_ns: int, *, body_max: int = BODY_MAX) -> bytes:
        """What an exchange says at an address, asked within its limits.

        Args:
            feed: Its row.
            url: An address of it.
            until_ns: How long to wait for its turn and the answer, CLOCK_MONOTONIC.
            body_max: Bytes that are read.

        Raises:
            RefusedError: The exchange is well, but has nothing at this address.
            BeastError: Why there is no answer.
        """
        exchange = self._exchanges.setdefault(feed.name, _Exchange(self._clock))
        while delay_ns := exchange.limiter.delay_ns(feed.rest_per_second):
            if self._clock.monotonic_ns() + delay_ns >= until_ns:
                raise BeastError("there was no time left to ask it within its limits", where=feed.name)
            await asyncio.sleep(delay_ns / 1e9)
        if not exchange.breaker.admit():
            raise BeastError("has failed, and is left alone for a while", where=feed.name)
        exchange.limiter.take(feed.rest_per_second)
        left_s = max(until_ns - self._clock.monotonic_ns(), 0) / 1e9
        try:
            body = await self._get(self._urls(feed.name, url), left_s, body_max)
        except RefusedError:
            exchange.breaker.succeeded()
            raise
        except _TooManyError as error:
            exchange.breaker.succeeded()
            exchange.limiter.pause(error.pause_ns)
            raise BeastError(f"was asked too much; in {error.pause_ns / 1e9:.0f} s again", where=feed.name) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, _FailedError) as error:
            exchange.breaker.failed()
            raise BeastError(str(error) or type(error).__name__, where=feed.name) from None
        exchange.breaker.succeeded()
        return body

    async def _ticker(self, feed: Feed, mapping: Mapping) -> Ticker:
        """One market's, within rest_timeout_ms as a whole."""
        url = ticker_url(self._urls(feed.name, feed.rest_ticker_url), mapping)
        return read_ticker(feed, mapping, await self._get(url, feed.rest_timeout_ms / 1e3, BODY_MAX))

    async def _get(self, url: str, timeout_s: float, body_max: int) -> bytes:
        """The request itself."""
        body = bytearray()
        async with asyncio.timeout(timeout_s), self._client.stream("GET", url, timeout=None) as answer:
            if answer.status_code in TOO_MANY:
                raise _TooManyError(self._retry_after_ns(answer.headers.get("retry-after", "")))
            if answer.status_code in REFUSED:
                raise RefusedError(f"HTTP {answer.status_code}")
            if answer.status_code != HTTPStatus.OK:
                raise _FailedError(f"HTTP {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > body_max:
                    raise _FailedError(f"its answer is longer than {body_max} bytes")
        return bytes(body)

    def _retry_after_ns(self, text: str) -> int:
        """Seconds or a date (RFC 9110, 10.2.3), from now."""
        try:
            if text.isascii() and text.isdigit():
                pause_ns = int(text[:9]) * 10**9
            else:
                pause_ns = int(parsedate_to_datetime(text).timestamp() * 1e9) - self._clock.wall_ns()
        except ValueError:
            pause_ns = RETRY_AFTER_NS
        return min(max(pause_ns, RETRY_AFTER_NS), RETRY_AFTER_MAX_NS)
