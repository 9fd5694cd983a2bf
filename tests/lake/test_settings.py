"""Settings: flags over environment over file over defaults, and errors that name their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import ConfigError
from lake.settings import Settings, load_settings


def test_defaults_without_anything(tmp_path: Path) -> None:
    assert load_settings({}, {}, tmp_path) == Settings()


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "fleetcube.toml").write_text('lake = "from-file"\nperiod_s = 30\nsite = "from-file"\n')
    environ = {"FLEETCUBE_LAKE": "from-environment", "FLEETCUBE_PERIOD_S": "20"}
    found = load_settings({"lake": "from-flag", "site": None}, environ, tmp_path)
    assert (found.lake, found.period_s, found.site) == (Path("from-flag"), 20, "from-file")


def test_a_named_file_is_read_and_must_exist(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("memory_mib = 512\n")
    assert load_settings({}, {"FLEETCUBE_CONFIG": str(other)}, tmp_path).memory_mib == 512
    with pytest.raises(ConfigError, match=r"gone\.toml: The settings file does not exist"):
        load_settings({}, {"FLEETCUBE_CONFIG": str(tmp_path / "gone.toml")}, tmp_path)


CASES = [
    ("memory_mb = 3", {}, r"fleetcube\.toml: memory_mb: There is no setting 'memory_mb'\. Did you mean 'memory_mib'"),
    ("period_s = 0", {}, r"period_s: 'period_s' wants a whole number of at least 1, not 0"),
    ("period_s = true", {}, "wants a whole number"),
    ("site = 3", {}, "'site' wants a text, not 3"),
    ("lake = 3", {}, "'lake' wants a path, not 3"),
    ("site = ", {}, r"fleetcube\.toml: Not valid TOML"),
    ("", {"FLEETCUBE_LOG": "jsno"}, r"environment variable FLEETCUBE_LOG: 'log' can't be 'jsno'\. Did you mean 'json'"),
    ("", {"FLEETCUBE_PERIOD_S": "ten"}, "environment variable FLEETCUBE_PERIOD_S: .*not 'ten'"),
    ("", {"FLEETCUBE_LAEK": "x"}, "There is no setting 'laek'. Did you mean 'lake'"),
]


@pytest.mark.parametrize(("file", "environ", "message"), CASES)
def test_errors_name_the_source_and_the_remedy(
    tmp_path: Path, file: str, environ: dict[str, str], message: str
) -> None:
    (tmp_path / "fleetcube.toml").write_text(file)
    with pytest.raises(ConfigError, match=message):
        load_settings({}, environ, tmp_path)


def test_the_tokens_lie_in_the_lake_unless_set(tmp_path: Path) -> None:
    assert Settings(lake=tmp_path).token_file == tmp_path / "_secrets" / "tokens.json"
    assert Settings(tokens=Path("t.json")).token_file == Path("t.json")
