"""One frozen set of settings: flags over FLEETCUBE_* variables over `fleetcube.toml` over defaults.

Standard library only: an agent reads its settings before anything heavy may be imported.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lake.errors import ConfigError, did_you_mean
from lake.places import lake_path

FILE_NAME = "fleetcube.toml"


def _setting(default: Any, text: str) -> Any:
    """A field with its help text, from which docs/settings.md is generated."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Paths are relative to the working folder unless absolute."""

    lake: Path = _setting(Path("fleet-lake"), "Folder of the lake, or its bucket and prefix: s3://bucket/prefix.")
    home: Path = _setting(
        Path("~/.fleetcube"), "Folder for what a lake in an object store keeps on this host; see object-stores.md."
    )
    memory_mib: int = _setting(1024, "Memory limit of the embedded engine, MiB.")
    threads: int = _setting(0, "Threads of the embedded engine; 0 takes every core.")
    spill_mib: int = _setting(
        0, "Disk that the embedded engine may spill to, MiB; 0 leaves it nine tenths of what is free."
    )
    engine: str = _setting("duckdb", "Engine that builds cubes: duckdb (in this process) or spark.")
    spark_master: str = _setting("local[*]", "Master of the Spark engine.")
    spark_jars: Path = _setting(Path(""), "Folder of Delta's jars for Spark; empty takes `jars` of the environment.")
    spark_memory_mib: int = _setting(2048, "Memory of Spark's driver, MiB; tasks use memory_mib each, beside it.")
    agent: str = _setting("", "Name of this host's agent; empty takes the host's name.")
    site: str = _setting("local", "Site that this host's agent reports.")
    cluster: str = _setting("", "Cluster that this host's agent reports.")
    environment: str = _setting("dev", "Environment that this host's agent reports: dev, test or prod.")
    period_s: int = _setting(10, "Seconds between two readings of the agent.")
    spool: Path = _setting(Path("fleet-spool"), "Folder in which the agent keeps what is not acknowledged.")
    spool_mib: int = _setting(256, "Size of the spool at which the agent's policy acts, MiB.")
    spool_policy: str = _setting("block", "What a full spool does: block, or drop_oldest (recorded as a gap).")
    receiver: str = _setting("http://127.0.0.1:8321", "Address of the receiver to which the agent pushes.")
    receiver_host: str = _setting("127.0.0.1", "Address on which the receiver listens.")
    receiver_port: int = _setting(8321, "Port on which the receiver listens.")
    certificate: str = _setting("", "TLS certificate file of the receiver; needed off loopback.")
    private_key: str = _setting("", "TLS key file of the receiver.")
    tokens: Path = _setting(
        Path(""), "JSON file {agent: token}, mode 0600; empty takes `_secrets/tokens.json` of the lake."
    )
    serve_host: str = _setting("127.0.0.1", "Address on which the SQL endpoint listens.")
    serve_port: int = _setting(5433, "Port on which the SQL endpoint listens.")
    access: Path = _setting(
        Path(""), "YAML file of roles and users of the SQL endpoint; empty takes `access.yaml` of the lake's folder."
    )
    audit_keep_months: int = _setting(0, "Months of the audit log that are kept, the current one too; 0 keeps all.")
    audit_checkpoints: Path = _setting(
        Path(""), "File, best on another host, to which checkpoints of the audit log are added; empty: none."
    )
    audit_copy: Path = _setting(Path(""), "Folder to which the audit log is copied; empty: none.")
    serve_certificate: str = _setting("", "TLS certificate file of the SQL endpoint (PEM); needed off loopback.")
    serve_key: str = _setting("", "TLS key file of the SQL endpoint (PEM, without a passphrase).")
    serve_clients: int = _setting(64, "Clients that the SQL endpoint takes at once.")
    serve_idle_s: int = _setting(0, "Seconds after which an idle client of the SQL endpoint is let go; 0 never.")
    serve_running: int = _setting(4, "Statements on facts that the SQL endpoint runs at once.")
    serve_waiting: int = _setting(64, "Statements that wait for their turn, above which one is refused.")
    serve_memory_mib: int = _setting(
        2048, "Engine memory of the SQL endpoint's running statements together, MiB; each has an equal share."
    )
    serve_threads: int = _setting(0, "Engine threads of one statement on the SQL endpoint; 0 takes `threads`.")
    statement_timeout_s: int = _setting(60, "Seconds after which a statement on the endpoint is ended.")
    result_cache_mib: int = _setting(64, "Answers that a process keeps until a publish overtakes them, MiB; 0: none.")
    selfaudit_permille: int = _setting(5, "Answers from cubes, of a thousand, that serve asks of rows again; 0: none.")
    selfaudit_seed: int = _setting(0, "Seed of the choice of those answers.")
    definitions: Path = _setting(Path(""), "Folder of your own cube definitions, beside the shipped ones.")
    declarations: Path = _setting(
        Path(""), "Folder of your own facts, lookups and suites, beside the shipped ones; see own-facts.md."
    )
    mappings: Path = _setting(Path(""), "Folder of your own replay mappings, beside the shipped ones.")
    unknown_metrics: str = _setting("quarantine", "What happens to rows of an undeclared metric: quarantine or accept.")
    gate_rows: int = _setting(1_000_000, "Rows that the gate judges at a time, about.")
    segment_files: int = _setting(8, "Files of a cube's segment above which a build merges them.")
    table_files: int = _setting(32, "Files of a table (of a day of trusted rows) above which upkeep merges them.")
    vacuum_grace_h: int = _setting(24, "Hours for which a file that no version needs any more is kept for readers.")
    notices: Path = _setting(
        Path(""), "YAML file of channels for notices; empty takes `notices.yaml` of the lake's folder; see running.md."
    )
    verdict_link: str = _setting(
        "", "Address at which the lake's _work/verdicts are served, if they are; it is told in place of a path."
    )
    silent_host_s: int = _setting(900, "Seconds without a sample after which a host is told as silent; 0: never.")
    host_memory: str = _setting("7d", "How long a host that is not in the roster is missed, such as 12h or 7d.")
    stale_facts: str = _setting(
        "samples=15m", "Facts that are told as stale, and how old their newest row may be: samples=15m requests=1h."
    )
    run_intervals: str = _setting(
        "", "How often `run` does the slower steps, over upkeep=1h verify=6h vacuum=1d audit=1h retain=1d."
    )
    run_retain: str = _setting("plan", "What `run` does for retention: plan (tell what is due) or apply (delete it).")
    log: str = _setting("text", "Form of progress and log lines: text or json.")

    @property
    def token_file(self) -> Path:
        """Where the tokens of agents are kept."""
        return self.tokens if self.tokens != Path("") else self.lake / "_secrets" / "tokens.json"

    @property
    def users_file(self) -> Path:
        """Where the verifiers of the endpoint's users are kept."""
        return self.lake / "_secrets" / "users.json"

    @property
    def access_file(self) -> Path:
        """Where it stands what the endpoint's users may read."""
        return self.access if self.access != Path("") else self.lake / "access.yaml"

    @property
    def notices_file(self) -> Path:
        """Where the channels for notices are declared."""
        return self.notices if self.notices != Path("") else self.lake / "notices.yaml"


