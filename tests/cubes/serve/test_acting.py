"""Acting for a user, by real clients: a service hands over a signed name, and nobody else may."""

from __future__ import annotations

import asyncio
import random
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.results import ResultCache
from cubes.serve.doorkeeper import Doorkeeper
from cubes.session import Session
from lake.acting import Keys, TokenError
from lake.audit_check import verify
from lake.audit_keep import events
from lake.errors import QueryError
from lake.settings import Settings
from lake.users import Users

PASSWORD = "correct horse battery"
DOC = Path(__file__).parents[3] / "docs" / "access.md"
ACCESS = """
roles:
  part: {facts: [requests], rows: {requests: "site = :tenant"}, system: [queries]}
  half: {may: [act_for], act_for: [part, root]}
users:
  superset: {roles: [service]}
  narrow: {roles: [half]}
  root: {roles: [admin]}
  both: {roles: [part, admin], tenant: eu}
  ada: {roles: [part], tenant: eu}
  eve: {roles: [part], tenant: us}
  few: {roles: [part], tenant: eu, quotas: {rows: 2}}
"""
COUNT = "SELECT count(*) FROM requests"


def maker() -> Callable[..., str]:
    """The maker of tokens that docs/access.md prints: Superset's side, which shares no code with the endpoint."""
    [text] = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(text, names)
    made: Callable[..., str] = names["act_for_token"]
    return made


token = maker()


@dataclass
class Place:
    """A served lake with two services and its rows by site."""

    settings: Settings
    port: int
    keys: dict[str, str]
    rows: dict[str | None, int]

    def given(self, user: str = "superset") -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "user": user, "password": PASSWORD}

    def connect(self, said: str | None = None, user: str = "superset", **more: Any) -> psycopg.Connection[Any]:
        options = {} if said is None else {"options": f"-c fleetcube.act_for={said}"}
        return psycopg.connect(
            **self.given(user), **options, **more, dbname="fleet", autocommit=True, connect_timeout=60
        )

    def told(self) -> list[dict[str, Any]]:
        return list(events(self.settings.lake))


@pytest.fixture(scope="module")
def place(serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    lake = tmp_path_factory.mktemp("acting") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake, memory_mib=512)
    make_lake(settings, rows=300, cubes=[load_cubes()["serving"]])
    for name in ("superset", "narrow", "root"):
        Users(settings.users_file).add(name, PASSWORD)
    settings.access_file.write_text(ACCESS)
    keys = {name: Keys(settings.keys_file).make(name, grace_s=0) for name in ("superset", "narrow", "root")}
    with Session(settings) as session:
        table = session.query("SELECT site, count(*) AS n FROM requests GROUP BY 1", raw=True).table
    rows = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert len({rows["eu"], rows["us"], sum(rows.values())}) == 3
    results = ResultCache(2**22)
    with serving(lambda: Session(settings, results=results), {"lake": lake}) as endpoint:
        yield Place(settings, endpoint.port, keys, rows)


def one(connection: psycopg.Connection[Any], sql: str) -> Any:
    row = connection.execute(sql).fetchone()  # type: ignore[call-overload]
    return None if row is None else row[0]


def test_two_persons_at_once_read_their_own_rows_and_share_no_answers(place: Place) -> None:
    wanted = {"ada": place.rows["eu"], "eve": place.rows["us"], "root": sum(place.rows.values())}
    open_ = {name: place.connect(token(place.keys["superset"], name)) for name in wanted}
    try:
        for _ in range(3):  # the second and third time from kept answers
            for name, connection in open_.items():
                assert one(connection, COUNT) == wanted[name]
                assert one(connection, "SELECT current_user") == one(connection, "SELECT session_user") == name
        assert {who for (who,) in open_["ada"].execute("SELECT who FROM fleet.queries")} == {"ada"}
        assert {"ada", "eve", "root"} <= {who for (who,) in open_["root"].execute("SELECT who FROM fleet.queries")}
    finally:
        for connection in open_.values():
            connection.close()


def test_quotas_and_the_right_to_end_are_the_persons(place: Place) -> None:
    with (
        place.connect(token(place.keys["superset"], "few")) as few,
        place.connect(token(place.keys["superset"], "eve")) as eve,
        place.connect(token(place.keys["superset"], "eve")) as again,
    ):
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
            few.execute("SELECT request_id FROM requests")
        number = eve.info.backend_pid
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            few.execute(f"SELECT pg_terminate_backend({number})")  # type: ignore[call-overload]
        assert one(again, f"SELECT pg_terminate_backend({number})") is True


