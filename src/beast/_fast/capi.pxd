"""The C of the hot path, as far as the wrapper needs it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "sizes.h" nogil:
    enum:
        BEAST_BATCH
        BEAST_DATAGRAM_MAX
        BEAST_ANSWER_MAX
        BEAST_ASSETS_MAX
        BEAST_ASSET_MAX
        BEAST_EXCHANGE_MAX
        BEAST_EXCHANGES_MAX
        BEAST_CURRENCY_MAX
        BEAST_PRICE_MAX
        BEAST_NODE_MAX
        BEAST_LINKS_MAX

cdef extern from "status.h" nogil:
    ctypedef enum beast_status:
        BEAST_OK
        BEAST_NO_MEMORY
        BEAST_BAD_ARGUMENT
        BEAST_FULL
        BEAST_NOT_FOUND
        BEAST_SYSTEM
        BEAST_WRONG_STATE
        BEAST_TIMED_OUT
    ctypedef enum beast_result:
        BEAST_RESULT_ANSWERED
        BEAST_RESULT_COUNT
    ctypedef enum beast_fault:
        BEAST_FAULT_NONE
        BEAST_FAULT_UTF8
        BEAST_FAULT_ASSET
        BEAST_FAULT_ASSETS
        BEAST_FAULT_EXCHANGE
        BEAST_FAULT_MAX_AGE
        BEAST_FAULT_NO_ASSET
        BEAST_FAULT_COUNT

cdef extern from "counters.h" nogil:
    ctypedef enum beast_counter:
        BEAST_COUNTER_COUNT
        BEAST_COUNTER_udp_answered
    ctypedef struct beast_counters:
        pass
    const char *beast_counter_name(beast_counter which)
    void beast_count(beast_counters *block, beast_counter which, uint64_t n)
    void beast_counters_add(const beast_counters *block, uint64_t *sum)

cdef extern from "request.h" nogil:
    ctypedef struct beast_slice:
        const uint8_t *ptr
        uint32_t len
    ctypedef struct beast_name:
        uint32_t len
        bint escaped
        beast_slice raw
    ctypedef struct beast_request:
        beast_fault fault
        uint8_t n_assets
        bint many
        bint allow_stale
        bint has_exchange
        int64_t max_age_ms
        beast_slice api_key
        beast_name exchange
        beast_name *assets
    void beast_request_clear(beast_request *req)
    void beast_name_fold(beast_name *name, const uint8_t *text, uint32_t len, bint upper)

cdef extern from "price_table.h" nogil:
    enum:
        BEAST_SLOT_TEXT
        BEAST_DOUBTED
    ctypedef enum beast_state:
        BEAST_STATE_LIVE
        BEAST_STATE_QUIET
        BEAST_STATE_STALE
    ctypedef struct beast_price:
        uint8_t text_len
        int64_t received_ns
        uint32_t epoch
        uint16_t link
        uint8_t tier
        uint8_t price_at
        uint8_t price_len
        uint8_t timestamp_at
        uint8_t timestamp_len
    ctypedef struct beast_slot
    ctypedef struct beast_layout
    ctypedef struct beast_price_table
    ctypedef struct beast_link
    ctypedef struct beast_readers:
        pass
    ctypedef struct beast_instrument:
        uint32_t id
        const char *asset
        const char *exchange
        const char *currency
        int32_t priority
        uint16_t link
        int32_t band_bps
        uint32_t weight
    ctypedef struct beast_price_rules:
        int64_t ttl_ns
        int64_t linkless_ns
        double band
        uint32_t confirmations
        uint32_t quorum
        double outlier
    enum:
        BEAST_SWEEP_NS
    void beast_price_sweep(beast_price_table *table, int64_t now_ns)
    void beast_price_judge(beast_price_table *table, const beast_price_rules *rules)
    void beast_price_table_swap(beast_price_table *table, beast_layout *layout, const beast_instrument *list,
                                uint32_t n, const beast_readers *readers)
    enum:
        BEAST_VIA_REST
    beast_status beast_price_publish(beast_price_table *table, uint32_t id, const uint8_t *price, uint32_t price_len,
                                     int64_t time_ns, int64_t received_ns, int64_t fresh_ns, uint32_t epoch,
                                     uint8_t tier)
    void beast_price_forget(beast_price_table *table, uint32_t id)
    void beast_price_doubt(beast_price_table *table, uint32_t id)
    const beast_layout *beast_layout_now(const beast_price_table *table)
    uint64_t beast_name_hash(const beast_name *name)
    uint32_t beast_layout_exchange(const beast_layout *layout, const beast_name *exchange)
    uint64_t beast_place_hash(uint64_t hash, uint32_t exchange)
    const beast_slot *beast_layout_find(const beast_layout *layout, uint32_t exchange, const beast_name *asset,
                                        uint64_t place_hash, uint32_t *count)
    const beast_slot *beast_price_slot(const beast_price_table *table, uint32_t id)
    bint beast_slot_read(const beast_slot *slot, beast_price *out)
    bint beast_slot_copy(const beast_slot *slot, beast_price *out, uint8_t *text)
    beast_link *beast_table_link(beast_price_table *table, uint32_t link)
    ctypedef struct beast_freshness:
        pass
    beast_state beast_price_state(const beast_price *price, const beast_link *link, int64_t now_ns,
                                  const beast_freshness *freshness)

cdef extern from "consensus.h" nogil:
    enum:
        BEAST_VOTES_MAX
    ctypedef enum beast_standing:
        BEAST_STANDING_LIVE
    ctypedef struct beast_vote:
        double price
        uint32_t weight
        beast_standing standing
    ctypedef struct beast_consensus:
        uint32_t chosen
        uint32_t used
        double spread
    beast_consensus beast_consensus_find(beast_vote *votes, uint32_t n, double outlier)

cdef extern from "feed_link.h" nogil:
    ctypedef struct beast_link_state:
        bint up
        uint32_t epoch
        int64_t proven_ns
    uint32_t beast_link_up(beast_link *link, int64_t patience_ns, int64_t now_ns)
    void beast_link_proven(beast_link *link, int64_t now_ns)
    void beast_link_down(beast_link *link)
    uint32_t beast_link_doubt(beast_link *link)
    beast_link_state beast_link_read(const beast_link *link)
    ctypedef struct beast_link_proof:
        uint32_t first
        int64_t left_ns
    beast_link_proof beast_link_prove(const beast_link *link, int64_t now_ns)

cdef extern from "price_layout.h" nogil:
    beast_layout *beast_layout_build(const beast_instrument *list, uint32_t n, uint32_t max_instruments)
    void beast_layout_free(beast_layout *layout)

cdef extern from "sockets.h" nogil:
    ctypedef struct sockaddr "struct sockaddr":
        pass
    ctypedef struct beast_address:
        pass
    const sockaddr *beast_address_of(const beast_address *address)
    beast_status beast_address_parse(const char *host, uint16_t port, beast_address *out)

cdef extern from "source_limit.h" nogil:
    ctypedef struct beast_source_limit
    enum:
        BEAST_SOURCE_NETWORKS_MAX
    ctypedef struct beast_source_network:
        uint8_t *address
        uint8_t bits
    void beast_source_limit_set(beast_source_limit *limit, uint32_t per_second)
    void beast_source_limit_set_dry_run(beast_source_limit *limit, bint dry_run)
    beast_status beast_source_limit_except(beast_source_limit *limit, const beast_source_network *list, uint32_t n)

cdef extern from "key_table.h" nogil:
    ctypedef struct beast_key
    ctypedef struct beast_key_table
    ctypedef struct beast_key_cache
    ctypedef struct beast_key_terms
    enum:
        BEAST_KEY_PARTNER
        BEAST_KEY_NO_PRICE
        BEAST_KEY_NETWORKS
        BEAST_KEY_NETWORKS_MAX
        BEAST_LEASE_MAX
    ctypedef struct beast_key_limits:
        uint64_t id
        uint64_t quota_id
        uint32_t per_second
        uint32_t burst
        uint32_t flags
        uint32_t lease
        uint32_t month
        int64_t cap
        int64_t used
    beast_status beast_key_set(beast_key_table *table, const uint8_t *digest, const beast_key_limits *limits,
                               const beast_readers *readers)
    beast_status beast_key_restrict(beast_key_table *table, const uint8_t *digest, const beast_source_network *list,
                                    uint32_t n, const beast_readers *readers)
    beast_status beast_key_drop(beast_key_table *table, const uint8_t *digest, const beast_readers *readers)
    uint32_t beast_key_count(const beast_key_table *table)
    bint beast_key_opens(const beast_key_table *table, const uint8_t *digest, const sockaddr *peer)
    beast_key_terms *beast_key_terms_of(beast_key_table *table)
    void beast_key_terms_set(beast_key_terms *terms, bint leasing, uint32_t share, uint32_t nodes, bint cluster,
                             int64_t retry_ns)

cdef extern from "key_settle.h" nogil:
    ctypedef struct beast_key_dues:
        uint32_t number
        uint32_t admitted
        uint64_t quota_id
        int64_t interval_ns
        int64_t answered
        int64_t floor
        uint32_t month
    uint32_t beast_keys_collect(beast_key_table *table, beast_key_cache *cache, beast_key_dues *out, uint32_t max)
    void beast_key_settle(beast_key_table *table, const beast_key_dues *dues, int64_t now_ns, int64_t ahead_ns,
                          int64_t used)

cdef extern from "usage_record.h" nogil:
    ctypedef struct beast_usage:
        uint64_t sequence
        uint32_t instrument
        uint8_t lane

cdef extern from "usage_file.h" nogil:
    ctypedef struct beast_usage_found:
        int64_t boot
        uint32_t lane
        uint32_t n
        beast_usage *records
    beast_status beast_usage_recover(const char *path, beast_usage_found *found)

cdef extern from "usage_ring.h" nogil:
    ctypedef struct beast_usage_ring
    uint32_t beast_usage_read(beast_usage_ring *ring, beast_usage *out, uint32_t max)
    void beast_usage_release(beast_usage_ring *ring, uint32_t n)
    void beast_usage_ring_abandon(beast_usage_ring *ring)
    uint32_t beast_usage_held(const beast_usage_ring *ring)
    uint32_t beast_usage_take(beast_usage_ring *ring, beast_usage *out, uint32_t max)

cdef extern from "usage_codec.h" nogil:
    enum:
        BEAST_USAGE_RUN_MAX
    size_t beast_usage_encode_max(uint32_t n)
    beast_status beast_usage_encode(const beast_usage *records, uint32_t n, uint8_t *out, size_t *len)
    beast_status beast_usage_decode_count(const uint8_t *data, size_t len, uint32_t *n)
    beast_status beast_usage_decode(const uint8_t *data, size_t len, beast_usage *out, uint32_t n)
    uint32_t beast_usage_run(const beast_usage *records, uint32_t n)

cdef extern from "usage_copy.h" nogil:
    enum:
        BEAST_COPY_NAME_MAX
    ctypedef struct beast_copy_name:
        const uint8_t *asset
        const uint8_t *exchange
        uint8_t asset_len
        uint8_t exchange_len
    ctypedef struct beast_copy:
        const uint8_t *node
        uint32_t node_len
        int64_t boot
        const beast_copy_name *names
        uint32_t n_names
    beast_status beast_copy_measure(const beast_copy *copy, const beast_usage *records, uint32_t n, size_t *len,
                                    uint32_t *which)
    void beast_copy_rows(const beast_copy *copy, const beast_usage *records, uint32_t n, uint8_t *out)

cdef extern from "usage_sum.h" nogil:
    ctypedef struct beast_usage_sum:
        uint64_t key_id
        int64_t hour
        uint64_t answers
        int64_t last_ns
    uint32_t beast_usage_fold(const beast_usage *records, uint32_t n, uint64_t *key_ids, uint64_t *counts)
    uint32_t beast_usage_sum_up(const beast_usage *records, uint32_t n, beast_usage_sum *sums, uint32_t places)

cdef extern from "miss_ring.h" nogil:
    ctypedef struct beast_miss_ring
    ctypedef struct beast_miss:
        int64_t deadline_ns
        uint16_t len
        uint8_t *datagram
    bint beast_miss_take(beast_miss_ring *ring, beast_miss *out)

cdef extern from "handover.h" nogil:
    ctypedef struct beast_handover_ring
    ctypedef struct beast_handover:
        int fd
        uint32_t len
        uint8_t *bytes
    bint beast_handover_take(beast_handover_ring *ring, beast_handover *out)

cdef extern from "histogram.h" nogil:
    enum:
        BEAST_HISTOGRAM_BUCKETS
    ctypedef struct beast_histogram:
        pass
    void beast_histogram_sum(const beast_histogram *histogram, uint64_t *sum)
    int64_t beast_histogram_bucket_ns(uint32_t bucket)

cdef extern from "ingest.h" nogil:
    ctypedef struct beast_ingests:
        pass
    void beast_ingests_sweep(const beast_ingests *all, int64_t now_ns)

cdef extern from "lane.h" nogil:
    ctypedef struct beast_shared:
        beast_price_table *prices
        beast_key_table *keys
        beast_source_limit *sources
        beast_readers readers
        int wake_fd
        int usage_fd
    ctypedef struct beast_lane:
        beast_key_cache *keys
        beast_usage_ring *usage
        beast_miss_ring *misses
        beast_handover_ring *handovers
        beast_counters counters
        beast_histogram latency
        beast_histogram parked
        uint8_t protocol
    beast_freshness beast_shared_freshness(const beast_shared *shared)
    void beast_shared_set_ttl(beast_shared *shared, int64_t ttl_ns)
    void beast_shared_set_linkless(beast_shared *shared, int64_t linkless_ns)
    void beast_shared_set_parking(beast_shared *shared, bint park_misses, int64_t park_ns)

cdef extern from "answer.h" nogil:
    enum:
        BEAST_BODY_MAX
        BEAST_SINGLE_MAX
    ctypedef struct beast_moment:
        int64_t now_ns
        int64_t wall_ns
    ctypedef struct beast_reply:
        beast_result result
        bint missed
        bint recorded
        uint32_t len
    ctypedef struct beast_result_info:
        const char *name
        const char *code
        int http
        const char *message
    const beast_result_info *beast_result_describe(beast_result result)
    const char *beast_fault_name(beast_fault fault)
    const char *beast_fault_message(beast_fault fault)
    uint32_t beast_answer_watched(beast_lane *lane, const beast_request *req, const beast_moment *moment, uint8_t *out)

cdef extern from "limit_text.h" nogil:
    enum:
        BEAST_LIMIT_LINES_MAX
    ctypedef struct beast_month:
        int64_t end
    beast_month beast_month_of(int64_t second)
    uint32_t beast_limit_lines(const beast_shared *shared, const beast_reply *reply, const beast_moment *moment,
                               const beast_month *month, uint8_t *out)

cdef extern from "worker.h" nogil:
    beast_moment beast_moment_now()

cdef extern from "udp_io.h" nogil:
    ctypedef struct beast_udp_features:
        uint32_t buffer
        bint gro
        bint segment

cdef extern from "engine.h" nogil:
    enum:
        BEAST_ENGINE_WORKERS_MAX
        BEAST_SPIN_MAX_NS
    ctypedef struct beast_http_sources
    void beast_http_sources_set(beast_http_sources *sources, uint32_t limit)
    ctypedef struct beast_http_config:
        uint32_t max_connections
        int64_t head_ns
        int64_t idle_ns
        int64_t send_ns
    ctypedef struct beast_engine_config:
        const char *node
        uint32_t workers
        const char *host
        int udp_port
        int http_port
        uint32_t udp_buffer
        uint32_t max_keys
        uint32_t max_instruments
        uint32_t usage_ring
        uint32_t miss_ring
        const char *usage_folder
        int64_t boot
        uint32_t source_per_second
        uint32_t http_connections_per_source
        int64_t ttl_ns
        bint pin
        int64_t spin_ns
        uint32_t latency_sample
        beast_http_config http
    ctypedef struct beast_engine
    beast_engine *beast_engine_new(const beast_engine_config *config)
    void beast_engine_free(beast_engine *engine)
    beast_status beast_engine_start(beast_engine *engine, const char **where)
    beast_status beast_engine_stop(beast_engine *engine, int64_t timeout_ns)
    int beast_engine_udp_port(const beast_engine *engine)
    int beast_engine_http_port(const beast_engine *engine)
    beast_udp_features beast_engine_udp_features(const beast_engine *engine)
    bint beast_engine_running(const beast_engine *engine)
    beast_shared *beast_engine_shared(beast_engine *engine)
    beast_http_sources *beast_engine_http_sources(beast_engine *engine)
    uint32_t beast_engine_lanes(const beast_engine *engine)
    beast_lane *beast_engine_lane(beast_engine *engine, uint32_t number)
    uint32_t beast_engine_ask(beast_engine *engine, const uint8_t *datagram, size_t len, const sockaddr *peer,
                              const beast_moment *moment, uint8_t *out, size_t out_size, uint32_t *lens,
                              uint32_t max_lens)
    ctypedef enum beast_query_turn:
        BEAST_QUERY_ONCE
        BEAST_QUERY_FIRST
        BEAST_QUERY_AGAIN
    void beast_engine_query(beast_engine *engine, const beast_request *req, beast_query_turn turn, const sockaddr *peer,
                            const beast_moment *moment, uint8_t *out, beast_reply *reply,
                            beast_usage *bill)
    void beast_engine_pay(beast_engine *engine, const beast_usage *bill, int64_t received_ns)
    ssize_t beast_engine_deliver(beast_engine *engine, const beast_usage *bill, int64_t received_ns, int fd,
                                 uint8_t *bytes, uint32_t len)
    void beast_engine_forgive(beast_engine *engine, const beast_usage *bill)
    beast_status beast_engine_resume(beast_engine *engine, const beast_miss *miss, const beast_moment *moment)
