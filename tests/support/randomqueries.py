"""Random queries over a random fleet: every production of the router's grammar, by one seed each.

A query's rows never depend on the order of equal keys: a LIMIT stands behind an order by every key, sums over sums are
of exact numbers only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlglot
from randomfleet import Fleet
from randomparts import At, Pen, Value, aggregate, bucket, key, place, predicate, qualified, time_range, word
from sqlglot import exp


@dataclass(frozen=True)
class Query:
    """One query: its text, the productions in it, whether its rows have one order, whether newer rows are asked for."""

    seed: int
    sql: str
    productions: frozenset[str]
    ordered: bool = False
    fresh: bool = False

    def told(self, fleet: Fleet) -> str:
        """What reruns it."""
        door = ", fresh=True" if self.fresh else ""
        return f"fleet {fleet.seed}, query {self.seed}{door}: {self.sql}"


@dataclass
class Block:
    """A SELECT over one fact that aggregates."""

    at: At
    keys: list[Value]
    values: list[Value]
    where: list[str]
    source: str
    having: str = ""
    grouping: str = ""
    tail: str = ""
    ordered: bool = False
    hidden: bool = False  # the last key is grouped by and not shown

    def sql(self, *, distinct: str = "") -> str:
        items = [f"{one.sql} AS g{place}" for place, one in enumerate(self.keys)]
        items = items[:-1] if self.hidden else items
        items += [f"{one.sql} AS v{place}" for place, one in enumerate(self.values)]
        text = f"SELECT {distinct}{', '.join(items)} FROM {self.source}"
        if self.where:
            text += f" WHERE {' AND '.join(self.where)}"
        if self.keys and not distinct.startswith("DISTINCT "):
            text += f" GROUP BY {self.grouping or ', '.join(one.sql for one in self.keys)}"
        return text + self.having + self.tail


def random_query(seed: int, fleet: Fleet) -> Query:
    """The query of a seed over a fleet."""
    rng = random.Random(seed)
    pen = Pen(rng, fleet)
    shape = rng.choices(list(_SHAPES), weights=[weight for weight, _ in _SHAPES.values()])[0]
    sql, ordered = _SHAPES[shape][1](pen)
    pen.tell(shape, "")
    return Query(seed, sql, frozenset(pen.did), ordered, fresh=rng.random() < 0.1)


def queries(fleet: Fleet, first: int) -> Iterator[Query]:
    """Queries from a seed on, without end."""
    while True:
        yield random_query(first, fleet)
        first += 1


def normalised(sql: str) -> str:
    """A query without its constants, and names and spaces brought to one form: what makes two queries the same."""
    tree = sqlglot.parse_one(sql, read="postgres")
    for literal in list(tree.find_all(exp.Literal)):
        literal.replace(exp.Placeholder())
    return str(tree.sql("postgres", normalize=True))


def block(pen: Pen, *, most_keys: int = 3, alias: bool = False, timed: bool | None = None) -> Block:
    """A block without order and limit, in any form that may stand inside another query."""
    at = place(pen, alias=alias)
    keys = [key(pen, at) for _ in range(pen.rng.choice((0, 1, 1, 2, most_keys)) if most_keys else 0)]
    keys = keys[:most_keys]
    if most_keys and (timed if timed is not None else pen.maybe(0.35)):
        keys = [*keys[: most_keys - 1], bucket(pen, at)]
    ranges, both = time_range(pen, at)
    where = [*ranges, *[predicate(pen, at, 2) for _ in range(pen.rng.choice((0, 0, 1, 2)))]]
    if at.fact == "samples" and not any(one.sql == at.column("metric") for one in keys):
        where.append(f"{at.column('metric')} = {word(pen, 'metric')}")
    if at.cube.where and pen.maybe(0.85):
        where.append(pen.tell("filter of a cube", qualified(at, at.cube.where)))
    pen.rng.shuffle(where)
    known = both and not any(one.kind == "time" for one in keys)
    values = [aggregate(pen, at, timed=known) for _ in range(pen.rng.randrange(1, 5))]
    made = Block(at, keys, values, where, at.fact + (f" {pen.one('AS ', '')}{at.alias}" if at.alias else ""))
    made.grouping = ", ".join(pen.one(str(i), f"g{i - 1}", one.sql) for i, one in enumerate(keys, 1))
    return made


def _plain(pen: Pen) -> tuple[str, bool]:
    made = block(pen)
    _having(pen, made)
    if made.keys and pen.maybe(0.05):
        made.hidden, made.grouping = True, ", ".join(one.sql for one in made.keys)
    else:
        _order(pen, made, 0.5)
    return made.sql(), made.ordered


def _having(pen: Pen, made: Block) -> None:
    if pen.maybe(0.2):
        one = pen.rng.choice([value.sql for value in made.values if value.kind != "text"] or ["count(*)"])
        forms = (" HAVING count(*) > 3", f" HAVING min({made.at.ts}) IS NOT NULL", f" HAVING {one} > 10",
                 f" HAVING {one} IS NULL", f" HAVING count(*) BETWEEN 2 AND 50 OR {one} < 0")  # fmt: skip
        made.having = pen.tell("HAVING", pen.one(*forms))


def _order(pen: Pen, made: Block, share: float) -> None:
    """Order by every key, perhaps first by an aggregate, perhaps with a limit."""
    if not made.keys or not pen.maybe(share):
        return
    order = [
        f"g{number}" + pen.one("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST") for number in range(len(made.keys))
    ]
    pen.rng.shuffle(order)
    if pen.maybe(0.5):
        number = pen.rng.randrange(len(made.values))
        by = pen.one(f"v{number}", made.values[number].sql, str(len(made.keys) + number + 1))
        order.insert(0, pen.tell("ORDER BY aggregate", by + pen.one("", " DESC", " DESC NULLS LAST")))
    made.tail = pen.tell("ORDER BY", f" ORDER BY {', '.join(order)}")
    made.ordered = True
    if pen.maybe(0.6):
        made.tail += pen.tell("LIMIT", f" LIMIT {pen.rng.randrange(12)}")
        made.tail += pen.tell("OFFSET", f" OFFSET {pen.rng.randrange(1, 4)}") if pen.maybe(0.3) else ""
    elif pen.maybe(0.2):
        made.tail += pen.tell("FETCH FIRST", f" FETCH FIRST {pen.rng.randrange(1, 9)} ROWS ONLY")


def _over(value: Value) -> list[str]:
    """Aggregates that may be taken over a column of this kind, whatever the order of its rows."""
    return ["sum", "avg", "max", "count"] if value.kind == "exact" else ["max", "min", "count"]


def _sub_query(pen: Pen) -> tuple[str, bool]:
    made = block(pen, alias=False)
    _having(pen, made)
    by = pen.rng.sample(range(len(made.keys)), pen.rng.randrange(len(made.keys) + 1))
    if made.at.fact == "samples":
        # Values of several metrics are never added up: the metric stays a key.
        held = [number for number, one in enumerate(made.keys) if one.sql == made.at.column("metric")]
        by = sorted({*by, *held})
    number = pen.rng.randrange(len(made.values))
    words = [f"{pen.one(*_over(made.values[number]))}(x.v{number}) AS w", "count(*) AS n"]
    columns = ", ".join([*(f"x.g{one}" for one in by), *words])
    group = f" GROUP BY {', '.join(f'x.g{one}' for one in by)}" if by else ""
    return f"SELECT {columns} FROM ({made.sql()}) AS x{group}", False


def _cte(pen: Pen) -> tuple[str, bool]:
    made = block(pen)
    _having(pen, made)
    text = f"WITH a AS ({made.sql()}) SELECT * FROM a WHERE v0 IS NOT NULL"
    if pen.maybe(0.4) and made.keys:
        return text + f" ORDER BY {', '.join(f'g{number}' for number in range(len(made.keys)))} LIMIT 5", True
    return text, False


def _joined_blocks(pen: Pen) -> tuple[str, bool]:
    """Two blocks joined by a key, as WITH or in FROM."""
    pair = []
    for _ in range(2):
        made = block(pen, most_keys=1, timed=False)
        while not made.keys:
            made = block(pen, most_keys=1, timed=False)
        made.keys = [Value(f"CAST({made.keys[0].sql} AS text)", "text")]
        made.grouping = "1"
        pair.append(made.sql())
    how = pen.one("JOIN", "LEFT JOIN", "FULL JOIN")
    columns = "a.g0 AS ka, b.g0 AS kb, a.v0 AS va, b.v0 AS vb"
    if pen.maybe(0.5):
        return f"WITH a AS ({pair[0]}), b AS ({pair[1]}) SELECT {columns} FROM a {how} b ON a.g0 = b.g0", False
    return f"SELECT {columns} FROM ({pair[0]}) a {how} ({pair[1]}) b ON a.g0 = b.g0", False


def _union(pen: Pen) -> tuple[str, bool]:
    """Blocks of one shape: a text, a count, and a number."""
    parts = []
    for _ in range(pen.rng.choice((2, 2, 3))):
        made = block(pen, most_keys=1, timed=False)
        made.keys = (
            [Value(f"CAST({made.keys[0].sql} AS text)", "text")]
            if made.keys
            else [Value("CAST('all' AS text)", "text")]
        )
        made.grouping = "1"
        exact = next((one.sql for one in made.values if one.kind == "exact"), "count(*)")
        made.values = [Value("count(*)", "exact"), Value(f"CAST({exact} AS numeric)", "exact")]
        parts.append(made.sql())
    word = pen.one("UNION ALL", "UNION ALL", "UNION", "EXCEPT", "INTERSECT")
    text = pen.tell(word, f" {word} ".join(parts))
    if pen.maybe(0.4):
        return text + " ORDER BY 1, 2 DESC, 3" + pen.one("", " LIMIT 7"), True
    return text, False


def _windows(pen: Pen) -> tuple[str, bool]:
    """Window functions over a block's aggregates."""
    made = block(pen)
    keys = ", ".join(one.sql for one in made.keys) or "count(*)"
    exact = pen.rng.choice([one.sql for one in made.values if one.kind == "exact"] or ["count(*)"])
    by = f"PARTITION BY {made.keys[0].sql} " if made.keys else ""
    forms = (f"rank() OVER (ORDER BY count(*) DESC, {keys})", f"dense_rank() OVER ({by}ORDER BY {exact} DESC)",
             f"row_number() OVER (ORDER BY {exact} DESC NULLS LAST, {keys})", "sum(count(*)) OVER ()",
             f"sum({exact}) OVER ({by}ORDER BY {keys} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
             f"100.0 * count(*) / sum(count(*)) OVER ({by.strip()})", f"lag({exact}) OVER (ORDER BY {keys})",
             f"{exact} - lead({exact}, 2) OVER (ORDER BY {keys})", f"max({exact}) OVER ({by.strip()})",
             f"first_value({exact}) OVER ({by}ORDER BY {keys})", f"ntile(3) OVER (ORDER BY {keys})",
             f"avg({exact}) OVER (ORDER BY {keys} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
             f"count(*) OVER ({by.strip()})", f"percent_rank() OVER (ORDER BY count(*), {keys})")  # fmt: skip
    made.values += [Value(pen.one(*forms), "other") for _ in range(pen.rng.choice((1, 1, 2)))]
    if pen.maybe(0.25):
        made.values.append(Value("sum(count(*)) OVER w", "exact"))
        made.having = pen.tell("WINDOW clause", f" WINDOW w AS (ORDER BY {keys})")
    else:
        _order(pen, made, 0.3)
    return made.sql(), made.ordered