_CHOICES: dict[str, tuple[str, ...]] = {
    "run_retain": ("plan", "apply"),
    "engine": ("duckdb", "spark"),
    "environment": ("dev", "test", "prod"),
    "spool_policy": ("block", "drop_oldest"),
    "unknown_metrics": ("quarantine", "accept"),
    "log": ("text", "json"),
}
_PORT_MAX = 65_535
_LEAST: dict[str, int] = dict.fromkeys(
    "threads spill_mib serve_idle_s serve_threads audit_keep_months serve_port receiver_port result_cache_mib "
    "selfaudit_permille selfaudit_seed silent_host_s".split(),
    0,
)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """The settings in force; `flags` with value None count as not given.

    Errors: ConfigError names the setting, where its value came from, the value, and what is wanted.
    """
    environ = os.environ if environ is None else environ
    raw: dict[str, tuple[Any, str]] = {}
    path = (
        Path(environ.get("FLEETCUBE_CONFIG", "")) if environ.get("FLEETCUBE_CONFIG") else (folder or Path()) / FILE_NAME
    )
    raw.update(_from_file(path, must_exist=bool(environ.get("FLEETCUBE_CONFIG"))))
    raw.update(_from_environ(environ))
    raw.update(
        {
            name: (value, f"flag --{name.replace('_', '-')}")
            for name, value in (flags or {}).items()
            if value is not None
        }
    )
    known = {item.name: item for item in fields(Settings)}
    values: dict[str, Any] = {}
    for name, (value, source) in raw.items():
        if name not in known:
            raise ConfigError(f"There is no setting '{name}'.", where=source, todo=did_you_mean(name, known))
        values[name] = _cast(name, value, known[name].default, source)
    if "lake" in raw:
        home = values.get("home", known["home"].default)
        values["lake"] = lake_path(str(values["lake"]), home, raw["lake"][1])
    return Settings(**values)


