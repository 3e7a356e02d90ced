"""What a visitor does with a result: views, details, choices."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.driving import (
    PATIENCE,
    analyze,
    await_result,
    choose,
    choose_sample,
    click_point,
    main_chart,
    photograph,
    settle,
    shown_calls,
)

pytestmark = pytest.mark.e2e

DEEP, QUICK = "resnet-56-nobn", "deep-tanh-mlp"


def open_sample(page: Page, name: str) -> None:
    choose_sample(page, name)
    analyze(page)
    await_result(page)


def y_title(page: Page, text: str) -> None:
    expect(main_chart(page).locator(".ytitle")).to_contain_text(text)


@pytest.mark.slow
def test_a_run_that_is_reloaded_goes_on_and_its_result_can_be_explored(page):
    choose_sample(page, DEEP)
    analyze(page)
    # On a busy machine the worker may be done before the page has said that it works.
    running = page.get_by_test_id("stProgress").or_(page.get_by_test_id("stDataFrame")).first
    expect(running).to_be_visible()
    address = page.url
    page.reload()
    expect(running).to_be_visible()
    await_result(page)
    assert page.url == address

    # From a finding to its call.
    jump = page.get_by_role("button", name=re.compile("Show "))
    path = jump.first.inner_text().rpartition("Show ")[2].strip()
    jump.first.click()
    details = page.locator(".st-key-call-details")
    expect(details.get_by_role("strong").filter(has_text=path).first).to_be_visible()
    settle(page)
    expect(details).to_be_in_viewport()
    photograph(page, "details")

    # A point of the chart: the table and the details follow.
    place = click_point(page, "Default kernels", 7)
    expect(page.get_by_text("1 of 143 layers, those chosen in chart or graph")).to_be_visible()
    paths = main_chart(page).evaluate(
        "gd => gd._fullData.find(t => t.name === 'Default measured').customdata.map(row => row[0])"
    )
    shown = paths[place]
    expect(details).to_contain_text(shown)

    # The table's filter, which is a regular expression.
    page.get_by_role("textbox", name="Filter").fill("^stage[12]_.*add$")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(r"^0 of 143 layers"))).to_be_visible()
    main_chart(page).locator(".nsewdrag").first.dblclick()
    expect(page.get_by_text(re.compile(r"^18 of 143 layers$"))).to_be_visible()
    page.get_by_role("textbox", name="Filter").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(r"^143 of 143 layers$"))).to_be_visible()


@pytest.mark.slow
def test_a_click_in_the_graph_shows_the_layer_in_chart_and_table_and_unfolds_a_block(page):
    open_sample(page, DEEP)
    page.get_by_text("The network as a graph").click()
    graph = page.locator(".st-key-graph")
    folded = graph.locator("g.node", has_text="stage2")
    expect(folded).to_have_count(1)
    folded.first.click()
    opened = graph.locator("g.node", has_text=re.compile("stage2_block3_conv1"))
    expect(opened).to_have_count(1)
    settle(page)
    small = opened.bounding_box()
    page.get_by_role("radio", name="200 %").click()
    settle(page)
    assert opened.bounding_box()["width"] > 1.8 * small["width"]
    opened.click()
    expect(page.get_by_text("1 of 143 layers, those chosen")).to_be_visible()
    expect(page.locator(".st-key-call-details")).to_contain_text("stage2_block3_conv1")
    expect(page.locator(".st-key-call-details")).to_be_in_viewport()
    assert "layer=stage2_block3_conv1" in page.url
    expect(main_chart(page).locator(".legendtext", has_text=re.compile("^Chosen$"))).to_be_visible()
    photograph(page, "graph-chosen")
    opened.click()  # once more lets go of it
    expect(page.get_by_text("143 of 143 layers")).to_be_visible()


STRETCH_IS_DRAWN = """() => {
    const [low, high] = [...document.querySelectorAll('input[type=range]')].map(end => end.value);
    return document.querySelector('.js-plotly-plot .xtitle')
        ?.textContent.startsWith(`layers ${low} to ${high} of`);
}"""


def expect_stretch(page: Page) -> tuple[int, int]:
    """The stretch that the slider shows, once the chart shows it, too."""
    page.wait_for_function(STRETCH_IS_DRAWN, timeout=PATIENCE)
    low, high = (int(each.input_value()) for each in page.get_by_role("slider").all())
    return low, high


@pytest.mark.slow
def test_a_stretch_of_calls_is_kept_from_view_to_view_and_from_job_to_job(page):
    open_sample(page, DEEP)
    whole = shown_calls(page)
    assert whole[1] > 142
    last = page.get_by_role("slider").last
    last.focus()
    for _ in range(3):
        page.keyboard.press("PageDown")
    expect_stretch(page)
    first = page.get_by_role("slider").first
    first.focus()
    page.keyboard.press("PageUp")
    low, high = expect_stretch(page)
    assert 0 < low < high < 142
    photograph(page, "stretch")
    title = f"layers {low} to {high} of 143"
    for label, figure in (("Mean", "mean"), ("Variance", "variance")):
        choose(page, label)
        y_title(page, figure)
        expect(main_chart(page).locator(".xtitle")).to_contain_text(title)
    before = page.url
    page.get_by_text("Measurement", exact=True).click()
    page.get_by_role("spinbutton", name="Seed").fill("5")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before, timeout=PATIENCE)
    expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
    expect(main_chart(page).locator(".xtitle")).to_contain_text(title)


@pytest.mark.slow
def test_gradient_and_jacobian_are_measured_on_demand(page):
    open_sample(page, QUICK)
    first = page.url
    for label, shot in (("Gradient", "gradient"), ("Jacobian", "jacobian")):
        choose(page, label)
        measure = page.get_by_role("button", name=f"Measure: {label.lower()}")
        expect(measure).to_be_visible()
        photograph(page, f"view-{shot}-not-measured")
        before = page.url
        measure.click()
        page.wait_for_url(lambda url, before=before: url != before, timeout=PATIENCE)
        expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
        settle(page)
        expect(measure).to_have_count(0)  # The page stays with what was asked for.
        expect(main_chart(page)).to_be_visible()
        photograph(page, f"view-{shot}")
    assert page.url != first
    # What was measured before is measured again.
    choose(page, "Gradient")
    y_title(page, "gradient")