def test_asyncpg_and_a_plain_start_parameter(place: Place) -> None:
    async def ask(name: str) -> Any:
        settings = {"fleetcube.act_for": token(place.keys["superset"], name)}
        connection = await asyncpg.connect(**place.given(), database="fleet", server_settings=settings, timeout=60)
        try:
            return await connection.fetchval(COUNT), await connection.fetchval("SHOW fleetcube.act_for")
        finally:
            await connection.close()

    async def both() -> Any:
        return await asyncio.gather(ask("ada"), ask("eve"))

    assert asyncio.run(both()) == [(place.rows["eu"], "superset"), (place.rows["us"], "superset")]


def test_the_service_itself_reads_nothing_and_can_test_its_connection(place: Place) -> None:
    with place.connect() as connection:
        assert one(connection, "SELECT 1") == 1
        assert one(connection, "SELECT current_user") == "superset"
        names = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname"
        assert connection.execute(f"{names} IN ('public', 'fleet')").fetchall() == []
        for sql in (COUNT, "SELECT * FROM hardware", "SELECT * FROM fleet.audit", "SELECT * FROM fleet.cubes"):
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute(sql)


def test_the_token_holds_at_connect_only_and_is_never_shown(place: Place) -> None:
    said = token(place.keys["superset"], "ada")
    other = token(place.keys["superset"], "root")
    with place.connect(said) as connection:
        assert one(connection, "SHOW fleetcube.act_for") == "superset"
        for sql in ("SET fleetcube.act_for = '{}'", "SET SESSION fleetcube.act_for TO '{}'", "RESET fleetcube.act_for"):
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(sql.format(other))
            assert caught.value.sqlstate == "55P02"
        connection.execute("RESET ALL")
        connection.execute("DISCARD ALL")
        assert one(connection, "SELECT current_user") == "ada"
        shown = [
            *connection.execute("SHOW ALL").fetchall(),
            *connection.execute("SELECT * FROM pg_settings").fetchall(),
        ]
        shown += connection.execute("SELECT * FROM pg_stat_activity").fetchall()
        mac = said.rpartition(".")[2]
        assert shown
        assert mac not in str(shown)
    assert mac not in "".join(path.read_text() for path in (place.settings.lake / "_audit").glob("*.jsonl"))


@pytest.mark.parametrize(
    ("user", "person", "why"),
    [
        ("superset", "nobody", "who has no role here"),
        ("superset", "Ada", "who has no role here"),
        ("root", "ada", "may not act for users"),
        ("narrow", "both", "for whom 'narrow' may not act"),
        ("narrow", "superset", "for whom 'narrow' may not act"),
    ],
)
def test_who_may_not_is_told_why(place: Place, user: str, person: str, why: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=why):
        place.connect(token(place.keys[user], person), user)
    failed = [event for event in place.told() if event["operation"] == "login.failed"]
    assert (failed[-1]["who"], failed[-1]["detail"]["act_for"]) == (user, person)


def test_a_limit_lets_the_named_and_those_of_listed_roles_pass(place: Place) -> None:
    for person in ("ada", "root"):
        with place.connect(token(place.keys["narrow"], person), "narrow") as connection:
            assert one(connection, "SELECT current_user") == person


def test_expired_early_foreign_and_missing_tokens(place: Place) -> None:
    cases = {
        token(place.keys["superset"], "ada", -60): "has expired",
        token(place.keys["superset"], "ada", 3600): "would hold too long",
        token(place.keys["narrow"], "ada"): "was not signed with a key of 'superset'",
        token("", "ada"): "was not signed with a key of 'superset'",
        "": "is no token",
        "ada": "is no token",
    }
    for said, why in cases.items():
        with pytest.raises(psycopg.OperationalError, match=why):
            place.connect(said)
    # A second's difference of clocks is none.
    place.connect(token(place.keys["superset"], "ada", -5)).close()


