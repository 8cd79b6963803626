# What price streams look at: the answer of each watched place as it was when last looked at, beside what it is now.

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t haystack_len, const void *needle, size_t needle_len)

cdef struct watched:
    beast_name asset, exchange
    uint8_t asset_text[BEAST_ASSET_MAX]
    bint used, has_exchange
    uint32_t age_at   # where the digits of age_ms begin, spaces first; 0: the answer has none
    uint32_t age_end
    uint32_t len
    uint8_t text[BEAST_SINGLE_MAX]

cdef enum:
    AGE_LEN = 10  # of ,"age_ms":


cdef void find_age(watched *place) noexcept nogil:
    """Where the age stands: that alone may differ between two answers that say the same."""
    cdef const uint8_t *found = <const uint8_t *>memmem(place.text, place.len, b',"age_ms":', AGE_LEN)
    place.age_at = place.age_end = 0
    if found is NULL:
        return
    place.age_at = place.age_end = <uint32_t>(found - place.text) + AGE_LEN
    while place.text[place.age_end] != c",":
        place.age_end += 1


cdef bint says_the_same(const watched *old, const watched *new) noexcept nogil:
    cdef uint32_t rest = old.len - old.age_end
    return (old.age_at == new.age_at and rest == new.len - new.age_end
            and memcmp(old.text, new.text, old.age_at) == 0
            and memcmp(old.text + old.age_end, new.text + new.age_end, rest) == 0)


@cython.final
cdef class Watch:
    """Places (an asset, of one exchange or the best) whose answer is looked at again and again, for the main thread."""

    cdef Engine engine
    cdef watched *places
    cdef uint32_t room, top
    cdef list free_numbers

    def __cinit__(self, Engine engine not None):
        self.engine = engine
        self.free_numbers = []

    def __dealloc__(self):
        PyMem_Free(self.places)

    def __len__(self):
        return self.top

    def add(self, str asset, exchange=None) -> int:
        """Watches one more place; returns its number. Nothing was seen of it yet."""
        cdef bytes name = asset.upper().encode()
        cdef uint32_t number
        cdef watched *place
        if not _ASSET(asset.upper()) or not (exchange is None or _EXCHANGE(exchange.lower())):
            raise ValueError(f"no price is ever kept of {asset!r} at {exchange!r}")
        if self.free_numbers:
            number = self.free_numbers.pop()
        else:
            self.grow()
            number, self.top = self.top, self.top + 1
        place = &self.places[number]
        memset(place, 0, sizeof(watched))
        memcpy(place.asset_text, PyBytes_AsString(name), <size_t>len(name))
        fold(&place.asset, name, True)
        if exchange is not None:
            place.has_exchange = True
            fold(&place.exchange, exchange.encode(), False)
        place.used = True
        return number

    cdef int grow(self) except -1:
        cdef watched *more
        cdef uint32_t room = 2 * self.room + 16
        if self.top < self.room:
            return 0
        more = <watched *>PyMem_Realloc(self.places, room * sizeof(watched))
        if more is NULL:
            raise MemoryError("watch: out of memory")
        self.places, self.room = more, room
        return 0

    cdef watched *place_of(self, number) except NULL:
        cdef int64_t at = between("number", number, 0, <int64_t>self.top - 1)
        if not self.places[at].used:
            raise ValueError(f"place {number} is not watched")
        return &self.places[at]

    def remove(self, number: int) -> None:
        """Watches it no longer; the number may be given again."""
        self.place_of(number).used = False
        self.free_numbers.append(number)

    cdef bint see(self, watched *place, const beast_moment *moment) noexcept:
        """Keeps what the place answers now; True when that says something else than before."""
        cdef watched before = place[0]
        cdef beast_request request
        beast_request_clear(&request)
        request.n_assets = 1
        request.many = request.allow_stale = True
        request.assets[0] = place.asset
        request.assets[0].raw.ptr = place.asset_text
        request.assets[0].raw.len = place.asset.len
        request.has_exchange = place.has_exchange
        request.exchange = place.exchange
        place.len = beast_answer_watched(self.engine.own, &request, moment, place.text)
        find_age(place)
        return not says_the_same(&before, place)

    def look(self, uint32_t first, uint32_t count, now_ns=None):
        """(number, answer) of each of `count` places from `first` on that says something else than when last seen."""
        cdef beast_moment moment = self.engine.moment(now_ns, None)
        cdef uint32_t number
        cdef list changed = []
        for number in range(first, min(self.top, first + count)):
            if self.places[number].used and self.see(&self.places[number], &moment):
                changed.append((number, text_of(&self.places[number])))
        return changed

    def read(self, number: int, now_ns=None):
        """(whether it says something else than when last seen, answer) of one place, its age as it is now."""
        cdef beast_moment moment = self.engine.moment(now_ns, None)
        cdef watched *place = self.place_of(number)
        changed = self.see(place, &moment)
        return bool(changed), text_of(place)

    def knows(self, bytes digest, peer=None) -> bool:
        """Whether the key with this SHA-256 opens prices; from there, if it is said from where."""
        cdef beast_address address
        cdef const sockaddr *from_where = NULL
        if len(digest) != 32:
            raise ValueError("digest must be the 32 bytes of a SHA-256")
        if peer is not None:
            address = address_of(peer, 0)
            from_where = beast_address_of(&address)
        return beast_key_opens(self.engine.shared.keys, <const uint8_t *>PyBytes_AsString(digest), from_where)


cdef bytes text_of(const watched *place):
    return PyBytes_FromStringAndSize(<const char *>place.text, place.len)
