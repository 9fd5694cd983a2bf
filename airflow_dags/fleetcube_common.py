"""What the DAGs share: a verb of fleetcube's command line as a task.

No DAG itself: `.airflowignore` names it. A verb is a list of arguments that is given to the program as it stands: no
shell reads it and no template is filled into it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from threading import Thread
from typing import Any

from airflow.sdk import AssetAlias, BaseOperator, BaseOperatorLink, Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

TRUSTED = AssetAlias("fleetcube_trusted")
CUBES = AssetAlias("fleetcube_cubes")
# A name of ours: it can be no option, no path and no template.
NAME = r"^[a-z][a-z0-9_]{0,62}$"
# What a parameter for a day may be.
DAY: dict[str, Any] = {"type": ["null", "string"], "format": "date", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
# Of every task.
TASKS: dict[str, Any] = {
    "owner": "fleetcube",
    "retries": 4,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=6),
    "weight_rule": "absolute",
}
_USAGE, _BLOCKED = 2, 3
# Another process is at the same work: wait for it.
BUSY = 4
_BUSY_WAIT_S, _BUSY_MOST_S = 5.0, 1800.0
_GRACE_S = 20.0
# Under this key a task that fails leaves why; one that was killed leaves nothing.
FAILURE = "failure"
_ENGINES = ("duckdb", "spark")


class Blocked(AirflowFailException):
    """The gate stopped a batch: trying again changes nothing, and the task `alerts` tells people."""


class VerdictLink(BaseOperatorLink):
    """The page of the gate's verdict, as a button of the task."""

    name = "Verdict"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address that the verb has printed; empty where no batch was blocked or warned."""
        return str(getattr(operator, "verdict", ""))


class Verb(BaseOperator):
    """A verb as a task: its output is the task's log, the JSON lines that it prints are the task's result."""

    template_fields: Sequence[str] = ()
    operator_extra_links = (VerdictLink(),)
    ui_color = "#e8f1fa"
    # Whether the Variable FLEETCUBE_ENGINE is for this verb.
    builds = False

    def __init__(self, *, verb: Sequence[str] | Callable[[Any], Sequence[str]] = (), **more: Any) -> None:
        """`verb` are the arguments, or what makes them from the run's context."""
        super().__init__(**more)
        self.verb = verb
        self.verdict = ""
        self._found: list[dict[str, Any]] = []
        self._said = ""
        self._child: subprocess.Popen[str] | None = None

    def program(self) -> list[str]:
        """What is run: fleetcube."""
        return [Variable.get("FLEETCUBE_COMMAND")]

    def arguments(self, context: Any) -> Sequence[str]:
        """The arguments of this run."""
        return self.verb(context) if callable(self.verb) else self.verb

    def execute(self, context: Any) -> Any:
        """Run the verb; where it fails, leave why to the notice of the run."""
        try:
            return self._execute(context)
        except AirflowSkipException as error:
            self.log.info("skipped: %s", error)
            raise
        except Exception as error:
            why = {"text": str(error)[:1000], "blocked": isinstance(error, Blocked)}
            context["ti"].xcom_push(key=FAILURE, value=why)
            raise

    def _execute(self, context: Any) -> Any:
        """While another process is at the same work, wait for it."""
        arguments = [str(one) for one in self.arguments(context)]
        started = time.monotonic()
        while (code := self._run(arguments)) == BUSY and time.monotonic() - started < _BUSY_MOST_S:
            self.log.info("another process is at it; again in %.0f s", _BUSY_WAIT_S)
            time.sleep(_BUSY_WAIT_S)
        seconds = round(time.monotonic() - started, 3)
        self.log.info("fleetcube %s took %.1f s of this task", " ".join(arguments[:2]), seconds)
        context["ti"].xcom_push(key="own_seconds", value=seconds)
        self._show_verdicts()
        self._raise(code, arguments)
        return self.result(context, self._found)

    def result(self, context: Any, found: list[dict[str, Any]]) -> Any:
        """What the task hands on, made of the JSON values that the verb has printed."""
        return found

    def on_kill(self) -> None:
        """End the verb with the task; it may be killed at any time, and what it began is completed by the next."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._child.kill()

    def _run(self, arguments: list[str]) -> int:
        command = [*self.program(), *arguments]
        self.log.info("runs %s", [os.path.basename(command[0]), *command[1:]])
        self._found, self._said = [], ""
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environ(engine_of_builds() if self.builds else None),
            cwd=Variable.get("FLEETCUBE_FOLDER", None),
        )
        told = Thread(target=self._log_lines, args=(self._child.stderr,), daemon=True)
        told.start()
        for line in self._child.stdout or ():
            value = json.loads(line) if line.startswith("{") else {}
            self._found += [value] if value else []
            self.log.info(self.describe(value) if value else line.rstrip())
        told.join()
        return self._child.wait()

    def describe(self, value: dict[str, Any]) -> str:
        """A value that the verb has printed, in a line of the log."""
        return str(value.get("text") or json.dumps(value))

    def _log_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._said = line.strip() or self._said
            self.log.info(line.rstrip())

    def _show_verdicts(self) -> None:
        """Tell of the verdicts' pages at the log's end, a blocked batch last; the button leads to that one."""
        pages = [one for one in self._found if one.get("page")]
        for one in sorted(pages, key=lambda one: one["verdict"] == "blocked"):
            self.log.warning("%s batch %s is %s; verdict: %s", one["fact"], one["batch"], one["verdict"], one["page"])
            self.verdict = one["page"]

    def _raise(self, code: int, arguments: list[str]) -> None:
        if code == 0:
            return
        verb = f"fleetcube {' '.join(arguments[:2])}"
        if code == _BLOCKED:
            raise Blocked(f"The gate has blocked a batch. Its verdict: {self.verdict or 'see `fleetcube status`'}")
        if code == _USAGE:
            raise AirflowFailException(f"{verb} was called wrongly: {self._said}")
        raise RuntimeError(f"{verb} ended with {code}: {self._said}")


def environ(engine: str | None = None) -> dict[str, str]:
    """What a verb sees of this process's environment: nothing of Airflow's, and where the lake and the page are.

    Without an engine that of the settings builds.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "PYTHON"))}
    own = {name: Variable.get(name) for name in ("FLEETCUBE_LAKE", "FLEETCUBE_VERDICT_LINK")}
    return {**kept, **own, **({"FLEETCUBE_ENGINE": engine} if engine else {}), "FLEETCUBE_LOG": "text"}


def engine_of_builds() -> str | None:
    """The Variable that says what builds, if it says anything."""
    engine = Variable.get("FLEETCUBE_ENGINE", None)
    if engine is not None and engine not in _ENGINES:
        raise AirflowFailException(f"The Variable FLEETCUBE_ENGINE can't be {engine!r}: choose one of {_ENGINES}.")
    return engine


def names_of(found: Any) -> Iterator[str]:
    """Names out of a verb's JSON or a run's parameters, each checked: nothing else becomes an argument."""
    for name in found or ():
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise AirflowFailException(f"{name!r} is no name of a fact or cube.")
        yield name
