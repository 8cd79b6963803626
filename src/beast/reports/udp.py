"""The summary of a key's usage in one datagram (docs/reports.md): as strict as a price request, and no amplifier."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from beast.accounts.access import AccessDeniedError
from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.base.errors import BeastError, UsageError
from beast.engine.reference_request import FAULT_MESSAGES, ID_MAX, parse_members
from beast.reports.asking import DEFAULT_PERIOD, read_period
from beast.reports.limiter import LimitReachedError
from beast.reports.service import Asker, Reports
from beast.reports.sources import Sources

ANSWER_MAX = 1400
"""Bytes of the longest answer: it fits into one packet."""
MEMBERS = frozenset({b"api_key", b"period", b"id"})
QUEUE = 256
"""Requests that may wait."""
WORKERS = 2
"""Requests that are worked on at once: each is a connection to the database."""
REMEMBERED_S = 60.0
"""A summary is told again for so long without being made, or counted, again: datagrams get lost and are repeated."""
REMEMBERED = 1024

Address = tuple[Any, ...]

log = structlog.get_logger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """A datagram that waits for its turn."""

    datagram: bytes
    source: Address


class ReportDatagrams(asyncio.DatagramProtocol):
    """Answers summaries by UDP.

    Args:
        reports: Makes them.
        sources: Limits answers to those who prove no key.
        clock: The time.
        node: This server's name.
        count: Counts one of the counters.
    """

    def __init__(
        self, reports: Reports, sources: Sources, clock: Clock, *, node: str, count: Callable[[str], None]
    ) -> None:
        self._reports = reports
        self._sources = sources
        self._clock = clock
        self._node = node
        self._count = count
        self._queue: asyncio.Queue[Asked] = asyncio.Queue(QUEUE)
        self._workers: list[asyncio.Task[None]] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._told: OrderedDict[tuple[int, str], tuple[int, asyncio.Future[bytes]]] = OrderedDict()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port.

        Raises:
            OSError: the address can't be had.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, (host, port))
        self._workers = [asyncio.create_task(self._work(), name=f"report datagrams {n}") for n in range(WORKERS)]
        return int(transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        """Answers what has come, for a moment, and listens no more."""
        try:
            async with asyncio.timeout(1.0):
                await self._queue.join()
        except TimeoutError:
            log.warning("reports.datagrams_dropped", waiting=self._queue.qsize())
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()

    # asyncio.DatagramProtocol

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One request. Who was wrong too often is not listened to."""
        self._count("lrs_requests")
        if not self._sources.allow(addr[0]):
            return
        try:
            self._queue.put_nowait(Asked(data, addr))
        except asyncio.QueueFull:
            self._refuse(Asked(data, addr), "unavailable", "too many requests are waiting", b"")

    def error_received(self, exc: Exception) -> None:
        """A client that is not there any more."""
        log.debug("reports.datagram_error", error=str(exc))

    # One after the other

    async def _work(self) -> None:
        while True:
            asked = await self._queue.get()
            try:
                await self._answer(asked)
            except Exception as error:
                log.exception("reports.datagram_failed", error=repr(error))
            finally:
                self._queue.task_done()

    async def _answer(self, asked: Asked) -> None:
        request = read_request(asked.datagram)
        if request.fault != "NONE":
            self._refuse(asked, "bad_request", FAULT_MESSAGES[request.fault], request.echo)
            return
        try:
            key = await self._reports.who(request.key, asked.source[0])
        except AccessDeniedError as error:
            self._refuse(asked, "unauthorized", error.what, request.echo)
        except BeastError as error:
            self._refuse(asked, "unavailable", str(error), request.echo)
        else:
            body = await self._tell(Asker(address=asked.source[0], key=key), request.period)
            self._put(with_id(body, request.echo), asked.source)

    async def _tell(self, asker: Asker, period: str) -> bytes:
        """What somebody with a key is told, a refusal included."""
        try:
            return await self._summary(asker, period)
        except LimitReachedError as error:
            wait = error.allowance.resets_at - error.now
            return _error("rate_limited", str(error), retry_after_ms=wait // timedelta(milliseconds=1))
        except UsageError as error:
            return _error("bad_request", str(error))
        except BeastError as error:
            return _error("unavailable", str(error))

    async def _summary(self, asker: Asker, period: str) -> bytes:
        """The summary, or the one told a moment ago."""
        assert asker.key is not None, "an owner"
        wanted = read_period({"period": period}, utc(self._clock.wall_ns()))
        now_ns, place = self._clock.monotonic_ns(), (asker.key.owner, period)
        until_ns, told = self._told.get(place, (0, None))
        if told is None or until_ns <= now_ns:
            told = asyncio.get_running_loop().create_future()
            self._told[place] = now_ns + round(REMEMBERED_S * 1e9), told
            self._told.move_to_end(place)
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
            try:
                told.set_result(await self._reports.summary(asker, wanted, room=ANSWER_MAX - ID_MAX - 16))
            except BaseException as error:
                self._told.pop(place, None)
                told.set_exception(error if isinstance(error, BeastError) else BeastError("the summary was not made"))
                told.exception()
                raise
        return await asyncio.shield(told)

    def _refuse(self, asked: Asked, code: str, message: str, echo: bytes) -> None:
        """An answer to somebody who proved no key: never longer than the request. The message is dropped first."""
        self._sources.count(asked.source[0])
        for body in (_error(code, message), _error(code, "")):
            whole = with_id(body, echo)
            if len(whole) <= len(asked.datagram):
                self._put(whole, asked.source)
                return

    def _put(self, datagram: bytes, source: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(datagram, source)


class Request(msgspec.Struct, frozen=True):
    """What a datagram says."""

    fault: str
    """As in a price request; NONE when there is none."""
    key: bytes | None = None
    period: str = DEFAULT_PERIOD
    echo: bytes = b""
    """The id as it came."""


def read_request(datagram: bytes) -> Request:
    """Reads one datagram; never raises."""
    fault, found = parse_members(datagram, MEMBERS)
    echo = found.get(b"id", b"")
    if b"id" in found and not good_id(echo):
        fault, echo = ("ID" if fault == "NONE" else fault), b""
    key, period = _text(found.get(b"api_key")), _text(found.get(b"period"))
    if fault == "NONE" and b"api_key" in found and key is None:
        fault = "API_KEY"
    if b"period" in found:
        # What is no text is no period either, and told so to whoever proves a key.
        return Request(fault, key, (period or b"?").decode(), echo)
    return Request(fault, key, DEFAULT_PERIOD, echo)


def good_id(raw: bytes) -> bool:
    """Whether these bytes are an id: a text of up to 64 bytes, or an integer."""
    if raw.startswith(b'"'):
        return len(raw) <= ID_MAX + 2
    return 0 < len(raw) <= ID_MAX and raw.removeprefix(b"-").isdigit()


def with_id(body: bytes, echo: bytes) -> bytes:
    """The object with `id` as its last member, as it came."""
    return body[:-1] + b',"id":' + echo + b"}" if echo else body


def _text(raw: bytes | None) -> bytes | None:
    """What a string means; None when it is no string, or not there."""
    if raw is None or not raw.startswith(b'"'):
        return None
    return msgspec.json.decode(raw, type=str).encode("utf-8", "surrogatepass")


def _error(code: str, message: str, **more: int) -> bytes:
    told: dict[str, object] = {"error": code}
    if message:
        told["message"] = message
    return msgspec.json.encode({**told, **more})
