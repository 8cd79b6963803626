# Plans and what they read: see beast.feeds.rows.plan for the source form of a plan.

import json

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyCFunction, PyMethodDef, PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

cdef extern from "Python.h":
    int METH_FASTCALL
    object PyDescr_NewMethod(object type, PyMethodDef *method)

cdef extern from "extract.h":
    enum:
        BEAST_STEPS_MAX
        BEAST_VALUE_MAX
        BEAST_FRAME_TRADE
        BEAST_TOKEN_STRING
        BEAST_TOKEN_BARE
        BEAST_STEP_NAME
        BEAST_STEP_INDEX
        BEAST_STEP_ONLY
        BEAST_STEP_FIRST
        BEAST_STEP_LAST
        BEAST_STEP_EACH
        BEAST_STEP_NAMED

    ctypedef struct beast_plan:
        pass
    ctypedef struct beast_step:
        int kind
        int32_t index
        const uint8_t *name
        uint32_t name_len
    ctypedef struct beast_trade:
        beast_slice symbol
        beast_slice price
        int64_t time_ns
        uint64_t sequence_first
        uint64_t sequence
        uint32_t sequenced
    ctypedef struct beast_trades:
        uint32_t count
        beast_trade *trade
    ctypedef struct beast_extraction:
        const beast_trades *trades
        uint64_t sequence
        bint sequenced

    beast_plan *beast_plan_new()
    void beast_plan_free(beast_plan *plan)
    int beast_plan_shape(beast_plan *plan)
    int beast_plan_scale(beast_plan *plan, uint32_t scale)
    int beast_plan_bare_symbol(beast_plan *plan)
    int beast_plan_condition(beast_plan *plan, const beast_step *steps, uint32_t n, int op, int kind,
                             const uint8_t *operand, uint32_t len)
    int beast_plan_value(beast_plan *plan, const beast_step *steps, uint32_t n, int role, int time_format)
    int beast_plan_sequence(beast_plan *plan, const beast_step *steps, uint32_t n)
    int beast_plan_seal(beast_plan *plan)
    int beast_extract(const beast_plan *plan, const uint8_t *frame, size_t len, beast_extraction *out) nogil

cdef extern from "naming.h":
    ctypedef struct beast_naming:
        pass

    int beast_naming_set(beast_naming *naming, int fold, beast_slice prefix, beast_slice suffix)

cdef extern from "ingest.h":
    ctypedef struct beast_ingest:
        pass
    ctypedef struct beast_ingest_config:
        const beast_plan *plan
        beast_ingests *all
        beast_price_table *table
        beast_counters *counters
        beast_histogram *visible
        uint32_t link
        int64_t backfill_ns
        const beast_naming *naming
    ctypedef struct beast_ingested:
        int kind
        uint32_t published

    enum:
        BEAST_GAPS_MAX
    uint32_t BEAST_GAP_LINK
    ctypedef struct beast_gap:
        uint64_t first
        uint64_t last
        int64_t from_ns
        int64_t to_ns
        uint32_t instrument

    uint32_t beast_ingest_touched(const beast_ingest *ingest, const uint32_t **instruments)
    uint32_t beast_ingest_gaps(beast_ingest *ingest, beast_gap *out)
    ctypedef struct beast_symbol:
        beast_slice symbol
        uint32_t instrument
        uint64_t trades
        int64_t received_ns
        int64_t interval_ns
        int64_t deviation_ns
        uint64_t held
        uint64_t confirmed
        uint32_t waiting

    ctypedef struct beast_intake:
        uint64_t frames
        uint64_t trades
        uint64_t bad_prices
        uint64_t unmapped
        uint64_t empty

    beast_intake beast_ingest_intake(const beast_ingest *ingest)
    bint beast_ingest_symbol(const beast_ingest *ingest, uint32_t *place, beast_symbol *out)
    beast_ingest *beast_ingest_new(const beast_ingest_config *config)
    void beast_ingest_free(beast_ingest *ingest)
    int beast_ingest_symbols(beast_ingest *ingest, const beast_slice *symbols, const uint32_t *instruments, uint32_t n)
    void beast_ingest_plan(beast_ingest *ingest, const beast_plan *plan, const beast_naming *naming)
    void beast_ingest_epoch(beast_ingest *ingest, uint32_t epoch)
    void beast_ingest_backfill(beast_ingest *ingest, int64_t backfill_ns)
    beast_ingested beast_ingest_feed(beast_ingest *ingest, const uint8_t *frame, size_t len, int64_t received_ns,
                                     int64_t wall_ns)

