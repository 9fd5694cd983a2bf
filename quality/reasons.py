"""Why rows of a batch are bad: for each check the rows that failed it, examples of what they held, and who sent them.

One aggregate over the candidate, for batches that are warned or blocked. Examples are bounded and quote no column that
is declared personal; the page of the verdict shows them, and `erase` deletes that page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lake.duck import Duck, text_literal
from lake.facts import Fact

SHOWN: Final = 5
_UNKNOWN: Final = "unknown_metric"
_LETTERS: Final = 160
Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Reason:
    """A check that rows failed. `examples` and `senders` are the most frequent, of `kinds` and `agents` in all."""

    check: str
    rows: int
    kinds: int
    examples: Counted
    agents: int
    senders: Counted

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Reason:
        """The reason out of an intent file, whose JSON knows no tuples."""
        pairs = {name: tuple((text, rows) for text, rows in content[name]) for name in ("examples", "senders")}
        return Reason(**{**content, **pairs})


def find_reasons(duck: Duck, fact: Fact, bad: str) -> tuple[Reason, ...]:
    """The reasons of the rows `bad` (a FROM clause over the candidate with the fate of repeats), most rows first."""
    sender = "agent || coalesce(' (' || source || ')', '')"
    told = (
        f"SELECT coalesce(_check, 'conflict') AS blamed, {_short(_example(fact))} AS example, "
        f"{_short(sender)} AS sender FROM {bad}"
    )
    counted = (
        "SELECT blamed, grouping(example) = 0 AS is_example, coalesce(example, sender, '-') AS shown, "
        f"count(*) AS found FROM ({told}) GROUP BY GROUPING SETS ((blamed, example), (blamed, sender))"
    )
    ranked = (
        "SELECT *, row_number() OVER (same ORDER BY found DESC, shown) AS place, count(*) OVER same AS kinds, "
        f"sum(found) OVER same AS every FROM ({counted}) WINDOW same AS (PARTITION BY blamed, is_example)"
    )
    rows = duck.sql(
        f"SELECT blamed, every::BIGINT, is_example, kinds, shown, found FROM ({ranked}) WHERE place <= {SHOWN} "
        "ORDER BY every DESC, blamed, place"
    )
    found = []
    for check, every in dict.fromkeys((row[0], row[1]) for row in rows):
        sides = []
        for wanted in (True, False):
            side = [row[3:] for row in rows if row[0] == check and row[2] is wanted]
            sides += [side[0][0], tuple((shown, count) for _, shown, count in side)]
        found.append(Reason(check, every, *sides))
    return tuple(found)


def undeclared(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """The undeclared metrics among the reasons, the most frequent first: what the record of the verdict keeps."""
    return [
        {"metric": name, "rows": rows}
        for reason in reasons
        if reason.check == _UNKNOWN
        for name, rows in reason.examples
    ]


def mostly(checks: Mapping[str, Any]) -> str:
    """The check that most bad rows of a batch failed, with an undeclared metric by its name; empty where none did."""
    rows: Counter[str] = Counter()
    for one in checks.get("quarantined", []):
        rows[one["check"]] += one["rows"]
    if not rows:
        return ""
    [(top, _)] = rows.most_common(1)
    names = [one["metric"] for one in checks.get("undeclared", [])] if top == _UNKNOWN else []
    return f"mostly {top} ({names[0]}{', …' if len(names) > 1 else ''})" if names else f"mostly {top}"


def _example(fact: Fact) -> str:
    """SQL of what a bad row shows: its metric where that is unknown, else the reason, with the metric it speaks of."""
    columns = {column.name for column in fact.columns}
    why = "coalesce(_reason, reason)"
    blamed = f"regexp_extract({why}, '^column ([a-z0-9_]+):', 1)"
    personal = ", ".join(text_literal(column.name) for column in fact.columns if column.sensitivity == "personal")
    # Typed numbers have their nine decimal places; what a sender wrote is quoted, and shown as it is.
    plain = f"CASE WHEN contains({why}, '''') THEN {why} ELSE regexp_replace({why}, '\\.000000000\\b', '', 'g') END"
    cases = [
        # A natural key may be made of anything, so it is not quoted either.
        f"WHEN _check IS NULL AND {why} LIKE 'the key %' THEN 'the same key came with other content'",
    ]
    if personal:
        hidden = f"'column ' || {blamed} || ': its values are personal, so none is shown'"
        cases.append(f"WHEN {blamed} IN ({personal}) THEN {hidden}")
    if "metric" in columns:
        cases.insert(0, f"WHEN _check = '{_UNKNOWN}' THEN metric")
        plain = (
            f"({plain}) || CASE WHEN metric IS NULL OR contains({why}, metric) THEN '' ELSE ' (' || metric || ')' END"
        )
    return f"CASE {' '.join(cases)} ELSE {plain} END"


def _short(text: str) -> str:
    return f"CASE WHEN length({text}) > {_LETTERS} THEN left({text}, {_LETTERS - 1}) || '…' ELSE {text} END"
