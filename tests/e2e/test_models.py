"""The page of many models, in a browser: what is clicked is opened."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.analysis.batch.store import Store
from tests.app.dashboard.test_batch_page import ILL, WELL
from tests.e2e.axe import SCRIPT, violations
from tests.e2e.conftest import opened, served
from tests.e2e.driving import choose, photograph, settle

ROW = 35  # pixels of a row of a table


@pytest.mark.slow
def test_a_click_in_each_view_opens_a_model(browser: Browser, tmp_path: Path) -> None:
    results = tmp_path / "results.parquet"
    with Store(results) as store:
        for number in range(6):
            store.append(replace(ILL if number % 2 else WELL, file=f"/nets/{number}.keras"))
    options = ["--results", str(results)]
    with (
        served(tmp_path / "data", tmp_path / "log", *options) as server,
        opened(browser, f"{server.address}/?models=all") as page,
    ):
        heading = page.locator(".st-key-model h3")
        table = page.get_by_test_id("stDataFrame")
        expect(table).to_be_visible()
        settle(page)
        table.click(position={"x": 12, "y": 2.5 * ROW})  # the second row's box
        expect(heading).to_have_text("1.keras")
        expect(page.get_by_role("link", name="The signal vanishes")).to_be_visible()
        settle(page)
        assert not (SCRIPT.exists() and violations(page))
        choose(page, "Curves")
        curves = page.locator(".curves a")
        expect(curves).to_have_count(6)
        expect(heading).to_have_text("1.keras")
        curves.nth(4).click()
        expect(heading).to_have_text("4.keras")
        expect(page).to_have_url(re.compile(r"model=.*4\.keras"))
        settle(page)
        photograph(page, "models")
        page.reload()
        expect(heading).to_have_text("4.keras")
        choose(page, "Scatter")
        points = page.locator(".js-plotly-plot").first.locator(".points path")
        expect(points).to_have_count(6)
        points.last.click(force=True)
        expect(heading).to_have_text(re.compile(r"[135]\.keras"))
