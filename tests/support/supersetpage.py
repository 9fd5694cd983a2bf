"""Superset in a browser: log-ins, dashboards that have settled, and what stands on them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_SETTLED_S = 120.0
# What each chart of the page shows, by its title: 'canvas', the text of a figure, rows of a table, or what is wrong.
_SHOWN = """() => [...document.querySelectorAll('.dashboard-component-chart-holder')].map(holder => ({
  title: holder.querySelector('[data-test="slice-header"]')?.innerText.split('\\n')[0] || '',
  canvas: [...holder.querySelectorAll('canvas')].some(one => one.width > 0 && one.height > 0),
  figure: holder.querySelector('.header-line')?.innerText || '',
  rows: holder.querySelectorAll('tbody tr').length,
  text: holder.querySelector('[data-test="chart-container"]')?.innerText || '',
  broken: !!holder.querySelector('.ant-alert, [data-test="error-message"], .chart-error'),
}))"""
_LOADING = "() => document.querySelectorAll('.loading, [data-test=\"loading-indicator\"]').length"
_HEIGHT = "() => document.querySelector('[data-test=\"grid-content\"]').scrollHeight"


@dataclass
class Asked:
    """One query of a chart: the chart's number in Superset, its SQL, and how many rows came back."""

    chart: int
    sql: str
    rows: int
    data: list[dict[str, Any]]


@dataclass
class Watched:
    """A page, with everything on it that a careful person would not accept, and the queries of its charts."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen to the page."""
        page = self.page
        page.on("console", lambda one: self.wrong.append(f"console: {one.text}") if one.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("request", lambda one: self._outside(one.url))
        page.on("response", self._answered)

    def log_in(self, user: str, password: str) -> None:
        """Log in by the form."""
        self.page.goto(f"{self.address}/login/")
        self.page.fill("input#username", user)
        self.page.fill("input[type=password]", password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/superset/welcome/**", timeout=_SETTLED_S * 1000)

    def open(self, slug: str, *, width: int = 1280) -> list[dict[str, Any]]:
        """Open a dashboard, make the window as high as it is so that each chart is drawn, and wait for all of them."""
        self.asked.clear()
        self.page.set_viewport_size({"width": width, "height": 1000})
        self.page.goto(f"{self.address}/superset/dashboard/{slug}/", timeout=_SETTLED_S * 1000)
        self.page.wait_for_selector(".dashboard-component-chart-holder", timeout=_SETTLED_S * 1000)
        return self.settle(width=width)

    def settle(self, *, width: int = 1280) -> list[dict[str, Any]]:
        """Wait until nothing is loading, twice in a row; gives what each chart shows."""
        deadline, quiet, height = time.monotonic() + _SETTLED_S, 0, 0
        while quiet < 3:
            assert time.monotonic() < deadline, f"the page goes on loading: {self.page.url}"
            now = int(self.page.evaluate(_HEIGHT))
            if now != height:
                height = now
                self.page.set_viewport_size({"width": width, "height": height + 200})
            quiet = 0 if self.page.evaluate(_LOADING) else quiet + 1
            self.page.wait_for_timeout(400)
        shown = self.page.evaluate(_SHOWN)
        assert isinstance(shown, list)
        return shown

    def chart(self, title: str) -> Locator:
        """The chart of that title."""
        header = self.page.locator('[data-test="slice-header"]', has=self.page.get_by_text(title, exact=True))
        return self.page.locator(".dashboard-component-chart-holder", has=header).first

    def figure(self, title: str) -> str:
        """The figure on the tile of that title."""
        return self.chart(title).locator(".header-line").inner_text()

    def table(self, title: str) -> list[list[str]]:
        """The cells of the table of that title, its visible page."""
        rows = self.chart(title).locator("tbody tr").all()
        return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]

    def choose(self, title: str, value: str) -> None:
        """Choose a value in a native filter, from behind `More filters` if it stands there, and apply."""
        label = self.page.locator('[data-test="filter-control-name"]', has_text=title)
        # Filters behind `More filters` go by themselves some time after the last choice.
        self.page.wait_for_timeout(1500)
        if not label.first.is_visible():
            self.page.locator('[data-test="dropdown-container-btn"]').click()
            label.first.wait_for(state="visible")
            self.page.wait_for_timeout(1000)
        item = self.page.locator(".ant-form-item", has=label).first
        item.locator(".ant-select").first.click()
        self.page.keyboard.type(value)
        self.page.locator(".ant-select-item-option", has_text=value).first.click()
        self.page.keyboard.press("Escape")
        self.page.locator('[data-test="filter-bar__apply-button"]').click()
        self.page.wait_for_timeout(500)

    def set_time(self, since: str, until: str) -> None:
        """Set both ends of the time range, inclusive and exclusive, and apply."""
        self.page.locator('[data-test="time-range-trigger"]').first.click()
        inputs = self.page.locator(".ant-popover input.ant-input")
        inputs.nth(0).fill(since)
        inputs.nth(1).fill(until)
        self.page.locator('[data-test="date-filter-control__apply-button"]').click()
        self.page.locator('[data-test="filter-bar__apply-button"]').click()
        self.page.wait_for_timeout(500)

    def _outside(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"a request to elsewhere: {url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"HTTP {response.status}: {response.url}")
        if "/api/v1/chart/data" in response.url and response.status == 200:
            chart = json.loads(response.request.post_data or "{}").get("form_data", {}).get("slice_id", 0)
            for one in response.json()["result"]:
                self.asked.append(Asked(chart, one["query"], one["rowcount"], one["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield made
        finally:
            made.close()


@contextmanager
def watched(made: Browser, address: str) -> Iterator[Watched]:
    """A page with a session of its own."""
    context = made.new_context(viewport={"width": 1280, "height": 1000}, timezone_id="UTC", locale="en-GB")
    try:
        yield Watched(context.new_page(), address)
    finally:
        context.close()


def keep(page: Page, path: Path, *, small: bool = False) -> None:
    """Write the page's picture; a small one, for documentation, in 64 colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=True)
    if small:
        # Superset's environment has what makes pictures small; ours needs none.
        python = Path(sys.prefix) / "superset" / "bin" / "python"
        code = "import sys; from PIL import Image; p = sys.argv[1]; Image.open(p).quantize(64).save(p, optimize=True)"
        subprocess.run([str(python), "-c", code, str(path)], check=True)
