"""Docs are tested: generated pages are fresh, links lead somewhere, every verb and setting is documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fleetcube.cli import VERBS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run([sys.executable, "scripts/make_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"


def test_every_verb_of_the_readme_exists_and_every_verb_is_in_the_docs() -> None:
    named = set(re.findall(r"fleetcube ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named <= set(VERBS), named - set(VERBS)
    pages = (ROOT / "docs" / "cli.md").read_text()
    assert all(f"## fleetcube {verb}" in pages for verb in VERBS)


def test_the_makefile_lists_its_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("up", "test", "fast", "lint", "docs", "bench"):
        assert re.search(rf"^\s+{target}\s", done.stdout, re.M), target
