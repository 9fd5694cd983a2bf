"""Two homes of one lake: one writer of a table at a time, and steps that the other can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from s3server import S3Server

from lake.claims import home_id
from lake.errors import LakeError
from lake.intents import clear_intent, intended, read_intents, write_intent
from lake.lease import lease
from lake.objects import delete_objects, place_of
from lake.places import lake_path
from lake.shared import files_below

pytestmark = pytest.mark.s3


@pytest.fixture
def homes(s3: S3Server, tmp_path: Path) -> tuple[Path, Path]:
    """The lake as two hosts see it."""
    return lake_path(s3.url, tmp_path / "one"), lake_path(s3.url, tmp_path / "two")


def test_a_home_has_one_name(homes: tuple[Path, Path]) -> None:
    one, two = homes
    assert home_id(one) == home_id(one)
    assert home_id(one) != home_id(two)


def test_one_home_at_a_time(homes: tuple[Path, Path]) -> None:
    one, two = homes
    with lease(one, "gate/samples"):
        with pytest.raises(LakeError, match=r"lake: Host .* is writing 'gate/samples' since .*Wait for it to end"):
            lease(two, "gate/samples").__enter__()
        with pytest.raises(LakeError, match="Another process"):
            lease(one, "gate/samples").__enter__()
        with lease(two, "gate/requests"):
            pass
    with lease(two, "gate/samples"):
        assert len(list(files_below(one / "_claims", ".json"))) == 1
    assert list(files_below(one / "_claims", ".json")) == []


def test_a_killed_step_keeps_its_claim_for_its_own_home(homes: tuple[Path, Path]) -> None:
    one, two = homes
    code = f"""
import os, signal
from pathlib import Path
from lake.lease import lease
with lease(Path({str(one)!r}), "gate/samples"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=60)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(LakeError, match="if that host is gone for good, delete s3://") as refused:
        lease(two, "gate/samples").__enter__()
    with lease(one, "gate/samples"):
        held = json.loads(place_of(one / "_claims" / "gate__samples.json").get() or b"")
        assert held["pid"] == os.getpid()
    place_of(one / "_claims" / "gate__samples.json").put(json.dumps({"home": "lost", "host": "h"}).encode())
    with pytest.raises(LakeError, match="Host h is writing"):
        lease(two, "gate/samples").__enter__()
    url = str(refused.value).split("delete ")[1].split(" and")[0]
    delete_objects([Path(url.replace("s3://", "/s3:/"))])
    with lease(two, "gate/samples"):
        pass


def test_an_error_gives_the_claim_back(homes: tuple[Path, Path]) -> None:
    one, two = homes
    with pytest.raises(ZeroDivisionError), lease(one, "x"):
        raise ZeroDivisionError
    with lease(two, "x"):
        pass


def test_intents_are_the_lakes_but_for_those_of_the_inbox(homes: tuple[Path, Path]) -> None:
    one, two = homes
    write_intent(one, "gate", "samples", {"step": "first"})
    write_intent(one, "gate", "samples", {"step": "audit", "file": "gate-1.parquet"})
    write_intent(one, "gate", "requests", {"step": "publish"})
    write_intent(one, "inbox", "round", {"segments": ["only-here.seg"]})
    assert read_intents(two, "gate") == {
        "requests": {"step": "publish"},
        "samples": {"step": "audit", "file": "gate-1.parquet"},
    }
    assert "gate-1.parquet" in intended(two)
    assert (list(read_intents(one, "inbox")), read_intents(two, "inbox")) == (["round"], {})
    assert "only-here.seg" in intended(one)
    clear_intent(two, "gate", "samples")
    clear_intent(two, "gate", "samples")
    assert list(read_intents(one, "gate")) == ["requests"]
    place_of(one / "_intents" / "gate" / "requests.json").put(b"{")
    with pytest.raises(LakeError, match=r"s3://.*_intents/gate/requests.json: The intent file is damaged"):
        read_intents(one, "gate")
