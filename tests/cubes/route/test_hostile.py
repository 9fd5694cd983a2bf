"""Attacks from files: each ends as its file says, and nothing outside the tables was opened, made or called.

Files and sockets are watched from outside: the attacks run in a process of their own under strace, whose log is read.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hostilelake import FILES, Place, attacks, make_place
from sqlcorpus import same

from cubes.access import Policy, load_access
from cubes.session import Session
from lake.errors import FleetcubeError, QueryError
from lake.settings import Settings

_DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def sessions(place: Place) -> Iterator[tuple[Session, Session, Policy]]:
    with Session(place.settings) as session, Session(place.alone) as alone:
        yield session, alone, load_access(place.access).policy("ada")


def test_there_are_enough_attacks() -> None:
    found = [attack.sql for path in FILES for attack in attacks(path)]
    assert len(found) == len(set(found)) >= 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_attack_ends_as_its_file_says(
    place: Place, sessions: tuple[Session, Session, Policy], path: Path
) -> None:
    session, alone, ada = sessions
    for attack in attacks(path):
        sql = place.written(attack)
        clock = threading.Timer(_DEADLINE_S, session.interrupt)
        clock.start()
        try:
            answer, code = session.query(sql, policy=ada), ""
        except QueryError as error:
            answer, code = None, error.code
        finally:
            clock.cancel()
        if answer is not None:
            assert attack.outcome in ("equal", "either"), sql
            same(answer, alone.query(sql), sql)
        else:
            assert attack.outcome in (code, "either"), (sql, code)
    assert not place.target.exists()


def test_the_engine_itself_opens_nothing_but_tables(place: Place, sessions: tuple[Session, Session, Policy]) -> None:
    """The second wall: what a hole in the grammar would let through, the engine refuses."""
    duck = sessions[0].view().duck
    for text in (
        f"SELECT * FROM read_csv('{place.canary}')",
        f"SELECT * FROM read_text('{place.settings.lake}/_secrets/users.json')",
        f"SELECT * FROM read_text('{place.settings.lake}/trusted/../_secrets/users.json')",
        f"COPY (SELECT 1) TO '{place.target}'",
        f"ATTACH '{place.target}' AS a",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM 'http://127.0.0.1:9/a.csv'",
    ):
        with pytest.raises(FleetcubeError):
            duck.sql(text)
    assert not place.target.exists()


# What the process itself needs: its own code, libraries, the zone's data, the kernel's tables.
_FINE = re.compile(
    r"/(usr|lib|lib64|proc|sys|dev|root/\.pyenv|opt)/|/\.venv/|\.pyc?\b|/etc/(ld\.so|localtime|nsswitch)"
)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_forbidden_file_or_socket_is_touched(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        command = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2,connect,bind,unlink,rename,execve,creat"]
        command += ["-o", str(log), sys.executable, __file__, *map(str, (place.settings.lake, place.access))]
        command += [str(place.canary), str(place.target), str(port)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        asked = int(done.stdout.split()[-1])
        canary.settimeout(0.2)
        with pytest.raises(TimeoutError):
            canary.accept()
    assert asked >= 300
    touched = log.read_text(errors="replace")
    # From here on the attacks run; before it Python is loaded and the session opened.
    begun = touched.index("attacks-begin")
    assert str(place.canary) not in touched[begun:]
    assert str(place.target) not in touched[begun:]
    assert "_secrets" not in touched[begun:]
    assert "AF_INET" not in touched[begun:]
    assert "execve(" not in touched[begun:]
    opened = set(re.findall(r'open(?:at)?2?\((?:AT_FDCWD, )?"([^"]+)"', touched[begun:]))
    tables = tuple(f"{place.settings.lake}/{name}" for name in ("trusted", "cubes", "lookups", "deletions", "_work"))
    strange = {path for path in opened if not path.startswith(tables) and not _FINE.search(path)}
    assert strange <= {"attacks-begin"}, strange


def _run(lake: str, access: str, canary: str, target: str, port: str) -> None:
    """The watched process: every attack, once, whatever comes of it."""
    place = Place(Settings(lake=Path(lake), memory_mib=512), Settings(), Path(access), Path(canary), Path(target))
    ada, count = load_access(place.access).policy("ada"), 0
    with Session(place.settings) as session:
        session.query("SELECT count(*) FROM requests", policy=ada)
        asked = [place.written(attack, int(port)) for path in FILES for attack in attacks(path)]
        with suppress(OSError):
            Path("attacks-begin").read_text()
        for sql in asked:
            clock = threading.Timer(_DEADLINE_S, session.interrupt)
            clock.start()
            with suppress(QueryError):
                session.query(sql, policy=ada)
            clock.cancel()
            count += 1
    print(count)


if __name__ == "__main__":
    _run(*sys.argv[1:])
