"""The application parameters: what an operator tunes while the cluster runs."""

from ipaddress import ip_network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from beast.base.config import describe

EXCEPTIONS_MAX = 32
"""As many networks the engine can except from the limit of sources."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every parameter with its built-in value; a row of `application_parameters` changes it on all nodes."""

    cache_ttl_ms: Annotated[
        int, Meta(ge=100, le=86_400_000, description="A price is live for this long after its trade was received")
    ] = 13_000
    live_without_link_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="A price stays live for so long after its connection, now lost, was last proven; 0: no moment",
        ),
    ] = 0
    backfill_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="A trade older than this on arrival counts from its own time")
    ] = 5_000
    price_band_bps: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="A price that jumps further, in 1/10,000, waits to be confirmed; 0: none"),
    ] = 1_000
    price_confirmations: Annotated[
        int, Meta(ge=1, le=100, description="Further trades that confirm a price held back")
    ] = 2
    consensus_quorum: Annotated[int, Meta(ge=1, le=64, description="Live exchanges that must agree on a consensus")] = 2
    consensus_outlier_bps: Annotated[
        int, Meta(ge=0, le=1_000_000, description="An exchange nearer to the consensus, in 1/10,000, is no outlier")
    ] = 100
    source_per_second: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Answers a second to one address that proved no key; 0: no limit")
    ] = 50
    source_dry_run: Annotated[
        bool, Meta(description="The limit of sources is on trial: who is over it is counted, and answered all the same")
    ] = False
    source_exceptions: Annotated[
        str,
        Meta(
            description="Networks that have no such limit, separated by spaces",
            extra={"allowed": f"at most {EXCEPTIONS_MAX} networks like 10.0.0.0/8 or 2001:db8::/32"},
        ),
    ] = ""
    http_connections_per_source: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="HTTP connections of one address (IPv6: of one /64) at most; 0: no limit"),
    ] = 256
    stream_interval_ms: Annotated[
        int, Meta(ge=5, le=60_000, description="A price stream sends at most one event of an asset in this time")
    ] = 50
    stream_idle_ms: Annotated[
        int, Meta(ge=100, le=3_600_000, description="A price stream whose client reads nothing for so long is closed")
    ] = 30_000
    stream_max_clients: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Price streams open at once, of all clients; 0: none")
    ] = 10_000
    park_wait_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="How long a UDP request may wait for the slower tiers")
    ] = 2_000
    limits_settle_ms: Annotated[
        int, Meta(ge=5, le=1_000, description="How often what keys have used is settled with the cluster")
    ] = 50
    limits_lease_percent: Annotated[
        int,
        Meta(ge=1, le=1_000, description="How far a key may go ahead of that on each node, in percent of its burst"),
    ] = 100
    limits_without_valkey: Annotated[
        Literal["local", "share", "refuse"],
        Meta(
            description="Limits while Valkey is not there; local: each node all of them; share: divided by the nodes; "
            "refuse: what can't be settled is refused"
        ),
    ] = "local"
    key_reread_s: Annotated[int, Meta(ge=1, le=3_600, description="Seconds between two full reads of the API keys")] = (
        30
    )

    cache_timeout_ms: Annotated[
        int, Meta(ge=1, le=1_000, description="How long a request waits for tier 2, Valkey")
    ] = 5
    cache_flush_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="Prices wait this long at most before they are written to tier 2")
    ] = 250
    cache_pool_size: Annotated[
        int, Meta(ge=3, le=300, multiple_of=3, description="Valkey connections of a node at most")
    ] = 12
    prewarm_after: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="An asset without a connection that is asked for this often a minute is subscribed; 0: none",
        ),
    ] = 30

    shadow_bps: Annotated[
        int,
        Meta(ge=1, le=10_000, description="A draft of rows agrees when it is no further off the others, in 1/10,000"),
    ] = 50
    shadow_minutes: Annotated[
        int, Meta(ge=1, le=10_080, description="For so many minutes in a row a draft must agree before it goes live")
    ] = 10
    shadow_minute_s: Annotated[
        int, Meta(ge=1, le=60, description="How many seconds make one of these minutes; fewer are for trying it out")
    ] = 60
    shadow_fall_back_minutes: Annotated[
        int,
        Meta(ge=0, le=1_440, description="After so many bad minutes in a row a draft gone live is undone; 0: never"),
    ] = 3
    shadow_watch_minutes: Annotated[
        int, Meta(ge=0, le=43_200, description="So long a draft that went live is watched; 0: not at all")
    ] = 1_440

    rollup_refresh_s: Annotated[
        int, Meta(ge=0, le=86_400, description="Seconds between two refreshes of the daily usage; 0: never")
    ] = 300
    db_max_open: Annotated[int, Meta(ge=2, le=1_000, description="Database connections of a node at most")] = 12
    db_max_idle: Annotated[int, Meta(ge=2, le=1_000, description="Those kept open; always equals db_max_open")] = 12

    sqs_batch_size: Annotated[
        int, Meta(ge=1, le=10, description="Messages of usage that one call sends at most; with SQS")
    ] = 10
    sqs_flush_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="Usage waits this long at most before it goes to the sink")
    ] = 100
    sqs_buffer_size: Annotated[
        int, Meta(ge=1_000, le=10_000_000, description="With so many answers waiting, usage goes to the sink at once")
    ] = 50_000
    sqs_timeout_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="How long the sink, or a call of SQS, may take before usage is kept and sent again",
        ),
    ] = 3_000

    usage_spool_max_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            le=1 << 40,
            description="Usage that its sink has not taken yet may fill so many bytes of a node's disk",
        ),
    ] = 4 << 30
    usage_retention_days: Annotated[
        int, Meta(ge=1, le=3_650, description="Days that records of usage are kept; what they add up to stays")
    ] = 90
    usage_partitions_ahead: Annotated[
        int, Meta(ge=1, le=60, description="Days for which the tables of usage are made ahead")
    ] = 3
    reports_at_once: Annotated[
        int, Meta(ge=1, le=64, description="Reports made at once on a node, half of them at most for one customer")
    ] = 4
    report_timeout_s: Annotated[
        int, Meta(ge=1, le=3_600, description="How long the database, and the builder of a file, may take for a report")
    ] = 60

    log_level: Annotated[
        Literal["configured", "debug", "info", "warning", "error"],
        Meta(description="Below it nothing is logged; configured: as each process's own setting says"),
    ] = "configured"

    def __post_init__(self) -> None:
        """Checks what a parameter's type can't tell."""
        if self.db_max_idle != self.db_max_open:
            # A smaller idle pool closes and reopens connections under load: the tail latency is a hundredfold.
            raise ValueError("db_max_idle must equal db_max_open")
        networks = self.source_exceptions.split()
        if len(networks) > EXCEPTIONS_MAX:
            raise ValueError(f"source_exceptions must be at most {EXCEPTIONS_MAX} networks, not {len(networks)}")
        for network in networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"source_exceptions: {error}") from None


PARAMETERS = describe(Parameters)


class Change(msgspec.Struct, frozen=True):
    """One parameter that is, or would be, changed."""

    name: str
    old: object
    new: object
