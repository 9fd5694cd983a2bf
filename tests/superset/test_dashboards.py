"""Every dashboard in a browser over the quick start's data: charts, figures, filters, drills, and who sees what."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from playwright.sync_api import Browser, Locator
from supersetpage import Watched, browser, keep, watched
from supersetrun import ROOT, Running, superset_over

pytestmark = [pytest.mark.superset, pytest.mark.slow, pytest.mark.timeout(900)]

_DASHBOARDS = ROOT / "superset" / "assets" / "dashboards"
_DATASETS = ROOT / "superset" / "assets" / "datasets"
_FIGURES = yaml.safe_load((Path(__file__).parent / "cases" / "figures.yaml").read_text())
_SOURCES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(_DASHBOARDS.glob("*.yaml"))}
# Set to keep the pictures that the documentation shows.
_PICTURES = ROOT / "docs" / "img" if os.environ.get("FLEETCUBE_TEST_PICTURES") else None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with superset_over(tmp_path_factory.mktemp("superset") / "lake") as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def page(running: Running, chromium: Browser) -> Iterator[Watched]:
    """The administrator's page."""
    with watched(chromium, running.address) as found:
        found.log_in("admin", running.password)
        yield found


@pytest.fixture(scope="module")
def auditor(running: Running) -> Iterator[psycopg.Connection[Any]]:
    """A connection of our own to the endpoint that Superset asks, as an administrator."""
    command = [sys.executable, "-m", "fleetcube", "user", "add", "auditor", "--role", "admin", "--password-stdin"]
    subprocess.run([*command, "--lake", str(running.lake)], input="long enough a word", text=True, check=True)
    port = (running.lake / "_superset" / "endpoint_port").read_text()
    place = f"host=127.0.0.1 port={port} user=auditor password='long enough a word' dbname=fleet"
    with psycopg.connect(place, autocommit=True) as connection:
        yield connection


