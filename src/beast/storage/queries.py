"""Named SQL statements: each domain keeps its SQL in one file, `queries.sql`, and nowhere else."""

import importlib.resources
import re
from collections.abc import Iterator, Mapping

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$")


class Queries(Mapping[str, bytes]):
    """The statements of one `queries.sql`, by name.

    A statement starts after a line `-- name: the_name` and ends before the next such line. Values are passed as
    psycopg's parameters (`%(name)s`) and never written into the text, which is why the text is handed out as bytes:
    psycopg takes bytes as a finished statement.

    Args:
        package: The package that holds the file, such as `beast.accounts`.
        file: The file's name.
    """

    def __init__(self, package: str, file: str = "queries.sql") -> None:
        text = importlib.resources.files(package).joinpath(file).read_text("utf-8")
        self._statements = parse_queries(text, f"{package}/{file}")

    def __getitem__(self, name: str) -> bytes:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def parse_queries(text: str, where: str) -> dict[str, bytes]:
    """Splits the text of a queries file.

    Raises:
        ValueError: A name occurs twice, a statement is empty, or SQL stands before the first name.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if match := _NAME.match(line):
            if match[1] in found:
                raise ValueError(f"{where}:{number}: {match[1]} stands there twice")
            current = found[match[1]] = []
        elif current is not None:
            current.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"{where}:{number}: a statement without `-- name: …` above it")
    statements = {name: "\n".join(lines).strip().rstrip(";") for name, lines in found.items()}
    for name, statement in statements.items():
        if not statement:
            raise ValueError(f"{where}: {name} is empty")
    return {name: statement.encode() for name, statement in statements.items()}
