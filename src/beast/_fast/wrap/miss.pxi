# A request that waits for a slower tier, on its way through Python.

@cython.final
cdef class Miss:
    """A UDP request that memory could not answer, waiting for a slower tier."""

    cdef beast_miss miss

    @property
    def datagram(self) -> bytes:
        return PyBytes_FromStringAndSize(<const char *>self.miss.datagram, self.miss.len)

    @property
    def deadline_ns(self) -> int:
        return self.miss.deadline_ns
