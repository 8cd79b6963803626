# Usage records outside of the rings: runs of them as few bytes, as rows for PostgreSQL, as sums.

USAGE_RECORD = "<qQQIIIIBBBBHBB"
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

cdef enum:
    INSTRUMENTS_END = 1 << 20  # as many as an engine can have


cdef uint32_t count_records(bytes records) except? 0:
    if len(records) % USAGE_BYTES or len(records) // USAGE_BYTES > UINT32_MAX:
        raise ValueError(f"records must be whole usage records of {USAGE_BYTES} bytes, not {len(records)} bytes")
    return <uint32_t>(len(records) // USAGE_BYTES)


cdef void *room(size_t size) except NULL:
    cdef void *memory = PyMem_Malloc(size if size else 1)
    if memory is NULL:
        raise MemoryError("usage records: out of memory")
    return memory


@cython.final
cdef class UsageRings:
    """The rings of an engine's lanes, as their one consumer sees them. Main thread only."""

    cdef Engine engine
    cdef beast_usage *records

    def __cinit__(self, Engine engine not None):
        self.engine = engine
        self.records = <beast_usage *>room(<size_t>DRAIN_RECORDS * USAGE_BYTES)

    def __dealloc__(self):
        PyMem_Free(self.records)

    def __len__(self) -> int:
        return beast_engine_lanes(self.engine._engine)

    cdef beast_usage_ring *ring(self, lane) except NULL:
        return beast_engine_lane(self.engine._engine, <uint32_t>between("lane", lane, 0, len(self) - 1)).usage

    def read(self, lane: int) -> bytes:
        cdef beast_usage_ring *ring = self.ring(lane)
        cdef uint32_t n
        with nogil:
            n = beast_usage_read(ring, self.records, DRAIN_RECORDS)
            tally(self.records, n, self.engine.answers)
        return PyBytes_FromStringAndSize(<const char *>self.records, <Py_ssize_t>n * USAGE_BYTES)

    def release(self, lane: int, records: int) -> None:
        cdef beast_usage_ring *ring = self.ring(lane)
        beast_usage_release(ring, <uint32_t>between("records", records, 0, beast_usage_held(ring)))


def abandon_rings(engine):
    """In a forked child, which may outlive its parent: the rings' locks are the parent's alone."""
    cdef Engine alive = engine()
    if alive is not None:
        for lane in range(beast_engine_lanes(alive._engine)):
            beast_usage_ring_abandon(beast_engine_lane(alive._engine, lane).usage)


def recover_usage_ring(path) -> tuple:
    cdef beast_usage_found found
    cdef beast_status status
    encoded = os.fsencode(path)
    cdef const char *name = encoded
    with nogil:
        status = beast_usage_recover(name, &found)
    if status == BEAST_SYSTEM:
        raise OSError(errno, os.strerror(errno), os.fspath(path))
    if status == BEAST_BAD_ARGUMENT:
        raise ValueError(f"{os.fspath(path)} is not a ring of usage records")
    check(status, "usage records")
    try:
        records = PyBytes_FromStringAndSize(<const char *>found.records, <Py_ssize_t>found.n * USAGE_BYTES)
        return found.boot, found.lane, records
    finally:
        free(found.records)


def encode_usage(bytes records not None) -> bytes:
    cdef uint32_t n = count_records(records)
    cdef const beast_usage *at = <const beast_usage *>PyBytes_AsString(records)
    cdef uint8_t *out
    cdef size_t size
    cdef beast_status status
    if not 1 <= n <= BEAST_USAGE_RUN_MAX:
        raise ValueError(f"a run is 1 to {BEAST_USAGE_RUN_MAX} usage records, not {n}")
    out = <uint8_t *>room(beast_usage_encode_max(n))
    try:
        with nogil:
            status = beast_usage_encode(at, n, out, &size)
        if status != BEAST_OK:
            raise ValueError("a run's usage records are of one lane and their sequences consecutive")
        return PyBytes_FromStringAndSize(<const char *>out, size)
    finally:
        PyMem_Free(out)


def decode_usage(bytes data not None) -> bytes:
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AsString(data)
    cdef size_t size = len(data)
    cdef uint32_t n
    cdef beast_usage *out
    cdef beast_status status
    if beast_usage_decode_count(at, size, &n) != BEAST_OK:
        raise ValueError("not a run of usage records, or of a version that is not known")
    records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n * USAGE_BYTES)  # nobody else knows it yet
    out = <beast_usage *>PyBytes_AsString(records)
    with nogil:
        status = beast_usage_decode(at, size, out, n)
    if status != BEAST_OK:
        raise ValueError("the run of usage records is damaged")
    return records