def _inner(pen: Pen) -> tuple[str, bool]:
    """A block with queries inside its conditions or columns."""
    made, other = block(pen), place(pen)
    name = pen.rng.choice(other.dims)
    inner = f"SELECT {other.column(name)} FROM {other.fact} {other.alias} WHERE {predicate(pen, other, 1)}"
    grouped = f"{inner} GROUP BY 1 HAVING count(*) > 3"
    shared = [one for one in made.at.dims if one in other.dims]
    if shared and pen.maybe(0.6):
        c, name = made.at.column(shared[0]), shared[0]
        grouped = f"SELECT {other.column(name)} FROM {other.fact} {other.alias} GROUP BY 1 HAVING count(*) > 20"
        made.where.append(pen.tell("IN (SELECT)", f"{c} {pen.one('IN', 'NOT IN')} ({grouped})"))
    elif pen.maybe(0.5):
        made.where.append(pen.tell("EXISTS", f"{pen.one('', 'NOT ')}EXISTS ({grouped})"))
    total = f"(SELECT count(*) FROM {other.fact} {other.alias})"
    if pen.maybe(0.5):
        made.values.append(Value(pen.tell("scalar sub-query", total), "exact"))
    elif pen.maybe(0.5):
        per = f"SELECT count(*) AS n FROM {other.fact} {other.alias} GROUP BY {other.column(name)}"
        made.having = pen.tell("sub-query in HAVING", f" HAVING count(*) > (SELECT avg(n) FROM ({per}) AS t)")
    _order(pen, made, 0.3)
    return made.sql(), made.ordered


