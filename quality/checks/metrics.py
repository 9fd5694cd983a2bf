"""Checks from the metric catalogue: is the metric known, is its number possible, has it the shape of its kind."""

from __future__ import annotations

from quality.checks import Policy, RowCheck, register


@register("metric", "value")
def unknown_metric(policy: Policy) -> RowCheck:
    """A metric that the catalogue does not declare; the setting unknown_metrics decides."""
    reason = "'metric ''' || metric || ''' is not in the catalogue'"
    bad = "metric IS NOT NULL AND _m_kind IS NULL"
    return RowCheck("unknown_metric", bad, reason, notice=policy.unknown_metrics == "accept")


@register("metric", "value", "counts")
def bad_shape(policy: Policy) -> RowCheck:
    """A histogram has counts of known bounds; a state is a whole number; others have no counts."""
    lengths = " ".join(
        f"WHEN '{name.replace(chr(39), chr(39) * 2)}' THEN {length + 1}" for name, length in policy.bounds.items()
    )
    length = f"len(counts) <> CASE bounds_id {lengths} END" if lengths else "false"
    histogram = (
        "counts IS NULL OR bounds_id IS NULL OR len(counts) = 0 OR list_min(counts) < 0 "
        f"OR list_count(counts) <> len(counts) OR coalesce({length}, false)"
    )
    bad = (
        f"CASE _m_kind WHEN 'histogram' THEN {histogram} "
        "WHEN 'state' THEN counts IS NOT NULL OR value <> floor(value) "
        "ELSE counts IS NOT NULL AND _m_kind IS NOT NULL END"
    )
    reason = (
        "CASE _m_kind WHEN 'histogram' THEN 'a histogram needs bounds_id and one count for each bucket, none below 0' "
        "WHEN 'state' THEN 'a state is one whole number' ELSE 'a ' || _m_kind || ' has no counts' END"
    )
    return RowCheck("bad_shape", bad, reason)


@register("metric", "value")
def missing_value(_: Policy) -> RowCheck:
    """No number where the metric's kind has one; a histogram may do without its sum."""
    bad = "value IS NULL AND coalesce(_m_kind, 'gauge') <> 'histogram'"
    return RowCheck("missing_value", bad, "'column value: is missing'")


@register("metric", "value")
def negative_increment(_: Policy) -> RowCheck:
    """A counter lands as increments, and nothing uncounts."""
    reason = "'column value: ' || CAST(value AS VARCHAR) || ' is below 0, but ' || metric || ' only grows'"
    return RowCheck("negative_increment", "_m_kind = 'counter' AND value < 0", reason)


@register("metric", "value")
def out_of_range(_: Policy) -> RowCheck:
    """Outside the range that the catalogue gives; a histogram's value is a sum, to which no range applies."""
    reason = (
        "'column value: ' || CAST(value AS VARCHAR) || ' lies outside ' || coalesce(CAST(_m_min AS VARCHAR), '') "
        "|| '..' || coalesce(CAST(_m_max AS VARCHAR), '') || ' ' || _m_unit || ' of ' || metric"
    )
    return RowCheck("out_of_range", "_m_kind <> 'histogram' AND (value < _m_min OR value > _m_max)", reason)
