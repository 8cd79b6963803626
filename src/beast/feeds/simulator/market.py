"""Seeded prices: one random walk an asset, followed by every exchange that trades it.

Time inside the market is counted in steps from its start, so the sequence of trades depends on the seed and the
rate alone; the wall clock only decides how far the sequence has come and which times the trades carry.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from random import Random

from beast.feeds.simulator.catalogue import Catalogue
from beast.feeds.simulator.types import PriceStyle, Product, Trade

SECOND_NS = 1_000_000_000
STEP_NS = 50_000_000
WARM_UP_NS = 20 * SECOND_NS
"""Lived through before the first client, so that every market has a last trade; a market in a hurry needs less."""
LONGEST_LEAP_NS = 60 * SECOND_NS
"""Behind by more (a sleeping machine), the market goes on from where it stood instead of catching up."""
LONGEST_PAUSE_NS = 18 * SECOND_NS
BURST_NS = 2_000_000
"""One order's trades lie within this, and end before the moment they are told."""
HISTORY = 50

# Mean seconds between two trades of a market, by the rank of its asset.
PACE = ((3, 0.3), (12, 1.0), (40, 4.0))
SLOWEST_PACE = 10.0
VOLATILITY = 1e-4
"""Standard deviation of one second's return: about 60 % a year."""
REVERSION = 1e-5
"""Share of the way back to the starting price taken each second."""
SPREAD = 5e-5
"""Standard deviation of an exchange's price around the asset's."""


def seeded(*parts: object) -> Random:
    """A random sequence of its own for these words."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - repeatable on purpose, and no secret


class Walk:
    """The value of one asset in USD, second by second: a geometric walk that is drawn back to where it began."""

    def __init__(self, seed: int, asset: str, start: float, volatility: float) -> None:
        self._random = seeded(seed, asset)
        self._start = start
        self._volatility = volatility
        self._second = 0
        self._drift = 0.0

    def at(self, second: int) -> float:
        """The value in that second; seconds may repeat but never go back."""
        while self._second < second:
            self._second += 1
            self._drift += self._random.gauss(0.0, self._volatility) - REVERSION * self._drift
        return self._start * math.exp(self._drift)


class Instrument:
    """One market: it follows the walks of its asset and its quote, and trades at times of its own."""

    def __init__(
        self, product: Product, *, seed: int, style: PriceStyle, base: Walk, quote: Walk, pace_s: float, rate: float
    ) -> None:
        self.product = product
        self.history: deque[Trade] = deque(maxlen=HISTORY)
        self._random = seeded(seed, product.exchange, product.symbol)
        self._base, self._quote = base, quote
        first = self._value(0)
        magnitude = math.floor(math.log10(first)) + 1
        self.decimals = min(max(style.least, style.significant - magnitude), style.most)
        self._zeros = "0" * (style.zeros or max(0, style.width - self.decimals))
        self._strip = style.strip
        self._tick = 10.0**-self.decimals
        self._pace_ns = pace_s / rate * SECOND_NS
        self._id = self._random.randrange(10**6, 10**9)
        self.volume_24h = f"{self._random.uniform(2e7, 4e7) / pace_s / first:.8f}"
        self.next_ns = int(self._random.random() * min(self._pace_ns, LONGEST_PAUSE_NS))

    @property
    def last(self) -> Trade:
        """The latest trade."""
        return self.history[-1]

    def text(self, price: float) -> str:
        """A price in whole ticks, as this exchange writes it; never zero or less."""
        text = f"{max(price, self._tick):.{self.decimals}f}{self._zeros}"
        return text.rstrip("0").rstrip(".") if self._strip and self.decimals else text

    def trade(self, epoch_ns: int) -> list[Trade]:
        """The trades of the moment that is due, oldest first, and the choice of the next moment."""
        draw = self._random
        price = self._value(self.next_ns // SECOND_NS) * (1.0 + draw.gauss(0.0, SPREAD))
        buy = draw.random() < 0.5  # noqa: PLR2004 - a fair coin
        time_ns = epoch_ns + self.next_ns - BURST_NS
        burst = 1 if draw.random() < 0.8 else draw.randint(2, 4)  # noqa: PLR2004 - one order in five meets several
        trades = []
        for _ in range(burst):
            self._id += 1
            size = f"{max(draw.lognormvariate(5.0, 1.5) / price, 1e-8):.8f}"
            trades.append(Trade(self.product.symbol, self._id, self.text(price), size, buy, time_ns))
            price += self._tick * draw.randint(0, 2) * (1 if buy else -1)
            time_ns += draw.randrange(1_000, BURST_NS // 4)
        self.history.extend(trades)
        pause_ns = min(draw.uniform(0.5, 1.5) * self._pace_ns, LONGEST_PAUSE_NS)
        self.next_ns += max(BURST_NS, int(pause_ns))
        return trades

    def _value(self, second: int) -> float:
        return self._base.at(second) / self._quote.at(second)


class Market:
    """All instruments on one time line. Work is done in `advance` only."""

    def __init__(
        self,
        catalogue: Catalogue,
        products: Iterable[Product],
        styles: Mapping[str, PriceStyle],
        *,
        seed: int,
        rate: float,
        now_ns: int,
    ) -> None:
        """`rate` multiplies how often everything trades; `now_ns` is the wall time of the start."""
        ranks = {asset: rank for rank, asset in enumerate(catalogue.assets)}
        walks: dict[str, Walk] = {}
        self.instruments: dict[tuple[str, str], Instrument] = {}
        for product in products:
            for asset in (product.asset, product.quote):
                if asset not in walks:
                    calm = 0.02 if asset in catalogue.money else 1.0
                    walks[asset] = Walk(seed, asset, catalogue.price(asset), VOLATILITY * calm)
            rank = ranks.get(product.asset, len(ranks))
            self.instruments[product.exchange, product.symbol] = Instrument(
                product,
                seed=seed,
                style=styles[product.exchange],
                base=walks[product.asset],
                quote=walks[product.quote],
                pace_s=next((pace for top, pace in PACE if rank < top), SLOWEST_PACE),
                rate=rate,
            )
        self._due: dict[int, list[Instrument]] = defaultdict(list)
        for instrument in self.instruments.values():
            self._due[instrument.next_ns // STEP_NS].append(instrument)
        self._step = 0
        self._epoch_ns = now_ns - max(int(WARM_UP_NS / max(rate, 1.0)), 2 * STEP_NS)
        self.advance(now_ns)

    @property
    def next_ns(self) -> int:
        """The wall time from which on `advance` has something to tell."""
        return self._epoch_ns + (min(self._due) + 1) * STEP_NS

    def advance(self, now_ns: int) -> dict[str, list[Trade]]:
        """Live up to this wall time; what traded since the last call, by exchange, in order of time."""
        behind_ns = now_ns - self._epoch_ns - self._step * STEP_NS
        if abs(behind_ns) > LONGEST_LEAP_NS:
            self._epoch_ns += behind_ns
        traded: dict[str, list[Trade]] = defaultdict(list)
        while (end_ns := (self._step + 1) * STEP_NS) <= now_ns - self._epoch_ns:
            for instrument in self._due.pop(self._step, ()):
                while instrument.next_ns < end_ns:
                    traded[instrument.product.exchange] += instrument.trade(self._epoch_ns)
                self._due[instrument.next_ns // STEP_NS].append(instrument)
            self._step += 1
        return traded
