"""Who may read what on the SQL endpoint: the access file, and the policy of one user that comes out of it.

The file declares roles (tables, rows by a predicate, hidden columns, system tables, powers, quotas) and users with
their roles and tenant. Nothing is allowed by leaving something out: a fact that a role lists needs an entry in `rows`.
With several roles a user reads the rows of each, and a column that any of them hides stays hidden: what one role shows
must not open the rows of another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlglot import exp

from cubes.access_form import SYSTEM_TABLES, UNBOUND, AccessSpec, Quotas, RoleSpec, UserSpec
from cubes.route.bind import bind_alone
from cubes.route.columns import columns_of
from cubes.route.grammar import AGGREGATES
from cubes.route.kinds import kind
from cubes.route.lower import is_volatile
from cubes.route.parse import parse_text
from lake.documents import Document, read_document
from lake.duck import text_literal
from lake.errors import QueryError, did_you_mean
from lake.facts import load_facts
from lake.lookups import load_lookups

ALL: Final = "all"
EVERY: Final = "*"
_SHIPPED: Final = Path(__file__).with_name("access.yaml")
# A text, a quoted name, or the word that stands for the user's tenant or name.
_WORDS: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?<![:\w]):(tenant|user)\b")
_Place = tuple[str | int, ...]


@dataclass(frozen=True)
class TablePolicy:
    """What a user sees of a table: rows for which `predicate` is true (None: every row), without `hidden` columns.

    The predicate is a bound tree whose columns name the table itself; `text` is the same in PostgreSQL's words.
    """

    predicate: exp.Expr | None
    text: str
    hidden: frozenset[str]


@dataclass(frozen=True)
class Policy:
    """All that a user may do. `digest` is equal for two users exactly when the same questions have the same answers.

    `acts_for` are the users and roles for whom one who may act_for does; None is everybody.
    """

    user: str
    tenant: str | None
    tables: Mapping[str, TablePolicy]
    system: frozenset[str]
    may: frozenset[str]
    quotas: Quotas = UNBOUND
    tenant_quotas: Quotas = UNBOUND
    acts_for: frozenset[str] | None = frozenset()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        told = {name: [one.text, sorted(one.hidden)] for name, one in sorted(self.tables.items())}
        text = json.dumps([told, sorted(self.system), sorted(self.may)], ensure_ascii=False)
        object.__setattr__(self, "digest", hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())

    def reads(self, table: str) -> bool:
        """Whether the fact or lookup exists for the user."""
        return table in self.tables

    def shows(self, table: str, column: str) -> bool:
        """Whether the column of a fact or lookup exists for the user."""
        return table in self.tables and column not in self.tables[table].hidden

    def told(self) -> dict[str, Any]:
        """The policy as plain values, for people to review."""
        tables = {
            name: {"rows": one.text, **({"hidden": sorted(one.hidden)} if one.hidden else {})}
            for name, one in self.tables.items()
        }
        return {
            "user": self.user,
            "tenant": self.tenant,
            "digest": self.digest,
            "tables": tables,
            "system": sorted(self.system),
            "may": sorted(self.may),
            **({"act_for": EVERY if self.acts_for is None else sorted(self.acts_for)} if "act_for" in self.may else {}),
            "quotas": self.quotas.model_dump(exclude_none=True),
        }

    def sees(self, name: str) -> bool:
        """Whether the table of schema `fleet` exists for the user."""
        return name in self.system or EVERY in self.system


@dataclass(frozen=True)
class Access:
    """A checked access file: the policy of every user that it names; any other user may read nothing."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, UserSpec] = field(default_factory=dict)

    def policy(self, user: str) -> Policy:
        """What a user may do; for one that the file doesn't name, nothing."""
        found = self.policies.get(user)
        return found or Policy(user, None, {}, frozenset(), frozenset())

    def may_act(self, service: str, person: str) -> bool:
        """Whether one user acts for another that the file names: who is not named himself needs all roles listed."""
        held = self.policy(service)
        if "act_for" not in held.may or person not in self.users:
            return False
        return held.acts_for is None or person in held.acts_for or held.acts_for.issuperset(self.users[person].roles)


def load_access(path: Path) -> Access:
    """The access file, or none: then no user may read anything. DefinitionError names file, line and field."""
    return check_access(read_document(path) if path.exists() else Document(path, None, {}))


