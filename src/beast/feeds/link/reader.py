"""Frames without trades, read in order and without holding the loop, however many come at once."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from beast.feeds.rows.classify import Answer

READ_MAX = 256 << 10
"""Longest frame that is read, in bytes: all symbols of an exchange, acknowledged in one."""
READ_TURN = 16 << 10
"""Bytes read in one turn of the loop: Python takes about 0.1 ms a kilobyte. A frame that is longer is read on another
thread."""
FRAME_COST = 256
"""Bytes that a frame counts for however short it is."""
WAITING_MAX = 16 << 20
"""Bytes that may wait to be read."""

Act = Callable[[bytes, int, Answer | None], None]
"""Called with a frame, the kind that the extraction took it for, and what it says; None: it was too long to be read."""


class Reader:
    """Reads the frames of one connection.

    Args:
        classify: Says what a frame says.
        act: Does what follows from it.
        at_once: Frames that depend on these come right behind them: no frame may wait but behind a long one.
    """

    def __init__(self, classify: Callable[[bytes], Answer], act: Act, *, at_once: bool = False) -> None:
        self.classify = classify
        self._act = act
        self._at_once = at_once
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._left = READ_TURN
        self._next_turn: asyncio.Handle | None = None
        self._away: asyncio.Future[Answer] | None = None

    def read(self, frame: bytes, kind: int) -> None:
        """Reads a frame as soon as those before it are read."""
        if len(frame) > READ_MAX or self._waiting_bytes > WAITING_MAX:
            self._act(frame, kind, None)
            return
        self._waiting.append((frame, kind))
        self._waiting_bytes += len(frame)
        self._read_on()

    def _read_on(self) -> None:
        while self._waiting and self._away is None and (self._left > 0 or self._at_once):
            frame, kind = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            if len(frame) > READ_TURN:
                self._away = asyncio.get_running_loop().run_in_executor(None, self.classify, frame)
                self._away.add_done_callback(partial(self._came_back, frame, kind))
                return
            self._left -= FRAME_COST + len(frame)
            self._act(frame, kind, self.classify(frame))
        if self._next_turn is None and self._left < READ_TURN:
            self._next_turn = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._next_turn = None
        self._left = READ_TURN
        self._read_on()

    def _came_back(self, frame: bytes, kind: int, away: "asyncio.Future[Answer]") -> None:
        self._away = None
        self._act(frame, kind, away.result())
        self._read_on()
