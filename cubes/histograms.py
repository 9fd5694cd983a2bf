"""Foreign histograms as slots: what is known of an observation is the bucket that it came in, and no more.

A row of samples holds counts for the buckets of `bounds_id`; a row without counts is one observation, its value. Both
become slots of `cubes.buckets` and merge as integers: a bucket that lies in one slot is that slot; one that reaches
over several is a *range*, a number made of its first and last slot. So buckets of other bounds, of other scales, and
single values meet in one cell, and nothing pretends to know where in its bucket an observation lay.

Bounds are a row of the lookup `bounds` (upper bounds as a JSON list; the last bucket is open; the first begins at 0
where its bound is not below 0, else it is open) or, for base-2 exponential histograms, the bounds_id itself:
`base2:<scale>:<offset>` or `base2:<scale>:<offset>:<negative offset>:<negatives>`, of scales -10 to 20. Bucket i holds
(2^(i/2^scale), 2^((i+1)/2^scale)], and counts are in rising order: the negative buckets (the last begins at zero), the
zeros, then the positive ones from `offset` on. At scale 6 and above that is exact, by shifts. Counts of unknown
bounds, or of another number of them, are kept as observations that may lie anywhere.

A quantile's rank falls between the same rank of all lower ends and of all upper ends; these are `percentile_low` and
`percentile_high`, and `approx_percentile` is the middle of both. It is infinite where the rank lies above the last (or
below the first) bound, and null where nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from cubes.buckets import NEGATIVE, ZERO
from cubes.model import Cube, Derived
from cubes.shares import share_of

if TYPE_CHECKING:
    from lake.duck import Duck

COUNTS: Final = "counts"  # the column of counts, and so the name of their sketch
LOOKUP: Final = "bounds"
BELOW: Final = -3_000_000  # first slot of a range that is open below
ABOVE: Final = 1_000_000  # last slot of a range that is open above
UNKNOWN: Final = 10_000_000 + ABOVE - BELOW  # the range that is open on both sides
# What a row's observations are made of, beside COUNTS.
BESIDE: Final = ("value", "bounds_id", "fc_codes")
# As which column the lookup's bounds come to rows, and on what of the lookup that rests.
CODES: Final = Derived("fc_codes", LOOKUP, "fc_codes", "counts")
RESTS_ON: Final = Derived("fc_bounds", LOOKUP, "bounds", "string")
# SQL word -> its function over observations.
WORDS: Final = {
    "approx_percentile": "fc_percentile",
    "percentile_low": "fc_percentile_low",
    "percentile_high": "fc_percentile_high",
}

_FIRST, _LAST = -1913, 6166  # the positive slots
_FACTOR: Final = 10_000_000
_READ: Final = dict(zip(WORDS.values(), ("fc_ends_mid", "fc_ends_low", "fc_ends_high"), strict=True))
_INTEGER: Final = "CAST({} AS BIGINT)"
_MACROS: Final = (
    f"""CREATE OR REPLACE MACRO fc_range(fc_lo, fc_hi) AS CAST(CASE WHEN fc_lo = fc_hi THEN fc_lo
    ELSE (fc_lo + {1 - BELOW}) * {_FACTOR} + fc_hi + {-BELOW} END AS BIGINT)""",
    f"""CREATE OR REPLACE MACRO fc_lo(fc_code) AS
    CASE WHEN fc_code < {_FACTOR} THEN fc_code ELSE fc_code // {_FACTOR} - {1 - BELOW} END""",
    f"""CREATE OR REPLACE MACRO fc_hi(fc_code) AS
    CASE WHEN fc_code < {_FACTOR} THEN fc_code ELSE fc_code % {_FACTOR} - {-BELOW} END""",
    # Bucket i of scale s reaches over the slots from floor(i w) + 1 to ceil((i + 1) w), w = 2^(6 - s), as doubles.
    # p: scale, offset, negative offset, negatives; then i, and on which side of zero; then the slots, cut to the table.
    f"""CREATE OR REPLACE MACRO fc_base2(fc_id, fc_length) AS
    CASE WHEN regexp_full_match(fc_id, 'base2:-?[0-9]{{1,2}}:-?[0-9]{{1,9}}(:-?[0-9]{{1,9}}:[0-9]{{1,5}})?') THEN
    list_transform([list_transform(string_split(fc_id || ':0:0', ':')[2:], lambda fc_t : CAST(fc_t AS BIGINT))],
        lambda fc_p : CASE WHEN fc_p[1] BETWEEN -10 AND 20 AND fc_length > fc_p[4] THEN
        list_transform(list_transform(list_transform(range(fc_length),
            lambda fc_at : struct_pack(side := sign(fc_at - fc_p[4]), w := pow(2, 6 - fc_p[1]),
                i := CASE WHEN fc_at < fc_p[4] THEN fc_p[3] + fc_p[4] - 1 - fc_at
                    ELSE fc_p[2] + fc_at - fc_p[4] - 1 END)),
            lambda fc_b : struct_pack(side := fc_b['side'],
                a := CAST(greatest({_FIRST}, least({_LAST}, floor(fc_b['i'] * fc_b['w']) + 1)) AS BIGINT),
                z := CAST(greatest({_FIRST}, least({_LAST + 1}, ceil((fc_b['i'] + 1) * fc_b['w']))) AS BIGINT))),
            lambda fc_k : CASE WHEN fc_k['side'] = 0 THEN CAST({ZERO} AS BIGINT)
                WHEN fc_k['side'] > 0 THEN
                    fc_range(fc_k['a'], CASE WHEN fc_k['z'] > {_LAST} THEN {ABOVE} ELSE fc_k['z'] END)
                ELSE fc_range(CASE WHEN fc_k['z'] > {_LAST} THEN {BELOW} ELSE {NEGATIVE} - fc_k['z'] END,
                    {NEGATIVE} - fc_k['a']) END) END)[1] END""",
    "CREATE OR REPLACE MACRO fc_fitting(fc_c, fc_length) AS CASE WHEN len(fc_c) = fc_length THEN fc_c END",
    f"""CREATE OR REPLACE MACRO fc_observed(fc_n, fc_v, fc_id, fc_c) AS
    CASE WHEN fc_n IS NULL AND fc_v IS NOT NULL
        THEN [struct_pack(code := CAST(fc_slot(fc_v) AS BIGINT), n := CAST(1 AS BIGINT))]
    WHEN fc_n IS NOT NULL THEN
        list_transform([coalesce(fc_fitting(fc_c, len(fc_n)), fc_base2(fc_id, len(fc_n)))], lambda fc_codes_of :
            list_transform(fc_n, lambda fc_one, fc_at : struct_pack(
                code := coalesce(fc_codes_of[fc_at], fc_range({BELOW}, {ABOVE})), n := fc_one)))[1]
    END""",
    # Ends of slots as doubles; powers of two are exact.
    f"""CREATE OR REPLACE MACRO fc_low_end(fc_k) AS CASE WHEN fc_k <= {BELOW} THEN CAST('-inf' AS DOUBLE)
    WHEN fc_k = {ZERO} OR fc_k = {_FIRST} THEN CAST(0 AS DOUBLE)
    WHEN fc_k > {ZERO} THEN pow(2, CAST(fc_k - 1 AS DOUBLE) / 64)
    ELSE -pow(2, CAST({NEGATIVE} - fc_k AS DOUBLE) / 64) END""",
    f"""CREATE OR REPLACE MACRO fc_high_end(fc_k) AS CASE WHEN fc_k >= {ABOVE} THEN CAST('inf' AS DOUBLE)
    WHEN fc_k = {ZERO} OR fc_k = {NEGATIVE - _FIRST} THEN CAST(0 AS DOUBLE)
    WHEN fc_k > {ZERO} THEN pow(2, CAST(fc_k AS DOUBLE) / 64)
    ELSE -pow(2, CAST({NEGATIVE} - fc_k - 1 AS DOUBLE) / 64) END""",
    # The middle between two ends; in one slot the one that is off by the same share of either end.
    """CREATE OR REPLACE MACRO fc_middle(fc_k, fc_m) AS
    list_transform([struct_pack(a := fc_low_end(fc_k), b := fc_high_end(fc_m), one := fc_k = fc_m)], lambda fc_x :
        CASE WHEN isinf(fc_x['a']) AND isinf(fc_x['b']) THEN NULL
        WHEN fc_x['one'] AND fc_x['a'] <> 0 AND fc_x['b'] <> 0 THEN 2 * fc_x['a'] * fc_x['b'] / (fc_x['a'] + fc_x['b'])
        ELSE (fc_x['a'] + fc_x['b']) / 2 END)[1]""",
    """CREATE OR REPLACE MACRO fc_mixed(fc_first, fc_second, fc_part) AS
    list_transform([struct_pack(a := fc_first, b := fc_second)], lambda fc_x : CASE WHEN fc_part = 0 THEN fc_x['a']
        WHEN fc_x['a'] IS NULL OR fc_x['b'] IS NULL THEN NULL
        WHEN isinf(fc_x['a']) AND isinf(fc_x['b']) AND fc_x['a'] <> fc_x['b'] THEN NULL
        WHEN isinf(fc_x['a']) THEN fc_x['a'] WHEN isinf(fc_x['b']) THEN fc_x['b']
        ELSE fc_x['a'] + (fc_x['b'] - fc_x['a']) * fc_part END)[1]""",
    # e: slots of the lower ends (l, m) and upper ends (u, w) at both neighbouring ranks, and the part between them.
    "CREATE OR REPLACE MACRO fc_ends_low(fc_e) AS fc_mixed(fc_low_end(fc_e['l']), fc_low_end(fc_e['m']), fc_e['part'])",
    """CREATE OR REPLACE MACRO fc_ends_high(fc_e) AS
    fc_mixed(fc_high_end(fc_e['u']), fc_high_end(fc_e['w']), fc_e['part'])""",
    """CREATE OR REPLACE MACRO fc_ends_mid(fc_e) AS
    fc_mixed(fc_middle(fc_e['l'], fc_e['u']), fc_middle(fc_e['m'], fc_e['w']), fc_e['part'])""",
    # The slot of the k-th of sorted {s, n}.
    """CREATE OR REPLACE MACRO fc_at_rank(fc_sorted, fc_rank) AS list_reduce(fc_sorted, lambda fc_a, fc_x :
    struct_pack(s := CASE WHEN fc_a['n'] >= fc_rank THEN fc_a['s'] ELSE fc_x['s'] END, n := fc_a['n'] + fc_x['n']))
    ['s']""",
    """CREATE OR REPLACE MACRO fc_ends_of(fc_lists, fc_share) AS
    list_transform(list_transform([list_filter(flatten(fc_lists), lambda fc_o : fc_o['n'] > 0)], lambda fc_all :
        struct_pack(rank := fc_share * (CAST(list_sum(list_transform(fc_all, lambda fc_o : fc_o['n'])) AS BIGINT) - 1),
            low := list_sort(list_transform(fc_all, lambda fc_o :
                struct_pack(s := fc_lo(fc_o['code']), n := fc_o['n']))),
            high := list_sort(list_transform(fc_all, lambda fc_o :
                struct_pack(s := fc_hi(fc_o['code']), n := fc_o['n']))))),
        lambda fc_p : CASE WHEN fc_p['rank'] IS NOT NULL THEN struct_pack(
            l := fc_at_rank(fc_p['low'], floor(fc_p['rank']) + 1), m := fc_at_rank(fc_p['low'], ceil(fc_p['rank']) + 1),
            u := fc_at_rank(fc_p['high'], floor(fc_p['rank']) + 1),
            w := fc_at_rank(fc_p['high'], ceil(fc_p['rank']) + 1),
            part := CAST(fc_p['rank'] - floor(fc_p['rank']) AS DOUBLE)) END)""",
    *(
        f"""CREATE OR REPLACE MACRO {word}(fc_lists, fc_share) AS
        list_transform(fc_ends_of(fc_lists, fc_share), lambda fc_e : {read}(fc_e))[1]"""
        for word, read in _READ.items()
    ),
)


