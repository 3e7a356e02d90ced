"""What a visitor does on the page, for the browser tests and the benchmarks."""

import os
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

PATIENCE = 300_000  # milliseconds
# However busy the machine is: an expectation ends when it is met, and time fails no test early.
expect.set_options(timeout=PATIENCE)
SCREENSHOTS = "AUTOINIT_SCREENSHOTS"

READ_CHART = """gd => ({
    traces: gd._fullData.map(t => ({name: t.name, type: t.type, visible: t.visible,
                                    finite: Array.from(t.y).filter(Number.isFinite).length})),
    scale: gd._fullLayout.yaxis.type,
    plotTop: gd._fullLayout._size.t,
    plotHeight: gd._fullLayout._size.h,
})"""
# Where a point of a trace lies in the window, and where the plot does.
FIND_POINT = """(gd, [name, place]) => {
    const {xaxis, yaxis} = gd._fullLayout, box = gd.getBoundingClientRect();
    const trace = gd._fullData.find(t => t.name === name);
    return {x: box.x + xaxis._offset + xaxis.d2p(trace.x[place]),
            y: box.y + yaxis._offset + yaxis.d2p(trace.y[place]), call: trace.x[place]};
}"""
FIND_PLOT = """gd => {
    const {l, t, w, h} = gd._fullLayout._size, box = gd.getBoundingClientRect();
    return {left: box.x + l, top: box.y + t, width: w, height: h};
}"""
WHOLE_HEIGHT = """Math.max(...['stMain', 'stSidebarContent'].map(
    name => document.querySelector(`[data-testid=${name}]`)?.scrollHeight ?? 0))"""


def upload(page: Page, path: Path) -> None:
    """Chooses a model file, which is analysed at once."""
    settle(page)  # what is about to go is there twice
    page.locator(".st-key-drop input[type=file]").set_input_files(path)


def analyze(page: Page) -> None:
    page.get_by_role("button", name="Analyse").click()


def choose_sample(page: Page, name: str) -> None:
    page.get_by_role("button", name="Try a sample").or_(
        page.get_by_role("radio", name="Try a sample")
    ).first.click()
    box = page.get_by_role("combobox", name="Sample")
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).click()


def main_chart(page: Page) -> Locator:
    return page.locator(".js-plotly-plot").first


def choose(page: Page, label: str) -> None:
    """One of the choices that lie side by side."""
    page.get_by_role("radio", name=label, exact=True).click()
    settle(page)


def choose_what_if(page: Page, label: str, choice: str) -> None:
    """One of the lists below the result."""
    settle(page)
    box = page.locator(".st-key-what-if").get_by_role("combobox", name=label, exact=True)
    # What moves closes a list: typing opens it again.
    box.focus()
    box.fill(choice)
    expect(page.get_by_role("option", name=choice, exact=True)).to_be_visible()
    box.press("Enter")


def settle(page: Page) -> None:
    """Waits until the page has answered to what was just done, without an error."""
    page.wait_for_timeout(300)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    assert page.get_by_test_id("stException").count() == 0


def await_answer(page: Page) -> None:
    """Waits for the finished job's page, its chart included."""
    expect(page.locator(".answer")).to_be_visible()
    expect(main_chart(page).get_by_text(re.compile("^Target variance"))).to_be_visible()
    settle(page)


def await_result(page: Page) -> dict[str, Any]:
    """Waits for the finished job's page and reads its first chart as Plotly drew it."""
    expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
    # Charts are drawn in any order: the first is the one with the target.
    first = main_chart(page)
    expect(first.get_by_text(re.compile("^Target variance"))).to_be_visible()
    settle(page)
    return first.evaluate(READ_CHART)


def drawn(chart: dict[str, Any], name: str) -> int:
    """How many points of a trace can be seen."""
    (trace,) = [trace for trace in chart["traces"] if trace["name"] == name]
    assert trace["visible"] is True
    return trace["finite"]


def download(page: Page, label: str, folder: Path) -> Path:
    with page.expect_download(timeout=PATIENCE) as found:
        page.get_by_test_id("stDownloadButton").get_by_role(
            "button", name=re.compile(label)
        ).click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def click_point(page: Page, trace: str, place: int) -> int:
    """Clicks a point of the chart; the index of its call."""
    chart = main_chart(page)
    chart.scroll_into_view_if_needed()
    point = chart.evaluate(FIND_POINT, [trace, place])
    page.mouse.move(point["x"], point["y"])
    page.wait_for_timeout(100)
    page.mouse.click(point["x"], point["y"])
    settle(page)
    return int(point["call"])


def shown_calls(page: Page) -> list[float]:
    """The stretch of calls that the chart shows."""
    return main_chart(page).evaluate("gd => gd.layout.xaxis.range.map(Number)")


def screenshots_folder() -> Path | None:
    """Where pictures of the page's states are put for a person to look at, if anywhere."""
    chosen = os.environ.get(SCREENSHOTS)
    return Path(chosen) if chosen else None


def photograph(page: Page, name: str) -> None:
    """A picture of all of the page, its sidebar and what has to be scrolled to, if wanted."""
    folder = screenshots_folder()
    if folder is None:
        return
    size = page.viewport_size
    height = max(page.evaluate(WHOLE_HEIGHT), size["height"])
    page.set_viewport_size({"width": size["width"], "height": height})
    page.wait_for_timeout(300)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", animations="disabled")
    page.set_viewport_size(size)
