"""The repository holds itself to its rules; each message says why the rule is there."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lake", "ingestion", "quality", "cubes", "fleetcube")
# Files that may be longer than 400 lines (never over 500), each with its reason.
LONG_FILES: dict[str, str] = {}
TEXT = {".py", ".md", ".yaml", ".toml", ".sql", ".slt", ".txt", ".csv", ".log", ".in", ".jsonl"}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    return tuple(path for name in listed.stdout.decode().split("\n") if name and (path := ROOT / name).is_file())


@cache
def sources(*folders: str) -> tuple[tuple[str, ast.Module, str], ...]:
    """(name, tree, text) of every Python file below the folders."""
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(text := path.read_text()), text)
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    )


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def report(found: list[str], why: str) -> None:
    assert not found, why + "\n" + "\n".join(found)


def test_functions_fit_on_a_screen() -> None:
    found = [
        f"{name}:{node.lineno}: {node.name} has {length} lines"
        for folder, limit in ((PACKAGES, 60), (("tests",), 40))
        for name, tree, _ in sources(*folder)
        for node in functions(tree)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > limit
    ]
    report(found, "A function is read whole: at most 60 lines, in tests 40; split it by what it does.")


def test_files_hold_one_concept() -> None:
    found = []
    for name, tree, text in sources(*PACKAGES):
        limit = 500 if name in LONG_FILES else 400
        public = [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
        ]
        if (lines := text.count("\n")) > limit:
            found.append(f"{name}: {lines} lines")
        if len(public) > PUBLIC_NAMES.get(name, 6):
            found.append(f"{name}: {len(public)} public names: {', '.join(public)}")
    report(found, "A file that everybody must touch is where designs rot: at most 400 lines and 6 public names.")


# Files whose one concept has more public names by nature, each with its number.
PUBLIC_NAMES = {
    "cubes/buckets.py": 7,  # slots of a value and of a relation, their ranks, quantiles, and where those hold
    "lake/errors.py": 8,  # the whole error tree
    "fleetcube/cli.py": 40,  # a function a verb
}


def test_parameters_are_few_or_named() -> None:
    found = [
        f"{name}:{node.lineno}: {node.name}"
        for name, tree, _ in sources(*PACKAGES)
        for node in functions(tree)
        if len([arg for arg in node.args.args if arg.arg not in ("self", "cls")]) > 5
    ]
    report(found, "More than 5 parameters by position can't be read at the call; make them keyword-only.")


def test_public_names_have_docstrings() -> None:
    found = []
    for name, tree, _ in sources(*PACKAGES):
        if not ast.get_docstring(tree):
            found.append(f"{name}: the module")
        for node in ast.walk(tree):
            public = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            if public and not node.name.startswith("_") and node in tree.body and not ast.get_docstring(node):
                found.append(f"{name}:{node.lineno}: {node.name}")
    report(found, "A public name says what it is for, its units and its errors, in a docstring.")


BANNED = {
    r"\beval\(|\bexec\(": "text is never run as code",
    r"shell\s*=\s*True": "no shell: pass a list of arguments",
    r"yaml\.load\(|yaml\.unsafe_load": "only documents.py reads YAML, safely",
    r"\bpickle\b": "pickle runs code on load",
    r"raise Exception\b": "raise an error of lake/errors.py",
    r"except\s*:": "name the errors that are expected",
    r"datetime\.utcnow|datetime\.now\(\)": "times carry their zone: use lake.times.utc_now",
    r"\bTO" + r"DO\b|\bFIX" + r"ME\b|\bX" + r"XX\b": "no notes to self: do it, or write it in the docs",
    r"enforce_retention_duration\s*=\s*False": "vacuum without its guard deletes live files",
}


@pytest.mark.parametrize("pattern", BANNED)
def test_banned_words(pattern: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, _, text in sources(*PACKAGES)
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    report(found, BANNED[pattern])


def test_no_large_or_private_files() -> None:
    large = [f"{path.relative_to(ROOT)}: {path.stat().st_size}" for path in tracked() if path.stat().st_size > 700_000]
    report(large, "A file over 700 kB does not belong into the history.")
    locks = {"uv.lock", "poetry.lock", "package-lock.json", "pylock.toml"}
    report([str(path) for path in tracked() if path.name in locks], "These record download addresses.")
    inits = [
        str(path) for folder in ("superset", "airflow_dags", "tests") for path in (ROOT / folder).rglob("__init__.py")
    ]
    report(inits, "An __init__.py there would shadow the real package of that name.")


def test_texts_end_with_a_newline_and_have_no_trailing_blanks() -> None:
    found = []
    for path in tracked():
        if path.suffix not in TEXT or "tests/data" in str(path):
            continue
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            found.append(f"{path.relative_to(ROOT)}: no newline at its end")
        found += [
            f"{path.relative_to(ROOT)}:{n}" for n, line in enumerate(text.splitlines(), 1) if line != line.rstrip()
        ]
    report(found, "Blanks at line ends make differences that nobody sees.")


def test_fault_points_are_unique_and_killed_in_tests() -> None:
    names = [match for _, _, text in sources(*PACKAGES) for match in re.findall(r"faultpoint\(\"([a-z_.]+)\"\)", text)]
    report(sorted({name for name in names if names.count(name) > 1}), "A fault point names one place.")
    tests = "\n".join(text for _, _, text in sources("tests"))
    report([name for name in names if f'"{name}' not in tests], "A fault point that no test kills at proves nothing.")
