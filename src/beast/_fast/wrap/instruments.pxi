# The instruments on their way in, and a held price on its way out.

_ASSET = re.compile(rf"[A-Z0-9._-]{{1,{BEAST_ASSET_MAX}}}").fullmatch
_EXCHANGE = re.compile(rf"[a-z0-9_-]{{1,{BEAST_EXCHANGE_MAX}}}").fullmatch
_CURRENCY = re.compile(rf"[A-Z0-9]{{1,{BEAST_CURRENCY_MAX}}}").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_STATES = ("live", "quiet", "stale")


cdef int check_row(row, int64_t limit, dict places) except -1:
    """Checks one row; `places` collects (asset, exchange) by id."""
    number, asset, exchange, currency, priority, link = row
    between("id", number, 0, limit - 1)
    between("priority", priority, -INT32_MAX, INT32_MAX)
    between("link", link, 0, BEAST_LINKS_MAX - 1)
    for name, text, good in (("asset", asset, _ASSET), ("exchange", exchange, _EXCHANGE),
                             ("currency", currency, _CURRENCY)):
        if not good(text):
            raise ValueError(f"{name} of instrument {number} is not valid: {text!r}")
    if number in places:
        raise ValueError(f"id {number} is given twice")
    places[number] = (asset, exchange)
    return 0


cdef dict load_rows(beast_shared *shared, rows, int64_t limit):
    """Loads all rows or raises; returns (asset, exchange) by id."""
    cdef dict places = {}
    cdef beast_instrument *list_
    cdef beast_status status
    cdef Py_ssize_t n = 0
    rows = list(rows)
    if len(rows) > limit:
        raise ValueError(f"rows must be at most max_instruments ({limit}), not {len(rows)}")
    for row in rows:
        check_row(row, limit, places)
    if len(set(places.values())) < len(places):
        raise ValueError("two instruments have the same asset and exchange")
    if len({exchange for _, exchange in places.values()}) > BEAST_EXCHANGES_MAX:
        raise ValueError(f"there are more than {BEAST_EXCHANGES_MAX} exchanges")
    texts = [(row[1].encode(), row[2].encode(), row[3].encode()) for row in rows]
    list_ = <beast_instrument *>PyMem_Malloc(max(1, len(rows)) * sizeof(beast_instrument))
    if list_ is NULL:
        raise MemoryError("rows: out of memory")
    try:
        for n, row in enumerate(rows):
            asset, exchange, currency = texts[n]
            list_[n].id = row[0]
            list_[n].asset = PyBytes_AsString(asset)
            list_[n].exchange = PyBytes_AsString(exchange)
            list_[n].currency = PyBytes_AsString(currency)
            list_[n].priority = row[4]
            list_[n].link = row[5]
        status = beast_price_table_load(shared.prices, list_, <uint32_t>len(rows), &shared.readers)
    finally:
        PyMem_Free(list_)
    check(status, "instruments")
    return places


cdef int fold(beast_name *name, bytes text, bint upper) except -1:
    beast_name_fold(name, <const uint8_t *>PyBytes_AsString(text), <uint32_t>len(text), upper)
    return 0


cdef int64_t ns_since_1970(str text) except? -1:
    """A price's own timestamp, `2026-04-12T14:23:01.123456Z` or with three digits more, read back."""
    cdef int64_t micros = (datetime.fromisoformat(text[:26] + "+00:00") - _EPOCH) // timedelta(microseconds=1)
    return micros * 1000 + int(text[26:-1] or "0")


cdef dict peek_price(beast_shared *shared, asset, exchange, int64_t now_ns):
    """What is held for the pair, or None. Main thread only: it is the table's writer, so nothing can swap."""
    cdef beast_name asset_name, exchange_name
    cdef beast_price price
    cdef const beast_layout *layout = beast_layout_now(shared.prices)
    cdef const beast_slot *slot
    cdef uint32_t number, count
    cdef uint8_t text[BEAST_SLOT_TEXT]
    cdef const char *words = <const char *>text
    fold(&asset_name, asset.encode(), True)
    fold(&exchange_name, exchange.encode(), False)
    number = beast_layout_exchange(layout, &exchange_name)
    slot = beast_layout_find(layout, number, &asset_name, beast_place_hash(beast_name_hash(&asset_name), number), &count)
    if slot is NULL or not beast_slot_copy(slot, &price, text):
        return None
    link = beast_table_link(shared.prices, price.link)
    timestamp = words[price.timestamp_at:price.timestamp_at + price.timestamp_len].decode()
    return {
        "price": words[price.price_at:price.price_at + price.price_len].decode(),
        "time_ns": ns_since_1970(timestamp),
        "received_ns": price.received_ns,
        "state": _STATES[<int>beast_price_state(&price, link, now_ns, beast_shared_ttl(shared))],
        "tier": price.tier,
        "epoch": price.epoch,
    }
