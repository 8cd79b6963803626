"""What `beast stress` asks of a server, and whether the answers are good enough: levels, figures, limits."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, Literal

import msgspec

from beast._fast import LOAD_BUCKETS_NS, LOAD_FAULTS, LOAD_WINDOW_MAX, Load

LADDER: Final = (30, 90, 300, 600, 900, 1500, 3000, 6000, 9000, 12_000, 15_000, 18_000, 21_000)
"""Requests in flight, the 13 levels of the classic test."""
SOCKETS: Final = 300
"""Clients of a level, unless it is smaller or they would need more than a full window."""
TICK_S: Final = 0.2

Protocol = Literal["udp", "udp-segment", "http"]


class Level(msgspec.Struct, frozen=True):
    """One step of a test: either so many requests in flight, or so many a second."""

    sockets: int
    in_flight: int = 0
    rate: int = 0

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.rate:,}/s" if self.rate else f"{self.in_flight:,}"


def closed_level(in_flight: int, *, sockets: int = 0, window: int = 0) -> Level:
    """A level of the closed loop.

    Args:
        in_flight: Requests kept under way over all sockets.
        sockets: How many clients; 0: as many as `window` asks for.
        window: Requests under way on one socket; 0: as few as SOCKETS clients allow.

    Raises:
        ValueError: the sockets can't hold that many, or there are fewer requests than sockets.
    """
    if sockets and window:
        raise ValueError("give either the number of sockets or the window, not both")
    if not sockets:
        window = window or min(LOAD_WINDOW_MAX, -(-in_flight // SOCKETS))
        sockets = -(-in_flight // window)
    if not sockets <= in_flight <= sockets * LOAD_WINDOW_MAX:
        raise ValueError(f"{sockets} sockets can hold {sockets} to {sockets * LOAD_WINDOW_MAX} requests in flight")
    return Level(sockets=sockets, in_flight=in_flight)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the load client counted. Times in ns."""

    sent: int = 0
    answered: int = 0
    """Rightly, with a price."""
    lost: int = 0
    unsent: int = 0
    """Due by the open loop's clock, but never sent."""
    reconnects: int = 0
    wrong: dict[str, int] = {}
    refused: dict[str, int] = {}
    elapsed_ns: int = 0
    worst_ns: int = 0
    latency: tuple[int, ...] = ()
    """Answers by bucket."""
    sample: bytes = b""
    """The start of the first wrong answer."""

    @property
    def wrong_total(self) -> int:
        """Answers that were wrong in whatever way."""
        return sum(self.wrong.values())

    @property
    def refused_total(self) -> int:
        """Answers with an error instead of a price."""
        return sum(self.refused.values())

    @property
    def per_second(self) -> float:
        """Right answers a second."""
        return self.answered * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0

    def percentile_us(self, share: float) -> float:
        """`share` of the answers took at most this long, in µs; a bucket is at most 1/16 too high."""
        wanted, seen = share * sum(self.latency), 0
        for bucket, count in enumerate(self.latency[:-1]):
            seen += count
            if count and seen >= wanted:
                return min(LOAD_BUCKETS_NS[bucket + 1], self.worst_ns) / 1e3
        return 0.0

    def row(self) -> dict[str, object]:
        """The figures that results keep."""
        return {
            "sent": self.sent,
            "answered": self.answered,
            "per_second": round(self.per_second),
            "lost": self.lost,
            "wrong": self.wrong,
            "refused": self.refused,
            "unsent": self.unsent,
            "reconnects": self.reconnects,
            "seconds": round(self.elapsed_ns / 1e9, 3),
            "p50_us": self.percentile_us(0.5),
            "p90_us": self.percentile_us(0.9),
            "p99_us": self.percentile_us(0.99),
            "p999_us": self.percentile_us(0.999),
            "max_us": self.worst_ns / 1e3,
        }


def figures_of(load: Load) -> Figures:
    """What `load` counted so far."""
    return msgspec.convert(load.figures(), Figures)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a level must keep to pass. Any wrong answer fails it."""

    max_loss: float = 0.0
    """Lost or never sent, in percent of what was to be sent."""
    max_refused: float = 0.0
    """In percent of what was sent."""
    max_p50_us: float | None = None
    max_p99_us: float | None = None
    max_p999_us: float | None = None
    min_rate: float = 0.0
    """Right answers a second."""

    def broken_by(self, figures: Figures) -> Iterator[str]:
        """Why the figures fail; nothing when they pass."""
        if not figures.answered:
            yield "no request was answered"
        for name, count in figures.wrong.items():
            yield f"{count} wrong: {dict(LOAD_FAULTS)[name]}"
        missing, wanted = figures.lost + figures.unsent, figures.sent + figures.unsent
        if missing > wanted * self.max_loss / 100:
            unsent = f", {figures.unsent} could not be sent in time" if figures.unsent else ""
            yield f"{figures.lost} lost{unsent}, of {wanted}"
        if figures.refused_total > figures.sent * self.max_refused / 100:
            codes = ", ".join(f"{count} {code}" for code, count in figures.refused.items())
            yield f"refused: {codes}, of {figures.sent}"
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            limit, reached = getattr(self, f"max_{name}_us"), figures.percentile_us(share)
            if limit is not None and reached > limit:
                yield f"{name} is {reached:.0f} µs, more than {limit:g}"
        if figures.per_second < self.min_rate:
            yield f"{figures.per_second:.0f} answers a second, fewer than {self.min_rate:g}"


class Outcome(msgspec.Struct, frozen=True):
    """How one run ended."""

    figures: Figures
    interrupted: bool = False
    failure: str = ""
    """Why it could not go on, as the system says it."""


def drive(load: Load, tick: Callable[[Figures], None]) -> Outcome:
    """Runs the load client in a thread of its own, to its end or until Ctrl-C, which is no exception here.

    Args:
        load: Not yet run.
        tick: Told the figures so far, every TICK_S.
    """
    interrupted = False
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        while not running.done():
            try:
                wait([running], TICK_S)
                tick(figures_of(load))
            except KeyboardInterrupt:
                interrupted = True
                load.stop()
            except BaseException:
                load.stop()
                raise
        failure = running.exception()
    if failure is not None and not isinstance(failure, OSError):
        raise failure
    return Outcome(figures_of(load), interrupted, (failure.strerror or str(failure)) if failure else "")
