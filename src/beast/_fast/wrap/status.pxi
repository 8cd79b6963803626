# The one place where a status of C becomes an exception of Python.

cdef int check(beast_status status, str what, int code=0) except -1:
    """Raises what `status` stands for; `what` is the thing that failed, `code` the errno of BEAST_SYSTEM."""
    if status == BEAST_OK:
        return 0
    if status == BEAST_SYSTEM:
        raise OSError(code, os.strerror(code), what)
    raise _EXCEPTIONS[<int>status](_REASONS[<int>status].format(what))


_EXCEPTIONS = {
    <int>BEAST_NO_MEMORY: MemoryError,
    <int>BEAST_BAD_ARGUMENT: ValueError,
    <int>BEAST_FULL: OverflowError,
    <int>BEAST_NOT_FOUND: LookupError,
    <int>BEAST_WRONG_STATE: RuntimeError,
    <int>BEAST_TIMED_OUT: TimeoutError,
}
_REASONS = {
    <int>BEAST_NO_MEMORY: "{}: out of memory",
    <int>BEAST_BAD_ARGUMENT: "{}: not a valid value",
    <int>BEAST_FULL: "{}: no room is left",
    <int>BEAST_NOT_FOUND: "{}: not there",
    <int>BEAST_WRONG_STATE: "{}: not in this state",
    <int>BEAST_TIMED_OUT: "{}: a worker did not leave in time",
}
