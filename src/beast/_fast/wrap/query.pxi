# A request of the ASGI side, from Python values to the request that the workers know.

cdef int64_t _MAX_AGE_LIMIT = (1 << 53) - 1


@cython.final
cdef class Bill:
    """What one answer of Engine.query() costs, until it is on its way. Main thread only."""

    cdef object engine
    cdef beast_engine *_engine
    cdef beast_usage record
    cdef int64_t received_ns
    cdef readonly bint due

    def __cinit__(self):
        self.received_ns = beast_moment_now().now_ns

    def pay(self) -> None:
        if self.due:
            self.due = False
            beast_engine_pay(self._engine, &self.record, self.received_ns)

    def deliver(self, int fd, bytes answer) -> int:
        if not self.due:
            raise ValueError("nothing is due")
        between("answer", len(answer), 1, UINT32_MAX)
        cdef ssize_t taken = beast_engine_deliver(self._engine, &self.record, self.received_ns, fd,
                                                  <uint8_t *>PyBytes_AsString(answer), <uint32_t>len(answer))
        if taken == len(answer):
            self.due = False
        return taken

    def drop(self) -> None:
        if self.due:
            self.due = False
            beast_engine_forgive(self._engine, &self.record)


cdef Bill bill_of(engine, Bill bill):
    """It keeps the engine for as long as it may be paid."""
    if bill is not None:
        if bill.due:
            raise ValueError("a bill is for one answer")
        bill.engine = engine
    return bill


cdef beast_fault name_fault(text, beast_fault empty):
    if not isinstance(text, str) or not text:
        return empty
    try:
        text.encode()
    except UnicodeEncodeError:
        return BEAST_FAULT_UTF8
    return BEAST_FAULT_NONE


cdef beast_fault query_fault(list assets, bint many, exchange, max_age_ms):
    """The first thing wrong, in the order of docs/protocol.md's table of members."""
    cdef beast_fault empty = BEAST_FAULT_ASSETS if many else BEAST_FAULT_ASSET
    cdef beast_fault fault
    if many and not 1 <= len(assets) <= BEAST_ASSETS_MAX:
        return BEAST_FAULT_ASSETS
    if not many and len(assets) != 1:
        return BEAST_FAULT_NO_ASSET
    for asset in assets:
        fault = name_fault(asset, empty)
        if fault != BEAST_FAULT_NONE:
            return fault
    if exchange is not None:
        fault = name_fault(exchange, BEAST_FAULT_EXCHANGE)
        if fault != BEAST_FAULT_NONE:
            return fault
    if max_age_ms is not None and not (type(max_age_ms) is int and 0 <= max_age_ms <= _MAX_AGE_LIMIT):
        return BEAST_FAULT_MAX_AGE
    return BEAST_FAULT_NONE


cdef list quoted(list assets):
    """(text, text as it stands in JSON) of each asset once, in the order asked."""
    cdef dict once = {}
    for asset in assets:
        text = asset.encode()
        if text.upper() not in once:
            once[text.upper()] = (text, json.dumps(asset, ensure_ascii=False)[1:-1].encode())
    return list(once.values())


cdef tuple ask_query(beast_engine *engine, key, list assets, bint many, exchange, max_age_ms, bint allow_stale,
                     beast_query_turn turn, const sockaddr *peer, beast_moment moment, Bill bill):
    cdef beast_request req
    cdef beast_reply reply
    cdef beast_month month = beast_month_of(moment.wall_ns // 1_000_000_000)
    cdef uint8_t lines[BEAST_LIMIT_LINES_MAX]
    cdef uint8_t *out
    cdef beast_name *name
    cdef Py_ssize_t i, room = BEAST_BODY_MAX
    cdef list names = []
    memset(&req, 0, sizeof(req))
    req.many = many
    req.allow_stale = allow_stale
    req.max_age_ms = -1
    req.fault = query_fault(assets, many, exchange, max_age_ms)
    if key is not None:
        req.api_key.ptr = <const uint8_t *>PyBytes_AsString(key)
        req.api_key.len = <uint32_t>len(key)
    if req.fault == BEAST_FAULT_NONE:
        names = quoted(assets)
        req.n_assets = <uint8_t>len(names)
        if max_age_ms is not None:
            req.max_age_ms = max_age_ms
        if exchange is not None:
            req.has_exchange = True
            fold(&req.exchange, exchange.encode(), False)
    for i, (text, raw) in enumerate(names):
        name = &req.assets[i]
        fold(name, text, True)
        name.raw.ptr = <const uint8_t *>PyBytes_AsString(raw)
        name.raw.len = <uint32_t>len(raw)
        name.escaped = b"\\" in raw
        room += len(raw)
    out = <uint8_t *>PyMem_Malloc(room)
    if out is NULL:
        raise MemoryError("query: out of memory")
    try:
        beast_engine_query(engine, &req, turn, peer, &moment, out, &reply, NULL if bill is None else &bill.record)
        body = PyBytes_FromStringAndSize(<const char *>out, reply.len)
    finally:
        PyMem_Free(out)
    if reply.missed:
        return 0, b"", b""
    if bill is not None:
        bill.due = reply.recorded
        bill._engine = engine
    length = beast_limit_lines(beast_engine_shared(engine), &reply, &moment, &month, lines)
    return beast_result_describe(reply.result).http, body, PyBytes_FromStringAndSize(<const char *>lines, length)