def check_access(document: Document) -> Access:
    """A read access file with its meaning checked: every role, table, column and predicate of every user."""
    spec = document.validate(AccessSpec) if document.value is not None else AccessSpec()
    shipped = read_document(_SHIPPED)
    known = {**shipped.validate(AccessSpec).roles, **spec.roles}
    for name, role in spec.roles.items():
        _check_role(document, name, role)
        _check_act_for(document, name, role, {*known, *spec.users})
    policies = {}
    for name, user in spec.users.items():
        place: _Place = ("users", name, "roles")
        for number, role_name in enumerate(user.roles):
            if role_name not in known:
                what = f"there is no role '{role_name}'."
                raise document.error(what, (*place, number), did_you_mean(role_name, known))
        held = [(document if one in spec.roles else shipped, one, known[one]) for one in user.roles]
        policies[name] = _policy(document, name, user, held, spec.tenants.get(user.tenant or "", UNBOUND))
    return Access(policies, {name: role.description for name, role in known.items()}, spec.users)


class AccessFile:
    """An access file in use: read again when it has changed; while it is broken, nobody is let in."""

    def __init__(self, path: Path) -> None:
        """The file may be missing."""
        self.path = path
        self._held: tuple[tuple[int, int, int] | None, Access] | None = None

    def policy(self, user: str) -> Policy:
        """The user's policy by the file as it is now. Errors: DefinitionError while the file is broken."""
        return self.now().policy(user)

    def now(self) -> Access:
        """The file as it is now. Errors: DefinitionError while it is broken."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            stamp = None
        if self._held is None or self._held[0] != stamp:
            self._held = (stamp, load_access(self.path))
        return self._held[1]


_Held = tuple[Document, str, RoleSpec]


def _policy(document: Document, name: str, user: UserSpec, held: list[_Held], tenant_quotas: Quotas) -> Policy:
    """The sum of a user's roles: rows of any, less what any hides."""
    words = {"user": name, "tenant": user.tenant}
    predicates: dict[str, list[exp.Expr | None]] = {}
    hidden: dict[str, set[str]] = {}
    for of, role_name, role in held:
        for table in _tables(role):
            place: _Place = ("roles", role_name, "rows", table if table in role.rows else EVERY)
            text = role.rows.get(table, role.rows.get(EVERY, ALL) if table in load_facts() else ALL)
            if ":tenant" in text and user.tenant is None and _uses(text, "tenant"):
                what = f"role '{role_name}' asks for the user's tenant, and '{name}' has none."
                raise document.error(what, ("users", name), f"Write tenant: <name> for {name}.")
            predicates.setdefault(table, []).append(_predicate(of, place, table, text, words))
            hidden.setdefault(table, set()).update(role.columns[table].hide if table in role.columns else ())
    tables = {table: _table_policy(found, frozenset(hidden[table])) for table, found in sorted(predicates.items())}
    quotas = user.quotas
    for _, _, role in held:
        quotas = quotas.tightest(role.quotas)
    system = frozenset(one for _, _, role in held for one in role.system)
    may = frozenset(one for _, _, role in held for one in role.may)
    acting = [role.act_for for _, _, role in held if "act_for" in role.may]
    acts_for = None if not all(acting) else frozenset(one for listed in acting for one in listed)
    return Policy(name, user.tenant, tables, system, may, quotas, tenant_quotas, acts_for)


def _table_policy(found: list[exp.Expr | None], hidden: frozenset[str]) -> TablePolicy:
    wanted = {one.sql("postgres"): one for one in found if one is not None}
    if any(one is None for one in found) or not wanted:
        return TablePolicy(None, ALL, hidden)
    either = exp.or_(*(wanted[text].copy() for text in sorted(wanted)), copy=False)
    return TablePolicy(either, either.sql("postgres"), hidden)


def _tables(role: RoleSpec) -> list[str]:
    """The facts and lookups that a role lists, stars written out."""
    facts = list(load_facts()) if EVERY in role.facts else role.facts
    return [*facts, *(list(load_lookups()) if EVERY in role.lookups else role.lookups)]


