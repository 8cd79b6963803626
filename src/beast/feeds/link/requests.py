"""The messages of a subscription: those that wait to be sent, and those that wait for an answer."""

from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from beast.feeds.rows.templates import MessageTemplate


@dataclass(slots=True, eq=False)
class Batch:
    """Symbols that wait for one kind of message, which takes `size` of them at a time."""

    message: MessageTemplate
    symbols: deque[str]
    size: int
    turn: int
    """In which turn of asking they were asked for."""
    attempt: int = 1
    leaving: bool = False
    """An unsubscription."""


@dataclass(slots=True, eq=False)
class Request:
    """One message that was sent, as long as one of its symbols has no answer."""

    batch: Batch
    symbols: dict[str, None]
    reply_id: str
    """How an answer repeats its id; empty: not at all."""
    deadline_ns: int


class OpenRequests:
    """The messages sent that have no full answer yet, oldest first, found by symbol and by id."""

    def __init__(self) -> None:
        self._requests: OrderedDict[Request, None] = OrderedDict()
        self._by_symbol: dict[str, list[Request]] = {}
        self._by_id: dict[str, Request] = {}

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, request: Request) -> None:
        """A message was sent, later than all others."""
        self._requests[request] = None
        if request.reply_id:
            self._by_id[request.reply_id] = request
        if not request.batch.leaving:
            for symbol in request.symbols:
                self._by_symbol.setdefault(symbol, []).append(request)

    def close(self, request: Request) -> None:
        """Nothing more is awaited for this message."""
        self._requests.pop(request, None)
        self._by_id.pop(request.reply_id, None)
        for symbol in request.symbols:
            others = [each for each in self._by_symbol.pop(symbol, ()) if each is not request]
            if others:
                self._by_symbol[symbol] = others

    def settle(self, symbol: str) -> None:
        """Nothing more is awaited for this symbol."""
        for request in self._by_symbol.pop(symbol, ()):
            del request.symbols[symbol]
            if not request.symbols:
                self.close(request)

    def oldest(self) -> Request | None:
        """The message that has waited longest."""
        return next(iter(self._requests), None)

    def answered(self, reply_id: str, *, in_order: bool) -> Request | None:
        """The message that an answer is about: by its id, or, where answers come in order, the oldest one."""
        by_id = self._by_id.get(reply_id) if reply_id else None
        return by_id or (self.oldest() if in_order else None)

    def about(self, symbols: Iterable[str]) -> Request | None:
        """A message that one of these symbols has no answer to."""
        return next((request for symbol in symbols for request in self._by_symbol.get(symbol, ())), None)

    def unanswered(self) -> Container[str]:
        """The symbols subscribed for which an answer is awaited."""
        return self._by_symbol.keys()

    def overdue(self, now_ns: int) -> Iterator[Request]:
        """Takes out what has waited beyond its deadline."""
        for request in list(takewhile(lambda request: request.deadline_ns <= now_ns, self._requests)):
            self.close(request)
            yield request