def install(duck: Duck) -> None:
    """Give a connection the macros of this module; `cubes.buckets` comes first. A second call changes nothing."""
    for macro in _MACROS:
        duck.execute(macro)


def has_histograms(cube: Cube) -> bool:
    """Whether a cube keeps a distribution of histograms."""
    return any(sketch.column == COUNTS for sketch in cube.sketches)


def rests_on(cube: Cube) -> tuple[Derived, ...]:
    """What a cube takes of lookups: its derived dimensions, and the bounds of histograms."""
    return (*cube.derived, *([RESTS_ON] if has_histograms(cube) else []))


def coded_sql(bounds: str) -> str:
    """Relation (bounds_id, fc_codes) of the slots and ranges of each set's buckets, in brackets.

    `bounds` is a relation of the lookup's rows. Bounds that are not rising decimals make null, as if unknown.
    """
    parsed = f"""SELECT bounds_id, list_transform(CAST(CAST(bounds AS JSON) AS VARCHAR[]),
        lambda fc_t : TRY_CAST(fc_t AS DECIMAL(38, 9))) AS fc_e FROM {bounds} WHERE json_valid(bounds)"""
    rising = "len(fc_e) > 0 AND len(fc_e) = list_count(fc_e) AND fc_e = list_sort(list_distinct(fc_e))"
    places = f"SELECT bounds_id, fc_e, unnest(range(1, len(fc_e) + 2)) AS fc_place FROM ({parsed}) WHERE {rising}"
    # What lies above a bound begins one billionth above it, the step of all values.
    first = f"CASE WHEN fc_e[1] >= 0 THEN {ZERO} ELSE {BELOW} END"
    slots = f"""SELECT bounds_id, fc_place, len(fc_e) AS fc_last, fc_e[fc_place] AS fc_upper,
        {first} AS fc_begin, fc_e[fc_place - 1] + CAST(0.000000001 AS DECIMAL(38, 9)) AS fc_after FROM ({places})"""
    low = "CASE WHEN fc_place = 1 THEN fc_begin ELSE fc_slot(fc_after) END"
    high = f"CASE WHEN fc_place > fc_last THEN {ABOVE} ELSE fc_slot(fc_upper) END"
    return f"""(SELECT bounds_id, list(fc_range({_INTEGER.format(low)}, {_INTEGER.format(high)}) ORDER BY fc_place)
        AS fc_codes FROM ({slots}) GROUP BY bounds_id)"""