def _check_role(document: Document, name: str, role: RoleSpec) -> None:
    """DefinitionError for a table, column or predicate that isn't one, and for a fact without a word about its rows."""
    at: _Place = ("roles", name)
    known = {"facts": list(load_facts()), "lookups": list(load_lookups())}
    for part, tables in known.items():
        for number, table in enumerate(getattr(role, part)):
            if table not in (*tables, EVERY):
                what = f"there is no {part[:-1]} '{table}'."
                raise document.error(what, (*at, part, number), did_you_mean(table, tables))
    for number, table in enumerate(role.system):
        if table not in (*SYSTEM_TABLES, EVERY):
            what = f"there is no system table '{table}'."
            raise document.error(what, (*at, "system", number), did_you_mean(table, SYSTEM_TABLES))
    listed = _tables(role)
    for number, fact in enumerate(role.facts):
        if fact != EVERY and fact not in role.rows and EVERY not in role.rows:
            todo = f'Write rows: {{{fact}: "..."}}, or {{{fact}: all}} for every row.'
            raise document.error(f"says nothing of the rows of {fact}.", (*at, "facts", number), todo)
    if EVERY in role.facts and EVERY not in role.rows:
        lacking = sorted(set(load_facts()) - set(role.rows))
        if lacking:
            todo = 'Write rows: {"*": all}, or a predicate, for the others.'
            raise document.error(f"says nothing of the rows of {lacking[0]}.", (*at, "facts"), todo)
    for part in ("rows", "columns"):
        for table in getattr(role, part):
            if table not in listed and not (table == EVERY and part == "rows"):
                todo = did_you_mean(table, listed) or "Add it to facts or lookups."
                raise document.error(f"the role does not list '{table}'.", (*at, part, table), todo)
    for table, spec in role.columns.items():
        columns = columns_of(table)
        for number, column in enumerate(spec.hide):
            if column not in columns:
                place = (*at, "columns", table, "hide", number)
                raise document.error(f"{table} has no column '{column}'.", place, did_you_mean(column, columns))
    for table, text in role.rows.items():
        for one in load_facts() if table == EVERY else [table]:
            if table != EVERY or (one in listed and one not in role.rows):
                _predicate(document, (*at, "rows", table), one, text, {"user": "u", "tenant": "t"})


def _check_act_for(document: Document, name: str, role: RoleSpec, known: set[str]) -> None:
    """DefinitionError for a limit that names nobody, or that limits no power."""
    for number, one in enumerate(role.act_for):
        if one not in known:
            what = f"there is no user and no role '{one}'."
            raise document.error(what, ("roles", name, "act_for", number), did_you_mean(one, known))
    if role.act_for and "act_for" not in role.may:
        raise document.error(
            "limits a power that the role does not have.", ("roles", name, "act_for"), "Add it to may."
        )


def _uses(text: str, word: str) -> bool:
    return any(found[1] == word for found in _WORDS.finditer(text))


def _predicate(
    document: Document, place: _Place, table: str, text: str, words: Mapping[str, str | None]
) -> exp.Expr | None:
    """A predicate's bound tree over a table's own columns; None for every row."""
    if text.strip().lower() == ALL:
        return None

    def said(found: re.Match[str]) -> str:
        return text_literal(str(words[found[1]])) if found[1] else found[0]

    try:
        tree = parse_text(f'SELECT 1 FROM "{table}" WHERE {_WORDS.sub(said, text)}')
        clauses = {name for name, value in tree.args.items() if value}
        if not isinstance(tree, exp.Select) or clauses - {"expressions", "from_", "where", "kind"}:
            raise QueryError("is more than a predicate.", todo="Write what stands after WHERE.")
        where = tree.args["where"].this
        banned = (exp.Select, exp.Subquery, exp.SetOperation, exp.Window, exp.Anonymous, *AGGREGATES)
        if where.find(*banned) is not None or is_volatile(where):
            todo = "Compare columns of the table with constants, :tenant or :user."
            raise QueryError("asks for more than the row itself.", todo=todo)
        bind_alone(tree)
    except QueryError as error:
        raise document.error(f"for {table}: {error.what}", place, error.todo) from error
    bound: exp.Expr = tree.args["where"].this
    if kind(bound) != "boolean":
        raise document.error(f"for {table}: is no predicate.", place, "Write a comparison, such as site = 'eu'.")
    return bound