def _from_file(path: Path, *, must_exist: bool) -> dict[str, tuple[Any, str]]:
    if not path.is_file():
        if must_exist:
            raise ConfigError(
                "The settings file does not exist.", where=str(path), todo="Correct FLEETCUBE_CONFIG or unset it."
            )
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"Not valid TOML: {error}.", where=str(path), todo="Correct that line.") from error
    return {name: (value, f"{path}: {name}") for name, value in document.items()}


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """FLEETCUBE_* variables, less those that are no settings (the test switches and the file's own path)."""
    others = {"FLEETCUBE_CONFIG", "FLEETCUBE_FAULT", "FLEETCUBE_REQUIRE"}
    return {
        name.removeprefix("FLEETCUBE_").lower(): (value, f"environment variable {name}")
        for name, value in environ.items()
        if name.startswith("FLEETCUBE_") and name not in others and not name.startswith("FLEETCUBE_TEST_")
    }


def _cast(name: str, value: Any, default: Any, source: str) -> Any:
    if isinstance(default, Path):
        if not isinstance(value, (str, Path)) or "\0" in str(value):
            raise ConfigError(
                f"'{name}' wants a path, not {value!r}.", where=source, todo="Give a folder or file name."
            )
        # An empty path means "not set", and Path(".") is one; a folder that was named is meant.
        return Path(value).expanduser() if Path(value) != Path("") or str(value) == "" else Path.cwd()
    if isinstance(default, int):
        return _whole_number(name, value, source)
    if not isinstance(value, str):
        raise ConfigError(f"'{name}' wants a text, not {value!r}.", where=source, todo="Put it in quotes.")
    if name in _CHOICES and value not in _CHOICES[name]:
        todo = did_you_mean(value, _CHOICES[name]) or f"Choose one of: {', '.join(_CHOICES[name])}."
        raise ConfigError(f"'{name}' can't be {value!r}.", where=source, todo=todo)
    return value


def _whole_number(name: str, value: Any, source: str) -> int:
    least = _LEAST.get(name, 1)
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is not None and name.endswith("_port") and number > _PORT_MAX:
        todo = f"Choose one up to {_PORT_MAX}."
        raise ConfigError(f"'{name}' can't be {value!r}: there is no such port.", where=source, todo=todo)
    if number is None or number < least:
        raise ConfigError(
            f"'{name}' wants a whole number of at least {least}, not {value!r}.", where=source, todo="Correct it."
        )
    return number
