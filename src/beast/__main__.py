"""The command `beast`, also as `python -m beast`."""

import os
import sys

from cyclopts import CycloptsError

from beast.base.errors import EXIT_USAGE, BeastError
from beast.cli import app

EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command; its user's mistakes become one line on stderr."""
    try:
        result = app(arguments, print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except BeastError as error:
        sys.stderr.write(f"beast: {error}\n")
        return error.exit_code
    except CycloptsError as error:
        sys.stderr.write(f"beast: {' '.join(str(error).split())} (see beast --help)\n")
        return EXIT_USAGE
    except BrokenPipeError:
        # The reader (head, a closed pager) has seen enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
