# ruff: noqa: PYI021 - the documentation stands here, where readers and editors look, not in the .pyx
"""What the compiled hot path looks like from Python. Times are integers in ns unless a name says otherwise."""

import os
from collections.abc import Sequence
from typing import final

COUNTERS: tuple[str, ...]
"""Every counter's name, the 24 public ones first."""
PUBLIC_COUNTERS: int
"""How many of COUNTERS are the operator's 24."""
RESULTS: tuple[tuple[str, str, int, str], ...]
"""(name, wire code, HTTP status, message) of every way a request can end."""
FAULTS: tuple[tuple[str, str], ...]
"""(name, message) of every kind of bad request."""
LOAD_WINDOW_MAX: int
"""Most requests that one socket of the load client keeps in flight."""
LOAD_BUCKETS_NS: tuple[int, ...]
"""Lower bound of each latency bucket of Load.figures(), in ns."""
LOAD_FAULTS: tuple[tuple[str, str], ...]
"""(name, message) of every way an answer can be wrong; the first is that it is right."""

USAGE_RECORD: str
"""A usage record's members, for struct.

time_ns (CLOCK_REALTIME when its batch was received), sequence (of its lane, from 1), key_id, key_number (means nothing
outside), instrument (of the first price), age_ms (of that price), latency_ns (receive to sent; 0: not measured), state
(0 live, 1 quiet, 2 stale), tier, protocol (0 udp, 1 http answered by a worker, 2 http answered by the main thread),
lane, prices (in the answer), way (0 ws, 1 rest, 2 median: `source` is the exchange's name and this word), reserved.
"""
COPY_HEADER: bytes
"""What stands before the first row of a binary COPY."""
COPY_TRAILER: bytes
"""What stands behind the last one."""

