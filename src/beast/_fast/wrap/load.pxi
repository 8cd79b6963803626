# The load client: the other side of the wire.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, malloc

cdef extern from "<stdatomic.h>" nogil:
    ctypedef bint atomic_bool

cdef extern from "load_client.h" nogil:
    enum:
        BEAST_LOAD_BUCKETS
        BEAST_LOAD_WINDOW_MAX
        BEAST_LOAD_FAULT_COUNT
        BEAST_LOAD_FAULT_NONE
    ctypedef enum beast_load_fault:
        pass
    ctypedef enum beast_load_check:
        pass
    ctypedef enum beast_load_protocol:
        pass
    ctypedef struct beast_load_config:
        beast_load_protocol protocol
        beast_load_check check
        uint32_t sockets, in_flight, rate, burst, nap_us
        bint interleaved
        int64_t duration_ns, timeout_ns, max_age_ms
        const beast_slice *keys
        const beast_slice *assets
        uint32_t n_keys, n_assets
        beast_slice exchange
        beast_address peer
    ctypedef struct beast_load_report:
        uint64_t sent, answered, lost, reconnects, unsent
        uint64_t wrong[BEAST_LOAD_FAULT_COUNT]
        uint64_t refused[BEAST_RESULT_COUNT]
        int64_t elapsed_ns, worst_ns
        uint64_t latency[BEAST_LOAD_BUCKETS]
        uint32_t sample_len
        uint8_t *sample
    beast_status beast_load_run(const beast_load_config *config, const atomic_bool *stop, beast_load_report *report)
    bint beast_load_can_segment()
    uint64_t beast_load_bucket_ns(uint32_t bucket)
    const char *beast_load_fault_name(beast_load_fault fault)
    const char *beast_load_fault_message(beast_load_fault fault)

LOAD_WINDOW_MAX = <int>BEAST_LOAD_WINDOW_MAX
LOAD_BUCKETS_NS = tuple([beast_load_bucket_ns(i) for i in range(<int>BEAST_LOAD_BUCKETS)])
LOAD_FAULTS = tuple([
    (beast_load_fault_name(<beast_load_fault>i).decode(), beast_load_fault_message(<beast_load_fault>i).decode())
    for i in range(<int>BEAST_LOAD_FAULT_COUNT)
])
_LOAD_PROTOCOLS = ("udp", "udp-segment", "http")
_LOAD_CHECKS = ("none", "id", "all")
# What needs no escape, neither in JSON nor in a URL.
_LOAD_NAME = re.compile(rb"[A-Za-z0-9!$'()*,./:;@_~-]+")


def udp_segment() -> bool:
    """Whether this kernel has UDP_SEGMENT and UDP_GRO."""
    return beast_load_can_segment()


cdef beast_slice *load_names(str what, list names) except NULL:
    """Slices into `names`, which must outlive them."""
    cdef beast_slice *slices = <beast_slice *>malloc((len(names) + 1) * sizeof(beast_slice))
    cdef uint32_t i = 0
    cdef bytes name
    if slices is NULL:
        raise MemoryError
    for name in names:
        if _LOAD_NAME.fullmatch(name) is None:
            free(slices)
            raise ValueError(f"{what} {name!r} can't be sent: it needs an escape or is empty")
        slices[i].ptr = <const uint8_t *><const char *>name
        slices[i].len = <uint32_t>len(name)
        i += 1
    return slices


