"""The arrows between rooms are a test: import-linter for Python, a scan for Cython."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAST = ROOT / "src/beast/_fast"
LONGEST = 400


def test_rooms_depend_downwards_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compiled_hot_path_imports_nothing_from_beast() -> None:
    sources = [*FAST.rglob("*.pyx"), *FAST.rglob("*.pxi"), *FAST.rglob("*.pxd")]
    assert sources
    for path in sources:
        found = re.findall(r"^\s*(?:c?import|from)\s+beast\b(?!\._fast\b).*$", path.read_text(), re.MULTILINE)
        assert not found, f"{path}: {found}"


def test_the_compiled_hot_path_is_reached_through_its_door() -> None:
    inside = [p for p in (ROOT / "src").rglob("*.py") if "_fast._core" in p.read_text()]
    assert inside == [FAST / "__init__.py"]


def test_c_knows_no_python_and_keeps_no_global_state() -> None:
    for path in [*(FAST / "c").glob("*.c"), *(FAST / "c").glob("*.h")]:
        text = path.read_text()
        assert "Python.h" not in text, path
        variables = re.findall(
            r"^(?!typedef|struct|enum|union|return|extern)[a-z][\w ]*[ *]\w+(?:\[.*\])? *(?:=.*)?;$", text, re.MULTILINE
        )
        assert [line for line in variables if "const" not in line.split()] == [], path


def test_files_stay_short_enough_to_be_one_thing() -> None:
    patterns = ("*.py", "*.pyx", "*.pxi", "*.c", "*.h")
    sources = [path for pattern in patterns for path in (ROOT / "src").rglob(pattern) if path.name != "_core.c"]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_imports_stand_at_the_top() -> None:
    """An import inside a function means that the layers are wrong."""
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = [n.lineno for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not inside, f"{path}: lines {inside}"


def test_aws_has_named_importers() -> None:
    """Loaded by name, so that only its users pay for it: import-linter does not see that."""
    inside = {
        str(path.relative_to(ROOT / "src/beast"))
        for path in (ROOT / "src").rglob("*.py")
        if re.search(
            r"[\"'](?:boto3|botocore)[.\"']|^\s*(?:import|from)\s+(?:boto3|botocore)", path.read_text(), re.MULTILINE
        )
    }
    assert inside == {"base/secrets_manager.py", "usage/sqs.py"}
