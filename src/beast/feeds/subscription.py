"""What an exchange was asked for and what it answered: a state machine without I/O.

A symbol waits, is sent, and is then acknowledged, refused, or passed over in silence. A connection asks
`next_message` for what to send and hands in the acks and errors that come back; time is an argument.

Where one bad symbol refuses a whole message (`error_scope` = message), the message is halved until the bad
symbol stands alone. An exchange that answers so without repeating an id is sent one message at a time, so that
it is always known which one was refused.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from beast.feeds.templates import MessageTemplate, decorate, parse_subscription
from beast.feeds.types import Feed, Mapping

ACK_TIMEOUT_NS = 10 * 10**9
"""How long an exchange may take to answer a subscription, in ns."""
ATTEMPTS = 3
"""How often a symbol is sent before its silence is reported."""

REFUSED = "symbol refused"
WITHDRAWN = "symbol withdrawn"
"""Refused after it had been accepted: what is held of it is nobody's price any more."""

_NAME = re.compile(r"[\w@/.\-]+")


class SymbolState(StrEnum):
    """Where a symbol stands."""

    WAITING = "waiting"
    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused"
    SILENT = "silent"


class Event(NamedTuple):
    """Something the operator should read."""

    kind: str
    """What happened, in a few words; REFUSED and WITHDRAWN among them."""
    symbols: tuple[str, ...]
    text: str = ""
    """The exchange's own words."""


@dataclass(slots=True, eq=False)
class _Request:
    """One message, as long as one of its symbols has no answer."""

    message: MessageTemplate
    symbols: list[str]
    attempt: int = 1
    reply_id: str = ""
    deadline_ns: int = 0


