"""What waits, as programs are told: facts to judge and cubes to build, before and after each step."""

from __future__ import annotations

import json
from pathlib import Path

from airflowlive import send
from click.testing import CliRunner

from fleetcube.cli import cli
from fleetcube.due import Due, due
from lake.errors import GateBlocked
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
    assert landed["due"] == {"gate": ["requests", "samples"], "build": {}, "blocked": []}
    judged = run(lake, "gate", "--format", "json")
    assert {one["fact"] for one in judged} == {"requests", "samples"}
    assert all(one["page"] is None or one["verdict"] == "warned" for one in judged)
    now = due(Settings(lake=lake))
    of_samples = ("cost", "energy", "infrastructure", "training")
    assert now == Due((), {"samples": of_samples, "requests": ("serving",)})
    [built] = run(lake, "build", "serving", "--format", "json")
    assert (built["cube"], built["kind"], built["rows"]) == ("serving", "build", 20)
    assert due(Settings(lake=lake)).build == {"samples": of_samples}
    states = {one["name"]: one["due"] for one in run(lake, "cube", "list", "--format", "jsonl")}
    assert states == dict.fromkeys(("evaluations", "events", "serving"), False) | dict.fromkeys(of_samples, True)
    [again] = run(lake, "build", "serving", "--format", "json")
    assert again["kind"] == "none"


def test_a_gate_that_was_killed_waits(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    send(lake, 1)
    run(lake, "land", "--format", "json")
    run(lake, "gate", "--format", "json")
    write_intent(lake, "gate", "requests", {"step": "audit", "job": {}})
    assert due(Settings(lake=lake)).gate == ("requests",)


def test_a_batch_that_is_held_back_waits_for_a_person(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    send(lake, 1, metric="made.up", rows=100)
    run(lake, "land", "--format", "json")
    done = CliRunner().invoke(cli, ["gate", "samples", "--format", "json", "--lake", str(lake)])
    assert isinstance(done.exception, GateBlocked)
    [judged] = [json.loads(line) for line in done.stdout.splitlines()]
    assert judged["verdict"] == "blocked"
    assert Path(judged["page"]).is_file()
    assert due(Settings(lake=lake)) == Due(("requests",), {}, ("samples",))