def observed_sql(relation: str, columns: str, prefix: str = "") -> str:
    """SELECT of `columns` (a list that ends in a comma, or nothing), slot and n of each bucket of the rows.

    `relation` is what stands after FROM, with the columns COUNTS and BESIDE under `prefix`.
    """
    parts = ", ".join(f'{prefix}"{name}"' for name in (COUNTS, *BESIDE))
    observed = f"SELECT {columns} unnest(fc_observed({parts})) AS fc_o FROM {relation}"
    return f"SELECT * EXCLUDE (fc_o), fc_o['code'] AS slot, fc_o['n'] AS n FROM ({observed}) WHERE fc_o['n'] > 0"


def percentiles_sql(slots: str, keys: Sequence[str], terms: Mapping[str, tuple[str, str]]) -> str:
    """SELECT of keys and of each of `terms`, name to (a value of WORDS, share), from a relation (keys, slot, n)."""
    by = "".join(f"{key}, " for key in keys)
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    merged = f"SELECT {by}slot, sum(n) AS fc_n FROM {slots} GROUP BY {by}slot"
    ranked = f"""SELECT {by}fc_lo(slot) AS fc_l, fc_hi(slot) AS fc_u,
        CAST(sum(fc_n) OVER ({partition}) AS BIGINT) AS fc_total,
        CAST(sum(fc_n) OVER ({partition}ORDER BY fc_lo(slot), slot) AS BIGINT) AS fc_to_l,
        CAST(sum(fc_n) OVER ({partition}ORDER BY fc_hi(slot), slot) AS BIGINT) AS fc_to_u FROM ({merged})"""
    ends = "".join(f", {_ends(share)} AS {name}" for name, (_, share) in terms.items())
    read = "".join(f", {_READ[function]}({name}) AS {name}" for name, (function, _) in terms.items())
    inner = f"SELECT {by}count(*) AS fc_rows{ends} FROM ({ranked}){group}"
    return f"SELECT {(by + read[2:]) if by else read[2:]} FROM ({inner}) WHERE fc_rows > 0"


def _ends(share: str) -> str:
    rank = f"({share_of(share):f} * (fc_total - 1))"
    below, above = f"floor({rank}) + 1", f"ceil({rank}) + 1"
    parts = [("l", "l", below), ("m", "l", above), ("u", "u", below), ("w", "u", above)]
    listed = [f"{name} := min(fc_{end}) FILTER (WHERE fc_to_{end} >= {at})" for name, end, at in parts]
    part = f"part := CAST(max({rank} - floor({rank})) AS DOUBLE)"
    return f"struct_pack({', '.join([*listed, part])})"
