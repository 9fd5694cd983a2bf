"""A folder of one's own facts, lookups and suites: beside the shipped ones everywhere, and gone when it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.errors import ConfigError, DefinitionError, FleetcubeError
from lake.facts import load_facts
from lake.lookups import load_lookups
from lake.own import use_own
from lake.tables import landing, lookup, trusted
from quality.suites import load_suite

FACT = """\
name: tickets
description: Support tickets
columns:
  - {name: ts, type: timestamp, role: time, required: true, description: When}
  - {name: kind, type: string, role: dimension, description: Kind}
"""
LOOKUP = """\
name: kinds
description: Kinds of tickets
key: [kind]
columns:
  - {name: kind, type: string, description: Kind}
  - {name: title, type: string, description: Its title}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for part, name, text in (("facts", "tickets", FACT), ("lookups", "kinds", LOOKUP)):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.yaml").write_text(text)
    yield tmp_path
    use_own(Path(""))


def test_they_stand_beside_the_shipped_ones_and_go_again(folder: Path) -> None:
    shipped = set(load_facts()), set(load_lookups())
    use_own(folder)
    assert set(load_facts()) == shipped[0] | {"tickets"}
    assert set(load_lookups()) == shipped[1] | {"kinds"}
    assert {"ts", "kind", "batch", "day"} <= set(trusted("tickets").schema.names)
    assert "raw" in landing("tickets").schema.names
    assert lookup("kinds").schema.names == ["kind", "title"]
    use_own(Path(""))
    assert (set(load_facts()), set(load_lookups())) == shipped
    with pytest.raises(KeyError):
        trusted("tickets")


def test_shipped_rows_of_an_own_lookup(folder: Path) -> None:
    (folder / "lookups" / "kinds.csv").write_text("kind,title\nbug,A fault\n")
    use_own(folder)
    assert load_lookups()["kinds"].rows == (("bug", "A fault"),)


def test_a_suite_of_ones_own_or_the_usual_one(folder: Path) -> None:
    use_own(folder)
    usual = load_suite("tickets")
    assert [rule.name for rule in usual.rows] == ["time_known"]
    assert [rule.severity for rule in usual.batch] == ["critical", "critical"]
    (folder / "suites").mkdir()
    rule = "{name: kind_known, column: kind, rule: not_null, severity: warning}"
    (folder / "suites" / "tickets.yaml").write_text(f"fact: tickets\ndescription: d\nrows: [{rule}]\nbatch: []\n")
    use_own(Path(""))
    use_own(folder)
    assert [rule.name for rule in load_suite("tickets").rows] == ["kind_known"]


@pytest.mark.parametrize(
    "part, name, text, told",
    [
        ("facts", "samples", FACT.replace("tickets", "samples"), "'samples' is declared already"),
        ("facts", "fc_x", FACT.replace("tickets", "fc_x"), "names that begin with fc_ or pg_ are taken"),
        ("facts", "wrong", FACT, "fact 'tickets' lies in wrong.yaml"),
        ("facts", "more", FACT.replace("tickets", "more").replace("kind", "fc_k"), "the lake uses this name"),
        ("lookups", "tickets", LOOKUP.replace("kinds", "tickets"), "'tickets' is declared already, as a fact"),
        ("lookups", "sites", LOOKUP.replace("kinds", "sites"), "'sites' is declared already, as a lookup"),
        ("lookups", "pg_x", LOOKUP.replace("kinds", "pg_x"), "a name of that beginning is taken"),
    ],
)
def test_names_that_are_taken(folder: Path, part: str, name: str, text: str, told: str) -> None:
    (folder / part / f"{name}.yaml").write_text(text)
    use_own(folder)
    with pytest.raises(DefinitionError, match=told) as caught:
        (load_facts if part == "facts" else load_lookups)()
    assert f"{name}.yaml" in str(caught.value)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    for wrong, told in ((tmp_path / "none", "is not there"), (tmp_path, "holds no folder facts or lookups")):
        with pytest.raises(ConfigError, match=told):
            use_own(wrong)
    assert issubclass(ConfigError, FleetcubeError)
