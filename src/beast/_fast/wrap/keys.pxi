# API keys on their way in, one or many.

cdef packed struct key_row:
    uint8_t digest[32]
    uint64_t key_id
    uint32_t per_second
    uint32_t burst
    uint8_t partner
    uint8_t unused[7]
    int64_t allowance

_KEY_ROW = Struct("=32sQIIB7xq")


def key_record(
    digest: bytes, key_id: int, per_second: int, burst: int, partner: bool, allowance: int | None
) -> bytes:
    """One key packed for Engine.put_keys()."""
    if not isinstance(digest, bytes) or len(digest) != 32:
        raise ValueError("digest must be the 32 bytes of a SHA-256")
    between("key_id", key_id, 0, INT64_MAX)
    between("per_second", per_second, 0, 1_000_000_000)
    between("burst", burst, 1 if per_second else 0, UINT32_MAX)
    if allowance is None:
        allowance = INT64_MAX
    between("allowance", allowance, 0, INT64_MAX)
    return _KEY_ROW.pack(digest, key_id, per_second, burst, bool(partner), allowance)


cdef Py_ssize_t put_key_rows(beast_shared *shared, bytes records) except -1:
    """Stops at the first key that finds no room; those before it are in."""
    cdef const char *at = PyBytes_AsString(records)
    cdef Py_ssize_t i, n = len(records) // <Py_ssize_t>sizeof(key_row)
    cdef key_row row
    cdef beast_status status = BEAST_OK
    if len(records) % <Py_ssize_t>sizeof(key_row):
        raise ValueError(f"records must be whole key records of {sizeof(key_row)} bytes, not {len(records)} bytes")
    with nogil:
        for i in range(n):
            memcpy(&row, at + i * <Py_ssize_t>sizeof(key_row), sizeof(key_row))
            status = beast_key_put(shared.keys, row.digest, row.key_id, row.per_second, row.burst, row.partner != 0,
                                   row.allowance, &shared.readers)
            if status != BEAST_OK:
                break
    check(status, f"key {row.key_id if n else 0}")
    return n
