# What the slower tiers want to know of the engine: what came in, and what they answered.

cdef void tally(const beast_usage *records, uint32_t n, uint32_t *answers) noexcept nogil:
    """Counts answers by instrument."""
    cdef uint32_t i
    for i in range(n):
        answers[records[i].instrument] += 1


def take_answers(Engine engine not None) -> dict:
    """How many drained answers there were of each instrument since they were last taken."""
    cdef uint32_t number
    taken = {}
    for number in range(engine.max_instruments):
        if engine.answers[number]:
            taken[number] = engine.answers[number]
            engine.answers[number] = 0
    return taken


def received_after(Engine engine not None, int64_t since_ns) -> list:
    """The instruments whose price was received later than this."""
    cdef const beast_slot *slot
    cdef beast_price price
    cdef list found = []
    for number in engine.places:
        slot = beast_price_slot(engine.shared.prices, number)
        if slot is not NULL and beast_slot_read(slot, &price) and price.received_ns > since_ns:
            found.append(number)
    return found


def link_proof(Engine engine not None, link, int64_t now_ns):
    """(the epoch that the connection began with, ns for which it is proven); None: it isn't."""
    cdef beast_link_proof proof = beast_link_prove(engine.link_of(link), now_ns)
    return (proof.first, proof.left_ns) if proof.left_ns > 0 else None
