# How limits are kept with other nodes: the terms, what keys have to settle, and from where they may be used.

def set_limit_terms(Engine engine not None, *, bint leasing, share=1, nodes=1, bint cluster=False, retry_ms=50) -> None:
    """How limits are kept from now on; see beast_key_terms in key_table.h."""
    cdef beast_key_terms *terms = beast_key_terms_of(engine.shared.keys)
    cdef uint32_t shared_by = <uint32_t>between("share", share, 1, 1_000_000)
    cdef uint32_t known = <uint32_t>between("nodes", nodes, 1, 1_000_000)
    beast_key_terms_set(terms, leasing, shared_by, known, cluster, ns_of_ms("retry_ms", retry_ms))


def restrict_key(Engine engine not None, bytes digest, networks) -> None:
    """The only networks from which a `restricted` key is taken."""
    cdef beast_source_network known[BEAST_KEY_NETWORKS_MAX]
    cdef uint32_t n = fill_networks(networks, known, BEAST_KEY_NETWORKS_MAX)
    if len(digest) != 32:
        raise ValueError("digest must be the 32 bytes of a SHA-256")
    check(beast_key_restrict(engine.shared.keys, <const uint8_t *>PyBytes_AsString(digest), known, n,
                             &engine.shared.readers), "key")


def unsettled_keys(Engine engine not None, most=512) -> list:
    """(record, admissions, quota id, interval in ns or 0, answers or -1, floor or -1, month) of keys touched."""
    cdef beast_key_dues dues[1024]
    cdef uint32_t i, n = 0, lanes = beast_engine_lanes(engine._engine)
    cdef uint32_t room = <uint32_t>between("most", most, 1, 1024)
    cdef list found = []
    n = beast_keys_collect(engine.shared.keys, NULL, dues, room)
    for i in range(lanes):
        n += beast_keys_collect(engine.shared.keys, beast_engine_lane(engine._engine, i).keys, dues + n, room - n)
    for i in range(n):
        found.append((dues[i].number, dues[i].admitted, dues[i].quota_id, dues[i].interval_ns, dues[i].answered,
                      dues[i].floor, dues[i].month))
    return found


cdef beast_key_dues dues_of(row) except *:
    cdef beast_key_dues dues
    dues.number, dues.admitted, dues.quota_id, dues.interval_ns, dues.answered, dues.floor, dues.month = row
    return dues


def settle_keys(Engine engine not None, keys, answers, int64_t now_ns) -> None:
    """Ends what unsettled_keys() began, with (ns that the cluster's arrival time is ahead or -1, answers of the month or -1)
    for each."""
    cdef beast_key_dues dues
    cdef int64_t ahead_ns, used
    for row, (ahead_ns, used) in zip(keys, answers, strict=True):
        dues = dues_of(row)
        beast_key_settle(engine.shared.keys, &dues, now_ns, ahead_ns, used)
