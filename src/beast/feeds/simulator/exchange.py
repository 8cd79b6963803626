"""One simulated exchange while it runs: its markets, its faults and the connections it has."""

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from beast.base.clock import Clock
from beast.feeds.simulator import faults
from beast.feeds.simulator.faults import Fault, Faults
from beast.feeds.simulator.market import Instrument
from beast.feeds.simulator.session import Dialect, Link, Session
from beast.feeds.simulator.types import Product, Trade


class SimulatedExchange:
    """What `Session` calls an Exchange, and the list of its sessions.

    Args:
        name: As the rows name it.
        dialect: How it speaks.
        clock: Both clocks are read.
    """

    instruments: Mapping[str, Instrument]
    """Its markets that trade, by symbol; set once they are known."""

    def __init__(self, name: str, dialect: Dialect, clock: Clock) -> None:
        self.name = name
        self.dialect = dialect
        self.faults = Faults(clock)
        self.instruments = {}
        self.halted: list[Product] = []
        self.sessions: list[Session] = []
        self.tokens: set[str] = set()
        self.origin = ""
        self.accepted = 0
        """Connections so far."""
        self.subscribed: Counter[str] = Counter()
        """How often each symbol was subscribed, and taken off again, over all connections so far."""
        self.unsubscribed: Counter[str] = Counter()
        self._clock = clock
        self._frames_of_closed = 0

    def now_ns(self) -> int:
        """Monotonic time."""
        return self._clock.monotonic_ns()

    def wall_ns(self) -> int:
        """What its clock says, ns since 1970."""
        skew = self.faults.get("skew")
        return self._clock.wall_ns() + (faults.skew_ns(skew) if skew else 0)

    def note(self, symbol: str, *, subscribed: bool) -> None:
        """Counts a symbol that was subscribed or taken off."""
        (self.subscribed if subscribed else self.unsubscribed)[symbol] += 1

    def takes(self, path: str) -> bool:
        """Whether WebSocket connections are taken at this path."""
        bare = path.rstrip("/") or "/"
        return any(fnmatchcase(bare, pattern) for pattern in self.dialect.paths)

    def connect(self, link: Link, target: str) -> Session:
        """Opens a session for a connection that was just accepted."""
        session = Session(self, link, target)
        self.sessions.append(session)
        self.accepted += 1
        return session

    def disconnected(self, session: Session) -> None:
        """Forgets a session whose connection is gone."""
        if session in self.sessions:
            self.sessions.remove(session)
            self._frames_of_closed += session.frames_sent

    def tick(self, trades: list[Trade]) -> None:
        """Tells what was traded and does what else is due."""
        if cut := self.faults.get("disconnect"):
            self._disconnect(cut)
        trades = [self.faults.on_trade(trade, self.instruments[trade.symbol]) for trade in trades]
        for session in tuple(self.sessions):
            session.tell(trades)
            session.tick()

    @property
    def busy(self) -> bool:
        """Whether the next tick can't wait: connections are being cut, or frames are under way that a fault delays."""
        return self.faults.get("disconnect") is not None or any(session.has_late for session in self.sessions)

    def fault(self, kind: str, seconds: float | None, args: dict[str, float | str]) -> None:
        """Puts a fault in force.

        Raises:
            UsageError: unknown kind or argument, or a value of the wrong type.
        """
        fault = self.faults.set(kind, seconds, args)
        if fault.kind == "disconnect":
            self._disconnect(fault)

    def state(self) -> dict[str, object]:
        """Numbers for people and tests."""
        return {
            "connections": len(self.sessions),
            "accepted": self.accepted,
            "subscriptions": sum(len(session.symbols) for session in self.sessions),
            "subscribed": self.subscribed.total(),
            "unsubscribed": self.unsubscribed.total(),
            "frames_sent": self._frames_of_closed + sum(session.frames_sent for session in self.sessions),
            "markets": len(self.instruments),
            "faults": [
                {
                    "kind": fault.kind,
                    "seconds_left": None if fault.until_ns is None else (fault.until_ns - self.now_ns()) / 1e9,
                    **fault.args,
                }
                for fault in self.faults.active()
            ],
        }

    def _disconnect(self, fault: Fault) -> None:
        for session in tuple(self.sessions):
            session.close(int(fault.number("code")), "simulated disconnect")
