"""What an exchange was asked for and what it answered: a state machine without I/O.

A symbol waits, is sent, and is then acknowledged, refused, or passed over in silence; symbols come and go while the
connection lives. A connection asks `next_message` for what to send and hands in the acks and errors that come back;
time is an argument. Whatever happens costs by the symbols it is about, not by all there are.

Where one bad symbol refuses a whole message (`error_scope` = message), the message is halved until the bad
symbol stands alone. An exchange that answers so without repeating an id is sent one message at a time, so that
it is always known which one was refused.

Where trade frames carry a number instead of the symbol (`channel_path`), the ack tells it, for this connection only.
"""

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from beast.feeds.link.names import Names
from beast.feeds.link.requests import Batch, OpenRequests, Request
from beast.feeds.rows.templates import MessageTemplate, decorate, parse_subscription
from beast.feeds.types import Feed
from beast.feeds.types import Mapping as Row

ACK_TIMEOUT_NS = 10 * 10**9
"""How long an exchange may take to answer a subscription, in ns."""
ATTEMPTS = 3
"""How often a symbol is sent before its silence is reported."""

REFUSED = "symbol refused"
WITHDRAWN = "symbol withdrawn"
"""Refused after it had been accepted: what is held of it is nobody's price any more."""

_WORD = re.compile(r"[\w@/.\-]+")


class SymbolState(StrEnum):
    """Where a symbol stands."""

    WAITING = "waiting"
    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused"
    SILENT = "silent"
    LEAVING = "leaving"
    """Wanted no more, but its number must be known before it can be unsubscribed."""


class Event(NamedTuple):
    """Something the operator should read."""

    kind: str
    """What happened, in a few words; REFUSED and WITHDRAWN among them."""
    symbols: tuple[str, ...]
    text: str = ""
    """The exchange's own words."""


_MAY_COME = frozenset({SymbolState.SENT, SymbolState.ACKED, SymbolState.SILENT})
"""The exchange was asked for these, and may send them."""


