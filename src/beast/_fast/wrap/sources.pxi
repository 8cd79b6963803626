# Networks whose sources are never limited, on their way in.

cdef int except_sources(beast_source_limit *limit, networks) except -1:
    """Replaces those before."""
    cdef beast_source_network known[BEAST_SOURCE_NETWORKS_MAX]
    cdef uint32_t n = fill_networks(networks, known, BEAST_SOURCE_NETWORKS_MAX)
    check(beast_source_limit_except(limit, known, n), "set_source_exceptions")
    return 0
