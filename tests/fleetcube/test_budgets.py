"""The shipped cubes stay within the bytes that they declare, on a simulated fleet; and what they take is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cubes.load import load_cubes
from fleetcube.cli import cli
from fleetcube.cube_state import cube_states, describe_cube
from fleetcube.pipeline import Pipeline
from lake.settings import Settings

# Of small files most is what every file costs, whatever is in it.
LEAST_BYTES = 1 << 20


@pytest.mark.slow
def test_shipped_cubes_hold_their_budgets(tmp_path: Path) -> None:
    settings = Settings(lake=tmp_path / "lake", memory_mib=1024)
    settings.lake.mkdir()
    pipeline = Pipeline(settings, lambda _: None)
    pipeline.simulate(hosts=4, days=2, requests=60_000, seed=3)
    pipeline.gate()
    pipeline.build()
    held = {state.name: state for state in cube_states(settings)}
    assert held.keys() == load_cubes().keys()
    for state in held.values():
        budget = state.budget_bytes_per_raw_byte
        assert budget is not None, f"{state.name} declares none"
        # Four hosts are too few for one that trains.
        assert (state.size_bytes > 0) == (state.name != "training")
        assert state.size_bytes <= budget * max(state.raw_bytes, LEAST_BYTES), state
        assert state.size_bytes == sum(path.stat().st_size for path in live(settings, state.name))
    for name in ("infrastructure", "serving"):
        found = held[name]
        assert (found.budget_bytes_per_raw_byte or 0) * found.raw_bytes < 3 * found.size_bytes, "would refuse nothing"
    shown = describe_cube(settings, "serving")
    assert f"{held['serving'].size_bytes:,} bytes, " in shown
    assert "(budget 4 from 64 MiB of rows on)" in shown
    listed = CliRunner().invoke(cli, ["cube", "list", "--format", "json", "--lake", str(settings.lake)])
    assert {row["name"]: row["size_bytes"] for row in json.loads(listed.output)} == {
        name: state.size_bytes for name, state in held.items()
    }


def live(settings: Settings, name: str) -> list[Path]:
    """The files of a cube that its log names."""
    [log] = (settings.lake / "cubes" / name).glob("*/_delta_log")
    there: set[str] = set()
    for path in sorted(log.glob("*.json")):
        for line in map(json.loads, path.read_text().splitlines()):
            there |= {line["add"]["path"]} if "add" in line else set()
            there -= {line["remove"]["path"]} if "remove" in line else set()
    return [log.parent / path for path in there]


def test_a_budget_is_held_from_so_many_rows_on() -> None:
    for cube in load_cubes().values():
        assert cube.budget_bytes is not None
        assert cube.budget_from_mib == 64, "a small lake is not forecast before its first build"
