"""Documents that can go wrong unseen: links, examples, words that belong elsewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_lock_files_carry_hashes_and_no_addresses() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text, lock.name
        pinned = re.findall(r"^[A-Za-z0-9_.-]+(?:\[[^\]]+\])?==\S+", text, re.MULTILINE)
        assert len(pinned) <= text.count("--hash=sha256:"), lock.name
        assert pinned


def test_every_tracked_text_speaks_of_the_project_alone() -> None:
    words = re.compile(r"\.\./shared\b(?!/data)|\bissue #?\d+|/work/|\bsubagents?\b", re.IGNORECASE)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".lock", ".png"} or path == Path(__file__) or not path.is_file():
            continue
        found = words.findall(path.read_text(errors="replace"))
        assert not found, f"{name}: {found}"
