"""The hand-written stub of the extension says what the extension has."""

import ast
from pathlib import Path

import beast._fast

STUB = Path(__file__).parents[2] / "src/beast/_fast/_core.pyi"


def test_everything_in_the_stub_exists_and_the_other_way_round() -> None:
    tree = ast.parse(STUB.read_text())
    declared: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            declared[node.name] = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            declared[node.name] = set()
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            declared[node.target.id] = set()
    assert set(declared) == set(beast._fast.__all__)
    for name, methods in declared.items():
        thing = getattr(beast._fast, name)
        if isinstance(thing, type):
            real = {m for m in vars(thing) if not m.startswith("_")}
            assert {m for m in methods if not m.startswith("_")} == real, name
