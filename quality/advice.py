"""What to do about rows that failed a check: a sentence for each check, for the page of a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent
_SENDER: Final = "Correct what the sender writes"
_BY_CHECK: Final = {
    "unknown_metric": (
        "Correct the name at the sender, if it is a mistake (docs/metrics.md lists the declared ones); or declare the "
        'metric in lake/declarations/metrics; or take undeclared metrics as they come: unknown_metrics = "accept" in '
        "fleetcube.toml, or FLEETCUBE_UNKNOWN_METRICS=accept, wherever the gate runs."
    ),
    "out_of_range": (
        "Correct the sender's number or its unit (a share sent as per cent, bytes as KiB); or, if such values are "
        "right, the metric's valid_min and valid_max in lake/declarations/metrics."
    ),
    "negative_increment": "Let the sender send what a counter grew by: its total is not for sending, and never falls.",
    "missing_value": f"{_SENDER}: a value is missing; or leave out rows that have none.",
    "bad_shape": f"{_SENDER}: the metric's kind (docs/metrics.md) says whether it has a number or counts.",
    "future": "Set the clock of the sending host, or correct the zone of its times (`reading` of a mapping).",
    "before_2000": "Set the clock of the sending host, or correct the format of its times (`reading` of a mapping).",
    "malformed": "Correct the log or what writes it; docs/mappings.md tells what makes a line malformed.",
    "unknown_column": f"{_SENDER}: it names a column that the fact has not; docs/facts.md lists the columns.",
    "bad_time": "Correct the format or the zone of the times: at the sender, or in `reading` of the mapping.",
    "missing_required": f"{_SENDER}, or the mapping that reads it: a column that must be there is empty.",
    "unit_mismatch": "Correct the unit that is sent, or `unit` in `reading` of the mapping: it must convert.",
    "sentinel": "Let the sender leave out what it could not read, instead of sending a number that stands for nothing.",
    "non_finite": "Let the sender leave out what is not a number (NaN, infinity).",
    "bad_number": "Correct the sender, or the mapping, if it takes the wrong text for this column.",
    "bad_value": "Correct the word at the sender, or map it to one of ours: `values` in `reading` of the mapping.",
    "bad_labels": f"{_SENDER}: labels are a JSON object of texts.",
    "conflict": (
        "Two rows of one identity or key contradict each other, and no check can tell which is right: take back the "
        "wrong side (`fleetcube batch undo`), then send the right one again; and let senders never use a number twice."
    ),
}


def known_checks() -> frozenset[str]:
    """The checks that have advice of their own; any other is a rule of a suite."""
    return frozenset(_BY_CHECK)


def advice(check: str, fact: str) -> str:
    """What to do about rows of the fact that failed the check."""
    rule = f"A rule of the suite of {fact} ({suite_place(fact)}): correct the sender, or the rule if it is too strict."
    return _BY_CHECK.get(check, rule)


def suite_place(fact: str) -> str:
    """Where a person finds the fact's suite: the shipped one, or where one of one's own lies or may be put."""
    shipped, own = f"quality/suites/{fact}.yaml", f"suites/{fact}.yaml in the folder of the setting declarations"
    return f"{shipped}, or a copy of it as {own}" if (_ROOT / shipped).is_file() else own