_OPERATORS = ("eq", "prefix", "suffix", "present", "absent")
_ROLES = ("price", "symbol", "time", "fallback", "sequence")
_TIME_FORMATS = ("rfc3339", "unix_s", "unix_ms", "unix_us", "unix_ns")
_FOLDS = ("none", "upper", "lower")
_SPECIAL_STEPS = {
    "*": BEAST_STEP_ONLY, "[first]": BEAST_STEP_FIRST, "[last]": BEAST_STEP_LAST, "[each]": BEAST_STEP_EACH,
    "[name]": BEAST_STEP_NAMED,
}


cdef int _number_of(object name, tuple names, str member) except -1:
    if name not in names:
        raise ValueError(f"{member}: {name!r} is none of {', '.join(names)}")
    return names.index(name)


cdef int _fill_steps(object path, str member, beast_step *steps, list keep) except -1:
    """Writes the steps of a path; `keep` holds the bytes that they point into. Returns how many there are."""
    if not isinstance(path, list) or len(path) > BEAST_STEPS_MAX:
        raise ValueError(f"{member}: must be a list of at most {BEAST_STEPS_MAX} steps")
    cdef int n = 0
    cdef bytes name
    for step in path:
        if isinstance(step, int) and -0x8000 <= step < 0x8000:
            steps[n].kind, steps[n].index = BEAST_STEP_INDEX, step
        elif isinstance(step, str):
            steps[n].kind = _SPECIAL_STEPS.get(step, BEAST_STEP_NAME)
            name = step.encode()
            keep.append(name)
            steps[n].name = <const uint8_t *><const char *>name
            steps[n].name_len = <uint32_t>len(name)
        else:
            raise ValueError(f"{member}: {step!r} is no step")
        n += 1
    return n


