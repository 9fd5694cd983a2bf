"""Mappings: the shipped ones load, and every mistake in a user's own is told with its line and a proposal."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.mapping import load_mapping, mapping_names
from lake.errors import DefinitionError

GOOD = """\
mapping: mine
description: A log of my own.
files:
  - match: "*.jsonl"
    format: jsonl
    path: "(?P<region>[a-z]+)/[^/]*$"
    emit:
      - fact: requests
        columns:
          ts: at
          status: {from: outcome}
          service: {const: chat}
          e2e_ms: took
          prompt_tokens: {const: 12}
          site: {template: "{path.region}-{file.stem}"}
        labels:
          request_type: kind
        reading:
          ts: {format: epoch_ms, zone: Europe/Oslo}
          status: {values: {good: ok}}
          e2e_ms: {unit: s}
        required: [e2e_ms]
        key: [ts, service]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_mappings_load() -> None:
    names = mapping_names()
    assert {"alibaba-genai-2026", "azure-llm-2023", "offline-log", "online-log"} <= set(names)
    for name in names:
        assert load_mapping(name).mapping == name


def test_the_alibaba_mapping_reads_every_file() -> None:
    entries = load_mapping("alibaba-genai-2026").files
    assert len(entries) == 13
    required = {entry.match: entry.emit[0].required for entry in entries if entry.emit[0].required}
    assert required["pod_gpu_duty_cycle_anon.csv"] == ("pod",)
    assert len(required) == 4


def test_a_users_mapping_loads_from_its_folder(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    mapping = load_mapping("mine", tmp_path)
    emit = mapping.files[0].emit[0]
    assert "mine" in mapping_names(tmp_path)
    assert emit.columns["prompt_tokens"].const == "12"
    assert emit.reading_text() == (
        '{"_required":["e2e_ms"],"e2e_ms":{"unit":"s"},"status":{"values":{"good":"ok"}},'
        '"ts":{"format":"epoch_ms","zone":"Europe/Oslo"}}'
    )
    assert mapping.files[0].path_parts(Path("/logs/north/day.jsonl.gz"))["path.region"] == "north"


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("fact: requests", "fact: request", 8, "Did you mean 'requests'?"),
        ("e2e_ms: took", "e2e_sm: took", 13, "Did you mean 'e2e_ms'?"),
        ("request_type: kind", "request_typ: kind", 17, "Did you mean 'request_type'?"),
        ("e2e_ms: {unit: s}", "gpu_ms: {unit: s}", 21, "not a column that this row gets"),
        ("e2e_ms: {unit: s}", "e2e_ms: {unit: By}", 21, "'By' does not convert to 'ms'"),
        ("e2e_ms: {unit: s}", "e2e_ms: {unit: fortnight}", 21, "unit 'fortnight' is not known"),
        ("{good: ok}", "{good: okay}", 20, "'okay' is not allowed in 'status'"),
        ("Europe/Oslo", "Europe/Olso", 19, "not a time zone"),
        ("epoch_ms", "epoch_mss", 19, "Did you mean 'epoch_ms'?"),
        ("{path.region}", "{path.regio}", 15, "Did you mean 'path.region'?"),
        ("{from: outcome}", "{from: outcome, const: ok}", 11, "just one of: from, const, template"),
        ("          ts: at\n", "", 9, "needs column 'ts'"),
        ("required: [e2e_ms]", "required: [e2e]", 22, "Did you mean 'e2e_ms'?"),
        ("format: jsonl", "format: json", 5, "Did you mean 'jsonl'?"),
        ("mapping: mine", "mapping: yours", 1, "Give both one name"),
        ("    format: jsonl", "    format: lines", 4, "named groups"),
        ('path: "(?P<region>[a-z]+)', 'path: "(?P<region>[a-z+)', 6, "not a regular expression"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, told: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(DefinitionError) as failure:
        load_mapping(str(write(tmp_path, text)))
    assert told in str(failure.value)
    assert f"mine.yaml:{line}:" in str(failure.value)


def test_an_unknown_mapping_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="Did you mean 'online-log'"):
        load_mapping("onlinelog", tmp_path)