def usage_runs(bytes records not None) -> list:
    cdef uint32_t n = count_records(records), at = 0, run
    cdef const beast_usage *record = <const beast_usage *>PyBytes_AsString(records)
    cdef list runs = []
    while at < n:
        run = beast_usage_run(record + at, n - at)
        runs.append((record[at].lane, record[at].sequence, run))
        at += run
    return runs


def usage_instruments(bytes records not None) -> list:
    cdef uint32_t n = count_records(records), i
    cdef const beast_usage *record = <const beast_usage *>PyBytes_AsString(records)
    cdef set seen = set()
    cdef int64_t last = -1
    for i in range(n):
        if record[i].instrument != last:
            last = record[i].instrument
            seen.add(last)
    return sorted(seen)


def sum_usage(bytes records not None) -> list:
    cdef uint32_t n = count_records(records), count, i
    cdef const beast_usage *at = <const beast_usage *>PyBytes_AsString(records)
    cdef uint32_t places = n if n > UINT32_MAX // 2 else 2 * n
    cdef beast_usage_sum *sums = <beast_usage_sum *>room(places * sizeof(beast_usage_sum))
    try:
        with nogil:
            count = beast_usage_sum_up(at, n, sums, places)
        return [(sums[i].key_id, sums[i].hour, sums[i].answers, sums[i].last_ns) for i in range(count)]
    finally:
        PyMem_Free(sums)


cdef bytes copy_text(str what, text):
    """A name as PostgreSQL takes it, and its room."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
    encoded = text.encode()
    if not 1 <= len(encoded) <= BEAST_COPY_NAME_MAX or b"\0" in encoded:
        raise ValueError(f"{what} must be 1 to {BEAST_COPY_NAME_MAX} bytes without NUL, not {text!r}")
    return encoded.ljust(BEAST_COPY_NAME_MAX, b"\0")


cdef bytes copy_rows(const beast_copy *copy, bytes records, uint32_t n):
    cdef const beast_usage *at = <const beast_usage *>PyBytes_AsString(records)
    cdef uint8_t *out
    cdef size_t size
    cdef uint32_t which
    cdef beast_status status
    with nogil:
        status = beast_copy_measure(copy, at, n, &size, &which)
    if status == BEAST_NOT_FOUND:
        raise ValueError(f"instrument {at[which].instrument} of usage record {which} has no name")
    check(status, f"usage record {which}")
    rows = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)  # nobody else knows it yet
    out = <uint8_t *>PyBytes_AsString(rows)
    with nogil:
        beast_copy_rows(copy, at, n, out)
    return rows


def usage_copy_rows(bytes records not None, str node not None, boot, dict names not None) -> bytes:
    cdef uint32_t n = count_records(records)
    cdef beast_copy copy
    cdef beast_copy_name *table
    cdef list kept = [copy_text("node", node)]  # the memory that the table points into
    copy.node = <const uint8_t *>PyBytes_AsString(kept[0])
    copy.node_len = <uint32_t>len(node.encode())
    copy.boot = between("boot", boot, 0, INT64_MAX)
    copy.n_names = <uint32_t>(between("instrument", max(names), 0, INSTRUMENTS_END - 1) + 1) if names else 0
    table = <beast_copy_name *>PyMem_Calloc(copy.n_names + 1, sizeof(beast_copy_name))
    if table is NULL:
        raise MemoryError("usage records: out of memory")
    try:
        for instrument, (asset, exchange) in names.items():
            between("instrument", instrument, 0, INSTRUMENTS_END - 1)
            kept += (copy_text("asset", asset), copy_text("exchange", exchange))
            table[<uint32_t>instrument].asset = <const uint8_t *>PyBytes_AsString(kept[len(kept) - 2])
            table[<uint32_t>instrument].asset_len = <uint8_t>len(asset.encode())
            table[<uint32_t>instrument].exchange = <const uint8_t *>PyBytes_AsString(kept[len(kept) - 1])
            table[<uint32_t>instrument].exchange_len = <uint8_t>len(exchange.encode())
        copy.names = table
        return copy_rows(&copy, records, n)
    finally:
        PyMem_Free(table)
