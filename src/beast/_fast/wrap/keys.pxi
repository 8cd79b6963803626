# API keys on their way in, one or many.

cdef packed struct key_row:
    uint8_t digest[32]
    uint64_t key_id
    uint64_t quota_id
    uint32_t per_second
    uint32_t burst
    uint32_t flags
    uint32_t lease
    int64_t cap
    int64_t used
    uint32_t month
    uint32_t unused

_KEY_ROW = Struct("=32sQQIIIIqqI4x")


def key_record(
    digest: bytes, key_id: int, per_second: int, burst: int, partner: bool, allowance: int | None, *,
    used=0, quota_id=None, lease=0, month=0, priced=True, restricted=False,
) -> bytes:
    """One key packed for Engine.put_keys()."""
    if not isinstance(digest, bytes) or len(digest) != 32:
        raise ValueError("digest must be the 32 bytes of a SHA-256")
    between("key_id", key_id, 0, INT64_MAX)
    between("per_second", per_second, 0, 1_000_000_000)
    between("burst", burst, 1 if per_second else 0, UINT32_MAX)
    between("used", used, 0, INT64_MAX)
    between("lease", lease, 0, BEAST_LEASE_MAX)
    between("month", month, 0, UINT16_MAX)
    quota_id = key_id if quota_id is None else between("quota_id", quota_id, 0, INT64_MAX)
    cap = INT64_MAX
    if allowance is not None:
        cap = min(INT64_MAX, between("allowance", allowance, 0, INT64_MAX) + used)
    flags = (
        (BEAST_KEY_PARTNER if partner else 0) | (0 if priced else BEAST_KEY_NO_PRICE)
        | (BEAST_KEY_NETWORKS if restricted else 0)
    )
    return _KEY_ROW.pack(digest, key_id, quota_id, per_second, burst, flags, lease, cap, used, month)


cdef Py_ssize_t put_key_rows(beast_shared *shared, bytes records) except -1:
    """Stops at the first key that finds no room; those before it are in."""
    cdef const char *at = PyBytes_AsString(records)
    cdef Py_ssize_t i, n = len(records) // <Py_ssize_t>sizeof(key_row)
    cdef key_row row
    cdef beast_key_limits limits
    cdef beast_status status = BEAST_OK
    if len(records) % <Py_ssize_t>sizeof(key_row):
        raise ValueError(f"records must be whole key records of {sizeof(key_row)} bytes, not {len(records)} bytes")
    with nogil:
        for i in range(n):
            memcpy(&row, at + i * <Py_ssize_t>sizeof(key_row), sizeof(key_row))
            limits.id, limits.quota_id = row.key_id, row.quota_id
            limits.per_second, limits.burst = row.per_second, row.burst
            limits.flags, limits.lease, limits.month = row.flags, row.lease, row.month
            limits.cap, limits.used = row.cap, row.used
            status = beast_key_set(shared.keys, row.digest, &limits, &shared.readers)
            if status != BEAST_OK:
                break
    check(status, f"key {row.key_id if n else 0}")
    return n


cdef uint32_t fill_networks(networks, beast_source_network *out, uint32_t most) except? 0xFFFFFFFF:
    """Writes networks (texts, or what ip_network() takes) as IPv6; returns how many."""
    cdef uint32_t n = 0
    networks = [ip_network(network) for network in networks]
    if len(networks) > most:
        raise ValueError(f"at most {most} networks can be named, not {len(networks)}")
    for network in networks:
        packed = network.network_address.packed
        if network.version == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        memcpy(out[n].address, PyBytes_AsString(packed), 16)
        out[n].bits = <uint8_t>(network.prefixlen + (96 if network.version == 4 else 0))
        n += 1
    return n