def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, the clock of every received_ns."""

@final
class Engine:
    """The workers and their tables. All methods are for the main thread."""

    def __init__(
        self,
        *,
        node: str,
        workers: int = 1,
        host: str = "127.0.0.1",
        udp_port: int = 0,
        http_port: int = 0,
        udp_buffer: int = 33_554_432,
        max_keys: int = 1_048_576,
        max_instruments: int = 16_384,
        usage_ring: int = 65_536,
        miss_ring: int = 1_024,
        usage_dir: str | os.PathLike[str] | None = None,
        boot: int | None = None,
        source_per_second: int = 50,
        ttl_ms: int = 13_000,
        pin: bool = False,
        spin_us: int = 0,
        latency_sample: int = 0,
        http_max_connections: int = 16_384,
        http_connections_per_source: int = 256,
        http_head_ms: int = 10_000,
        http_idle_ms: int = 75_000,
        http_send_ms: int = 10_000,
    ) -> None:
        """Makes it; nothing runs before start().

        `pin`: worker i to processor i. `spin_us` (at most 50): how long a UDP lane looks for a next datagram, while
        they come in such intervals, before it sleeps. `latency_sample`: a UDP lane times one of so many receives, an
        HTTP lane one of so many turns that answer, see histograms(); 0: none, and the kernel stamps nothing.
        `usage_dir`: an existing folder for the files of the usage rings, which outlive a killed process; OSError when
        they can't be made there, a full disk included. `boot` names this life of the server in them, and is the time
        now unless given (CLOCK_REALTIME).
        """

    # life
    def start(self) -> None:
        """Binds and starts, once. OSError says which protocol and address could not be had; it may be tried again."""
    def stop(self, timeout_s: float = 5.0) -> None:
        """Drains and joins, without the GIL; tells parked requests what memory knows. Stopped engines stay stopped.

        TimeoutError when a worker did not leave in time: it may be called again.
        """
    @property
    def running(self) -> bool: ...
    @property
    def boot(self) -> int:
        """With a record's lane and sequence, what tells it from all others of this node."""
    @property
    def udp_port(self) -> int: ...
    @property
    def http_port(self) -> int: ...
    @property
    def udp_buffer(self) -> int:
        """Receive buffer in bytes that the kernel granted; less than asked means: raise net.core.rmem_max."""
    @property
    def features(self) -> dict[str, bool | int]:
        """What the kernel gave the UDP sockets, the least of all lanes; zeros before start.

        `gro` and `segment`: merged datagrams can be received, sent (UDP_GRO, UDP_SEGMENT); `rcvbuf`: as udp_buffer.
        """

    # parameters
    def set_ttl_ms(self, ttl_ms: int) -> None: ...
    def set_live_without_link_ms(self, live_ms: int) -> None:
        """So long after the last sign of life of a connection that was lost its prices stay live, within the TTL."""
    def set_source_per_second(self, per_second: int) -> None: ...
    def set_http_connections_per_source(self, limit: int) -> None:
        """0: no limit. Who has more already keeps them."""
    def set_source_dry_run(self, dry_run: bool) -> None:
        """On trial: sources over their limit are answered, and counted in `source_dry_run`."""
    def set_source_exceptions(self, networks: Sequence[str]) -> None:
        """Networks (`192.0.2.0/24`, `2001:db8::/32`) that are never limited, at most 32; replaces those before."""
    def set_park_misses(self, park: bool, wait_ms: int = 2_000) -> None: ...
    def set_price_rules(
        self, *, band_bps: int = 0, confirmations: int = 2, quorum: int = 2, outlier_bps: int = 100
    ) -> None:
        """What prices are judged by; an engine begins with these values.

        `band_bps`: of instruments without one of their own, how far a trade may jump, in 1/10,000, before it is held
        back; 0: anywhere. `confirmations`: further trades that confirm one held back. `quorum`: sources that must agree
        on a consensus. `outlier_bps`: who is nearer than this to the consensus is no outlier.
        """

    # prices
    def load_instruments(
        self,
        rows: Sequence[tuple[int, str, str, str, int, int] | tuple[int, str, str, str, int, int, int, int | None]]
        | Instruments,
    ) -> None:
        """(id, asset, exchange, currency, priority, link) of every instrument; prices held carry over.

        At the end may stand weight and band_bps: votes in the consensus (1; 0: none), and how far a trade may jump
        (None: as set_price_rules says). An instrument of the exchange `consensus` has no trades of its own: its price
        is the consensus of the asset's others in the same currency.
        """
    def batch(self) -> Instruments:
        """What load_instruments() takes instead of rows, to be filled a part at a time."""
    def publish(
        self,
        instrument: int,
        price: bytes,
        time_ns: int,
        received_ns: int,
        *,
        fresh_ns: int | None = None,
        epoch: int = 0,
        tier: int = 1,
        by_rest: bool = False,
    ) -> None:
        """Holds a price. Tier 3 came by REST; of the others `by_rest` says so. `fresh_ns`: since when it is live."""
    def forget(self, instrument: int) -> None: ...
    def doubt(self, instrument: int) -> None:
        """What came may have been a newer trade that nobody can read: until the next one the price is never quiet."""
    def sweep(self, now_ns: int) -> None:
        """Looks again at what waits to be confirmed, and computes every consensus; to be called every 250 ms.

        In between, a consensus is computed when a frame is fed, at most once a millisecond.
        """
    def peek(self, instrument: int, now_ns: int | None = None) -> dict[str, object] | None:
        """What is held: price (str), time_ns, received_ns, state, tier, by_rest, epoch; None before the first trade.

        `epoch` is that of the connection that vouches for its being the last; 0: none does.
        """
    def link_up(self, link: int, patience_ns: int, now_ns: int) -> int:
        """A connection is open and subscribed: a new epoch begins; returns it."""
    def link_proven(self, link: int, now_ns: int) -> None:
        """Something came over it: it is alive."""
    def link_down(self, link: int) -> None: ...
    def link_doubt(self, link: int) -> int:
        """Something was lost or can't be read: what it brought so far is never quiet; returns its new epoch."""
    def link_state(self, link: int) -> tuple[bool, int, int]:
        """(up, epoch, proven_ns)."""

    # keys
    def put_key(
        self,
        digest: bytes,
        key_id: int,
        *,
        per_second: int,
        burst: int,
        partner: bool = False,
        allowance: int | None = None,
        used: int = 0,
        quota_id: int | None = None,
        lease: int = 0,
        month: int = 0,
        priced: bool = True,
        restricted: bool = False,
    ) -> None:
        """Adds a key, or changes its limits: see key_record()."""
    def put_keys(self, records: bytes) -> int:
        """Many at once, packed: see key_record()."""
    def drop_key(self, digest: bytes) -> bool:
        """False when it was not there."""
    @property
    def key_count(self) -> int: ...

    # one request, through the workers' own code
    def ask(
        self,
        datagram: bytes,
        *,
        now_ns: int | None = None,
        wall_ns: int | None = None,
        source: tuple[str, int] = ("127.0.0.1", 9),
    ) -> list[bytes]:
        """The datagrams that a worker would send."""
    def query(
        self,
        key: bytes | None,
        assets: Sequence[str],
        *,
        many: bool,
        exchange: str | None = None,
        max_age_ms: int | None = None,
        allow_stale: bool = False,
        turn: int = 0,
        peer: str | None = None,
        now_ns: int | None = None,
        wall_ns: int | None = None,
        bill: Bill | None = None,
    ) -> tuple[int, bytes, bytes]:
        """(HTTP status, JSON body, header lines) for the ASGI side.

        `peer` is the address that asks, which keys with networks want to know. The lines, each with its line end, are
        what the workers tell of limits and refusals.

        Of several assets without one price, the status is that of the first. With `turn` 1 it may be 0: a slower tier
        may know more, and nothing was recorded or taken but from the key's rate. Asked again with `turn` 2, which
        doesn't take from the rate, it is answered.

        The answer's usage record is published at once, or, with `bill`, when that is paid.
        """

    # what comes out
    def fileno(self) -> int:
        """Readable when a connection or a miss waits; read 8 bytes to clear it."""
    def take_connection(self) -> tuple[int, bytes] | None:
        """(file descriptor, bytes read so far): the descriptor is now the caller's."""
    def take_miss(self) -> Miss | None: ...
    def resume(self, miss: Miss) -> None:
        """Asks a parked request again and sends its answer."""
    def drain_usage(self) -> tuple[bytes, list[tuple[int, int]]]:
        """Reads and releases: (usage records, (api key id, answers) summed); both empty when there are none.

        At most 32,768 records a call: drain until it is empty.
        """
    def usage_fileno(self) -> int:
        """Readable when a usage ring is half full: drain_usage() is due. Read 8 bytes to clear it."""
    def counters(self) -> dict[str, int]: ...
    def histograms(self) -> dict[str, list[tuple[int, int]]]:
        """(longest duration in ns that a bucket holds, how many it holds), in order, of buckets that hold any.

        `udp`: from the kernel's receipt of a message to the sending of its answers. `http`: from the moment when a
        worker learnt that a connection's bytes are there until the answers to them are sent. Both of sampled
        receives, see `latency_sample`. `parked`: from the receipt of a UDP request that waits for a slower tier to
        its answer's sending, of all of them. `visible`: from a frame read to its price visible to the workers.
        A bucket is at most 1/16 wide.
        """
    def count(self, name: str, n: int = 1) -> None: ...