cdef class Plan:
    """A row's extraction plan, compiled. See beast.feeds.rows.plan for its source form."""

    cdef beast_plan *_plan
    cdef beast_extraction *_out
    cdef beast_naming _naming

    def __cinit__(self, spec: bytes):
        self._plan = beast_plan_new()
        self._out = <beast_extraction *>calloc(1, sizeof(beast_extraction))
        if self._plan is NULL or self._out is NULL:
            raise MemoryError
        source = json.loads(spec)
        self._set_naming(source)
        for number, shape in enumerate(source["shapes"]):
            self._add_shape(shape, f"shapes.{number}")
            if source.get("bare_symbol"):
                beast_plan_bare_symbol(self._plan)
        if source.get("sequence") is not None:
            self._add_sequence(source["sequence"])
        if beast_plan_seal(self._plan) != 0:
            raise ValueError("shapes: each needs a filter, a price and a symbol, its paths may walk the price's "
                             "arrays only, and where frames are numbered, trades are not")

    def __dealloc__(self):
        beast_plan_free(self._plan)
        free(self._out)

    cdef int _set_naming(self, dict source) except -1:
        cdef bytes prefix = source["strip_prefix"].encode(), suffix = source["strip_suffix"].encode()
        cdef beast_slice front, end
        front.ptr, front.len = <const uint8_t *><const char *>prefix, <uint32_t>len(prefix)
        end.ptr, end.len = <const uint8_t *><const char *>suffix, <uint32_t>len(suffix)
        if beast_naming_set(&self._naming, _number_of(source["fold"], _FOLDS, "fold"), front, end) != 0:
            raise ValueError(f"strip_prefix, strip_suffix: longer than {BEAST_VALUE_MAX} bytes")
        return 0

    cdef int _add_shape(self, dict shape, str member) except -1:
        if beast_plan_shape(self._plan) != 0:
            raise ValueError(f"{member}: more shapes than a plan can have")
        if beast_plan_scale(self._plan, shape.get("scale", 0)) != 0:
            raise ValueError(f"{member}.scale: more places than a plan can have")
        for number, condition in enumerate(shape["filter"]):
            self._add_condition(condition, f"{member}.filter.{number}")
        for role, name in enumerate(_ROLES):
            if shape.get(name) is not None:
                self._add_value(shape, name, role, f"{member}.{name}")
        return 0

    cdef int _add_condition(self, dict condition, str member) except -1:
        cdef beast_step steps[BEAST_STEPS_MAX]
        keep = []
        cdef int n = _fill_steps(condition["path"], f"{member}.path", steps, keep)
        cdef int op = _number_of(condition["op"], _OPERATORS, f"{member}.op")
        cdef bytes operand = condition.get("value", "").encode()
        cdef int kind = BEAST_TOKEN_BARE if condition.get("bare") else BEAST_TOKEN_STRING
        if beast_plan_condition(self._plan, steps, n, op, kind, <const uint8_t *><const char *>operand,
                                <uint32_t>len(operand)) != 0:
            raise ValueError(f"{member}: walks an array, or is more than a plan can hold")
        return 0

    cdef int _add_value(self, dict shape, str name, int role, str member) except -1:
        cdef beast_step steps[BEAST_STEPS_MAX]
        keep = []
        cdef int n = _fill_steps(shape[name], member, steps, keep)
        cdef int time_format = _number_of(shape.get(f"{name}_format", "rfc3339"), _TIME_FORMATS, f"{member}_format")
        if beast_plan_value(self._plan, steps, n, role, time_format) != 0:
            raise ValueError(f"{member}: is more than a plan can hold")
        return 0

    cdef int _add_sequence(self, object path) except -1:
        cdef beast_step steps[BEAST_STEPS_MAX]
        keep = []
        cdef int n = _fill_steps(path, "sequence", steps, keep)
        if beast_plan_sequence(self._plan, steps, n) != 0:
            raise ValueError("sequence: walks an array, or is more than a plan can hold")
        return 0

    def extract(self, frame):
        """(kind, trades, the frame's own number or None); of each symbol's trades: the newest one's wire symbol, price
        text and time in ns since 1970 (0: the frame has none), the lowest and the highest number that they have (0:
        none has one), how many have one."""
        cdef Py_buffer view
        PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
        try:
            kind = beast_extract(self._plan, <const uint8_t *>view.buf, <size_t>view.len, self._out)
            sequence = self._out.sequence if self._out.sequenced else None
            return kind, self._trades() if kind == BEAST_FRAME_TRADE else [], sequence
        finally:
            PyBuffer_Release(&view)

    cdef list _trades(self):
        cdef const beast_trades *trades = self._out.trades
        cdef const beast_trade *trade
        found = []
        for i in range(trades.count):
            trade = &trades.trade[i]
            found.append((
                PyBytes_FromStringAndSize(<const char *>trade.symbol.ptr, trade.symbol.len),
                PyBytes_FromStringAndSize(<const char *>trade.price.ptr, trade.price.len),
                trade.time_ns, trade.sequence_first, trade.sequence, trade.sequenced,
            ))
        return found


