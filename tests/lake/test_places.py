"""A lake's path says where it lies: a folder, or an object store with a home folder here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import ConfigError, LakeError
from lake.places import address, is_remote, lake_path
from lake.settings import load_settings

HOME = Path("/var/lib/fleetcube")


def test_a_store_has_a_home_and_an_address() -> None:
    lake = lake_path("s3://bucket/some/lake/", HOME)
    assert lake == HOME / "s3:" / "bucket" / "some" / "lake"
    assert is_remote(lake)
    assert address(lake / "trusted" / "samples") == "s3://bucket/some/lake/trusted/samples"
    assert lake_path(str(lake), HOME) == lake, "a child process is given the path"
    assert lake_path("s3:/bucket/some/lake", HOME) == lake, "as pathlib spells it"


@pytest.mark.parametrize("text", ["fleet-lake", "/srv/lake", "with space/ü", "a:b/c"])
def test_a_folder_is_left_as_it_is(text: str) -> None:
    assert lake_path(text, HOME) == Path(text)
    assert not is_remote(Path(text))
    assert address(Path(text)) == text


@pytest.mark.parametrize(
    "text",
    ["s3:", "s3://", "s3:///", "s3://b/../c", "s3://b//c", "s3://b/a b", "s3://b/a'b", "gs://b/c", "https://b/c"],
)
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        lake_path(text, HOME)


@pytest.mark.parametrize(
    "where, shown",
    [
        ("/home/ada/s3:/b/p/trusted/samples", "s3://b/p/trusted/samples"),
        ("/home/ada/s3:/b/p", "s3://b/p"),
        ("/home/ada/s3:/b/p/_secrets/tokens.json", "/home/ada/s3:/b/p/_secrets/tokens.json"),
        ("/home/_ada/s3:/b/p", "s3://b/p"),
        ("/srv/lake/trusted", "/srv/lake/trusted"),
    ],
)
def test_errors_name_the_url_of_what_is_there(where: str, shown: str) -> None:
    assert str(LakeError("Gone.", where=where)) == f"{shown}: Gone."


def test_a_store_by_flag_variable_and_file(tmp_path: Path) -> None:
    home = {"FLEETCUBE_HOME": str(tmp_path)}
    want = tmp_path / "s3:" / "b" / "p"
    assert load_settings({"lake": Path("s3://b/p")}, home).lake == want
    assert load_settings({}, {**home, "FLEETCUBE_LAKE": "s3://b/p"}).lake == want
    (tmp_path / "fleetcube.toml").write_text(f'lake = "s3://b/p"\nhome = "{tmp_path}"\n')
    assert load_settings({}, {}, tmp_path).lake == want
    assert load_settings({"lake": "s3://b/p"}, {}).lake == Path("~/.fleetcube/s3:/b/p").expanduser()
    with pytest.raises(ConfigError, match=r"FLEETCUBE_LAKE.*Name a folder"):
        load_settings({}, {"FLEETCUBE_LAKE": "gs://b/p"})


def test_a_local_lake_imports_nothing_of_the_store(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from lake.delta import create_table, newest_version, open_snapshot
from lake.duck import connect
from lake.lease import lease
from lake.settings import Settings
from lake.tables import LEDGER
lake = Path({str(tmp_path)!r})
duck = connect(Settings(lake=lake))
create_table(lake, LEDGER)
with lease(lake, "one"):
    duck.sql("SELECT * FROM " + duck.scan(open_snapshot(lake, LEDGER)))
    newest_version(lake, LEDGER, 0)
print([name for name in ("fsspec", "obstore", "lake.objects", "lake.store_access") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
