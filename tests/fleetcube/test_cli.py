"""The command line as a user meets it: messages instead of tracebacks, exit codes, suggestions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleetcube.cli import VERBS

LOG = Path(__file__).parents[1] / "data" / "logs" / "online.log"


def fleetcube(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fleetcube", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, tmp_path: Path) -> None:
    done = fleetcube(verb, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert f"fleetcube {verb}" in done.stdout.replace("__main__.py", "fleetcube").replace(
        "python -m fleetcube", "fleetcube"
    )


MISTAKES = [
    (("stauts",), 2, "There is no verb 'stauts'. Did you mean 'status'?"),
    (("status",), 1, "fleet-lake: There is no lake here. Run `fleetcube up`"),
    (("cube", "list"), 1, "fleet-lake: There is no lake here. Run `fleetcube up`"),
    (("status", "--lake", "."), 1, "This folder holds no lake."),
    (("sql", "SELECT 1", "--lake", "gone"), 1, "There is no lake here."),
    (("cube", "show", "servign"), 1, "There is no cube 'servign'. Did you mean 'serving'?"),
    (("lookup", "columns", "modles"), 1, "There is no lookup 'modles'. Did you mean 'models'?"),
    (("replay", "a.csv", "--as", "online-log"), 2, "'a.csv' does not exist"),
    (("up", "--days", "0"), 2, "0 is not in the range"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES, ids=lambda value: str(value)[:30])
def test_mistakes_get_a_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = fleetcube(*arguments, folder=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "fleetcube.toml").write_text("memory_mb = 100\n")
    done = fleetcube("cube", "list", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "fleetcube.toml: memory_mb: There is no setting 'memory_mb'. Did you mean 'memory_mib'?" in done.stderr


def test_a_broken_definition_is_named_with_its_line(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("cube: mine\nfact: requests\ngrains: [5m, 1h]\ndimensons: [model]\n")
    done = fleetcube("cube", "show", "serving", folder=tmp_path, FLEETCUBE_DEFINITIONS=str(own))
    assert done.returncode == 1
    assert "mine.yaml:4" in done.stderr
    assert "Did you mean 'dimensions'" in done.stderr


def test_cubes_are_listed_as_json(tmp_path: Path) -> None:
    fleetcube("replay", str(LOG), "--as", "online-log", "--lake", "lake", folder=tmp_path)
    done = fleetcube("cube", "list", "--format", "json", "--lake", "lake", folder=tmp_path)
    cubes = {cube["name"]: cube for cube in json.loads(done.stdout)}
    assert {"infrastructure", "serving", "evaluations", "cost", "energy"} <= set(cubes)
    assert all(cube["cells"] == 0 and cube["cuboids"] > 1 for cube in cubes.values())


def test_a_plan_is_printed_as_plain_lines(tmp_path: Path) -> None:
    fleetcube("replay", str(LOG), "--as", "online-log", "--lake", "lake", folder=tmp_path)
    fleetcube("gate", "--lake", "lake", folder=tmp_path)
    fleetcube("build", "--lake", "lake", folder=tmp_path)
    query = "SELECT metric, sum(value) FROM samples GROUP BY metric"
    lines = fleetcube("sql", "--explain", query, "--lake", "lake", folder=tmp_path).stdout.splitlines()
    assert lines[0] == "path: cube"
    assert lines[2].startswith("  1d cells of [metric] from")
    assert max(len(line) for line in lines[:3]) < 120


def test_tokens_are_kept_private_and_given_once(tmp_path: Path) -> None:
    first = fleetcube("receive", "--add-agent", "gpu-1", "--lake", "l", folder=tmp_path).stdout
    again = fleetcube("receive", "--add-agent", "gpu-1", "--lake", "l", folder=tmp_path).stdout
    other = fleetcube("receive", "--add-agent", "gpu-2", "--lake", "l", folder=tmp_path).stdout
    assert first == again != other
    file = tmp_path / "l" / "_secrets" / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert fleetcube("receive", "--add-agent", "../x", "--lake", "l", folder=tmp_path).returncode == 1
