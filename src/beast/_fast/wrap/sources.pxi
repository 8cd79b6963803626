# Networks whose sources are never limited, on their way in.

cdef int except_sources(beast_source_limit *limit, networks) except -1:
    """Replaces those before."""
    cdef beast_source_network known[BEAST_SOURCE_NETWORKS_MAX]
    cdef uint32_t n = 0
    networks = [ip_network(network) for network in networks]
    if len(networks) > BEAST_SOURCE_NETWORKS_MAX:
        raise ValueError(f"at most {BEAST_SOURCE_NETWORKS_MAX} networks can be excepted, not {len(networks)}")
    for network in networks:
        packed = network.network_address.packed
        if network.version == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        memcpy(known[n].address, PyBytes_AsString(packed), 16)
        known[n].bits = <uint8_t>(network.prefixlen + (96 if network.version == 4 else 0))
        n += 1
    check(beast_source_limit_except(limit, known, n), "set_source_exceptions")
    return 0