def _distinct(pen: Pen) -> tuple[str, bool]:
    made = block(pen)
    if not made.keys:
        return made.sql(distinct="DISTINCT "), False
    if pen.maybe(0.5):
        made.values = []
        return pen.tell("DISTINCT without aggregates", made.sql(distinct="DISTINCT ")), False
    order = ", ".join(["g0", "v0", *(f"g{number}" for number in range(1, len(made.keys)))])
    made.values[0] = Value("count(*)", "exact")
    items = [f"{one.sql} AS g{number}" for number, one in enumerate(made.keys)]
    items += [f"{one.sql} AS v{number}" for number, one in enumerate(made.values)]
    text = made.sql().replace("SELECT ", f"SELECT DISTINCT ON ({made.keys[0].sql}) ", 1)
    return pen.tell("DISTINCT ON", f"{text} ORDER BY {order}"), True


def _grouping_sets(pen: Pen) -> tuple[str, bool]:
    made = block(pen)
    while len(made.keys) < 2:
        made = block(pen)
    a, b, *rest = (f"({one.sql})" for one in made.keys)
    more = "".join(f", {one}" for one in rest)
    word = pen.one("ROLLUP", "CUBE", "GROUPING SETS")
    sets = f"GROUPING SETS (({a}, {b}), ({a}), ())" if word == "GROUPING SETS" else f"{word} ({a}, {b})"
    made.grouping = pen.tell(word, sets + more)
    _having(pen, made)
    return made.sql(), False


