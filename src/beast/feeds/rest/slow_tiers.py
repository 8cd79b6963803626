"""Builds what answers when memory can't: tier 2, tier 3, and the subscribing of what they are asked for too often."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from beast._fast import Engine, take_answers
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.feeds.manager import FeedManager
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.store import FeedStore
from beast.prices.catalogue import Catalogue
from beast.prices.prewarm import Prewarming
from beast.prices.shared import SharedPrices
from beast.prices.tiers import Tiers
from beast.storage.valkey import Valkey


class Parameters(Protocol):
    """The application parameters that concern the slow tiers."""

    @property
    def cache_ttl_ms(self) -> int: ...  # noqa: D102 - beast.cluster.types says what each of them means
    @property
    def backfill_ms(self) -> int: ...  # noqa: D102
    @property
    def park_wait_ms(self) -> int: ...  # noqa: D102
    @property
    def cache_timeout_ms(self) -> int: ...  # noqa: D102
    @property
    def cache_flush_ms(self) -> int: ...  # noqa: D102
    @property
    def cache_pool_size(self) -> int: ...  # noqa: D102
    @property
    def prewarm_after(self) -> int: ...  # noqa: D102


class SlowTiers:
    """The slow tiers of one server.

    Args:
        engine: Memory.
        catalogue: What can be asked for.
        feeds: The rows in force.
        store: Where they come from.
        redis_url: Tier 2; empty: none.
        clock: The time.
        report: Told what is wrong with tier 2, or None when it is well again.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        feeds: FeedManager,
        store: FeedStore,
        *,
        redis_url: str,
        clock: Clock,
        report: Callable[[str | None], None],
    ) -> None:
        self.rest = RestPrices(feeds.row, clock=clock, urls=feeds.address)
        self._shared: SharedPrices | None = None
        if redis_url:
            self._shared = SharedPrices(engine, catalogue, Valkey(redis_url), clock=clock, report=report)
        self.tiers = Tiers(engine, catalogue, shared=self._shared, rest=self.rest, clock=clock)
        self._catalogue = catalogue
        self._feeds = feeds
        self._prewarming = Prewarming(partial(take_answers, engine), self._unsubscribed, store.prewarm)

    def start(self, tasks: Tasks) -> None:
        """Starts what runs in the background."""
        if self._shared is not None:
            tasks.spawn("tier 2", self._shared.run())
        tasks.spawn("prewarming", self._prewarming.run())

    def tune(self, new: Parameters) -> None:
        """Takes the parameters, from now on."""
        self.tiers.tune(ttl_ms=new.cache_ttl_ms, backfill_ms=new.backfill_ms, wait_ms=new.park_wait_ms)
        self._prewarming.after = new.prewarm_after
        if self._shared is not None:
            self._shared.tune(
                ttl_ms=new.cache_ttl_ms,
                timeout_ms=new.cache_timeout_ms,
                flush_ms=new.cache_flush_ms,
                pool_size=new.cache_pool_size,
            )

    def _unsubscribed(self, instrument_id: int) -> str | None:
        """The asset of a market that no connection brings."""
        instrument = self._catalogue.instrument(instrument_id)
        row = self._feeds.row(instrument.market.exchange, instrument.market.asset) if instrument else None
        return row[1].asset if row and not row[1].prewarm else None

    async def close(self) -> None:
        """Answers who waits, and closes the connections to the exchanges."""
        await self.tiers.stop()
        await self.rest.close()
