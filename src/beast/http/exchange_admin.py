"""What stands behind the exchange admin's routes, built and stopped as one."""

from collections.abc import Mapping
from decimal import Decimal

from beast._fast import Engine
from beast.accounts.service import Accounts
from beast.base.clock import Clock
from beast.cluster.asset_lists import AssetLists
from beast.engine.machine import client_host
from beast.feeds.admin.audit import Audits
from beast.feeds.admin.discover import Discovery
from beast.feeds.admin.store import AdminStore
from beast.feeds.manager import FeedManager
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.rest.products import DOLLARS
from beast.feeds.shadow.store import DraftStore
from beast.feeds.store import FeedStore
from beast.http.smoke import SmokeTest
from beast.prices.catalogue import Catalogue
from beast.storage.database import Database


class ExchangeAdmin:
    """The parts of the exchange admin.

    Args:
        engine: Where prices are.
        catalogue: What can be asked for.
        feeds: What runs.
        rest: Asks the exchanges.
        database: Where the rows are.
        host: What this server listens on.
        ports: Its port is `http`, once it listens.
        clock: The time.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        feeds: FeedManager,
        rest: RestPrices,
        database: Database,
        *,
        host: str,
        ports: Mapping[str, int],
        clock: Clock,
    ) -> None:
        self.store = AdminStore(database)
        self.drafts = DraftStore(database)
        self.lists = AssetLists(database, clock)
        here = client_host(host)
        here = f"[{here}]" if ":" in here else here
        self.audits = Audits(
            FeedStore(database),
            feeds,
            rest,
            engine=engine,
            catalogue=catalogue,
            price_api=SmokeTest(Accounts(database, clock), lambda: f"http://{here}:{ports['http']}", clock),
            clock=clock,
        )
        self.discovery = Discovery(FeedStore(database), rest, self._in_dollars, clock)
        self._engine = engine
        self._catalogue = catalogue

    async def stop(self) -> None:
        """Ends what runs in the background."""
        await self.audits.stop()

    def _in_dollars(self, currency: str) -> Decimal | None:
        """By the first of its markets that is quoted in dollars, or in coins that are meant to be worth one."""
        for instrument in self._catalogue.of_asset(currency):
            held = self._engine.peek(instrument.id) if instrument.market.currency in DOLLARS else None
            if held:
                return Decimal(str(held["price"]))
        return None