cdef class Load:
    """One run of the load client; _core.pyi says what the arguments mean."""

    cdef beast_load_config _config
    cdef beast_load_report *_report
    cdef beast_slice *_keys
    cdef beast_slice *_assets
    cdef atomic_bool _stop
    cdef bint _ran
    cdef tuple _names

    def __cinit__(self, *, str protocol, str host, port, keys, assets, sockets, duration_ns, in_flight=0, rate=0, burst=1, nap_us=0,
                  timeout_ns=1_000_000_000, str check="all", max_age_ms=None, bytes exchange=b"", interleaved=False):
        cdef beast_load_config *c = &self._config
        memset(c, 0, sizeof(beast_load_config))
        c.peer = address_of(host, <int>between("port", port, 1, UINT16_MAX))
        c.protocol = <beast_load_protocol><int>_number_of(protocol, _LOAD_PROTOCOLS, "protocol")
        c.check = <beast_load_check><int>_number_of(check, _LOAD_CHECKS, "check")
        c.sockets = <uint32_t>between("sockets", sockets, 1, 1_000_000)
        c.in_flight = <uint32_t>between("in_flight", in_flight, 0, c.sockets * <int64_t>BEAST_LOAD_WINDOW_MAX)
        c.rate = <uint32_t>between("rate", rate, 0, 5_000_000)
        c.burst = <uint32_t>between("burst", burst, 1, BEAST_LOAD_WINDOW_MAX)
        c.nap_us = <uint32_t>between("nap_us", nap_us, 0, 999)
        if (c.rate > 0) == (c.in_flight > 0):
            raise ValueError("give either in_flight or rate")
        if c.in_flight and c.in_flight < c.sockets:
            raise ValueError("in_flight must be at least one for each of the sockets")
        c.interleaved = bool(interleaved)
        c.duration_ns = between("duration_ns", duration_ns, 1, INT64_MAX // 4)
        c.timeout_ns = between("timeout_ns", timeout_ns, 1_000_000, 60_000_000_000)
        c.max_age_ms = -1 if max_age_ms is None else between("max_age_ms", max_age_ms, 0, INT64_MAX)
        self._names = (list(keys), list(assets), exchange)
        self._take_names()
        self._report = <beast_load_report *>calloc(1, sizeof(beast_load_report))
        if self._report is NULL:
            raise MemoryError

    cdef int _take_names(self) except -1:
        keys, assets, exchange = self._names
        if not keys or not assets:
            raise ValueError("at least one key and one asset are needed")
        self._keys = load_names("key", keys)
        self._assets = load_names("asset", assets)
        self._config.keys, self._config.n_keys = self._keys, <uint32_t>len(keys)
        self._config.assets, self._config.n_assets = self._assets, <uint32_t>len(assets)
        if exchange:
            free(load_names("exchange", [exchange]))
            self._config.exchange.ptr = <const uint8_t *>PyBytes_AsString(exchange)
            self._config.exchange.len = <uint32_t>len(exchange)
        return 0

    def __dealloc__(self):
        free(self._keys)
        free(self._assets)
        free(self._report)

    def run(self):
        """Blocks without the GIL until the time is over or another thread says stop()."""
        cdef beast_status status
        cdef int code
        if self._ran:
            check(BEAST_WRONG_STATE, "load")
        self._ran = True
        with nogil:
            status = beast_load_run(&self._config, &self._stop, self._report)
            code = errno  # taking the GIL back may change it
        check(status, "load", code)

    def stop(self):
        """Ends the run early; what is in flight is still waited for."""
        self._stop = True

    def figures(self):
        """What was counted so far; any thread, at any time."""
        cdef beast_load_report *r = self._report
        wrong = {LOAD_FAULTS[i][0]: r.wrong[i] for i in range(1, <int>BEAST_LOAD_FAULT_COUNT) if r.wrong[i]}
        refused = {RESULTS[i][1]: r.refused[i] for i in range(1, <int>BEAST_RESULT_COUNT) if r.refused[i]}
        return {
            "sent": r.sent, "answered": r.answered, "lost": r.lost, "unsent": r.unsent, "reconnects": r.reconnects,
            "wrong": wrong, "refused": refused, "elapsed_ns": r.elapsed_ns, "worst_ns": r.worst_ns,
            "latency": tuple([r.latency[i] for i in range(<int>BEAST_LOAD_BUCKETS)]),
            "sample": PyBytes_FromStringAndSize(<const char *>r.sample, r.sample_len),
        }
