"""The access file: what it may say, what is refused with file and line, and the policies that come out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cubes.access import AccessFile, Policy, load_access
from cubes.access_edit import change_roles, known_roles, put_user, take_user
from lake.errors import DefinitionError
from lake.facts import load_facts

_FILE = """# reviewed by Ada
roles:
  reader:
    facts: [requests]
    rows: {requests: "tenant = :tenant"}
    columns:
      requests: {hide: [user_hash]}
    quotas: {running: 4, rows: 1000}
  night:
    facts: [requests, samples]
    rows: {requests: "environment = 'test'", samples: all}
    columns:
      requests: {hide: [session_hash]}
    quotas: {running: 2}
    system: [receipts]
    may: [queries.end]
users:
  ada: {roles: [reader], tenant: "a'b"}   # asks for models
  bob:
    roles: [reader, night]
    tenant: b
tenants:
  b: {running: 8}
"""


def _load(folder: Path, text: str) -> Policy:
    path = folder / "access.yaml"
    path.write_text(text)
    return load_access(path).policy("u")


def _file(folder: Path, text: str = _FILE) -> Path:
    path = folder / "access.yaml"
    path.write_text(text)
    return path


def test_a_policy_is_the_sum_of_roles_less_what_any_hides(tmp_path: Path) -> None:
    access = load_access(_file(tmp_path))
    ada, bob = access.policy("ada"), access.policy("bob")
    assert ada.tables["requests"].text == """"requests"."tenant" = 'a''b'"""
    assert ada.tables["requests"].hidden == {"user_hash"}
    assert not ada.reads("samples")
    assert bob.tables["requests"].text == """"requests"."environment" = 'test' OR "requests"."tenant" = 'b'"""
    # What one role shows of its rows must not open the rows of the other.
    assert bob.tables["requests"].hidden == {"user_hash", "session_hash"}
    assert bob.tables["samples"].predicate is None
    assert (bob.quotas.running, bob.quotas.rows, bob.tenant_quotas.running) == (2, 1000, 8)
    assert bob.sees("receipts")
    assert not bob.sees("queries")
    assert bob.may == {"queries.end"}
    assert not bob.shows("requests", "user_hash")
    assert bob.shows("requests", "model")
    assert bob.told()["tables"]["samples"] == {"rows": "all"}


def test_nobody_may_do_anything_that_no_file_says(tmp_path: Path) -> None:
    for access in (load_access(tmp_path / "none.yaml"), load_access(_file(tmp_path))):
        eve = access.policy("eve")
        assert (eve.tables, eve.system, eve.may) == ({}, frozenset(), frozenset())


def test_the_shipped_roles(tmp_path: Path) -> None:
    text = "users:\n  u: {roles: [%s], tenant: eu}\n"
    admin = _load(tmp_path, text % "admin")
    assert set(load_facts()) <= set(admin.tables)
    assert all(one.predicate is None and not one.hidden for one in admin.tables.values())
    assert admin.sees("queries")
    analyst = _load(tmp_path, text % "analyst")
    assert not analyst.shows("requests", "user_hash")
    assert analyst.tables["requests"].predicate is None
    site = _load(tmp_path, text % "site")
    assert site.tables["samples"].text == """"samples"."site" = 'eu'"""
    assert not site.reads("roster")


def test_a_digest_tells_policies_apart_and_nothing_else(tmp_path: Path) -> None:
    users = (
        "users:\n  a: {roles: [site], tenant: eu}\n  b: {roles: [site], tenant: eu}\n  c: {roles: [site], tenant: us}\n"
    )
    access = load_access(_file(tmp_path, users + "  d: {roles: [analyst]}\n"))
    a, b, c, d = (access.policy(name).digest for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


_ROLE = "roles:\n  r:\n    facts: [requests]\n    rows: {requests: %s}\nusers:\n  u: {roles: [r], tenant: t}\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rolls: {}\n", 1, "field rolls: unknown field. Did you mean 'roles'"),
        ("roles:\n  r:\n    fact: [requests]\n", 3, "unknown field. Did you mean 'facts'"),
        ("roles:\n  r:\n    facts: [request]\n", 3, "there is no fact 'request'. Did you mean 'requests'"),
        ("roles:\n  r:\n    lookups: [model]\n", 3, "there is no lookup 'model'. Did you mean 'models'"),
        ("roles:\n  r:\n    facts: [requests]\n", 3, "says nothing of the rows of requests. Write rows:"),
        ("roles:\n  r:\n    facts: ['*']\n    rows: {requests: all}\n", 3, "says nothing of the rows of evaluations"),
        (
            "roles:\n  r:\n    facts: [requests]\n    rows: {requests: all, samples: all}\n",
            4,
            "does not list 'samples'",
        ),
        (
            "roles:\n  r:\n    facts: [requests]\n    rows: {requests: all}\n"
            "    columns:\n      requests: {hide: [modle]}\n",
            6,
            "requests has no column 'modle'. Did you mean 'model'",
        ),
        ("roles:\n  r:\n    may: [queries.kill]\n", 3, "is not a known value"),
        ("users:\n  u: {roles: [analist]}\n", 2, "there is no role 'analist'. Did you mean 'analyst'"),
        ("users:\n  u: {roles: [site]}\n", 2, "asks for the user's tenant, and 'u' has none"),
        ("users:\n  u: {roles: []}\n", 2, "roles"),
        (_ROLE % "tenent = 'a'", 4, "for requests: there is no column 'tenent'"),
        (_ROLE % "tenant", 4, "is no predicate"),
        (_ROLE % "'tenant = ''a'' GROUP BY 1'", 4, "is more than a predicate"),
        (_ROLE % "'tenant = ''a'' UNION SELECT 1'", 4, "is more than a predicate"),
        (_ROLE % "tenant = 'a'; DROP TABLE x", 4, "one statement at a time"),
        (_ROLE % "tenant IN (SELECT tenant FROM requests)", 4, "more than the row itself"),
        (_ROLE % "max(tenant) = 'a'", 4, "more than the row itself"),
        (_ROLE % "ts > now()", 4, "more than the row itself"),
        (_ROLE % "tenant = = 'a'", 4, "syntax error"),
        (_ROLE % "tenant = :nobody", 4, "not supported"),
        (_ROLE % "read_text('/etc/passwd') = ''", 4, "there is no function"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(DefinitionError) as caught:
        load_access(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


def test_a_tenant_is_a_text_whatever_it_holds(tmp_path: Path) -> None:
    text = "roles:\n  r:\n    facts: [requests]\n    rows: {requests: \"tenant = :tenant AND model <> ':user'\"}\n"
    path = _file(tmp_path, text + "users:\n  u: {roles: [r], tenant: \"x' OR '1'='1\"}\n")
    shown = load_access(path).policy("u").tables["requests"].text
    assert "'x'' OR ''1''=''1'" in shown
    assert "':user'" in shown


def test_a_changed_file_holds_at_once_and_a_broken_one_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    file = AccessFile(path)
    assert not file.policy("u").tables
    path.write_text("users:\n  u: {roles: [analyst]}\n")
    assert file.policy("u").reads("requests")
    path.write_text("users:\n  u: {roles: [no_such]}\n")
    with pytest.raises(DefinitionError):
        file.policy("u")
    path.unlink()
    assert not file.policy("u").tables


def test_edits_keep_every_other_line(tmp_path: Path) -> None:
    path = _file(tmp_path)
    change_roles(path, "bob", drop="night")
    assert path.read_text() == _FILE.replace(
        "  bob:\n    roles: [reader, night]\n    tenant: b\n", '  bob: {roles: [reader], tenant: "b"}\n'
    )
    put_user(path, "carol", ["analyst"], None)
    put_user(path, "7", ["site"], "e'u\"")
    access = load_access(path)
    assert access.users["7"].tenant == "e'u\""
    assert sorted(access.users) == ["7", "ada", "bob", "carol"]
    take_user(path, "carol")
    take_user(path, "7")
    take_user(path, "nobody")
    assert change_roles(path, "bob", drop="reader") is None
    assert path.read_text() == _FILE.replace("  bob:\n    roles: [reader, night]\n    tenant: b\n", "")


def test_edits_of_a_new_file_and_of_one_without_users(tmp_path: Path) -> None:
    path = tmp_path / "new" / "access.yaml"
    put_user(path, "ada", ["admin"], None)
    assert load_access(path).policy("ada").reads("requests")
    path = _file(tmp_path, "roles:\n  r: {description: none}\n")
    put_user(path, "ada", ["r"], None)
    put_user(path, "bob", ["r"], None)
    assert sorted(load_access(path).users) == ["ada", "bob"]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["access.yaml", "new"]


def test_an_edit_that_would_break_the_file_changes_nothing(tmp_path: Path) -> None:
    path = _file(tmp_path)
    with pytest.raises(DefinitionError, match="asks for the user's tenant"):
        put_user(path, "carol", ["reader"], None)
    with pytest.raises(DefinitionError, match="no role 'reeder'"):
        change_roles(path, "ada", add="reeder")
    with pytest.raises(DefinitionError, match="'ada' has no role 'night'"):
        change_roles(path, "ada", drop="night")
    assert path.read_text() == _FILE
    one_line = _file(tmp_path, "users: {ada: {roles: [admin]}}\n")
    with pytest.raises(DefinitionError, match="on one line"):
        put_user(one_line, "bob", ["admin"], None)


def test_roles_are_known_with_and_without_a_file(tmp_path: Path) -> None:
    assert set(known_roles(tmp_path / "none.yaml")) == {"admin", "analyst", "service", "site"}
    assert set(known_roles(_file(tmp_path))) == {"admin", "analyst", "service", "site", "reader", "night"}
