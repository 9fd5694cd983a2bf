"""Airflow's page as a person sees it: a browser that logs in, clicks, waits, and takes pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflowlive import ROOT, LiveAirflow
from playwright.sync_api import Locator, Page, expect, sync_playwright

_PICTURES = ROOT / "docs" / "img"
_PATIENCE_MS = 180_000


@contextmanager
def opened(live: LiveAirflow, address: str = "") -> Iterator[Page]:
    """A page of an Airflow, or its first one, after its administrator has logged in."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 640})
        page.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        page.goto(address or live.address)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", json.loads((live.lake / "_airflow" / "passwords.json").read_text())["admin"])
        page.keyboard.press("Enter")
        page.wait_for_url(address or f"{live.address}/")
        try:
            yield page
        finally:
            browser.close()


def unpause(page: Page, address: str, *dags: str) -> None:
    """Turn the switches of DAGs on."""
    page.goto(f"{address}/dags")
    for dag in dags:
        card = page.get_by_test_id("dag-card").filter(has=page.get_by_text(dag, exact=True))
        card.get_by_test_id("toggle-pause").click()
        expect(card.locator("input[type=checkbox]")).to_be_checked()


def trigger(page: Page, address: str, dag: str) -> None:
    """Start a run by the button."""
    page.goto(f"{address}/dags/{dag}/runs")
    page.get_by_test_id("trigger-dag-button").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def runs_that(page: Page, state: str) -> Any:
    """The rows of the list of runs that are in a state."""
    return page.locator("tbody tr").filter(has=page.get_by_text(state, exact=True))


def picture(page: Page, name: str, *, down_to: Locator | None = None) -> None:
    """A picture for the docs, down to something in it, where they are asked for: FLEETCUBE_TEST_PICTURES=1."""
    if not os.environ.get("FLEETCUBE_TEST_PICTURES"):
        return
    _PICTURES.mkdir(exist_ok=True)
    page.mouse.move(0, 0)
    size = page.viewport_size
    box = down_to.bounding_box() if down_to is not None else None
    assert size is not None
    height = box["y"] + box["height"] + 4 if box is not None else size["height"]
    clip: Any = {"x": 0, "y": 0, "width": size["width"], "height": height}
    page.screenshot(path=_PICTURES / f"airflow-{name}.png", clip=clip)