class Subscription:
    """The subscription of one connection, from its opening to its end.

    Args:
        feed: The exchange's row, valid.
        mappings: What to subscribe; `symbol` names each.
        doubtful: Symbols refused on an earlier connection. They are tried again, last and each by itself.
    """

    def __init__(self, feed: Feed, mappings: Sequence[Mapping], doubtful: Iterable[str] = ()) -> None:
        self._feed = feed
        self._messages = parse_subscription(feed.subscribe_template)
        self._names = _names(feed, mappings)
        self._states = dict.fromkeys((mapping.symbol for mapping in mappings), SymbolState.WAITING)
        self._doubtful = frozenset(doubtful)
        self._queue: deque[_Request] = deque()
        self._sent: list[_Request] = []
        self._next_id = 0
        self._send_at_ns = 0
        self._nameless_error = False
        repeats_id = bool(feed.reply_id_path) and all(
            message.reply_id(0) for message in self._messages if message.spread != "none"
        )
        self._one_at_a_time = feed.error_scope == "message" and not repeats_id

    def start(self, now_ns: int) -> None:
        """The connection is open: `subscribe_delay_ms` from now the first message is due."""
        self._send_at_ns = now_ns + self._feed.subscribe_delay_ms * 10**6
        sure = [symbol for symbol in self._states if symbol not in self._doubtful]
        for message in self._messages:
            if message.spread == "none":
                self._queue.append(_Request(message, []))
            else:
                self._enqueue(message, sure, self._feed.subscribe_chunk)
        for message in self._messages:
            if message.spread != "none":
                self._enqueue(message, [symbol for symbol in self._states if symbol in self._doubtful], 1)
        if all(message.spread == "none" for message in self._messages):
            self._states = dict.fromkeys(self._states, SymbolState.SENT)  # The URL has named them.

    def due_ns(self) -> int | None:
        """When `next_message` or `expire` has something to do; None: not before an answer comes."""
        due = [request.deadline_ns for request in self._sent if request.deadline_ns]
        if self._queue and not self._is_blocked():
            due.append(self._send_at_ns)
        return min(due, default=None)

    def next_message(self, now_ns: int, wall_ns: int) -> str | None:
        """The next message to send, if one is due."""
        if now_ns < self._send_at_ns or self._is_blocked():
            return None
        while self._queue:
            request = self._queue.popleft()
            if request.symbols or request.message.spread == "none":
                return self._send(request, now_ns, wall_ns)
        return None

    def take_id(self) -> int:
        """A message id of its own, for pings and replies."""
        self._next_id += 1
        return self._next_id

    def acknowledge(self, names: Sequence[str], reply_id: str = "") -> None:
        """An ack came: it names symbols, or repeats a message's id, or just follows the message it answers."""
        symbols = self._resolve(names)
        if not symbols:
            nameless = not (self._feed.reply_id_path or self._feed.ack_symbol_path)
            request = self._request(reply_id, in_order=nameless)
            symbols = list(request.symbols) if request else []
        for symbol in symbols:
            self._states[symbol] = SymbolState.ACKED
            self._settle(symbol, also_first_attempts=False)

    def refuse(self, names: Sequence[str], reply_id: str = "", text: str = "") -> list[Event]:
        """An error came. Drops the symbol it is about, or looks for it; returns what to report."""
        request = self._request(reply_id, in_order=self._one_at_a_time)
        bad = self._resolve(names) or self._named_in(text, request)
        if not bad and request and len(request.symbols) == 1:
            bad = list(request.symbols)
        if not bad and not (request and self._feed.error_scope == "message"):
            self._nameless_error = True
            return [Event("subscription error", (), text)]
        if self._feed.error_scope == "message":
            self._split(request or self._request_with(bad), bad)
        withdrawn = tuple(symbol for symbol in bad if self._states[symbol] is SymbolState.ACKED)
        refused = tuple(symbol for symbol in bad if symbol not in withdrawn)
        for symbol in bad:
            self._states[symbol] = SymbolState.REFUSED
            self._settle(symbol, also_first_attempts=True)
        events = Event(REFUSED, refused, text), Event(WITHDRAWN, withdrawn, text)
        return [event for event in events if event.symbols]

    def expire(self, now_ns: int) -> list[Event]:
        """Sends again what was not answered in time, a bounded number of times; returns what to report."""
        events = []
        for request in [each for each in self._sent if each.deadline_ns and each.deadline_ns <= now_ns]:
            self._sent.remove(request)
            if request.attempt < ATTEMPTS:
                # An error that named nobody may have been about any of them: alone, each gets its own answer.
                chunk = 1 if self._nameless_error else len(request.symbols)
                self._enqueue(request.message, request.symbols, chunk, request.attempt + 1)
                events.append(Event("subscription not acknowledged, sent again", tuple(request.symbols)))
            else:
                self._states.update(dict.fromkeys(request.symbols, SymbolState.SILENT))
                events.append(Event("never acknowledged", tuple(request.symbols)))
        return events

    @property
    def counts(self) -> Counter[SymbolState]:
        """How many symbols are in each state."""
        return Counter(self._states.values())

    @property
    def refused(self) -> tuple[str, ...]:
        """The symbols that the exchange would not have."""
        return tuple(symbol for symbol, state in self._states.items() if state is SymbolState.REFUSED)

    def settled(self) -> bool:
        """Whether nothing is left to send and no answer is awaited."""
        return not self._queue and not any(request.deadline_ns for request in self._sent)

    def hopeless(self) -> bool:
        """Whether every single symbol was refused: more likely the exchange's trouble than the symbols'."""
        return bool(self._states) and all(state is SymbolState.REFUSED for state in self._states.values())

    def _is_blocked(self) -> bool:
        return self._one_at_a_time and bool(self._sent)

    def _enqueue(self, message: MessageTemplate, symbols: Sequence[str], chunk: int, attempt: int = 1) -> None:
        for part in message.chunks(symbols, chunk):
            self._queue.append(_Request(message, list(part), attempt))

    def _send(self, request: _Request, now_ns: int, wall_ns: int) -> str:
        message_id = self.take_id()
        symbols = [decorate(symbol, self._feed.symbol_template) for symbol in request.symbols]
        text = request.message.render(symbols, message_id=message_id, wall_ns=wall_ns)
        if request.symbols:
            request.reply_id = request.message.reply_id(message_id)
            request.deadline_ns = now_ns + ACK_TIMEOUT_NS if self._feed.ack_filter else 0
            self._sent.append(request)
        for symbol in request.symbols:
            if self._states[symbol] is SymbolState.WAITING:
                self._states[symbol] = SymbolState.SENT
        self._send_at_ns = now_ns + self._feed.subscribe_interval_ms * 10**6
        return text

    def _resolve(self, names: Sequence[str]) -> list[str]:
        found = (self._names.get(name) or self._names.get(name.casefold(), ()) for name in names)
        return [symbol for symbols in found for symbol in symbols]

    def _named_in(self, text: str, request: _Request | None) -> list[str]:
        """The symbols still without an answer that the exchange's own words mention."""
        open_requests = [request] if request else self._sent
        unanswered = {symbol for each in open_requests for symbol in each.symbols}
        words = [word.strip(".-") for word in _NAME.findall(text)]
        return [symbol for symbol in dict.fromkeys(self._resolve(words)) if symbol in unanswered]

    def _request(self, reply_id: str, *, in_order: bool) -> _Request | None:
        """The message that an answer is about: by its id, or, where answers come in order, the oldest one open."""
        for request in self._sent:
            if reply_id and request.reply_id == reply_id:
                return request
        return self._sent[0] if in_order and self._sent else None

    def _request_with(self, symbols: Sequence[str]) -> _Request | None:
        return next((request for request in self._sent if set(symbols) & set(request.symbols)), None)

    def _split(self, request: _Request | None, bad: Sequence[str]) -> None:
        """Takes a refused message apart; what isn't known to be bad goes out again, next."""
        if request is None:
            return
        self._sent.remove(request)
        rest = [symbol for symbol in request.symbols if symbol not in bad]
        middle = len(rest) if bad else len(rest) // 2
        for part in (rest[middle:], rest[:middle]):
            if part:
                self._queue.appendleft(_Request(request.message, part, request.attempt))

    def _settle(self, symbol: str, *, also_first_attempts: bool) -> None:
        """Nothing more is awaited for `symbol`; other kinds of message may still be due for one that was accepted."""
        for request in [*self._sent, *self._queue]:
            if symbol in request.symbols and (request.deadline_ns or request.attempt > 1 or also_first_attempts):
                request.symbols.remove(symbol)
        self._sent = [request for request in self._sent if request.symbols]


def _names(feed: Feed, mappings: Sequence[Mapping]) -> dict[str, tuple[str, ...]]:
    """Every way an answer may name a symbol, as written and with its case folded."""
    names: dict[str, dict[str, None]] = {}
    for mapping in mappings:
        for name in (mapping.symbol, decorate(mapping.symbol, feed.symbol_template), mapping.key):
            for spelling in (name, name.casefold()):
                names.setdefault(spelling, {})[mapping.symbol] = None
    return {name: tuple(symbols) for name, symbols in names.items()}
