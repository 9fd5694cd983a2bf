"""Settings of an object store come out of the environment; what is missing or unsafe there is told at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lake.duck import connect
from lake.errors import ConfigError
from lake.objects import place_of
from lake.places import lake_path
from lake.settings import Settings
from lake.store_access import options, retries

KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize("environ", [{}, {"AWS_ACCESS_KEY_ID": "k"}, {"AWS_ACCESS_KEY_ID": "k", "AWS_ROLE_ARN": "r"}])
def test_no_credentials(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"no credentials.*Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        options(environ)


@pytest.mark.parametrize(
    "environ",
    [KEYS, {"AWS_METADATA_ENDPOINT": "http://169.254.169.254"}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x"},
     {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "r"}],
)  # fmt: skip
def test_every_way_to_credentials(environ: dict[str, str]) -> None:
    assert options(environ) == {name.lower(): value for name, value in environ.items()}


@pytest.mark.parametrize("name", ["AWS_S3_ALLOW_UNSAFE_RENAME", "AWS_S3_LOCKING_PROVIDER", "AWS_COPY_IF_NOT_EXISTS"])
def test_switches_that_make_commits_unsafe_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} makes commits"):
        options({**KEYS, name: "true"})


def test_plain_http_must_be_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL: .* not encrypted.*AWS_ALLOW_HTTP=true"):
        options({**KEYS, "AWS_ENDPOINT_URL": "http://10.0.0.1:9000"})
    assert options({**KEYS, "AWS_ENDPOINT_URL": "http://h", "AWS_ALLOW_HTTP": "true"})["allow_http"] == "true"


def test_attempts() -> None:
    assert (retries({}), retries({"AWS_MAX_ATTEMPTS": "1"}), retries({"AWS_MAX_ATTEMPTS": "4"})) == (6, 0, 3)
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(ConfigError, match=r"AWS_MAX_ATTEMPTS"):
            retries({"AWS_MAX_ATTEMPTS": wrong})


@pytest.mark.parametrize("package,module", [("obstore", "obstore.store"), ("fsspec", "lake.objects_fs")])
def test_without_the_extra(package: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, module, None)
    lake = lake_path(f"s3://never-reached-{package}/lake", tmp_path)
    reach = {"obstore": lambda: place_of(lake), "fsspec": lambda: connect(Settings(lake=lake))}[package]
    with pytest.raises(ConfigError, match=rf"needs {package}\. Install the extra: `pip install fleetcube\[s3\]`"):
        reach()