@final
class Bill:
    """What one answer of Engine.query() costs, until it is on its way. Main thread only."""

    def __init__(self) -> None:
        """To be made when the request has come: from here on it is timed."""
    @property
    def due(self) -> bool:
        """Whether an answer with a price is neither paid nor dropped."""
    def deliver(self, fd: int, answer: bytes) -> int:
        """Sends the whole answer by a stream's socket, and pays at the very moment when the kernel has all of it.

        A process that is killed has counted it if and only if it was sent.

        Returns:
            How many bytes the kernel has taken. Fewer than all: the reader is slow, and the bill is still to be paid
            when the rest is sent. -1: the client is gone.

        Raises:
            ValueError: nothing is due, or the answer is empty.
        """
    def pay(self) -> None:
        """The answer is on its way: it counts. Nothing is due for an answer without a price, or a second time."""
    def drop(self) -> None:
        """It never will be: what it took from its key's allowance is given back."""

@final
class Miss:
    """A UDP request that memory could not answer, waiting for a slower tier."""

    @property
    def datagram(self) -> bytes: ...
    @property
    def deadline_ns(self) -> int: ...

def key_record(
    digest: bytes,
    key_id: int,
    per_second: int,
    burst: int,
    partner: bool,
    allowance: int | None,
    *,
    used: int = 0,
    quota_id: int | None = None,
    lease: int = 0,
    month: int = 0,
    priced: bool = True,
    restricted: bool = False,
) -> bytes:
    """One key packed for Engine.put_keys().

    Args:
        digest: SHA-256 of the key's text.
        key_id: Its row's id.
        per_second: Its rate; 0: no limit.
        burst: Requests at once.
        partner: It has neither limit nor cap.
        allowance: What is left of the month's cap; None: it has none.
        used: Answers of the month, besides.
        quota_id: The id of the key whose rate and cap it shares; its own.
        lease: Admissions that may be ahead of what is settled with the cluster; 0: there is nothing to settle.
        month: The month that `used` is of, by any number that only grows.
        priced: Its scopes open prices.
        restricted: Only from the networks that restrict_key() names.
    """

