# The instruments on their way in, and a held price on its way out.

_ASSET = re.compile(rf"[A-Z0-9._-]{{1,{BEAST_ASSET_MAX}}}").fullmatch
_EXCHANGE = re.compile(rf"[a-z0-9_-]{{1,{BEAST_EXCHANGE_MAX}}}").fullmatch
_CURRENCY = re.compile(rf"[A-Z0-9]{{1,{BEAST_CURRENCY_MAX}}}").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_STATES = ("live", "quiet", "stale")


cdef int check_row(row, int64_t limit, dict places) except -1:
    """Checks one row; `places` collects (asset, exchange) by id."""
    number, asset, exchange, currency, priority, link, *terms = row
    weight, band_bps = terms or (1, None)
    between("id", number, 0, limit - 1)
    between("priority", priority, -INT32_MAX, INT32_MAX)
    between("link", link, 0, BEAST_LINKS_MAX - 1)
    between("weight", weight, 0, 1_000_000)
    between("band_bps", 0 if band_bps is None else band_bps, 0, INT32_MAX)
    for name, text, good in (("asset", asset, _ASSET), ("exchange", exchange, _EXCHANGE),
                             ("currency", currency, _CURRENCY)):
        if not good(text):
            raise ValueError(f"{name} of instrument {number} is not valid: {text!r}")
    if number in places:
        raise ValueError(f"id {number} is given twice")
    places[number] = (asset, exchange)
    return 0


cdef class Instruments:
    """Instruments on their way into an engine, checked as they are added; so many that one pass would take too long.

    `limit` is the engine's max_instruments.
    """

    cdef beast_instrument *_list
    cdef beast_layout *_layout
    cdef uint32_t _count
    cdef int64_t _limit
    cdef list _texts
    cdef set _pairs
    cdef set _exchanges
    cdef dict places

    def __cinit__(self, limit: int):
        between("limit", limit, 0, UINT32_MAX)
        self._limit = limit
        self._texts, self._pairs, self._exchanges, self.places = [], set(), set(), {}
        self._list = <beast_instrument *>PyMem_Malloc(max(1, limit) * sizeof(beast_instrument))
        if self._list is NULL:
            raise MemoryError("rows: out of memory")

    def __dealloc__(self):
        beast_layout_free(self._layout)
        PyMem_Free(self._list)

    def add(self, rows) -> None:
        """(id, asset, exchange, currency, priority, link[, weight, band_bps]) of some more; see _core.pyi."""
        for row in rows:
            self._add(row)

    cdef int _add(self, row) except -1:
        if self._layout is not NULL:
            raise ValueError("rows can't be added any more")
        if self._count == self._limit:
            raise ValueError(f"rows must be at most max_instruments ({self._limit})")
        check_row(row, self._limit, self.places)
        number, asset, exchange, currency, priority, link = row[:6]
        weight, band_bps = row[6:] or (1, None)
        self._pairs.add((asset, exchange))
        if len(self._pairs) <= self._count:
            raise ValueError("two instruments have the same asset and exchange")
        if exchange != "consensus":
            self._exchanges.add(exchange)
        if len(self._exchanges) > BEAST_EXCHANGES_MAX:
            raise ValueError(f"there are more than {BEAST_EXCHANGES_MAX} exchanges")
        texts = asset.encode(), exchange.encode(), currency.encode()
        self._texts.append(texts)  # the list points into them
        cdef beast_instrument *instrument = &self._list[self._count]
        instrument.id = number
        instrument.asset = PyBytes_AsString(texts[0])
        instrument.exchange = PyBytes_AsString(texts[1])
        instrument.currency = PyBytes_AsString(texts[2])
        instrument.priority = priority
        instrument.link = link
        instrument.weight, instrument.band_bps = weight, -1 if band_bps is None else band_bps
        self._count += 1
        return 0

    def finish(self) -> None:
        """All are there: lays them out, which takes most of the time that loading does. Done by loading else.

        It may be called on another thread: it touches nothing but this object, and holds no GIL.
        """
        if self._layout is NULL:
            with nogil:
                self._layout = beast_layout_build(self._list, self._count, <uint32_t>self._limit)
        if self._layout is NULL:
            raise MemoryError("instruments: out of memory")

    cdef dict load(self, beast_shared *shared):
        """Makes them the engine's; returns (asset, exchange) by id."""
        self.finish()
        cdef beast_layout *layout = self._layout
        self._layout = NULL
        beast_price_table_swap(shared.prices, layout, self._list, self._count, &shared.readers)
        return self.places


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
    freshness = beast_shared_freshness(shared)
    timestamp = words[price.timestamp_at:price.timestamp_at + price.timestamp_len].decode()
    return {
        "price": words[price.price_at:price.price_at + price.price_len].decode(),
        "time_ns": ns_since_1970(timestamp),
        "received_ns": price.received_ns,
        "state": _STATES[<int>beast_price_state(&price, link, now_ns, &freshness)],
        "tier": price.tier,
        "by_rest": b'-rest","timestamp":"' in words[:price.text_len],
        "epoch": 0 if price.epoch & BEAST_DOUBTED else price.epoch,
    }


cdef int fill_rules(beast_price_rules *rules, band_bps, confirmations, quorum, outlier_bps) except -1:
    """All but the TTL; nothing changes when one is not valid."""
    cdef beast_price_rules checked = rules[0]
    checked.band = between("band_bps", band_bps, 0, INT32_MAX) / 1e4
    checked.confirmations = <uint32_t>between("confirmations", confirmations, 1, 100)
    checked.quorum = <uint32_t>between("quorum", quorum, 1, BEAST_EXCHANGES_MAX)
    checked.outlier = between("outlier_bps", outlier_bps, 0, INT32_MAX) / 1e4
    rules[0] = checked
    return 0


_STANDINGS = ("live", "quiet", "stale", "held", "outlier")


def find_consensus(votes, *, outlier_bps):
    """(index of the vote that is the answer or None, what became of each vote, spread in bps); see _core.pyi."""
    cdef beast_vote row[BEAST_VOTES_MAX]
    cdef beast_consensus found
    cdef uint32_t n = 0
    for price, weight, standing in votes:
        if n == BEAST_VOTES_MAX:
            raise ValueError(f"at most {BEAST_VOTES_MAX} votes can be counted")
        row[n].price = price
        row[n].weight = <uint32_t>between("weight", weight, 1, 1_000_000)
        row[n].standing = <beast_standing><int>_STANDINGS.index(standing)
        n += 1
    found = beast_consensus_find(row, n, between("outlier_bps", outlier_bps, 0, INT32_MAX) / 1e4)
    standings = [_STANDINGS[<int>row[i].standing] for i in range(n)]
    return found.chosen if found.used else None, standings, found.spread * 1e4
