"""What waits, as programs are told: facts to judge and cubes to build, before and after each step."""

from __future__ import annotations

import json
from pathlib import Path

from airflowlive import send
from click.testing import CliRunner

from fleetcube.cli import cli
from fleetcube.due import Due, due
from lake.intents import write_intent
from lake.settings import Settings


def run(lake: Path, *arguments: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(cli, [*arguments, "--lake", str(lake)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_waits_is_known_after_each_step(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    send(lake, 1)
    [landed] = run(lake, "land", "--format", "json")
    assert landed["due"] == {"gate": ["requests", "samples"], "build": {}}
    judged = run(lake, "gate", "--format", "json")
    assert {one["fact"] for one in judged} == {"requests", "samples"}
    assert all(one["page"] is None or one["verdict"] == "warned" for one in judged)
    now = due(Settings(lake=lake))
    assert now == Due((), {"samples": ("infrastructure",), "requests": ("serving",)})
    [built] = run(lake, "build", "serving", "--format", "json")
    assert (built["cube"], built["kind"], built["rows"]) == ("serving", "build", 20)
    assert due(Settings(lake=lake)).build == {"samples": ("infrastructure",)}
    states = {one["name"]: one["due"] for one in run(lake, "cube", "list", "--format", "jsonl")}
    assert states == {"evaluations": False, "infrastructure": True, "serving": False}
    [again] = run(lake, "build", "serving", "--format", "json")
    assert again["kind"] == "none"


def test_a_gate_that_was_killed_waits(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    send(lake, 1)
    run(lake, "land", "--format", "json")
    run(lake, "gate", "--format", "json")
    write_intent(lake, "gate", "requests", {"step": "audit", "job": {}})
    assert due(Settings(lake=lake)).gate == ("requests",)
