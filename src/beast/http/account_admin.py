"""What stands behind the routes of accounts, built as one."""

from beast.accounts.access import Access
from beast.accounts.audit import Trail
from beast.accounts.once import Once
from beast.accounts.own_usage import OwnUsage, Unbooked
from beast.accounts.service import Accounts
from beast.accounts.tiers import Tiers
from beast.accounts.users import Users
from beast.base.clock import Clock
from beast.storage.database import Database


class AccountAdmin:
    """The parts of accounts that HTTP needs.

    Args:
        database: Where the rows are.
        clock: The time.
        unbooked: What this server has answered and the rows don't say yet.
        operator_key: Seals answers that are kept for those who send a creation again.
    """

    def __init__(self, database: Database, clock: Clock, unbooked: Unbooked, *, operator_key: str) -> None:
        self.keys = Accounts(database, clock)
        self.users = Users(database, clock)
        self.tiers = Tiers(database, clock)
        self.usage = OwnUsage(database, clock, unbooked)
        self.access = Access(database, clock)
        self.trail = Trail(database, clock)
        self._operator_key = operator_key

    def once(self, key: str | None, path: str, body: bytes) -> Once | None:
        """The name of a creation that may be sent again; None: it has none.

        Args:
            key: The header Idempotency-Key.
            path: Where it was sent.
            body: As sent.

        Raises:
            UsageError: The header can't be one.
        """
        return None if key is None else Once.named(key, path=path, body=body, operator_key=self._operator_key)
