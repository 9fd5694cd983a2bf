"""Counting distinct values: of each cell the smallest 64-bit hashes of its values (KMV), as long rows beside it.

A value's hash is the first 8 bytes of the MD5 of its UTF-8 text, read with the least byte first, less the lowest bit:
63 bits, so that it fits a BIGINT. MD5 is in every engine and in every language's library, and its bits are even, which
is all that is asked of it here; it hides nothing. Integers are hashed by their decimal text. Nulls are no values.

A cell keeps the `exact_to` + 1 smallest hashes, each with the number of its rows. The smallest of a union are the
smallest of the parts' smallest, so cells merge over time, cuboids, grains and late rows, in any order, to the same
rows. A merged cell with at most `exact_to` hashes holds them all and its count is exact (two of 1024 values share a
hash with a probability of 6e-14). Above that the count is estimated as (k - 1) / h, where h is the k-th smallest hash
as a share of all: its standard error is 1 / sqrt(k - 2), 3.1 % at k = 1025, and three times that is what is promised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lake.duck import Duck

DEFAULT: Final = 1024  # exact_to, where a definition says nothing
LEAST, GREATEST = 16, 65_536  # what exact_to may be
TYPES: Final = ("string", "integer")  # types of a fact's columns whose texts are the same in every engine
_SPAN: Final = 1 << 63


def install(duck: Duck) -> None:
    """Give a connection the macro `fc_hash(text)`; a second call changes nothing."""
    duck.execute("CREATE OR REPLACE MACRO fc_hash(x) AS CAST(md5_number_upper(CAST(x AS VARCHAR)) >> 1 AS BIGINT)")


def hash_sql(value: str) -> str:
    """Expression for the hash of a text or integer; null for null."""
    return f"fc_hash({value})"


def smallest_sql(hashes: str, keys: Sequence[str], most: int) -> str:
    """Relation (keys, slot, n) with the `most` smallest slots of each key, merged, from relation (keys, slot, n)."""
    by = ", ".join(keys)
    partition = f"PARTITION BY {by} " if by else ""
    group = f"{by}, slot" if by else "slot"
    return f"""SELECT {group}, CAST(sum(merged.n) AS BIGINT) AS n FROM {hashes} AS merged GROUP BY {group}
        QUALIFY row_number() OVER ({partition}ORDER BY slot) <= {most}"""


def count_sql(most: int) -> str:
    """Aggregate over the rows of `smallest_sql` of one key: the number of values, exact below `most`, else estimated.

    The estimate is a whole number: 2^63 (k - 1) / hash, cut; the same in every engine.
    """
    estimate = f"CAST(CAST({_SPAN} AS HUGEINT) * {most - 1} // (max(slot) + 1) AS BIGINT)"
    return f"CASE WHEN count(*) < {most} THEN count(*) ELSE {estimate} END"


def relative_error(exact_to: int) -> float:
    """What is promised of an estimate: three standard errors, as a share, rounded up at the fourth place."""
    return math.ceil(3e4 / math.sqrt(exact_to - 1)) / 1e4
