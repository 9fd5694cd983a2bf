"""Repeats: rows that were sent before, in the same batch or an earlier one. Equal content is a duplicate; other content
under the same identity or the same natural key is a conflict, and then every side of it goes to quarantine.

Whatever the order of arrival, the same rows end up trusted: content is compared as typed values among good rows, as
original texts among bad ones, and a good row never equals a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lake.delta import DataFile, Snapshot
from lake.duck import Duck, text_literal
from lake.facts import Fact
from quality.candidate import IDENTITY, VIEW, typed_content

_RECORD: Final = "agent, boot, seq"
_COLUMNS: Final = f"{IDENTITY}, row_key"
# fc_fate: rid, fate ('duplicate' | 'conflict'), reason. fc_withdrawn: identity, day, batch, reason. fc_ranges: below.
_EMPTY: Final = (
    "CREATE OR REPLACE TEMP TABLE fc_fate (rid BIGINT, fate VARCHAR, reason VARCHAR)",
    "CREATE OR REPLACE TEMP TABLE fc_withdrawn "
    "(agent VARCHAR, boot VARCHAR, seq BIGINT, idx BIGINT, day DATE, batch BIGINT, reason VARCHAR)",
)
# Kept rows whose content is typed values, as that of good rows: sides of a conflict, and rows of an undone batch.
_TYPED: Final = "\"check\" IN ('conflict', 'undone')"
_BY_IDENTITY: Final = "'the same identity came with other content'"
_BY_KEY: Final = "'the key ''' || row_key || ''' came with other content'"


@dataclass(frozen=True)
class Published:
    """What was published before this batch: one version of each table."""

    trusted: Snapshot
    quarantine: Snapshot
    seen: Snapshot


def judge_repeats(duck: Duck, fact: Fact, published: Published) -> None:
    """Fill the temporary tables fc_fate (candidate rows that are repeats), fc_withdrawn (published rows that a conflict
    takes out of trusted) and fc_ranges (agent, boot, seq_from, seq_to of the candidate).
    """
    for statement in _EMPTY:
        duck.execute(statement)
    _find_ranges(duck)
    batches = _find_overlaps(duck, fact, published.seen)
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE fc_twins AS SELECT {IDENTITY} FROM {VIEW} GROUP BY ALL HAVING count(*) > 1"
    )
    [(twins, keys)] = duck.sql(
        f"SELECT (SELECT count(*) FROM fc_twins), (SELECT count(row_key) FROM {VIEW} WHERE _check IS NULL)"
    )
    if not (batches or twins or keys):
        return
    _find_erased(duck, fact, published, batches)
    _find_published(duck, fact, published, batches, by_key=bool(keys))
    _find_members(duck, fact, by_key=bool(keys))
    _resolve(duck)


def _find_ranges(duck: Duck) -> None:
    """Runs of consecutive sequence numbers per agent and boot."""
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_ranges AS SELECT agent, boot, min(seq) AS seq_from, max(seq) AS seq_to FROM "
        f"(SELECT *, seq - row_number() OVER (PARTITION BY agent, boot ORDER BY seq) AS run FROM "
        f"(SELECT DISTINCT {_RECORD} FROM {VIEW})) GROUP BY agent, boot, run"
    )


def _find_overlaps(duck: Duck, fact: Fact, seen: Snapshot) -> list[int]:
    """Make fc_records, the candidate's records whose sequence number was judged before; the batches that did so."""
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_overlaps AS SELECT DISTINCT agent, boot, "
        "greatest(r.seq_from, s.seq_from) AS seq_from, least(r.seq_to, s.seq_to) AS seq_to, s.batch "
        f"FROM fc_ranges AS r JOIN (SELECT * FROM {duck.scan(seen)} WHERE fact = {text_literal(fact.name)}) AS s "
        "USING (agent, boot) WHERE s.seq_from <= r.seq_to AND s.seq_to >= r.seq_from"
    )
    batches = [row[0] for row in duck.sql("SELECT DISTINCT batch FROM fc_overlaps ORDER BY batch")]
    known = f"SELECT DISTINCT {_RECORD} FROM {VIEW}" if batches else f"SELECT {_RECORD} FROM {VIEW} WHERE false"
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE fc_records AS SELECT DISTINCT r.* FROM ({known}) AS r JOIN fc_overlaps AS o "
        "ON r.agent = o.agent AND r.boot = o.boot AND r.seq BETWEEN o.seq_from AND o.seq_to"
    )
    return batches


