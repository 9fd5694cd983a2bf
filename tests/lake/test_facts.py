"""Facts: what is shipped, what a user may add, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import DefinitionError, QueryError
from lake.facts import duck_type, load_facts

EVERYWHERE = {"environment", "deployment", "namespace", "pod", "container", "site", "cluster", "host", "labels"}
MUST_HAVE = {
    "samples": {
        "ts", "metric", "value", "interval_s", "bounds_id", "counts", "unit", "device", "hardware", "service", "model",
        "model_version", "run",
    },
    "requests": {
        "ts", "request_id", "service", "endpoint", "model", "model_version", "hardware", "tenant", "user_hash",
        "status", "error_code", "prompt_tokens", "output_tokens", "cached_tokens", "queue_ms", "ttft_ms", "tpot_ms",
        "e2e_ms", "gpu_ms", "batch_size", "client_type", "priority", "feature", "session_hash", "flag_toxic",
        "flag_injection", "flag_pii",
    },
    "evaluations": {
        "ts", "model", "model_version", "model_size", "training_data", "hardware", "run", "round", "task", "metric",
        "value", "stderr", "n",
    },
    "events": {"ts", "kind", "severity", "text", "data", "service", "model", "device"},
}  # fmt: skip
REQUIRED = {
    "samples": {"ts", "metric"},
    "requests": {"ts", "status"},
    "evaluations": {"ts", "model", "metric"},
    "events": {"ts", "kind", "severity", "text"},
}

OWN = """\
name: tickets
description: Support tickets
key: [ticket]
columns:
  - {name: ts, type: timestamp, role: time, required: true, description: When it was opened}
  - {name: ticket, type: string, role: detail, description: Its number}
  - {name: age_s, type: interval, role: value, unit: s, description: Its age}
"""

# replaced text, replacement, what the error must say
REFUSED = [
    ("role: value", "role: valeu", ["tickets.yaml:7: ", "columns[2].role", "Did you mean 'value'?"]),
    ("unit: s", "unti: s", ["tickets.yaml:7: ", "columns[2].unti", "Did you mean 'unit'?"]),
    ("unit: s", "unit: furlong", ["tickets.yaml:7: ", "columns[2].unit", "'furlong' is not known"]),
    ("unit: s, ", "", ["tickets.yaml:7: ", "column age_s: a number needs a unit"]),
    ("type: interval", "type: string", ["tickets.yaml:7: ", "a value must be a number"]),
    ("name: ticket,", "name: batch,", ["tickets.yaml:6: ", "column batch: the lake uses this name"]),
    ("name: ticket,", "name: Ticket,", ["tickets.yaml:6: ", "columns[1].name"]),
    ("name: ticket,", "name: age_s,", ["tickets.yaml:1: ", "column age_s is declared twice"]),
    ("key: [ticket]", "key: [tickte]", ["tickets.yaml:", "key column tickte", "Did you mean 'ticket'?"]),
    ("required: true, ", "", ["tickets.yaml:5: ", "the time column is named ts"]),
    ("role: time", "role: detail", ["tickets.yaml:5: ", "the time column is named ts"]),
    ("name: ts,", "name: at,", ["tickets.yaml:5: ", "the time column is named ts"]),
    ("description: Its age", 'description: ""', ["tickets.yaml:7: ", "columns[2].description"]),
    ("name: tickets", "name: samples", ["tickets.yaml:1: ", "field name", "lies in tickets.yaml"]),
]


@pytest.mark.parametrize("name", MUST_HAVE)
def test_shipped_facts_have_their_columns(name: str) -> None:
    fact = load_facts()[name]
    names = [column.name for column in fact.columns]
    assert MUST_HAVE[name] | EVERYWHERE <= set(names)
    assert {column.name for column in fact.columns if column.required} == REQUIRED[name]
    assert fact.time == "ts" == names[0]
    assert {column.role for column in fact.columns} <= {"time", "dimension", "value", "detail"}
    assert all(column.description for column in fact.columns)
    assert {column.name for column in fact.dimensions} & {column.name for column in fact.values} == set()
    assert all(column.sensitivity == "personal" for column in fact.columns if column.name.endswith("_hash"))


def test_closed_sets_of_values() -> None:
    facts = load_facts()
    assert facts["requests"].column("status").allowed == ("ok", "error", "timeout", "retry", "rejected", "pending")
    for fact in facts.values():
        assert fact.column("environment").allowed == ("dev", "test", "prod")
        assert fact.column("deployment").allowed == ("release", "canary", "shadow")


def test_types_map_to_the_engine() -> None:
    for fact in load_facts().values():
        assert all(duck_type(column.type) for column in fact.columns)
    assert duck_type("decimal") == "DECIMAL(38,9)"
    assert duck_type("duration") == "DECIMAL(18,6)"
    with pytest.raises(DefinitionError, match=r"'timestmap' is not a column type\. Did you mean 'timestamp'\?"):
        duck_type("timestmap")


def test_an_unknown_column_proposes_the_nearest() -> None:
    with pytest.raises(QueryError, match="fact requests has no column 'modle'") as caught:
        load_facts()["requests"].column("modle")
    assert caught.value.code == "42703"
    assert "Did you mean 'model'?" in str(caught.value)


def test_a_user_adds_a_fact(tmp_path: Path) -> None:
    (tmp_path / "tickets.yaml").write_text(OWN)
    facts = load_facts(tmp_path)
    assert list(facts) == ["evaluations", "events", "requests", "samples", "tickets"]
    assert facts["tickets"].key == ("ticket",)
    assert "tickets" not in load_facts()
    with pytest.raises(DefinitionError, match="no such folder of facts"):
        load_facts(tmp_path / "none")


def test_a_shipped_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "samples.yaml").write_text(OWN.replace("name: tickets", "name: samples"))
    with pytest.raises(DefinitionError, match=r"samples\.yaml:1: field name: 'samples' is declared already"):
        load_facts(tmp_path)


@pytest.mark.parametrize("old, new, said", REFUSED)
def test_refusals_name_file_line_and_field(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    assert old in OWN
    (tmp_path / "tickets.yaml").write_text(OWN.replace(old, new, 1))
    with pytest.raises(DefinitionError) as caught:
        load_facts(tmp_path)
    for part in said:
        assert part in str(caught.value)
