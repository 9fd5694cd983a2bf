"""One small lake for every test that only asks questions: building it takes longer than asking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqllake import make_lake

from cubes.session import Session
from lake.settings import Settings


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session over one small random lake, for reading only."""
    lake = tmp_path_factory.mktemp("asked") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake, memory_mib=512)
    make_lake(settings, rows=500)
    with Session(settings) as session:
        yield session
