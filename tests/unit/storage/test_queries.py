import pytest

from beast.storage.queries import Queries, parse_queries


def test_statements_are_found_by_name() -> None:
    text = "-- a file\n\n-- name: one\nSELECT 1;\n\n-- name: two\n-- why\nSELECT %(x)s\n  + 1;\n"
    assert parse_queries(text, "x.sql") == {"one": b"SELECT 1", "two": b"-- why\nSELECT %(x)s\n  + 1"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SELECT 1", "x.sql:1: a statement without"),
        ("-- name: a\n-- name: b\nSELECT 1", "a is empty"),
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "x.sql:3: a stands there twice"),
    ],
)
def test_a_bad_file_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_queries(text, "x.sql")


@pytest.mark.parametrize("package", ["beast.accounts", "beast.cluster"])
def test_the_files_of_the_project_are_good(package: str) -> None:
    queries = Queries(package)
    assert len(queries) == len(list(queries)) > 3
