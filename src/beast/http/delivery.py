"""How an answer that is billed leaves: in one piece, counted if and only if the kernel has taken all of it.

A transport writes when its loop's turn ends; a process that died in between would have counted what it never sent. So
the answer goes by the socket itself, in the system call that leaves behind how much it has taken. What a slow reader
does not take at once goes by the transport, and counts when that has sent it.
"""

import asyncio
from collections import deque

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from beast._fast import Bill


class Unsent:
    """Bills of one connection whose answers are in its transport's buffer."""

    def __init__(self) -> None:
        self._bills: deque[Bill] = deque()

    def add(self, bill: Bill, transport: asyncio.Transport, rest: bytes) -> None:
        """Hands the rest of an answer to the transport, which says when it has nothing left: at once, perhaps."""
        transport.set_write_buffer_limits(high=0)
        self._bills.append(bill)
        transport.write(rest)
        if transport.get_write_buffer_size() == 0:
            self.sent()

    def sent(self) -> None:
        """The buffer is empty."""
        while self._bills:
            self._bills.popleft().pay()

    def lost(self) -> None:
        """It never will be: the client is gone."""
        while self._bills:
            self._bills.popleft().drop()


class Delivery:
    """Stands in for the transport of one request until its answer is whole.

    Args:
        cycle: The request, whose answer has not begun.
        bill: What it costs.
        unsent: Of the connection.
    """

    def __init__(self, cycle: RequestResponseCycle, bill: Bill, unsent: Unsent) -> None:
        self.is_closing = cycle.transport.is_closing
        self._transport = cycle.transport
        self._cycle = cycle
        self._bill = bill
        self._unsent = unsent
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """A part of the answer."""
        self._parts.append(data)

    def close(self) -> None:
        """Behind the answer, or because it can't be finished."""
        if self._cycle.response_complete:
            self.finish()
        else:
            self.drop()
        self._transport.close()

    def drop(self) -> None:
        """It won't leave any more."""
        self._bill.drop()

    def finish(self) -> None:
        """The answer is whole: it leaves."""
        answer, self._parts = b"".join(self._parts), []
        if not answer:
            return
        taken = 0
        if self._transport.get_write_buffer_size() == 0:
            taken = self._bill.deliver(self._transport.get_extra_info("socket").fileno(), answer)
        if taken < 0:
            self._bill.drop()
            self._transport.abort()
        elif taken < len(answer):
            self._unsent.add(self._bill, self._transport, answer[taken:])