def raw(running: Running, sql: str) -> Any:
    """The one value that the rows say."""
    command = [sys.executable, "-m", "fleetcube", "sql", "--raw", "--format", "json", "--lake", str(running.lake), sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [row] = [json.loads(line) for line in done.stdout.splitlines()] if "\n{" in done.stdout else json.loads(done.stdout)
    [value] = row.values() if isinstance(row, dict) else row
    return value


def written(value: Any, form: str) -> str:
    """A number as the page writes it, of the few formats that the cases use."""
    number, dollar = Decimal(str(value)), "$" if form.startswith("$") else ""
    found = re.fullmatch(r"\$?(,?)(?:\.(\d))?([df%])", form)
    assert found is not None, form
    number *= 100 if found[3] == "%" else 1
    places = Decimal(1).scaleb(-int(found[2] or 0))
    return f"{dollar}{number.quantize(places, ROUND_HALF_EVEN):{found[1]}}{'%' if found[3] == '%' else ''}"


def since(days: int) -> str:
    """The first moment of a range of whole days back from today."""
    return f"{datetime.now(UTC).date() - timedelta(days=days)} 00:00:00+00"


def answered(auditor: psycopg.Connection[Any], after: datetime) -> list[tuple[str, str]]:
    """The statements on facts that the administrator's page has had answered since, and what answered each.

    As the endpoint tells: Superset shows its queries in another layout than it sends them in.
    """
    sql = "SELECT statement, path FROM fleet.receipts WHERE who = 'admin' AND answered_at > %s"
    return auditor.execute(sql, [after]).fetchall()


def is_declared(statement: str, source: dict[str, Any]) -> bool:
    """Whether rows may answer: sentences of events, where a chart says so or bears them; never a sum or a group."""
    charts = source["charts"].values()
    wanted = any(chart.get("pushdown") or chart.get("annotations") for chart in charts)
    sentences = re.search(r"\btext\b", statement) and re.search(r"\bevents\b", statement)
    return bool(wanted and sentences and not re.search(r"GROUP BY|count\(|sum\(", statement, re.IGNORECASE))


@pytest.mark.parametrize("slug", sorted(_SOURCES))
def test_every_chart_of_a_dashboard_shows_something(
    slug: str, page: Watched, auditor: psycopg.Connection[Any], tmp_path: Path
) -> None:
    source = _SOURCES[slug]
    page.wrong.clear()
    began = datetime.now(UTC)
    shown = {one["title"]: one for one in page.open(slug)}
    keep(page.page, (_PICTURES or tmp_path) / f"superset-{slug}.png", small=_PICTURES is not None)
    assert page.wrong == []
    assert set(shown) == {chart["title"] for chart in source["charts"].values()}
    for chart in source["charts"].values():
        one = shown[chart["title"]]
        assert not one["broken"], one
        something = one["canvas"] or one["rows"] or one["figure"]
        assert something or (chart.get("may_be_empty") and "No results" in one["text"]), one
        assert one["figure"] not in ("N/A", "No data"), one
    asked = answered(auditor, began)
    assert asked or slug in ("access", "cubes"), "the endpoint tells of the charts' statements"
    by_rows = [sql for sql, path in asked if path not in ("cube", "cube+raw", "constant")]
    assert [sql for sql in by_rows if not is_declared(sql, source)] == []


def test_a_dashboard_fits_a_large_screen(page: Watched, tmp_path: Path) -> None:
    page.wrong.clear()
    shown = page.open("fleet", width=2560)
    keep(page.page, tmp_path / "large.png")
    assert page.wrong == []
    assert all(one["canvas"] or one["rows"] or one["figure"] for one in shown)


@pytest.mark.parametrize("slug", sorted(_FIGURES))
def test_figures_on_the_page_are_those_of_the_rows(slug: str, page: Watched, running: Running) -> None:
    page.open(slug)
    for title, case in _FIGURES[slug].items():
        value = raw(running, case["sql"].format(since=since(7)))
        assert page.figure(title) == written(value, case["format"]), (title, value)


def test_time_and_filters_change_what_is_shown(page: Watched, running: Running) -> None:
    page.wrong.clear()
    page.open("serving")
    first, until = since(3).split("+")[0], since(1).split("+")[0]
    page.set_time(first.replace(" ", "T"), until.replace(" ", "T"))
    page.settle()
    where = f"ts >= '{first}+00' AND ts < '{until}+00'"
    assert page.figure("Requests") == written(raw(running, f"SELECT count(*) FROM requests WHERE {where}"), ",d")
    page.choose("Site", "oslo")
    page.choose("Model", "atlas-8b")
    page.settle()
    where += " AND site = 'oslo' AND model = 'atlas-8b'"
    assert page.figure("Requests") == written(raw(running, f"SELECT count(*) FROM requests WHERE {where}"), ",d")
    assert page.wrong == []


def test_a_table_is_drilled_and_filters_the_others(page: Watched, running: Running, tmp_path: Path) -> None:
    page.wrong.clear()
    page.open("serving")
    cell = page.chart("By model, version and hardware").locator("tbody td", has_text="coder-32b").first

    def choose(what: str) -> Locator:
        cell.click(button="right")
        return page.page.locator(".ant-dropdown-menu-item", has=page.page.get_by_text(what, exact=True)).last

    modal = page.page.locator(".ant-modal")
    by = page.page.locator(".ant-popover").get_by_text("Tenant", exact=True)
    item = choose("Drill by")
    for _ in range(20):
        # The menu unfolds under the pointer, which it may miss.
        page.page.mouse.move(0, 0)
        item.hover()
        page.page.wait_for_timeout(500)
        if by.is_visible():
            break
    by.click()
    modal.get_by_text("tenant-a").first.wait_for(timeout=60_000)
    keep(page.page, tmp_path / "drilled.png")
    page.page.keyboard.press("Escape")
    modal.first.wait_for(state="hidden")
    choose("Drill to detail").click()
    # The rows themselves, with what no cube keeps.
    modal.get_by_text("request_id").or_(modal.get_by_text("Request id")).first.wait_for(timeout=60_000)
    page.page.keyboard.press("Escape")
    modal.first.wait_for(state="hidden")
    choose("Add cross-filter").click()
    page.settle()
    where = f"ts >= '{since(7)}' AND model = 'coder-32b'"
    assert page.figure("Requests") == written(raw(running, f"SELECT count(*) FROM requests WHERE {where}"), ",d")
    assert page.wrong == []


def test_people_of_two_sites_see_their_own_rows(running: Running, chromium: Browser) -> None:
    seen = {}
    for name, site in (("ada", "oslo"), ("bo", "ohio")):
        password = running.person(name, "site", "--tenant", site)
        with watched(chromium, running.address) as own:
            own.log_in(name, password)
            # Twice, the second time from the cache that all people share.
            for _ in range(2):
                own.open("serving")
                seen[name] = own.figure("Requests")
            sql = f"SELECT count(*) FROM requests WHERE site = '{site}' AND ts >= '{since(7)}'"
            assert seen[name] == written(raw(running, sql), ",d")
    assert seen["ada"] != seen["bo"]


@pytest.mark.parametrize("role, audience", [("site", "site"), ("analyst", "analyst")])
def test_what_a_role_is_shown_works_for_it(role: str, audience: str, running: Running, chromium: Browser) -> None:
    """Every dashboard in the list of somebody of the role, and no other; none of its charts is refused."""
    more = ["--tenant", "oslo"] if role == "site" else []
    password = running.person(f"one-{role}", role, *more)
    wanted = {slug for slug, source in _SOURCES.items() if audience in source.get("audience", [audience])}
    with watched(chromium, running.address) as own:
        own.log_in(f"one-{role}", password)
        listed = own.page.request.get(f"{running.address}/api/v1/dashboard/?q=(page_size:100)").json()["result"]
        assert {one["slug"] for one in listed} == wanted
        for slug in sorted(wanted):
            shown = own.open(slug)
            assert [one for one in shown if one["broken"]] == []
        assert own.wrong == []


def test_a_person_who_is_there_is_not_changed_in_passing(running: Running) -> None:
    running.person("cy", "site", "--tenant", "oslo")
    for arguments in (
        ["cy", "--role", "analyst"],
        ["Cy", "--role", "analyst"],
        ["admin", "--role", "site"],
        ["superset"],
    ):
        with pytest.raises(AssertionError, match="superset: "):
            running.manage("user", *arguments)
    assert running.person("cy", "site", "--tenant", "oslo")


def test_superset_itself_sees_no_rows(running: Running) -> None:
    home = running.lake / "_superset"
    place = f"host=127.0.0.1 port={(home / 'endpoint_port').read_text()} user=superset dbname=fleet"
    with (
        psycopg.connect(place, password=(home / "endpoint_password").read_text(), autocommit=True) as connection,
        pytest.raises(psycopg.errors.Error, match="requests"),
    ):
        connection.execute("SELECT count(*) FROM requests")


def test_secrets_are_for_the_owner_alone(running: Running) -> None:
    home = running.lake / "_superset"
    assert home.stat().st_mode & 0o777 == 0o700
    for name in ("secret_key", "endpoint_password", "endpoint_key"):
        assert (home / name).stat().st_mode & 0o777 == 0o600, name


def test_what_superset_holds_is_the_source(running: Running) -> None:
    assert "holds what" in running.manage("check")


def test_starting_again_changes_nothing(running: Running) -> None:
    port = running.address.rsplit(":", 1)[1]
    printed = running.manage("start", "--port", port)
    assert "password" not in printed
    assert running.address in printed


def test_the_parser_of_time_ranges_is_finished_before_threads_share_it(running: Running) -> None:
    said = """
from superset.app import create_app
create_app()
from superset.utils.date_parser import datetime_parser
print("made:", datetime_parser.cache_info().currsize, "finished:", datetime_parser().streamlined)
"""
    own = {
        "SUPERSET_HOME": str(running.lake / "_superset"),
        "SUPERSET_CONFIG_PATH": str(ROOT / "superset/superset_config.py"),
    }
    python = Path(sys.prefix) / "superset" / "bin" / "python"
    done = subprocess.run([python, "-c", said], env={**os.environ, **own}, capture_output=True, text=True, check=True)
    assert "made: 1 finished: True" in done.stdout


def test_a_second_start_prepares_nothing_anew(running: Running) -> None:
    port = running.address.rsplit(":", 1)[1]
    kept = (running.lake / "_superset" / "endpoint_port").read_text()
    running.manage("stop")
    assert "preparing" not in running.manage("start", "--port", port)
    assert (running.lake / "_superset" / "endpoint_port").read_text() == kept
