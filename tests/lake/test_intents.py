"""Intents: replaced as a whole, found in order, and a damaged one is an error with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import LakeError
from lake.intents import clear_intent, read_intents, work_folder, write_intent


def test_written_replaced_and_cleared(tmp_path: Path) -> None:
    write_intent(tmp_path, "lander", "b", {"batch": 1})
    write_intent(tmp_path, "lander", "a", {"batch": 2})
    write_intent(tmp_path, "lander", "b", {"batch": 3})
    assert read_intents(tmp_path, "lander") == {"a": {"batch": 2}, "b": {"batch": 3}}
    clear_intent(tmp_path, "lander", "b")
    clear_intent(tmp_path, "lander", "b")
    assert list(read_intents(tmp_path, "lander")) == ["a"]
    assert read_intents(tmp_path, "gate") == {}


def test_a_half_written_file_beside_is_ignored_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    folder = work_folder(tmp_path, "lander")
    (folder / ".x.json.tmp").write_text('{"batch"')
    assert read_intents(tmp_path, "lander") == {}
    (folder / "y.json").write_text('{"batch"')
    with pytest.raises(LakeError, match=r"y\.json: The intent file is damaged"):
        read_intents(tmp_path, "lander")
