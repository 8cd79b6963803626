"""One run of the command line, from its arguments to its exit code."""

import errno
import os
import sys

from cyclopts import CycloptsError

from beast.base.errors import EXIT_FAILED, EXIT_USAGE, BeastError, UsageError
from beast.cli import app

EXIT_INTERRUPTED = 130
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command; its user's mistakes become one line on stderr."""
    try:
        for argument in arguments:
            check_text(argument)
        result = app(arguments, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except BeastError as error:
        sys.stderr.write(f"beast: {error}\n")
        return error.exit_code
    except CycloptsError as error:
        sys.stderr.write(f"beast: {' '.join(str(error).split())} (see beast --help)\n")
        return EXIT_USAGE
    except BrokenPipeError:
        # The reader (head, a closed pager) has seen enough.
        forget_output()
        return 0
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        sys.stderr.write(f"beast: can't write: {error.strerror}\n")
        forget_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def forget_output() -> None:
    """Lets nobody read the rest of the output: the interpreter must not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_text(argument: str) -> None:
    """Refuses what can be neither sent nor stored as text.

    Raises:
        UsageError: it isn't.
    """
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{argument!r} is not UTF-8", where="command line") from error
