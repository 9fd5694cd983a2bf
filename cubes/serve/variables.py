"""Settings of one connection: what SET, SHOW and RESET read and write.

A setting that the server can't honour is refused, never taken and ignored; those that can change nothing here (there
are no locks and no writes) are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cubes.require import MODES
from cubes.route.asof import read_setting
from lake.errors import QueryError, did_you_mean

SERVER_VERSION = "14.0 (fleetcube)"
# Given at connect as a token, shown as the name of the service that gave it.
ACT_FOR = "fleetcube.act_for"
_BOOLEANS = {"on": "on", "true": "on", "yes": "on", "1": "on", "off": "off", "false": "off", "no": "off", "0": "off"}
_LEVELS = ("debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error")
_UNIT_MS = {"": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}


def _anything(value: str) -> str:
    return value


def _boolean(value: str) -> str:
    if value.lower() not in _BOOLEANS:
        raise ValueError("it is on or off")
    return _BOOLEANS[value.lower()]


def _only(shown: str, *names: str, why: str) -> Callable[[str], str]:
    """A setting with one value here, which has several names."""

    def check(value: str) -> str:
        if value.lower() not in names:
            raise ValueError(why)
        return shown

    return check


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"choose one of: {', '.join(choices)}")
        return value.lower()

    return check


def _moment(value: str) -> str:
    try:
        return str(read_setting(value) or "")
    except QueryError as error:
        raise ValueError("it is a moment, or fact@version such as requests@17") from error


def _milliseconds(value: str) -> str:
    found = re.fullmatch(r"\s*(\d{1,9})\s*(ms|s|min|h|)\s*", value)
    if found is None:
        raise ValueError("it is a number of milliseconds, or one with ms, s, min or h behind it")
    return str(int(found[1]) * _UNIT_MS[found[2]])


@dataclass(frozen=True)
class _Variable:
    """A setting's shown name, default, and check; `check` None is read-only; `told` clients are told its changes."""

    name: str
    default: str
    check: Callable[[str], str] | None = None
    told: bool = False


def _search_path(value: str) -> str:
    names = [one.strip().strip("\"'").lower() for one in value.split(",")]
    # Superset sets the schema of a dataset, and writes it before the table's name all the same.
    if not set(names) <= {"$user", "public", "fleet", "pg_catalog", ""}:
        raise ValueError("facts lie in public and are always found; write other schemas before the table's name")
    return value


_UTC = _only("UTC", "utc", "gmt", "etc/utc", "zulu", "z", "0", "+00", "+00:00", why="every time is served in UTC")
_UTF8 = _only("UTF8", "utf8", "utf-8", "unicode", why="every text is served in UTF8")
_ISO = _only(
    "ISO, MDY", "iso", "iso, mdy", "iso, dmy", "iso, ymd", "iso,mdy", "default", why="dates are served in ISO form"
)
_VARIABLES = {
    item.name.lower(): item
    for item in (
        _Variable("server_version", SERVER_VERSION, told=True),
        _Variable("server_version_num", "140000"),
        _Variable("server_encoding", "UTF8", told=True),
        _Variable("integer_datetimes", "on", told=True),
        _Variable("is_superuser", "off", told=True),
        _Variable("session_authorization", "", told=True),
        _Variable("in_hot_standby", "off", told=True),
        _Variable(
            "default_transaction_read_only", "on", _only("on", "on", "true", "1", why="the server only reads"), True
        ),
        _Variable("transaction_read_only", "on"),
        _Variable("max_identifier_length", "63"),
        _Variable("max_index_keys", "32"),
        _Variable("default_table_access_method", "heap"),
        _Variable("client_encoding", "UTF8", _UTF8, True),
        _Variable("DateStyle", "ISO, MDY", _ISO, True),
        _Variable("TimeZone", "UTC", _UTC, True),
        _Variable(
            "IntervalStyle", "postgres", _only("postgres", "postgres", why="intervals are served in that form"), True
        ),
        _Variable(
            "standard_conforming_strings", "on", _only("on", "on", "true", "1", why="strings are standard"), True
        ),
        _Variable("bytea_output", "hex", _only("hex", "hex", why="bytes are served in hex form")),
        _Variable("application_name", "", _anything, True),
        _Variable("extra_float_digits", "1", _one_of(*map(str, range(-15, 4)))),
        _Variable("client_min_messages", "notice", _one_of(*_LEVELS)),
        _Variable("search_path", '"$user", public', _search_path),
        _Variable("statement_timeout", "0", _milliseconds),
        _Variable("lock_timeout", "0", _anything),
        _Variable("idle_in_transaction_session_timeout", "0", _anything),
        _Variable("transaction_isolation", "repeatable read"),
        _Variable("default_transaction_isolation", "repeatable read", _anything),
        _Variable("row_security", "on", _anything),
        _Variable("jit", "off", _anything),
        _Variable("geqo", "off", _anything),
        _Variable(ACT_FOR, ""),
        _Variable("fleetcube.fresh", "off", _boolean),
        _Variable("fleetcube.raw", "off", _boolean),
        _Variable("fleetcube.as_of", "", _moment),
        _Variable("fleetcube.receipt", "off", _boolean),
        _Variable("fleetcube.require", "any", _one_of(*MODES)),
    )
}