class Subscription:
    """The subscription of one connection, from its opening to its end.

    Args:
        feed: The exchange's row, valid.
        rows: What to subscribe; `symbol` names each. More can be added.
        doubtful: Symbols refused on an earlier connection. They are tried again, last and each by itself.
    """

    def __init__(self, feed: Feed, rows: Iterable[Row] = (), doubtful: Iterable[str] = ()) -> None:
        self._messages = parse_subscription(feed.subscribe_template)
        self._names = Names(feed)
        self._rows: dict[str, Row] = {}
        self._states: dict[str, SymbolState] = {}
        self._counts: Counter[SymbolState] = Counter()
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._left: dict[str, SymbolState] = {}
        self._channels: dict[str, str] = {}
        self._numbers: dict[str, str] = {}
        self._doubtful = frozenset(doubtful)
        self._queue: deque[Batch] = deque()
        self._open = OpenRequests()
        self._next_id = 0
        self._started = False
        self._send_at_ns = 0
        self._nameless_error = False
        self.take_over(feed)
        self.add(rows)

    def take_over(self, feed: Feed) -> None:
        """The row has changed in columns that no connection is made by."""
        self._feed = feed
        self._farewells = parse_subscription(feed.unsubscribe_template)
        repeats_id = bool(feed.reply_id_path) and all(
            message.reply_id(0) for message in self._messages if message.spread != "none"
        )
        self._one_at_a_time = feed.error_scope == "message" and not repeats_id

    def add(self, rows: Iterable[Row]) -> None:
        """These are wanted, too. What is asked for already goes on, under the names it has now."""
        new = [row.symbol for row in rows if self._take(row)]
        for symbol in new:
            self._set(symbol, SymbolState.WAITING)
        if self._started and new:
            self._ask(new)

    def remove(self, symbols: Iterable[str]) -> None:
        """These are wanted no more: they are unsubscribed where the exchange can do that, and forgotten in any case."""
        by_number = any(message.names_channel for message in self._farewells)
        gone: list[str] = []
        for symbol in symbols:
            state = self._states.get(symbol, SymbolState.LEAVING)
            if state is SymbolState.LEAVING:
                continue
            if by_number and state is SymbolState.SENT and symbol not in self._numbers:
                self._set(symbol, SymbolState.LEAVING)
                continue
            if state in _MAY_COME:
                gone.append(symbol)
                if not self._farewells:
                    self._left[symbol] = state
            self._drop(symbol)
        self._bid_farewell(gone)

    def start(self, now_ns: int) -> None:
        """The connection is open: `subscribe_delay_ms` from now the first message is due."""
        self._started = True
        self._send_at_ns = now_ns + self._feed.subscribe_delay_ms * 10**6
        self._ask(list(self._states), first=True)

    def due_ns(self) -> int | None:
        """When `next_message` or `expire` has something to do; None: not before an answer comes."""
        oldest = self._open.oldest()
        due = [oldest.deadline_ns] if oldest else []
        if self._queue and not self._is_blocked():
            due.append(self._send_at_ns)
        return min(due, default=None)

    def next_message(self, now_ns: int, wall_ns: int) -> str | None:
        """The next message to send, if one is due."""
        if now_ns < self._send_at_ns or self._is_blocked():
            return None
        while self._queue:
            batch = self._queue[0]
            part: list[str] = []
            while batch.symbols and len(part) < batch.size:
                symbol = batch.symbols.popleft()
                if self._is_due(symbol, batch):
                    part.append(symbol)
            if not batch.symbols:
                self._queue.popleft()
            if part or batch.message.spread == "none":
                return self._send(batch, part, now_ns, wall_ns)
        return None

    def take_id(self) -> int:
        """A message id of its own, for pings and replies."""
        self._next_id += 1
        return self._next_id

    def acknowledge(self, names: Sequence[str], reply_id: str = "", channel: str = "") -> None:
        """An ack came: it names symbols, or repeats a message's id, or just follows the message it answers."""
        symbols = self._names.resolve(names)
        nameless = not (self._feed.reply_id_path or self._feed.ack_symbol_path)
        request = self._open.answered(reply_id, in_order=nameless or self._one_at_a_time)
        if request is not None and request.batch.leaving:
            self._open.close(request)
        elif request is not None and not symbols and (nameless or request.reply_id == reply_id != ""):
            symbols = list(request.symbols)
        for symbol in symbols:
            if channel:
                self._number(symbol, channel)
            self._open.settle(symbol)
            if self._states[symbol] is SymbolState.LEAVING:
                self._drop(symbol)
                self._bid_farewell([symbol])
            else:
                self._set(symbol, SymbolState.ACKED)

    def refuse(self, names: Sequence[str], reply_id: str = "", text: str = "") -> list[Event]:
        """An error came. Drops the symbol it is about, or looks for it; returns what to report."""
        request = self._open.answered(reply_id, in_order=self._one_at_a_time)
        if request is not None and request.batch.leaving:
            self._open.close(request)
            return [Event("not unsubscribed", tuple(request.symbols), text)]
        bad = self._names.resolve(names) or self._named_in(text, request)
        if not bad and request and len(request.symbols) == 1:
            bad = list(request.symbols)
        if not bad and not (request and self._feed.error_scope == "message"):
            self._nameless_error = True
            return [Event("subscription error", (), text)]
        if self._feed.error_scope == "message":
            self._split(request or self._open.about(bad), bad)
        withdrawn = tuple(symbol for symbol in bad if self._states[symbol] is SymbolState.ACKED)
        refused = tuple(symbol for symbol in bad if symbol not in withdrawn)
        for symbol in bad:
            self._open.settle(symbol)
            if self._states[symbol] is SymbolState.LEAVING:
                self._drop(symbol)
            else:
                self._set(symbol, SymbolState.REFUSED)
        events = Event(REFUSED, refused, text), Event(WITHDRAWN, withdrawn, text)
        return [event for event in events if event.symbols]

    def expire(self, now_ns: int) -> list[Event]:
        """Sends again what was not answered in time, a bounded number of times; returns what to report."""
        again: list[str] = []
        silent: list[str] = []
        for request in self._open.overdue(now_ns):
            batch = request.batch
            for symbol in [each for each in request.symbols if self._states.get(each) is SymbolState.LEAVING]:
                self._drop(symbol)
            if batch.leaving or not self._feed.ack_filter:
                continue
            if batch.attempt < ATTEMPTS:
                # An error that named nobody may have been about any of them: alone, each gets its own answer.
                size = 1 if self._nameless_error else batch.size
                symbols = deque(request.symbols)
                self._queue.append(Batch(batch.message, symbols, size, batch.turn, batch.attempt + 1))
                again += request.symbols
            else:
                silent += request.symbols
        for symbol in silent:
            self._set(symbol, SymbolState.SILENT)
        told = ("subscription not acknowledged, sent again", again), ("never acknowledged", silent)
        return [Event(kind, tuple(symbols)) for kind, symbols in told if symbols]

    def state(self, symbol: str) -> SymbolState | None:
        """Where a symbol stands; None: it isn't wanted here."""
        return self._states.get(symbol)

    @property
    def counts(self) -> Counter[SymbolState]:
        """How many symbols are in each state."""
        return +self._counts

    @property
    def channels(self) -> Mapping[str, str]:
        """The symbol that each number stands for."""
        return self._channels

    @property
    def refused(self) -> tuple[str, ...]:
        """The symbols that the exchange would not have."""
        if not self._counts[SymbolState.REFUSED]:
            return ()
        return tuple(symbol for symbol, state in self._states.items() if state is SymbolState.REFUSED)

    @property
    def left(self) -> Collection[str]:
        """The symbols that still come, although nobody wants them: the exchange can't be told."""
        return self._left.keys()

    def mentioned(self, text: str) -> list[str]:
        """The symbols that a frame speaks of, by any of their names or by their number."""
        found = _WORD.findall(text)
        words = [part for word in found for part in (word, word.rpartition(".")[2], word.partition("@")[0])]
        numbered = [self._channels[word] for word in words if word in self._channels]
        return [*self._names.resolve(words), *numbered]

    def settled(self) -> bool:
        """Whether nothing is left to send and no answer is awaited."""
        return not self._queue and not (self._open and self._feed.ack_filter)

    def hopeless(self) -> bool:
        """Whether every single symbol was refused: more likely the exchange's trouble than the symbols'."""
        return 0 < len(self._states) == self._counts[SymbolState.REFUSED]

    def _take(self, row: Row) -> bool:
        """Takes a row over; whether its symbol must be asked for."""
        symbol = row.symbol
        old = self._rows.get(symbol)
        if old != row:
            if old is not None:
                self._names.remove(old)
            self._names.add(row)
            self._rows[symbol] = row
        state = self._states.get(symbol)
        if state is SymbolState.LEAVING:
            self._set(symbol, SymbolState.SENT)
        if state is not None:
            return False
        if self._left.pop(symbol, None) is SymbolState.ACKED:
            self._set(symbol, SymbolState.ACKED)
            return False
        return True

    def _set(self, symbol: str, state: SymbolState) -> None:
        self._counts[self._states.get(symbol, state)] -= symbol in self._states
        self._counts[state] += 1
        self._states[symbol] = state

    def _drop(self, symbol: str) -> None:
        self._open.settle(symbol)
        self._counts[self._states.pop(symbol)] -= 1
        self._turns.pop(symbol, None)
        self._names.remove(self._rows.pop(symbol))

    def _ask(self, symbols: list[str], *, first: bool = False) -> None:
        """Queues every kind of message for these; `first`: also those that name none."""
        self._turn += 1
        self._turns.update(dict.fromkeys(symbols, self._turn))
        sure = [symbol for symbol in symbols if symbol not in self._doubtful]
        for message in self._messages:
            if message.spread != "none":
                self._enqueue(message, sure, self._feed.subscribe_chunk)
            elif first:
                self._queue.append(Batch(message, deque(), 0, self._turn))
        for message in self._messages:
            if message.spread != "none":
                self._enqueue(message, [symbol for symbol in symbols if symbol in self._doubtful], 1)
        if self._feed.subscribes_by_url:
            for symbol in symbols:
                self._set(symbol, SymbolState.SENT)

    def _bid_farewell(self, symbols: Sequence[str]) -> None:
        for message in self._farewells:
            self._enqueue(message, symbols, self._feed.subscribe_chunk, leaving=True)

    def _enqueue(self, message: MessageTemplate, symbols: Sequence[str], chunk: int, *, leaving: bool = False) -> None:
        if symbols:
            self._queue.append(Batch(message, deque(symbols), message.room(chunk), self._turn, leaving=leaving))

    def _is_due(self, symbol: str, batch: Batch) -> bool:
        """Whether the symbol still has to be sent: much may have happened since it was queued."""
        if batch.leaving:
            return not batch.message.names_channel or symbol in self._numbers
        if self._turns.get(symbol) != batch.turn:
            return False
        state = self._states[symbol]
        # Other kinds of message are still due for a symbol that was accepted already.
        done = state is SymbolState.ACKED and batch.attempt > 1
        return not done and state not in (SymbolState.REFUSED, SymbolState.LEAVING)

    def _is_blocked(self) -> bool:
        return self._one_at_a_time and bool(self._open)

    def _send(self, batch: Batch, symbols: list[str], now_ns: int, wall_ns: int) -> str:
        message_id = self.take_id()
        text = batch.message.render(
            [decorate(symbol, self._feed.symbol_template) for symbol in symbols],
            message_id=message_id,
            wall_ns=wall_ns,
            channel=self._numbers.get(symbols[0], "") if symbols else "",
        )
        if symbols:
            reply_id = batch.message.reply_id(message_id)
            self._open.add(Request(batch, dict.fromkeys(symbols), reply_id, now_ns + ACK_TIMEOUT_NS))
        for symbol in symbols:
            if batch.leaving:
                self._channels.pop(self._numbers.pop(symbol, ""), None)
            elif self._states[symbol] is SymbolState.WAITING:
                self._set(symbol, SymbolState.SENT)
        self._send_at_ns = now_ns + self._feed.subscribe_interval_ms * 10**6
        return text

    def _number(self, symbol: str, channel: str) -> None:
        """Its trades carry this number now, and nobody else's do."""
        self._channels.pop(self._numbers.get(symbol, ""), None)
        self._numbers.pop(self._channels.get(channel, ""), None)
        self._channels[channel] = symbol
        self._numbers[symbol] = channel

    def _named_in(self, text: str, request: Request | None) -> list[str]:
        """The symbols still without an answer that the exchange's own words mention."""
        unanswered = request.symbols if request else self._open.unanswered()
        words = [word.strip(".-") for word in _WORD.findall(text)]
        return [symbol for symbol in self._names.resolve(words) if symbol in unanswered]

    def _split(self, request: Request | None, bad: Sequence[str]) -> None:
        """Takes a refused message apart; what isn't known to be bad goes out again, next."""
        if request is None:
            return
        self._open.close(request)
        batch = request.batch
        rest = [symbol for symbol in request.symbols if symbol not in bad]
        middle = len(rest) if bad else len(rest) // 2
        for part in (rest[middle:], rest[:middle]):
            if part:
                self._queue.appendleft(Batch(batch.message, deque(part), len(part), batch.turn, batch.attempt))
