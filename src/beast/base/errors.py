"""The one exception that users see, and the exit codes of every command."""

from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


class BeastError(Exception):
    """Something a user or operator can mend, told in one line: where, what, and what to do about it.

    Args:
        what: What is wrong.
        where: The setting, file, row or address it concerns.
        todo: What to do about it.
    """

    exit_code: int = EXIT_FAILED

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        self.what = what
        self.where = where
        self.todo = todo
        super().__init__(what, where, todo)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        line = f"{line} ({self.todo})" if self.todo else line
        return " ".join(line.split())


class UsageError(BeastError):
    """The command or the configuration was given something it can't take."""

    exit_code = EXIT_USAGE