def set_limit_terms(
    engine: Engine, *, leasing: bool, share: int = 1, nodes: int = 1, cluster: bool = False, retry_ms: int = 50
) -> None:
    """How limits are kept from now on.

    Args:
        engine: Whose.
        leasing: Admissions are settled with the cluster, and at most a key's lease goes ahead of that.
        share: Limits are divided by so many nodes.
        nodes: Nodes known to be there, as which allowances are granted while leasing.
        cluster: What clients are told: the limits are those of the cluster.
        retry_ms: When a key that has used up its lease may hope to be settled.
    """

def restrict_key(engine: Engine, digest: bytes, networks: Sequence[str]) -> None:
    """The only networks from which a `restricted` key is taken; until then it is taken from nowhere.

    Raises:
        ValueError: They are too many, or none.
        LookupError: There is no such key.
    """

def unsettled_keys(engine: Engine, most: int = 512) -> list[tuple[int, int, int, int, int, int, int]]:
    """Keys touched since they were settled, each once, until the caller settles them.

    Of each (record, admissions to settle, quota id, interval in ns; 0: no rate limit, answers that its cap's counter
    was not told of; -1: no cap, what that counter holds at least without them; -1: it was told, month of the counter).
    """

def settle_keys(
    engine: Engine,
    keys: Sequence[tuple[int, int, int, int, int, int, int]],
    answers: Sequence[tuple[int, int]],
    now_ns: int,
) -> None:
    """What the cluster says of them at `now_ns` (CLOCK_MONOTONIC, when the answer was there).

    Of each (ns that its theoretical arrival time is ahead of now, answers of the month, these included); -1: not asked.
    """

@final
class UsageRings:
    """The usage records of an engine's lanes, for the one who takes them all. Main thread only."""

    def __init__(self, engine: Engine) -> None: ...
    def __len__(self) -> int:
        """How many lanes there are, each with a ring of its own."""
    def read(self, lane: int) -> bytes:
        """The lane's usage records (USAGE_RECORD each) that were not read before, at most 32,768; b"": none.

        Their places stay taken until they are released, so that a killed process leaves them behind.
        """
    def release(self, lane: int, records: int) -> None:
        """The oldest so many of those read are safe elsewhere. ValueError when so many are not held."""

def recover_usage_ring(path: str | os.PathLike[str]) -> tuple[int, int, bytes]:
    """(boot, lane, usage records) that a process has left in a ring's file: all that were not released.

    Some may be safe elsewhere already, if it died before it could release them: their sequences tell. The file stays.
    BlockingIOError while the process lives, OSError when the file can't be read, ValueError when it is no such ring.
    """

def encode_usage(records: bytes) -> bytes:
    """A run of usage records, of one lane and with consecutive sequences, as few bytes; without the GIL.

    The same records give the same bytes. ValueError when they are no run, or more than 1,048,576. docs/usage.md
    describes the bytes.
    """

def decode_usage(data: bytes) -> bytes:
    """The records again, without the GIL. ValueError, whatever the bytes are, when they are no whole run."""

