"""Every dashboard in a browser over the quick start's data: charts, figures, filters, drills, and who sees which rows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from supersetpage import Watched, browser, keep, watched

from fleetcube.commands.users import user as user_verbs  # noqa: F401  (the verb must be importable beside Superset)

from .conftest import ROOT, Running

pytestmark = [pytest.mark.superset, pytest.mark.slow, pytest.mark.timeout(900)]

_ASSETS = ROOT / "superset" / "assets"
_CASES = yaml.safe_load((Path(__file__).parent / "cases" / "figures.yaml").read_text())
_SLUGS = sorted(path.stem for path in (_ASSETS / "dashboards").glob("*.yaml"))
_PICTURES = ROOT / "docs" / "img" if os.environ.get("FLEETCUBE_TEST_PICTURES") else None