def _lookup(pen: Pen) -> tuple[str, bool]:
    """A fact joined to a lookup by its dimensions, and as of the rows' time where the lookup's rows have times."""
    made = block(pen, alias=True)
    while not {"hardware", "model"} & set(made.at.dims) or not made.at.alias:
        made = block(pen, alias=True)
    f = made.at.alias
    how = pen.one("JOIN", "LEFT JOIN", "INNER JOIN")
    if "hardware" in made.at.dims:
        held = f"(l.valid_from IS NULL OR {f}.ts >= l.valid_from) AND (l.valid_to IS NULL OR {f}.ts < l.valid_to)"
        on = f"{f}.hardware = l.hardware AND {held}" if pen.maybe(0.6) else f"{f}.hardware = l.hardware"
        made.source += f" {how} hardware l ON {on}"
        keys, number = ("l.vendor", "coalesce(l.vendor, '?')", "upper(l.vendor)"), "l.memory_gib"
    else:
        on = f"{f}.model = l.model" + (
            f" AND {f}.model_version = l.model_version" if "model_version" in made.at.dims else ""
        )
        made.source += f" {how} models AS l ON {on}"
        keys, number = ("l.family", "coalesce(l.family, 'none')", f"l.family || {f}.model"), "l.layers"
    made.keys.append(Value(pen.one(*keys), "text"))
    made.grouping = ", ".join(one.sql for one in made.keys)
    made.values += [Value(f"max({number})", "exact")] if pen.maybe(0.3) else []
    if pen.maybe(0.3):
        # The lookup's column is not the fact's of the same name: null where nothing was found.
        name = pen.rng.choice([one for one in ("hardware", "model") if f"l.{one} " in made.source + " "])
        made.values.append(
            Value(f"count(*) FILTER (WHERE l.{name} <> {pen.one(word(pen, name), repr('h100'))})", "exact")
        )
    _having(pen, made)
    _order(pen, made, 0.3)
    return pen.tell(how, made.sql()), made.ordered


def _top_series(pen: Pen) -> tuple[str, bool]:
    """The series of the greatest groups, by a join of the fact with its own top, as dashboards write it."""
    made = block(pen, alias=True)
    while not made.at.alias:
        made = block(pen, alias=True)
    name = made.at.dims[-1]
    top = f"SELECT {name} AS s, count(*) AS weight FROM {made.at.fact} GROUP BY {name} ORDER BY weight DESC, s LIMIT 3"
    made.source += f" JOIN ({top}) AS t ON {made.at.column(name)} = t.s"
    made.keys = [*made.keys, Value(made.at.column(name), "text")]
    made.grouping = ", ".join(one.sql for one in made.keys)
    return made.sql(), False


def _measure(pen: Pen) -> tuple[str, bool]:
    """Measures by the names that a cube gives them, of the cube or of its fact."""
    made = block(pen)
    cube = made.at.cube
    values = []
    for measure in pen.rng.sample(cube.measures, 3):
        if measure.function in ("rate", "coverage"):
            continue
        text = f"MEASURE({cube.name}.{measure.name})"
        if measure.function == "quantiles":
            text = pen.one(f"MEASURE({cube.name}.p95_{measure.name})", f"MEASURE({cube.name}.{measure.name}, 0.5)")
        values.append(Value(text, "exact"))
    made.values = values or [Value(f"MEASURE({cube.name}.all_rows)", "exact")]
    if not made.at.alias and pen.maybe(0.5):
        made.source = pen.tell("FROM a cube", cube.name)
    _order(pen, made, 0.3)
    return made.sql(), made.ordered


_Shape = Callable[[Pen], tuple[str, bool]]
_SHAPES: dict[str, tuple[int, _Shape]] = {
    "block": (38, _plain),
    "sub-query in FROM": (9, _sub_query),
    "WITH": (8, _cte),
    "two blocks joined": (5, _joined_blocks),
    "set operation": (7, _union),
    "window over aggregates": (9, _windows),
    "query inside a block": (5, _inner),
    "DISTINCT": (4, _distinct),
    "grouping sets": (3, _grouping_sets),
    "lookup joined": (6, _lookup),
    "top series joined": (2, _top_series),
    "MEASURE": (5, _measure),
}