def _find_erased(duck: Duck, fact: Fact, published: Published, batches: list[int]) -> None:
    """What is sent under the identity of an erased row is a repeat of it, whatever it says: its rid is in fc_erased."""
    files = published.quarantine.paths(
        lambda file: (
            file.partition.get("fact") == fact.name and any(file.may_hold("batch", batch, batch) for batch in batches)
        )
    )
    erased = f"(SELECT {IDENTITY} FROM {duck.scan(published.quarantine, files)} WHERE \"check\" = 'erased')"
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE fc_erased AS SELECT rid FROM {VIEW} SEMI JOIN {erased} USING ({IDENTITY})"
    )
    duck.execute("INSERT INTO fc_fate SELECT rid, 'duplicate', 'it was erased' FROM fc_erased")


def _find_published(duck: Duck, fact: Fact, published: Published, batches: list[int], *, by_key: bool) -> None:
    """Make fc_published: earlier rows of the same records or the same natural keys, wherever they lie."""

    def may_hold(file: DataFile) -> bool:
        return any(file.may_hold("batch", batch, batch) for batch in batches)

    def of_fact(file: DataFile) -> bool:
        return file.partition.get("fact") == fact.name

    trusted = f"SELECT {_COLUMNS}, true AS good, md5_number('t' || {typed_content(fact)}) AS content, "
    trusted += "day, batch, 'trusted' AS place"
    # An undone row stands by its identity only: its key is free for a row that mends it.
    key = "CASE WHEN \"check\" <> 'undone' THEN json_extract_string(content, '$.row_key') END"
    kept = f"SELECT *, {key} AS row_key, {_TYPED} AS good"
    aside = f"SELECT {_COLUMNS}, good, md5_number(if(good, 't', 'x') || content) AS content, "
    aside += "NULL AS day, batch, 'quarantine' AS place"
    old_trusted = duck.scan(published.trusted, published.trusted.paths(may_hold))
    old_aside = duck.scan(published.quarantine, published.quarantine.paths(lambda it: of_fact(it) and may_hold(it)))
    old_aside = f"(SELECT * FROM {old_aside} WHERE \"check\" <> 'erased')"
    parts = [
        f"{trusted} FROM {old_trusted} SEMI JOIN fc_records USING ({_RECORD})",
        f"{aside} FROM ({kept} FROM {old_aside}) SEMI JOIN fc_records USING ({_RECORD})",
    ]
    if by_key:
        keys = f"(SELECT DISTINCT row_key FROM {VIEW} WHERE _check IS NULL AND row_key IS NOT NULL)"
        all_aside = duck.scan(published.quarantine, published.quarantine.paths(of_fact))
        parts += [
            f"{trusted} FROM {duck.scan(published.trusted)} SEMI JOIN {keys} USING (row_key)",
            f"{aside} FROM ({kept} FROM {all_aside} WHERE \"check\" = 'conflict') SEMI JOIN {keys} USING (row_key)",
        ]
    duck.execute(f"CREATE OR REPLACE TEMP TABLE fc_published AS {' UNION '.join(parts)}")