def test_the_audit_log_has_the_person_and_the_service(place: Place) -> None:
    with place.connect(token(place.keys["superset"], "ada"), application_name="dash") as connection:
        one(connection, COUNT)
        one(connection, "SELECT count(*) AS told FROM requests")
    deadline = time.monotonic() + 60
    while not any(event["resource"].endswith("AS told FROM requests") for event in place.told()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = {event["operation"]: event for event in place.told() if event.get("via") == "superset"}
    assert {"login", "query"} <= set(found)
    assert all(event["who"] != "superset" for event in found.values())
    assert verify(place.settings.lake, []).holds


def test_mutated_tokens_are_refused(place: Place) -> None:
    """A changed, cut, lengthened or mixed token never names anybody; a token says what it says in one form only."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    keys = Keys(place.settings.keys_file)
    letters = "ABCDEFGHabcdefgh0123456789-_.=+/ \\'\"%\0é٣"
    for _ in range(300):
        good = token(place.keys["superset"], rng.choice(("ada", "eve", "root")))
        at = rng.randrange(len(good))
        parts = good.split(".")
        other = token(place.keys["superset"], "root").split(".")
        place_ = rng.randrange(1, 5)
        bad = rng.choice(
            (
                good[:at] + rng.choice(letters) + good[at + 1 :],
                good[:at] + good[at + 1 :],
                good[:at] + rng.choice(letters) + good[at:],
                good[:at],
                ".".join([*parts[:place_], other[place_], *parts[place_ + 1 :]]),
                good.upper(),
                good + rng.choice(("=", "\n", " ", "." + good)),
            )
        )
        if bad != good:
            with pytest.raises(TokenError):
                keys.read("superset", bad)
        assert keys.read("superset", good).person in ("ada", "eve", "root")


def refused(connection: psycopg.Connection[Any], why: str) -> None:
    with pytest.raises(psycopg.Error, match=why) as caught:
        connection.execute(COUNT)
    assert caught.value.sqlstate == "28000"


def test_a_key_that_ends_ends_what_it_opened(place: Place) -> None:
    keys = Keys(place.settings.keys_file)
    Users(place.settings.users_file).add("desk", PASSWORD)
    with_desk = ACCESS.replace("\nusers:\n", "\nusers:\n  desk: {roles: [service]}\n")
    place.settings.access_file.write_text(with_desk)
    first = keys.make("desk", grace_s=0)
    with place.connect(token(first, "ada"), "desk") as connection:
        second = keys.make("desk", grace_s=3600)
        assert one(connection, COUNT) == place.rows["eu"]
        place.connect(token(first, "ada"), "desk").close()
        third = keys.make("desk", grace_s=0)
        refused(connection, "has ended")
    for key in (first, second):
        with pytest.raises(psycopg.OperationalError, match="was not signed"):
            place.connect(token(key, "ada"), "desk")
    with place.connect(token(third, "eve"), "desk") as connection:
        place.settings.access_file.write_text(ACCESS)
        refused(connection, "may no longer act for")
        place.settings.access_file.write_text(with_desk)
        assert one(connection, COUNT) == place.rows["us"]
        place.settings.access_file.write_text(with_desk.replace("  eve: {roles: [part], tenant: us}\n", ""))
        refused(connection, "may no longer act for")
        place.settings.access_file.write_text(with_desk)
        assert keys.drop("desk")
        assert not keys.drop("desk")
        refused(connection, "has ended")


def test_keys_are_private_and_never_shown_by_chance(place: Place) -> None:
    keys = Keys(place.settings.keys_file)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert "text" not in repr(keys._read()["superset"])
    assert place.keys["superset"] not in repr(keys._read())


def test_failures_are_held_back_by_whom_they_are_of(place: Place) -> None:
    """A person's failed tokens hold back that person alone, so that a dashboard's others don't wait."""
    door = Doorkeeper(place.settings, lambda *what, **more: None)

    async def tried() -> list[float]:
        return [door._wait_s("host superset nobody", failed=True) for _ in range(8)]

    async def refuse(said: str) -> str:
        with pytest.raises(QueryError) as caught:
            await door.guest("superset", said, "host")
        return caught.value.code

    waits = asyncio.run(tried())
    assert waits == sorted(waits)
    assert 0 < waits[0] < waits[-1] <= 10
    held = dict(door._failed)
    assert asyncio.run(refuse(token(place.keys["superset"], "stranger"))) == "28000"
    assert asyncio.run(refuse("forged")) == "28000"
    assert set(door._failed) - set(held) == {"host superset stranger", "host superset "}


def test_where_nobody_logs_in_nobody_is_acted_for(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.bare() as wire:
        result = wire.start(options="-c fleetcube.act_for=fc1.x")
        assert result.errors[0]["C"] == "28000"


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        ("-c statement_timeout=2000", "statement_timeout", "2000"),
        ("-cstatement_timeout=3s  --fleetcube.fresh=on", "fleetcube.fresh", "on"),
        (r"-c application_name=two\ words", "application_name", "two words"),
        ("--application-name=dashed", "application_name", "dashed"),
        ("-c application_name=named_wins", "application_name", "named"),
        ("-c user=root", "session_authorization", "me"),
    ],
)
def test_start_options_are_settings(endpoint: Any, options: str, setting: str, value: str) -> None:
    more = {"application_name": "named"} if "named_wins" in options else {}
    with endpoint.connect(options=options, **more) as wire:
        assert wire.query(f"SHOW {setting}").rows == [(value,)]


@pytest.mark.parametrize("options", ["-x", "-c", "-c nothing", "fleetcube.fresh=on", "-c =1"])
def test_a_start_option_that_is_none_is_refused(endpoint: Any, options: str) -> None:
    with endpoint.bare() as wire:
        assert wire.start(options=options).errors[0]["C"] == "22023"
