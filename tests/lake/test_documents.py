"""Documents: what is read, what is refused, and that every refusal names file, line and field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from lake.documents import load_document, load_documents, read_document
from lake.errors import DefinitionError


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["gauge", "counter"]
    limit: Decimal | None = None


class Whole(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    parts: tuple[Part, ...] = ()
    named: dict[str, Part] = {}
    note: str = ""


GOOD = """\
# a comment
name: a
parts:
  - kind: gauge
    limit: 0.10
  - {kind: counter}
named:
  x: {kind: gauge, limit: 1e3}
note: "12"
"""

# text, what the error must say in this order
REFUSED = {
    "unknown field": ("name: a\nnoet: b\n", ["x.yaml:2: ", "field noet: ", "unknown field", "Did you mean 'note'?"]),
    "unknown nested field": (
        "name: a\nparts:\n  - kind: gauge\n    limti: 1\n",
        ["x.yaml:4: ", "field parts[0].limti: ", "Did you mean 'limit'?"],
    ),
    "unknown field in a mapping": (
        "name: a\nnamed:\n  x: {kind: gauge,\n      kidn: y}\n",
        ["x.yaml:4: ", "field named.x.kidn: ", "Did you mean 'kind'?"],
    ),
    "wrong choice": (
        "name: a\nparts:\n  - kind: guage\n",
        ["x.yaml:3: ", "field parts[0].kind: ", "'guage' is not a known value", "Did you mean 'gauge'?"],
    ),
    "far choice": ("name: a\nparts:\n  - kind: zzz\n", ["x.yaml:3: ", "'zzz' is not", "Known: counter, gauge."]),
    "missing field": ("\nparts: []\n", ["x.yaml:2: ", "field name: ", "required and missing"]),
    "empty field": ("parts: []\nname:\n", ["x.yaml:2: ", "field name: ", "is empty"]),
    "number for a text": ("name: 1.10\n", ["x.yaml:1: ", "field name: ", "wants text, not 1.10", '"1.10"']),
    "not a number": (
        "name: a\nparts: [{kind: gauge, limit: much}]\n",
        ["x.yaml:2: ", "parts[0].limit: ", "much"],
    ),
    "infinite": ("name: a\nparts: [{kind: gauge, limit: .inf}]\n", ["x.yaml:2: ", "parts[0].limit: ", ".inf"]),
    "several problems": ("noet: a\nparts: 1\n", ["x.yaml:1: ", "field noet: ", "(2 more problems in this document.)"]),
    "not a mapping": ("- a\n", ["x.yaml:1: ", "got ['a']"]),
    "empty file": ("", ["x.yaml:1: ", "is empty"]),
    "duplicate key": ("name: a\nnote: b\nname: c\n", ["x.yaml:3: ", "key 'name' is there twice (first on line 1)"]),
    "duplicate nested key": ("named:\n  a: {kind: gauge}\n  a: {}\n", ["x.yaml:3: ", "'a'", "(first on line 2)"]),
    "syntax": ("name: a\nparts: [\n", ["x.yaml:3: ", "is not YAML"]),
    "tab": ("name: a\n\tnote: b\n", ["x.yaml:2: ", "is not YAML"]),
    "control character": ("name: a\x07\n", ["x.yaml:", "is not YAML"]),
    "tag": ("name: !!python/object/apply:os.getcwd []\n", ["x.yaml:1: ", "tag '", "is not allowed"]),
    "merge key": ("name: &a b\nnamed: {<<: *a}\n", ["x.yaml:2: ", "merge keys are not supported"]),
    "unknown alias": ("name: *nobody\n", ["x.yaml:1: ", "nobody"]),
    "list as a key": ("name: a\n[a, b]: c\n", ["x.yaml:2: ", "a key must be one word"]),
    "two documents": ("name: a\n---\nname: b\n", ["x.yaml:2: ", "more than one document"]),
    "deep": ("name: " + "[" * 60 + "]" * 60 + "\n", ["x.yaml:1: ", "nested deeper than 32"]),
    "very deep": ("name: " + "[" * 100_000 + "\n", ["x.yaml:1: ", ""]),
    "large": ("name: " + "a" * (1 << 20) + "\n", ["x.yaml:1: ", "larger than 1 MiB"]),
    "laughs": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
        ["x.yaml:5: ", "expands to more than 50,000 values"],
    ),
}


def test_a_good_document_keeps_exact_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    whole = load_document(path, Whole)
    assert whole.name == "a"
    assert whole.parts[0].limit == Decimal("0.10")
    assert whole.named["x"].limit == 1000
    assert whole.note == "12"


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_file_line_and_field(tmp_path: Path, case: str) -> None:
    text, said = REFUSED[case]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_document(path, Whole)
    message = str(caught.value)
    assert message.startswith(str(tmp_path))
    at = 0
    for part in said:
        assert part in message[at:], message
        at = message.index(part, at)
    assert len(message) < 600, "an error stays short whatever the document holds"


def test_only_plain_words_become_other_types(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("[yes, NO, on, 12:30, 2024-01-01, 0x1f, 1_000, 007, true, '1', 1, -1.5, ~, null, .5, 1.]\n")
    value = read_document(path).value
    texts = ["yes", "NO", "on", "12:30", "2024-01-01", "0x1f", "1_000"]
    assert value == [*texts, 7, True, "1", 1, Decimal("-1.5"), None, None, Decimal("0.5"), Decimal(1)]


def test_aliases_share_a_value_within_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: a\nparts: [&p {kind: gauge}, *p]\n")
    whole = load_document(path, Whole)
    assert whole.parts[0] == whole.parts[1]


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: a\nnote: \xff\n")
    with pytest.raises(DefinitionError, match=r"x\.yaml:2: is not UTF-8"):
        load_document(path, Whole)


def test_a_missing_file_proposes_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "serving.yaml").write_text("name: a\n")
    with pytest.raises(DefinitionError, match=r"servign\.yaml: can't be read.*Did you mean 'serving\.yaml'\?"):
        load_document(tmp_path / "servign.yaml", Whole)


def test_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n")
    assert list(load_documents(tmp_path, Whole)) == ["a", "b"]
    (tmp_path / "c.yml").write_text("name: c\n")
    with pytest.raises(DefinitionError, match=r"c\.yml: documents end in \.yaml"):
        load_documents(tmp_path, Whole)
    with pytest.raises(DefinitionError, match="no such folder"):
        load_documents(tmp_path / "none", Whole)


def test_a_place_without_a_line_falls_back_to_the_one_around_it(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    document = read_document(path)
    assert document.where(("parts", 1, "kind")) == f"{path}:6"
    assert document.where(("parts", 1, "nowhere")) == f"{path}:6"
    assert document.where(("named", "function-before", "x")) == f"{path}:8"
    assert str(document.error("is odd.", ("parts", 0))) == f"{path}:4: field parts[0]: is odd."