def usage_runs(records: bytes) -> list[tuple[int, int, int]]:
    """(lane, first sequence, how many records) of each run that the records fall into, in their order."""

def usage_instruments(records: bytes) -> list[int]:
    """The instruments in the records, each once, in ascending order."""

def sum_usage(records: bytes) -> list[tuple[int, int, int, int]]:
    """(key_id, hour since 1970 in UTC, answers, time_ns of the youngest) per key and hour; without the GIL."""

def usage_copy_rows(records: bytes, node: str, boot: int, names: dict[int, tuple[str, str]]) -> bytes:
    """Rows of PostgreSQL's binary COPY in the order of usage_logs' columns; without the GIL.

    `names` has (asset, exchange) of every instrument in the records. COPY_HEADER stands before the first row,
    COPY_TRAILER behind the last. ValueError when a name is missing, longer than 64 bytes, or a member is out of range.
    """

def take_answers(engine: Engine) -> dict[int, int]:
    """How many drained answers there were of each instrument since they were last taken.

    An answer with several prices counts for the first of them.
    """

def link_proof(engine: Engine, link: int, now_ns: int) -> tuple[int, int] | None:
    """(The epoch that the connection began with, ns for which it is proven if nothing more comes); None: it isn't.

    A price is the connection's own when its epoch is not below the first.
    """

def received_after(engine: Engine, since_ns: int) -> list[int]:
    """The instruments whose price was received later than this."""

@final
class Watch:
    """Places (an asset, of one exchange or the best) whose answer is looked at again and again. Main thread only.

    The answer is an entry of `prices` in docs/protocol.md, section 4, with `allow_stale`. Looking asks no key, counts
    nothing and records nothing. Two answers say the same when they differ in `age_ms` alone.
    """

    def __init__(self, engine: Engine) -> None: ...
    def __len__(self) -> int:
        """All numbers are below it."""
    def add(self, asset: str, exchange: str | None = None) -> int:
        """Watches one more place; returns its number. Nothing was seen of it yet.

        ValueError when no price can ever be kept under such names.
        """
    def remove(self, number: int) -> None:
        """Watches it no longer; the number may be given again."""
    def look(self, first: int, count: int, now_ns: int | None = None) -> list[tuple[int, bytes]]:
        """(number, answer) of each of `count` places from `first` on that says something else than when last seen."""
    def read(self, number: int, now_ns: int | None = None) -> tuple[bool, bytes]:
        """(whether it says something else than when last seen, answer) of one place, its age as it is now."""
    def knows(self, digest: bytes, peer: str | None = None) -> bool:
        """Whether the key with this SHA-256 opens prices; from there, if it is said from where."""

@final
class Plan:
    """A row's extraction plan, compiled. See beast.feeds.plan for its source form."""

    def __init__(self, spec: bytes) -> None:
        """`spec` is the JSON of beast.feeds.plan; ValueError names the member that is wrong."""
    def extract(
        self, frame: bytes | memoryview
    ) -> tuple[int, list[tuple[bytes, bytes, int, int, int, int]], int | None]:
        """(kind, trades, the frame's own number or None).

        Of each symbol's trades: the newest one's wire symbol, price text and time in ns since 1970 (0: the frame has
        none), the lowest and the highest number that they have (0: none has one), how many have one.
        """

@final
class Instruments:
    """Instruments on their way into an engine, checked as they are added: so many that one pass would take too long."""

    def __init__(self, limit: int) -> None:
        """`limit` is the engine's max_instruments."""
    def add(
        self,
        rows: Sequence[tuple[int, str, str, str, int, int] | tuple[int, str, str, str, int, int, int, int | None]],
    ) -> None:
        """Rows as load_instruments() takes them. ValueError when they can't be loaded."""
    def finish(self) -> None:
        """All are there: lays them out, which takes most of the time that loading does. Done by loading else.

        It may be called on another thread: it touches nothing but this object, and holds no GIL.
        """