def _find_members(duck: Duck, fact: Fact, *, by_key: bool) -> None:
    """Make fc_members: every row that shares its identity or key with another, published or candidate."""
    suspects = f"SELECT rid FROM {VIEW} SEMI JOIN fc_twins USING ({IDENTITY})"
    suspects += f" UNION SELECT rid FROM {VIEW} SEMI JOIN fc_records USING ({_RECORD})"
    if by_key:
        repeated = f"SELECT row_key FROM {VIEW} WHERE _check IS NULL GROUP BY row_key HAVING count(*) > 1"
        keys = f"({repeated} UNION SELECT row_key FROM fc_published)"
        suspects += f" UNION SELECT rid FROM {VIEW} SEMI JOIN {keys} USING (row_key) WHERE _check IS NULL"
    content = f"if(_check IS NULL, 't' || {typed_content(fact)}, 'x' || _content)"
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_members AS "
        f"SELECT {_COLUMNS}, good, content, day, batch, place, NULL AS rid FROM fc_published "
        f"UNION ALL SELECT {_COLUMNS}, _check IS NULL, md5_number({content}), NULL, NULL, 'candidate', rid "
        f"FROM (SELECT * FROM {VIEW} ANTI JOIN fc_erased USING (rid)) SEMI JOIN ({suspects}) USING (rid)"
    )


def _resolve(duck: Duck) -> None:
    """Decide the fate of every member: first by identity, then the ones that stand by natural key."""
    first = "PARTITION BY {}, content ORDER BY place = 'candidate', received, rid"
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_judged AS SELECT m.*, c.received_at AS received, "
        # A record judged before of which nothing is left has expired; its repeat changes nothing.
        "place = 'candidate' AND r.seq IS NOT NULL AND p.seq IS NULL AS expired, "
        f"min(content) OVER same <> max(content) OVER same AS conflict FROM fc_members AS m "
        f"LEFT JOIN (SELECT rid, received_at FROM {VIEW}) AS c USING (rid) "
        f"LEFT JOIN fc_records AS r USING ({_RECORD}) "
        f"LEFT JOIN (SELECT DISTINCT {_RECORD} FROM fc_published) AS p USING ({_RECORD}) "
        f"WINDOW same AS (PARTITION BY {', '.join('m.' + name for name in IDENTITY.split(', '))})"
    )
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE fc_standing AS SELECT *, "
        f"expired OR row_number() OVER ({first.format(IDENTITY)}) > 1 AS again FROM fc_judged"
    )
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_keyed AS SELECT *, min(content) OVER same <> max(content) OVER same AS clash, "
        f"row_number() OVER ({first.format('row_key')}) > 1 AS key_again FROM fc_standing "
        "WHERE NOT again AND good AND row_key IS NOT NULL WINDOW same AS (PARTITION BY row_key)"
    )
    reason = f"CASE WHEN s.conflict THEN {_BY_IDENTITY} ELSE {_BY_KEY.replace('row_key', 's.row_key')} END"
    duck.execute(
        "INSERT INTO fc_fate SELECT rid, "
        "CASE WHEN s.again THEN 'duplicate' WHEN s.conflict THEN 'conflict' WHEN k.key_again THEN 'duplicate' "
        f"ELSE 'conflict' END, {reason} "
        "FROM fc_standing AS s LEFT JOIN fc_keyed AS k USING (rid) WHERE s.place = 'candidate' "
        "AND (s.again OR (s.good AND (s.conflict OR coalesce(k.key_again OR k.clash, false))))"
    )
    identity = ", ".join(f"s.{name}" for name in IDENTITY.split(", "))
    duck.execute(
        f"INSERT INTO fc_withdrawn SELECT {identity}, s.day, s.batch, {reason} "
        "FROM fc_standing AS s LEFT JOIN fc_keyed AS k "
        f"ON {' AND '.join(f's.{name} = k.{name}' for name in IDENTITY.split(', '))} AND k.place = 'trusted' "
        "WHERE s.place = 'trusted' AND (s.conflict OR coalesce(k.clash, false))"
    )
