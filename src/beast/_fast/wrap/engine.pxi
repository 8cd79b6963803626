# The engine: owns the C engine, and turns Python values into C's and back.

cdef enum:
    DRAIN_RECORDS = 32768  # of one look at a ring: 1.5 MB
    USAGE_BYTES = 48

_HISTOGRAMS = ("udp", "http", "visible")  # by the protocol of a lane


@cython.final
cdef class Engine:
    """The workers and their tables. All methods are for the main thread."""

    cdef beast_engine *_engine
    cdef beast_shared *shared
    cdef beast_lane *own
    cdef beast_price_rules rules
    cdef beast_ingests ingests
    cdef uint8_t *drained
    cdef uint64_t *folded
    cdef int64_t max_instruments
    cdef uint32_t next_lane
    cdef dict places
    cdef uint32_t *answers
    cdef str host
    cdef readonly int64_t boot
    cdef object __weakref__
    cdef int asked_udp_port, asked_http_port

    def __cinit__(
        self,
        *,
        str node,
        workers=1,
        str host="127.0.0.1",
        udp_port=0,
        http_port=0,
        udp_buffer=32 << 20,
        max_keys=1 << 20,
        max_instruments=1 << 14,
        usage_ring=1 << 16,
        miss_ring=1 << 10,
        usage_dir=None,
        boot=None,
        source_per_second=50,
        ttl_ms=13_000,
        bint pin=False,
        spin_us=0,
        latency_sample=0,
        http_max_connections=16_384,
        http_connections_per_source=256,
        http_head_ms=10_000,
        http_idle_ms=75_000,
        http_send_ms=10_000,
    ):
        cdef beast_engine_config config
        memset(&config, 0, sizeof(config))
        if not (node.isascii() and node.isprintable() and 1 <= len(node) <= BEAST_NODE_MAX) or set(node) & {'"', "\\"}:
            raise ValueError(f"node must be 1 to {BEAST_NODE_MAX} printable ASCII characters without \" and \\")
        address_of(host, 0)
        node_bytes, host_bytes = node.encode(), host.encode()
        config.node = node_bytes
        config.host = host_bytes
        config.workers = <uint32_t>between("workers", workers, 1, BEAST_ENGINE_WORKERS_MAX)
        config.udp_port = <int>between("udp_port", udp_port, -1, UINT16_MAX)
        config.http_port = <int>between("http_port", http_port, -1, UINT16_MAX)
        config.udp_buffer = <uint32_t>between("udp_buffer", udp_buffer, 4096, 1 << 30)
        config.max_keys = <uint32_t>between("max_keys", max_keys, 1, 1 << 28)
        config.max_instruments = <uint32_t>between("max_instruments", max_instruments, 1, 1 << 20)
        config.usage_ring = power_of_two("usage_ring", usage_ring, 2, 1 << 24)
        config.miss_ring = power_of_two("miss_ring", miss_ring, 2, 1 << 20)
        if usage_dir is not None:
            folder = os.fsencode(usage_dir)
            config.usage_folder = folder
        self.boot = config.boot = beast_moment_now().wall_ns if boot is None else between("boot", boot, 0, INT64_MAX)
        config.source_per_second = <uint32_t>between("source_per_second", source_per_second, 0, 1_000_000)
        config.ttl_ns = ns_of_ms("ttl_ms", ttl_ms)
        config.pin = pin
        config.spin_ns = 1000 * between("spin_us", spin_us, 0, BEAST_SPIN_MAX_NS // 1000)
        config.latency_sample = <uint32_t>between("latency_sample", latency_sample, 0, 1 << 20)
        config.http_connections_per_source = <uint32_t>between(
            "http_connections_per_source", http_connections_per_source, 0, 1_000_000
        )
        fill_http(&config.http, http_max_connections, http_head_ms, http_idle_ms, http_send_ms)
        self.host = host
        self.asked_udp_port, self.asked_http_port = config.udp_port, config.http_port
        self.max_instruments = max_instruments
        self.places = {}
        self.answers = <uint32_t *>PyMem_Calloc(max_instruments, sizeof(uint32_t))
        with nogil:  # megabytes of tables: who makes one beside a running loop does so on another thread
            self._engine = beast_engine_new(&config)
        if self._engine is NULL and errno not in (ENOMEM, EINVAL):
            raise OSError(errno, os.strerror(errno), usage_dir)
        self.drained = <uint8_t *>PyMem_Malloc(DRAIN_RECORDS * USAGE_BYTES)
        self.folded = <uint64_t *>PyMem_Malloc(2 * DRAIN_RECORDS * sizeof(uint64_t))
        if self._engine is NULL or self.drained is NULL or self.folded is NULL or self.answers is NULL:
            raise MemoryError("the engine's tables do not fit into memory")
        self.shared = beast_engine_shared(self._engine)
        self.own = beast_engine_lane(self._engine, beast_engine_lanes(self._engine) - 1)
        self.rules.ttl_ns = config.ttl_ns
        self.set_price_rules()
        if usage_dir is not None:
            os.register_at_fork(after_in_child=partial(abandon_rings, ref(self)))

    def __dealloc__(self):
        if self._engine is not NULL:
            if beast_engine_running(self._engine):
                with nogil:
                    beast_engine_stop(self._engine, 1_000_000_000)
            if not beast_engine_running(self._engine):  # else its threads still use it: better lost than freed
                beast_engine_free(self._engine)
        PyMem_Free(self.drained)
        PyMem_Free(self.folded)
        PyMem_Free(self.answers)

    # life

    def start(self) -> None:
        cdef const char *where = NULL
        cdef beast_status status = beast_engine_start(self._engine, &where)
        cdef int code = errno
        if status == BEAST_WRONG_STATE:
            raise RuntimeError("the engine was started before; make another one")
        if status != BEAST_OK:
            port = {b"udp": f" {self.host}:{self.asked_udp_port}", b"http": f" {self.host}:{self.asked_http_port}"}
            check(status, where.decode() + port.get(<bytes>where, ""), code)

    def stop(self, timeout_s: float = 5.0) -> None:
        cdef beast_status status
        cdef int64_t timeout_ns
        if not 0 <= timeout_s <= 3600:
            raise ValueError(f"timeout_s must be from 0 to 3600, not {timeout_s}")
        timeout_ns = <int64_t>(timeout_s * 1e9)
        if beast_engine_running(self._engine):
            with nogil:
                status = beast_engine_stop(self._engine, timeout_ns)
            check(status, f"stop after {timeout_s} s")

    @property
    def running(self) -> bool:
        return bool(beast_engine_running(self._engine))

    @property
    def udp_port(self) -> int:
        return beast_engine_udp_port(self._engine)

    @property
    def http_port(self) -> int:
        return beast_engine_http_port(self._engine)

    @property
    def udp_buffer(self) -> int:
        return beast_engine_udp_features(self._engine).buffer

    @property
    def features(self) -> dict:
        cdef beast_udp_features got = beast_engine_udp_features(self._engine)
        return {"gro": bool(got.gro), "segment": bool(got.segment), "rcvbuf": got.buffer}

    # parameters

    def set_ttl_ms(self, ttl_ms: int) -> None:
        beast_shared_set_ttl(self.shared, ns_of_ms("ttl_ms", ttl_ms))
        self.rules.ttl_ns = ns_of_ms("ttl_ms", ttl_ms)
        beast_price_judge(self.shared.prices, &self.rules)

    def set_live_without_link_ms(self, live_ms: int) -> None:
        self.rules.linkless_ns = ns_of_ms("live_ms", live_ms)
        beast_shared_set_linkless(self.shared, self.rules.linkless_ns)
        beast_price_judge(self.shared.prices, &self.rules)

    def set_price_rules(self, *, band_bps=0, confirmations=2, quorum=2, outlier_bps=100) -> None:
        fill_rules(&self.rules, band_bps, confirmations, quorum, outlier_bps)
        beast_price_judge(self.shared.prices, &self.rules)

    def set_source_per_second(self, per_second: int) -> None:
        beast_source_limit_set(self.shared.sources, <uint32_t>between("per_second", per_second, 0, 1_000_000))

    def set_http_connections_per_source(self, limit: int) -> None:
        beast_http_sources_set(beast_engine_http_sources(self._engine), <uint32_t>between("limit", limit, 0, 1_000_000))

    def set_source_dry_run(self, dry_run: bool) -> None:
        beast_source_limit_set_dry_run(self.shared.sources, bool(dry_run))

    def set_source_exceptions(self, networks) -> None:
        except_sources(self.shared.sources, networks)

    def set_park_misses(self, park: bool, wait_ms: int = 2_000) -> None:
        beast_shared_set_parking(self.shared, bool(park), ns_of_ms("wait_ms", wait_ms))

    # prices

    def load_instruments(self, rows) -> None:
        cdef Instruments checked = rows if isinstance(rows, Instruments) else self.batch()
        if checked is not rows:
            checked.add(rows)
        self.places = checked.load(self.shared)

    def batch(self) -> Instruments:
        return Instruments(self.max_instruments)

    cdef int known(self, instrument) except -1:
        if instrument not in self.places:
            raise ValueError(f"instrument {instrument!r} is not loaded")
        return 0

    def publish(
        self,
        instrument: int,
        bytes price,
        int64_t time_ns,
        int64_t received_ns,
        *,
        fresh_ns=None,
        uint32_t epoch=0,
        tier=1,
        bint by_rest=False,
    ) -> None:
        cdef beast_status status
        self.known(instrument)
        status = beast_price_publish(
            self.shared.prices, instrument, <const uint8_t *>PyBytes_AsString(price), <uint32_t>len(price), time_ns,
            received_ns, received_ns if fresh_ns is None else fresh_ns, epoch,
            <uint8_t>between("tier", tier, 1, 3) | (BEAST_VIA_REST if by_rest and tier < 3 else 0),
        )
        if status != BEAST_OK:  # asked first: the message costs more than publishing
            check(status, f"price {price!r} of instrument {instrument}")

    def forget(self, instrument: int) -> None:
        self.known(instrument)
        beast_price_forget(self.shared.prices, instrument)

    def doubt(self, instrument: int) -> None:
        self.known(instrument)
        beast_price_doubt(self.shared.prices, instrument)

    def sweep(self, int64_t now_ns) -> None:
        beast_ingests_sweep(&self.ingests, now_ns)
        beast_price_sweep(self.shared.prices, now_ns)

    def peek(self, instrument: int, now_ns=None):
        self.known(instrument)
        asset, exchange = self.places[instrument]
        return peek_price(self.shared, asset, exchange, beast_moment_now().now_ns if now_ns is None else now_ns)

    cdef beast_link *link_of(self, link) except NULL:
        return beast_table_link(self.shared.prices, <uint32_t>between("link", link, 0, BEAST_LINKS_MAX - 1))

    def link_up(self, link: int, int64_t patience_ns, int64_t now_ns) -> int:
        return beast_link_up(self.link_of(link), patience_ns, now_ns)

    def link_proven(self, link: int, int64_t now_ns) -> None:
        beast_link_proven(self.link_of(link), now_ns)

    def link_down(self, link: int) -> None:
        beast_link_down(self.link_of(link))

    def link_doubt(self, link: int) -> int:
        return beast_link_doubt(self.link_of(link))

    def link_state(self, link: int):
        cdef beast_link_state state = beast_link_read(self.link_of(link))
        return bool(state.up), state.epoch, state.proven_ns

    # keys

    def put_key(self, digest, key_id, *, per_second, burst, partner=False, allowance=None, **more) -> None:
        """Adds a key, or changes its limits. `digest` is the SHA-256 of the key's text; no allowance: no cap."""
        put_key_rows(self.shared, key_record(digest, key_id, per_second, burst, partner, allowance, **more))

    def put_keys(self, bytes records) -> int:
        return put_key_rows(self.shared, records)

    def drop_key(self, bytes digest) -> bool:
        """False when it was not there."""
        if len(digest) != 32:
            raise ValueError("digest must be the 32 bytes of a SHA-256")
        status = beast_key_drop(self.shared.keys, <const uint8_t *>PyBytes_AsString(digest), &self.shared.readers)
        if status == BEAST_NOT_FOUND:
            return False
        check(status, "drop_key")
        return True

    @property
    def key_count(self) -> int:
        return beast_key_count(self.shared.keys)

    # one request, through the workers' own code

    cdef beast_moment moment(self, now_ns, wall_ns) except *:
        cdef beast_moment moment = beast_moment_now()
        if now_ns is not None:
            moment.now_ns = now_ns
        if wall_ns is not None:
            moment.wall_ns = wall_ns
        return moment

    def ask(self, bytes datagram, *, now_ns=None, wall_ns=None, source=("127.0.0.1", 9)):
        cdef beast_moment moment = self.moment(now_ns, wall_ns)
        cdef beast_address address = address_of(source[0], <int>between("source port", source[1], 0, UINT16_MAX))
        cdef uint32_t lens[BEAST_ASSETS_MAX]
        cdef uint8_t out[BEAST_ASSETS_MAX * BEAST_ANSWER_MAX]
        cdef uint32_t at = 0, i, n
        n = beast_engine_ask(self._engine, <const uint8_t *>PyBytes_AsString(datagram), len(datagram),
                             beast_address_of(&address), &moment, out, sizeof(out), lens, BEAST_ASSETS_MAX)
        answers = []
        for i in range(n):
            answers.append(PyBytes_FromStringAndSize(<const char *>out + at, lens[i]))
            at += lens[i]
        return answers

    def query(
        self, key, assets, *, many, exchange=None, max_age_ms=None, allow_stale=False, turn=0, peer=None, now_ns=None,
        wall_ns=None, Bill bill=None,
    ):
        """(HTTP status, JSON body, header lines) for the ASGI side."""
        cdef beast_address address
        if key is not None and not isinstance(key, bytes):
            raise TypeError(f"key must be bytes or None, not {type(key).__name__}")
        if peer is not None:
            address = address_of(peer, 0)
        return ask_query(self._engine, key, list(assets), bool(many), exchange, max_age_ms, bool(allow_stale),
                         <beast_query_turn><int>between("turn", turn, 0, 2),
                         NULL if peer is None else beast_address_of(&address), self.moment(now_ns, wall_ns), bill_of(self, bill))

    # what comes out

    def fileno(self) -> int:
        return self.shared.wake_fd

    def take_connection(self):
        cdef beast_handover taken
        cdef beast_lane *lane
        for i in range(beast_engine_lanes(self._engine)):
            lane = beast_engine_lane(self._engine, i)
            if lane.handovers is not NULL and beast_handover_take(lane.handovers, &taken):
                try:
                    return taken.fd, PyBytes_FromStringAndSize(<const char *>taken.bytes, taken.len)
                finally:
                    free(taken.bytes)
        return None

    def take_miss(self):
        cdef Miss miss = Miss.__new__(Miss)
        cdef beast_lane *lane
        for i in range(beast_engine_lanes(self._engine)):
            lane = beast_engine_lane(self._engine, i)
            if lane.misses is not NULL and beast_miss_take(lane.misses, &miss.miss):
                return miss
        return None

    def resume(self, Miss miss not None) -> None:
        cdef beast_moment moment = beast_moment_now()
        check(beast_engine_resume(self._engine, &miss.miss, &moment), "resume")

    def drain_usage(self):
        """(packed records of 48 bytes, (api key id, answers) summed); both empty when there are none."""
        cdef uint32_t i, n = 0, pairs, lanes = beast_engine_lanes(self._engine)
        cdef beast_usage *records = <beast_usage *>self.drained
        cdef uint64_t *counts = self.folded + DRAIN_RECORDS
        with nogil:
            for i in range(lanes):
                n += beast_usage_take(beast_engine_lane(self._engine, (self.next_lane + i) % lanes).usage,
                                      <beast_usage *>(self.drained + n * USAGE_BYTES), DRAIN_RECORDS - n)
            pairs = beast_usage_fold(records, n, self.folded, counts)
            tally(records, n, self.answers)
        self.next_lane = (self.next_lane + 1) % lanes  # a busy lane must not hide the others
        summed = [(self.folded[i], counts[i]) for i in range(pairs)]
        return PyBytes_FromStringAndSize(<const char *>self.drained, n * USAGE_BYTES), summed

    def usage_fileno(self) -> int:
        return self.shared.usage_fd

    def counters(self):
        cdef uint64_t total[<int>BEAST_COUNTER_COUNT]
        memset(total, 0, sizeof(total))
        for i in range(beast_engine_lanes(self._engine)):
            beast_counters_add(&beast_engine_lane(self._engine, i).counters, total)
        return {name: total[i] for i, name in enumerate(COUNTERS)}

    def histograms(self):
        cdef uint64_t total[<int>BEAST_HISTOGRAM_BUCKETS]
        cdef uint32_t lane
        found = {}
        for protocol, name in enumerate(_HISTOGRAMS):
            memset(total, 0, sizeof(total))
            for lane in range(beast_engine_lanes(self._engine)):
                if beast_engine_lane(self._engine, lane).protocol == protocol:
                    beast_histogram_sum(&beast_engine_lane(self._engine, lane).latency, total)
            found[name] = filled_buckets(total)
        memset(total, 0, sizeof(total))
        beast_histogram_sum(&self.own.parked, total)
        found["parked"] = filled_buckets(total)
        return found

    def count(self, str name, n=1) -> None:
        if name not in _COUNTER_NUMBER:
            raise ValueError(f"there is no counter {name!r}")
        beast_count(&self.own.counters, <beast_counter><int>_COUNTER_NUMBER[name],
                    <uint64_t>between("n", n, 0, INT64_MAX))