@final
class Ingest:
    """Frames of one connection, straight into the price table."""

    def __init__(self, engine: Engine, plan: Plan, link: int, *, backfill_ns: int) -> None: ...
    def set_symbols(self, symbols: Sequence[tuple[bytes, int]]) -> None:
        """(wire symbol, instrument) of everything this connection may bring."""
    def set_plan(self, plan: Plan) -> None:
        """Reads by another plan from now on; set_symbols() must follow when it folds or strips otherwise."""
    def set_epoch(self, epoch: int) -> None: ...
    def set_backfill_ns(self, backfill_ns: int) -> None:
        """A trade further behind the clock than this is fresh since its own time only."""
    def feed(self, frame: bytes | memoryview, received_ns: int, wall_ns: int, /) -> int:
        """Publishes what the frame brings; returns its kind. Anything but a trade frame is for Python to read."""

    def take_gaps(self) -> list[tuple[int | None, int, int, int, int]]:
        """Gaps in the exchange's numbers since they were last taken, at most 64; what is more is not kept.

        Instrument (None: the connection's own numbers), the first and the last number missing, and when those around
        them were received (CLOCK_MONOTONIC ns). Numbers that the row doesn't name have none.
        """

    def tally(self) -> tuple[int, int, int, int, int]:
        """What came over it since it was made.

        Frames, trades of symbols that are mapped with a price that can be read, trades without such a price, trades of
        other symbols, frames of trades that held none.
        """

    def touched(self) -> list[int]:
        """The instruments that the last frame had trades of, published or not, held back or outdated."""
    def symbols(self) -> list[tuple[bytes, int, int, int, int, int, int, int, int]]:
        """How each symbol fares.

        Wire symbol, instrument, trades (each newer than the one before), received_ns of the last one (0: none), the
        smoothed interval between them in ns (0: not yet known) and its mean deviation in ns, how many were held back,
        how many of those were confirmed, and how many wait now.
        """

def find_consensus(votes: Sequence[tuple[float, int, str]], *, outlier_bps: int) -> tuple[int | None, list[str], float]:
    """What votes (price, weight, standing) come to; beast.prices.consensus is the readable twin.

    Returns which vote's price is the answer (None: nobody has a vote), what became of each vote's standing, and the
    spread of the prices used in bps.
    """

def udp_segment() -> bool:
    """Whether this kernel has UDP_SEGMENT and UDP_GRO."""

@final
class Load:
    """One run of the load client: one thread, one core, every answer checked."""

    def __init__(
        self,
        *,
        protocol: str,
        host: str,
        port: int,
        keys: Sequence[bytes],
        assets: Sequence[bytes],
        sockets: int,
        duration_ns: int,
        in_flight: int = 0,
        rate: int = 0,
        burst: int = 1,
        nap_us: int = 0,
        timeout_ns: int = ...,
        check: str = "all",
        max_age_ms: int | None = None,
        exchange: bytes = b"",
        interleaved: bool = False,
    ) -> None:
        """Opens nothing yet. ValueError when an argument makes no sense.

        `protocol` is udp, udp-segment or http; `host` is numeric. Each of the `sockets` is a client of its own. Give
        `in_flight`, requests kept under way over all sockets (closed loop), or `rate`, requests a second by the clock
        (open loop: `burst` of them leave a socket together, latencies count from the time a request was due; it polls
        for that time, or sleeps `nap_us` µs or until an answer comes: for clients that share a processor). What has
        no answer for `timeout_ns` (a second) is lost. Key and asset are drawn anew for every request. `check` is none
        (for servers that don't speak the protocol), id or all.
        """
    def run(self) -> None:
        """Blocks without the GIL until the time is over or another thread says stop(). Once only.

        OSError when sockets can't be had or nobody listens any more; figures() then tells how far it came.
        """
    def stop(self) -> None:
        """Ends the run early; what is in flight is still waited for, as long as `timeout_ns`."""
    def figures(self) -> dict[str, object]:
        """What was counted so far; any thread, at any time.

        sent = answered + refused + lost + wrong - STRAY + in flight. `wrong` and `refused` are counts by name, without
        zeros; `unsent` is what the open loop owed; `latency` counts answers by LOAD_BUCKETS_NS; `sample` is the start
        of the first wrong answer. elapsed_ns and worst_ns are in ns.
        """
