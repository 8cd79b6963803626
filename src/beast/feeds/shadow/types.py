"""What is known of a draft: what it would change, how it compares, and what it waits for."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from beast.feeds.link.tally import Tally

BY_REST: Final = " by REST"

State = Literal["shadow", "agreeing", "live", "rejected", "fallen_back"]
"""`agreeing`: the last minute did. `live`: it went live once; a newer version may have come since."""
Kind = Literal["agreeing", "disagreeing", "broken", "silent", "alone"]
"""Of a minute. `broken`: not connected, or what comes can't be read. `silent`: nothing could be compared, which speaks
neither for nor against. `alone`: trades come, and no other exchange prices any of these assets."""
Standing = Literal["agrees", "disagrees", "unproven", "alone"]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a draft would make of an exchange's rows, whatever those are by then."""

    feed: dict[str, Any]
    """Columns of `exchange_feeds`, the name among them; all others stay, or have their defaults in a new row."""
    assets: tuple[dict[str, Any], ...] = ()
    """Rows of `exchange_asset_map`, told by their assets; what they leave out stays likewise."""
    replace: bool = False
    """Assets that are not named go."""

    @property
    def exchange(self) -> str:
        """Whose rows."""
        return str(self.feed.get("name", ""))


class AssetEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """How one asset compared in a minute."""

    asset: str
    currency: str
    standing: Standing
    """`unproven`: others price it, but no trade came to compare. `alone`: nobody else prices it in this currency."""
    price: str | None
    """Its own, compared last."""
    others: float | None
    """What the others agreed on at that moment."""
    sources: int
    """How many of them there were."""
    compared: int
    """How often, in this minute."""
    off_bps: float | None
    """Nine of ten comparisons were at least so close."""
    by_rest: bool = False
    """Told by REST, which is asked for one asset a minute."""

    @property
    def name(self) -> str:
        """The asset, and how its price came unless by a trade."""
        return self.asset + BY_REST if self.by_rest else self.asset


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One minute."""

    at: datetime
    """Its end."""
    kind: Kind
    why: str
    tally: Tally
    compared: int
    """Assets that were compared."""
    beyond: int
    """Of these, assets that were too far off."""
    worst_bps: float | None
    assets: tuple[AssetEvidence, ...] = ()
    """All that are subscribed, the worst first."""
    more_assets: int = 0
    """How many were left off where it is kept."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One draft. `docs/shadow.md` explains the states."""

    id: int
    exchange: str
    state: State
    who: str
    """Who started it."""
    created_at: datetime
    bps: int | None
    """None: the parameter `shadow_bps`, as it is by then."""
    minutes: int | None
    """None: likewise `shadow_minutes`."""
    auto: bool
    """It goes live by itself."""
    tested: str
    """A digest of the whole rows that ran; empty: none did yet. Nothing else goes live."""
    agreed: int
    """Minutes in a row."""
    proven: tuple[str, ...]
    """Assets that were compared in them; `BTC by REST`: an answer of REST was."""
    ripe: bool
    """A person may take it live."""
    waits_for: str
    """Empty: nothing."""
    judged_at: datetime | None
    verdict: Verdict | None
    """The last minute's. Of a draft that is live, the minute by which it fell back, if it did."""
    base: int | None
    """The version before it went live; None: there was no such exchange."""
    version: int | None
    """The version that it went live as."""
    live_at: datetime | None
    ended_at: datetime | None
    ended_by: str
    reason: str


class PastMinute(msgspec.Struct, frozen=True):
    """What is kept of a minute."""

    at: datetime
    kind: Kind
    why: str
    worst_bps: float | None


class DraftDetail(Draft, frozen=True, kw_only=True):
    """A draft with all there is."""

    change: Change
    minutes_past: tuple[PastMinute, ...]
    """The last hour, the newest at the end."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an exchange's rows, whoever made it."""

    exchange: str
    number: int
    at: datetime
    who: str
    assets: int
    deleted: bool
    """The exchange was."""
    columns: list[str] | None
    """Columns of the feed that differ from the version before; None: there is none any more."""
    changed_assets: int | None
    """Likewise assets, those added and deleted included."""
