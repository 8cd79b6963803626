"""What a command does with the terminal that it was started from."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def ctrl_c_for_us_alone() -> Iterator[None]:
    """Started by make, takes the terminal for itself, as a shell's job does, and gives it back at the end.

    Ctrl-C goes to all processes in the terminal's foreground, make among them: it would wait for its recipe to end
    well, and then die of the signal itself. Ctrl-Z does nothing meanwhile: nobody would be there to continue us.
    """
    theirs = os.getpgrp()
    if "MAKELEVEL" not in os.environ or not _in_foreground(theirs):
        yield
        return
    suspend = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    os.setpgid(0, 0)
    _give_terminal(os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):  # The terminal, or make, may be gone by now.
            _give_terminal(theirs)
            os.setpgid(0, theirs)
        signal.signal(signal.SIGTSTP, suspend)


def _in_foreground(group: int) -> bool:
    """Whether this group, led by another process, has the terminal; False when there is no terminal of this session."""
    if sys.stdin is None or not sys.stdin.isatty() or group == os.getpid():
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == group
    except OSError:
        return False


def _give_terminal(group: int) -> None:
    # Who isn't in the foreground is stopped by SIGTTOU for changing it, unless the signal is blocked (tcsetpgrp(3)).
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(sys.stdin.fileno(), group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
