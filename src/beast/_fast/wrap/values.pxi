# Constants out of C's lists, and checks of Python values before C sees them.

cdef tuple _results():
    cdef const beast_result_info *info
    cdef list rows = []
    for i in range(<int>BEAST_RESULT_COUNT):
        info = beast_result_describe(<beast_result>i)
        rows.append((info.name.decode(), info.code.decode(), info.http, info.message.decode()))
    return tuple(rows)


COUNTERS = tuple([beast_counter_name(<beast_counter>i).decode() for i in range(<int>BEAST_COUNTER_COUNT)])
PUBLIC_COUNTERS = <int>BEAST_COUNTER_udp_answered
RESULTS = _results()
FAULTS = tuple([
    (beast_fault_name(<beast_fault>i).decode(), beast_fault_message(<beast_fault>i).decode())
    for i in range(<int>BEAST_FAULT_COUNT)
])
cdef dict _COUNTER_NUMBER = {name: number for number, name in enumerate(COUNTERS)}


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, the clock of every received_ns."""
    return beast_moment_now().now_ns


cdef int64_t between(str name, value, int64_t low, int64_t high) except? -1:
    """`value` as an integer, if it lies within the limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")
    return <int64_t>value


cdef uint32_t power_of_two(str name, value, int64_t low, int64_t high) except? 0:
    cdef int64_t number = between(name, value, low, high)
    if number & (number - 1):
        raise ValueError(f"{name} must be a power of two, not {value}")
    return <uint32_t>number


cdef int64_t ns_of_ms(str name, value) except? -1:
    """Milliseconds, at most a year of them, in ns."""
    return between(name, value, 0, 31_536_000_000) * 1_000_000


cdef beast_address address_of(str host, int port) except *:
    cdef beast_address address
    encoded = host.encode()
    if beast_address_parse(encoded, <uint16_t>port, &address) != BEAST_OK:
        raise ValueError(f"host must be a numeric IPv4 or IPv6 address, not {host!r}")
    return address


cdef list filled_buckets(const uint64_t *counts):
    """(longest duration in ns of a bucket, how many) of those that hold any."""
    return [(beast_histogram_bucket_ns(i), counts[i]) for i in range(<uint32_t>BEAST_HISTOGRAM_BUCKETS) if counts[i]]


cdef int fill_http(beast_http_config *http, max_connections, head_ms, idle_ms, send_ms) except -1:
    http.max_connections = <uint32_t>between("http_max_connections", max_connections, 1, 1 << 20)
    http.head_ns = ns_of_ms("http_head_ms", head_ms)
    http.idle_ns = ns_of_ms("http_idle_ms", idle_ms)
    http.send_ns = ns_of_ms("http_send_ms", send_ms)
    return 0
