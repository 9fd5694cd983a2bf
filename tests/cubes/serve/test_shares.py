"""What the sessions of an endpoint take together is bounded by settings, and one can't take another's part."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqllake import make_lake

from cubes.serve.shares import share_of_session
from cubes.session import Session
from lake.errors import ConfigError, FleetcubeError
from lake.settings import Settings


def test_shares_add_up_to_no_more_than_the_whole() -> None:
    for running in (1, 3, 4, 7):
        whole = Settings(serve_running=running, serve_memory_mib=1000, spill_mib=100, threads=2)
        share = share_of_session(whole)
        assert running * share.memory_mib <= 1000
        assert running * share.spill_mib <= 100
        assert share.memory_mib >= 1000 // running - 1
        assert share.threads == 2
    assert share_of_session(Settings(serve_threads=1, threads=2)).threads == 1
    assert share_of_session(Settings()).spill_mib == 0


def test_shares_too_small_to_work_with_are_refused() -> None:
    with pytest.raises(ConfigError, match="leaves each 25 MiB"):
        share_of_session(Settings(serve_running=10, serve_memory_mib=250))


def test_a_session_keeps_to_its_share_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    whole = Settings(lake=lake, serve_running=2, serve_memory_mib=160, serve_threads=1, spill_mib=4)
    make_lake(Settings(lake=lake, memory_mib=512), rows=1400, cubes=[])
    share = share_of_session(whole)
    with Session(share) as greedy, Session(share) as other:
        names = ("memory_limit", "threads", "max_temp_directory_size")
        asked = ", ".join(f"current_setting('{name}')" for name in names)
        assert greedy._duck.sql(f"SELECT {asked}") == [("80.0 MiB", 1, "2.0 MiB")]
        wide = "SELECT a.request_id || b.request_id AS id FROM requests a, requests b ORDER BY id, a.e2e_ms, b.e2e_ms"
        with pytest.raises(FleetcubeError, match=r"memory|space|temp"):
            greedy.query(wide)
        assert other.query("SELECT count(*) FROM requests").table.to_pylist() == [{"count": 1400}]
        assert greedy.query("SELECT count(*) FROM requests").table.to_pylist() == [{"count": 1400}]
