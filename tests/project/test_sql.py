"""SQL is never built from values: statements stand in `queries.sql`, or are put together of names by psycopg."""

import ast
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src/beast"
ASKING = {"execute", "executemany", "fetch", "fetch_one", "fetch_named", "copy", "stream", "rows_of"}
BUILDERS = {"join", "format", "replace"}


def built(node: ast.expr) -> bool:
    """Whether a statement is put together here; psycopg's own `sql.SQL(…).format(…)` quotes what it is given."""
    match node:
        case ast.JoinedStr(values=parts):
            return any(isinstance(part, ast.FormattedValue) for part in parts)
        case ast.BinOp(op=ast.Mod() | ast.Add()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Attribute(attr="SQL")), attr="format" | "join")):
            return False
        case ast.Call(func=ast.Attribute(attr=attr)):
            return attr in BUILDERS
    return False


def statements(tree: ast.AST) -> list[tuple[int, ast.expr]]:
    """The first argument of every call that asks the database."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [
        (call.lineno, call.args[0])
        for call in calls
        if isinstance(call.func, ast.Attribute | ast.Name)
        and (call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id) in ASKING
    ]


def test_no_statement_is_built_from_values() -> None:
    found = []
    for path in SOURCES.rglob("*.py"):
        found += [f"{path}:{line}" for line, node in statements(ast.parse(path.read_text())) if built(node)]
    assert found == []


def test_a_statement_that_is_built_would_be_found() -> None:
    for bad in (
        'db.execute(f"SELECT {x}")',
        'db.execute("SELECT %s" % x)',
        'db.fetch("SELECT " + x)',
        'db.fetch_one("SELECT {}".format(x))',
        'cursor.copy("COPY " + table)',
    ):
        assert [built(node) for _, node in statements(ast.parse(bad))] == [True], bad
    for good in ('db.execute(sql.SQL("A {}").format(sql.Identifier(x)))', 'db.fetch(_QUERIES["all"], {"a": a})'):
        assert [built(node) for _, node in statements(ast.parse(good))] == [False], good


def test_sql_stands_in_its_files() -> None:
    """A string in Python that begins as a statement does would be one outside the domain's own file."""
    begins = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "COPY ", "WITH ")
    allowed = {"storage"}
    found = []
    for path in SOURCES.rglob("*.py"):
        if path.relative_to(SOURCES).parts[0] in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Constant):
                continue
            text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            if isinstance(text, str) and text.startswith(begins):
                found.append(f"{path}:{node.lineno}: {text[:40]}")
    assert found == []