@cython.no_gc_clear  # the engine must be there when this object leaves its list
cdef class Ingest:
    """Frames of one connection, straight into the price table."""

    cdef beast_ingest *_ingest
    cdef Engine _engine
    cdef Plan _plan

    def __cinit__(self, Engine engine not None, Plan plan not None, uint32_t link, *, int64_t backfill_ns):
        self._engine = engine  # both must live as long as this object
        self._plan = plan
        cdef beast_ingest_config config
        config.plan = plan._plan
        config.table = beast_engine_shared(engine._engine).prices
        config.all = &engine.ingests
        config.counters = &engine.own.counters
        config.visible = &engine.own.latency
        config.link = link
        config.backfill_ns = backfill_ns
        config.naming = &plan._naming
        self._ingest = beast_ingest_new(&config)
        if self._ingest is NULL:
            raise MemoryError

    def __dealloc__(self):
        beast_ingest_free(self._ingest)

    def set_symbols(self, symbols):
        """(wire symbol, instrument) of everything this connection may bring. ValueError when one can't be a symbol."""
        pairs = list(symbols)
        cdef uint32_t n = <uint32_t>len(pairs), i = 0
        cdef beast_slice *slices = <beast_slice *>malloc((n + 1) * sizeof(beast_slice))
        cdef uint32_t *instruments = <uint32_t *>malloc((n + 1) * sizeof(uint32_t))
        cdef bytes symbol
        try:
            if slices is NULL or instruments is NULL:
                raise MemoryError
            for symbol, instrument in pairs:
                slices[i].ptr = <const uint8_t *><const char *>symbol
                slices[i].len = <uint32_t>len(symbol)
                instruments[i] = instrument
                i += 1
            if beast_ingest_symbols(self._ingest, slices, instruments, n) != 0:
                raise ValueError(f"symbols must be 1 to {BEAST_VALUE_MAX} bytes, each given once")
        finally:
            free(slices)
            free(instruments)

    def set_plan(self, Plan plan not None):
        """Reads by another plan from now on; set_symbols() must follow when it folds or strips otherwise."""
        beast_ingest_plan(self._ingest, plan._plan, &plan._naming)
        self._plan = plan

    def set_epoch(self, uint32_t epoch):
        """Trades from now on came over this epoch of the link."""
        beast_ingest_epoch(self._ingest, epoch)

    def set_backfill_ns(self, int64_t backfill_ns):
        """A trade further behind the clock than this is fresh since its own time only."""
        beast_ingest_backfill(self._ingest, backfill_ns)

    def take_gaps(self):
        """Gaps in the exchange's numbers since they were last taken; see _core.pyi."""
        cdef beast_gap gaps[BEAST_GAPS_MAX]
        cdef uint32_t n = beast_ingest_gaps(self._ingest, gaps)
        return [
            (None if gaps[i].instrument == BEAST_GAP_LINK else gaps[i].instrument, gaps[i].first, gaps[i].last,
             gaps[i].from_ns, gaps[i].to_ns)
            for i in range(n)
        ]

    def tally(self):
        """What came over it; see _core.pyi."""
        cdef beast_intake told = beast_ingest_intake(self._ingest)
        return told.frames, told.trades, told.bad_prices, told.unmapped, told.empty

    def touched(self):
        """The instruments that the last frame had trades of; see _core.pyi."""
        cdef const uint32_t *instruments
        cdef uint32_t n = beast_ingest_touched(self._ingest, &instruments)
        return [instruments[i] for i in range(n)]

    def symbols(self):
        """How each symbol fares; see _core.pyi."""
        cdef beast_symbol at
        cdef uint32_t place = 0
        found = []
        while beast_ingest_symbol(self._ingest, &place, &at):
            found.append((
                PyBytes_FromStringAndSize(<const char *>at.symbol.ptr, at.symbol.len), at.instrument, at.trades,
                at.received_ns, at.interval_ns, at.deviation_ns, at.held, at.confirmed, at.waiting,
            ))
        return found


cdef object _feed(object self, PyObject **args, Py_ssize_t n):
    cdef Py_buffer view
    if n != 3:
        raise TypeError(f"feed() takes a frame, received_ns and wall_ns, not {n} arguments")
    cdef int64_t received_ns = <object>args[1], wall_ns = <object>args[2]
    PyObject_GetBuffer(<object>args[0], &view, PyBUF_SIMPLE)
    cdef int kind = beast_ingest_feed((<Ingest>self)._ingest, <const uint8_t *>view.buf, <size_t>view.len, received_ns,
                                      wall_ns).kind
    PyBuffer_Release(&view)
    return kind


# Under the stable ABI of Python 3.11, Cython's methods want their arguments packed into a tuple, which would be a fifth
# of what a frame costs. This one takes them as they lie.
cdef PyMethodDef _feed_method
_feed_method.ml_name = "feed"
_feed_method.ml_meth = <PyCFunction><void *>_feed
_feed_method.ml_flags = METH_FASTCALL
_feed_method.ml_doc = b"""feed($self, frame, received_ns, wall_ns, /)
--

Publishes what the frame brings; returns its kind. Anything but a trade frame is for Python to read."""
Ingest.feed = PyDescr_NewMethod(Ingest, &_feed_method)