@dataclass
class Variables:
    """The settings of a connection; `begin` and `end` give them the transaction's behaviour of PostgreSQL."""

    user: str = ""
    via: str = ""
    _values: dict[str, str] = field(default_factory=dict)
    _local: dict[str, str] = field(default_factory=dict)
    _before: dict[str, str] = field(default_factory=dict)

    def start(self, parameters: Mapping[str, str]) -> list[str]:
        """Take a client's start parameters; a warning for each that isn't honoured, as its connection lives on."""
        warnings = []
        for name, value in parameters.items():
            if name in ("user", "database", "options", "replication") or name.startswith("_pq_."):
                continue
            try:
                self.set(name, value)
            except QueryError as error:
                warnings.append(f"{error} The setting was left as it is.")
        return warnings

    def get(self, name: str) -> str:
        """The value in force. Errors: QueryError 42704 for an unknown name."""
        known = _known(name)
        if known.name == "session_authorization":
            return self.user
        if known.name == ACT_FOR:
            return self.via
        key = known.name.lower()
        return self._local.get(key, self._values.get(key, known.default))

    def is_on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.get(name) == "on"

    def set(self, name: str, value: str | None, *, local: bool = False) -> list[tuple[str, str]]:
        """Set (None: to the default); what a client must be told of it. Errors: 42704, 55P02 fixed, 22023 value."""
        known = _known(name)
        if known.check is None:
            todo = "Give it at connect, as a start parameter." if known.name == ACT_FOR else ""
            raise QueryError(f"parameter '{known.name}' cannot be changed", todo=todo, code="55P02")
        try:
            clean = known.default if value is None else known.check(value)
        except ValueError as error:
            what = f"invalid value for parameter '{known.name}': {value!r}"
            raise QueryError(what, todo=f"{str(error)[:1].upper()}{str(error)[1:]}.", code="22023") from error
        (self._local if local else self._values)[known.name.lower()] = clean
        return [(known.name, clean)] if known.told else []

    def reset(self) -> list[tuple[str, str]]:
        """Every setting back to its default; what a client must be told of it."""
        changed = [known for key, known in _VARIABLES.items() if known.told and self.get(key) != known.default]
        self._values.clear()
        self._local.clear()
        return [(known.name, known.default) for known in changed if known.check is not None]

    def told(self) -> list[tuple[str, str]]:
        """The settings of which a client keeps a copy."""
        return [(item.name, self.get(item.name)) for item in _VARIABLES.values() if item.told]

    def listed(self) -> list[tuple[str, str]]:
        """Every setting and its value, by name."""
        return [(item.name, self.get(item.name)) for _, item in sorted(_VARIABLES.items())]

    def begin(self) -> None:
        """Remember the settings: a rollback brings them back."""
        self._before = dict(self._values)

    def end(self, *, keep: bool) -> None:
        """End a transaction: local settings go, and without `keep` so do those made within it."""
        self._local.clear()
        if not keep:
            self._values = dict(self._before)


def _known(name: str) -> _Variable:
    found = _VARIABLES.get(name.lower())
    if found is None:
        raise QueryError(
            f"unrecognized configuration parameter '{name}'", todo=did_you_mean(name, _VARIABLES), code="42704"
        )
    return found
