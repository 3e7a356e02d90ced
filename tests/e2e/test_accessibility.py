"""The page for those who use no mouse, a small or a dark screen; and what axe-core says of it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from tests.e2e import axe
from tests.e2e.driving import (
    PATIENCE,
    analyze,
    await_answer,
    await_result,
    choose_sample,
    choose_what_if,
    click_point,
    main_chart,
    photograph,
    settle,
    upload,
)

pytestmark = pytest.mark.e2e

SAMPLE = "deep-tanh-mlp"

# What has the focus; and whether what surrounds it looks otherwise than without. Streamlit draws
# the ring around some of its hidden inputs on a neighbour or on what holds them.
FOCUSED = """() => {
    const look = element => ['', '::before', '::after'].map(part => {
        const style = getComputedStyle(element, part || null);
        return [style.outline, style.boxShadow, style.borderColor, style.backgroundColor,
                style.textDecoration].join();
    }).join();
    const element = document.activeElement;
    const around = [element];
    for (let up = element.parentElement, i = 0; up && i < 3; up = up.parentElement, i++)
        around.push(up, ...up.children);
    const looks = () => around.map(look).join();
    window.autoinitFocus = {focused: looks(), looks};
    return (element.getAttribute('aria-label') || element.labels?.[0]?.innerText
            || element.innerText || element.tagName).trim().replaceAll('\\n', ' ');
}"""
# Rings come in gently, which nobody need wait for.
AT_ONCE = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync('*, *::before, *::after { transition: none !important }');
    document.adoptedStyleSheets = [sheet];
}"""
LOOKS_OTHERWISE = "() => window.autoinitFocus.looks() !== window.autoinitFocus.focused"


def tab(page: Page, until: str, most: int = 40) -> list[str]:
    """Presses Tab until something of that name has the focus; all that had it on the way."""
    passed: list[str] = []
    unseen: list[str] = []
    page.evaluate(AT_ONCE)
    for _ in range(most):
        page.wait_for_timeout(50)
        name = page.evaluate(FOCUSED)
        passed.append(name)
        if name.endswith(until):
            assert not unseen, f"No ring shows that these have the focus: {unseen}"
            return passed
        page.keyboard.press("Tab")
        try:
            page.wait_for_function(LOOKS_OTHERWISE, timeout=PATIENCE)
        except TimeoutError:
            unseen.append(name)
    raise AssertionError(f"{until!r} is not reached by Tab; these are: {passed}")


def test_everything_is_reached_from_the_keyboard(page):
    expect(page.get_by_role("button", name="Analyse")).to_be_visible()
    settle(page)
    photograph(page, "welcome")
    page.get_by_role("radio", name="Upload a file").focus()
    passed = tab(page, "Analyse")
    for name in ("Input", "Initialisation", "Measurement"):
        assert any(one.endswith(name) for one in passed), passed
    tab(page, "Upload")  # in the middle of the page

    page.get_by_role("radio", name="Upload a file").focus()
    page.keyboard.press("ArrowRight")
    if page.get_by_role("combobox", name="Sample").count() == 0:
        page.keyboard.press("Space")
    box = page.get_by_role("combobox", name="Sample")
    expect(box).to_be_visible()
    settle(page)
    tab(page, "Sample")
    page.keyboard.type(SAMPLE)
    page.keyboard.press("Enter")
    settle(page)
    page.wait_for_timeout(1000)  # The page is drawn anew, for another sample's options.
    tab(page, "Analyse")
    page.keyboard.press("Enter")
    await_result(page)

    page.get_by_role("button", name="Analyse").focus()
    tab(page, "Variance")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(main_chart(page).locator(".ytitle")).to_contain_text("mean")


SCHEMES = pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
NEEDS_AXE = pytest.mark.skipif(not axe.SCRIPT.exists(), reason=axe.MISSING)


@pytest.fixture
def expert(browser: Browser, server: str, scheme: Any) -> Iterator[Page]:
    """Every figure, in light or dark colors."""
    size = {"width": 1440, "height": 900}
    with browser.new_context(viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{server}/?expert=true")
        expect(page.get_by_role("button", name="Analyse")).to_be_visible()
        settle(page)
        yield page


@NEEDS_AXE
@SCHEMES
def test_axe_finds_nothing(expert: Page, tmp_path: Path, scheme: str):
    image, broken = tmp_path / "holiday.keras", tmp_path / "torch.keras"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert not axe.violations(expert), "the first visit"

    upload(expert, image)
    expect(expert.get_by_test_id("stAlert").last).to_contain_text("'holiday.keras' is no model")
    upload(expert, broken)
    expect(expert.get_by_text("Choose another file")).to_be_visible(timeout=PATIENCE)
    expect(expert.get_by_test_id("stAlert")).to_contain_text("seems to be a PyTorch checkpoint")
    expect(expert.get_by_test_id("stException")).to_have_count(0)
    settle(expert)
    assert not axe.violations(expert), "a refused file"
    photograph(expert, f"refused-{scheme}")

    choose_sample(expert, SAMPLE)
    analyze(expert)
    await_result(expert)
    expert.get_by_role("button", name="Keep this run").click()
    expect(expert.get_by_role("button", name="Let go of this run")).to_be_visible()
    expert.get_by_text("Model, settings and timings").click()
    click_point(expert, "Default kernels", 3)
    expect(expert.locator(".st-key-call-details")).to_be_visible()
    settle(expert)
    assert not axe.violations(expert), "a result"
    photograph(expert, f"expert-{scheme}")

    expert.get_by_text("Expert: every figure").click()
    settle(expert)
    expert.get_by_text("The network as a graph").click()
    expect(expert.get_by_test_id("stGraphVizChart").locator("svg")).to_be_visible()
    settle(expert)
    assert not axe.violations(expert), "the answer, and the network as a graph"
    photograph(expert, f"done-{scheme}")


@pytest.mark.slow
@NEEDS_AXE
@SCHEMES
def test_axe_finds_nothing_while_work_goes_on_and_in_comparisons(expert: Page, scheme: str):
    choose_sample(expert, "resnet-812-nobn")
    analyze(expert)
    expect(expert.get_by_role("button", name="Cancel")).to_be_visible()
    assert not axe.violations(expert), "a running job"
    photograph(expert, f"running-{scheme}")
    expert.get_by_role("button", name="Cancel").click()
    expect(expert.get_by_text("Cancelled.")).to_be_visible()
    expect(expert.locator(".js-plotly-plot")).to_have_count(0)
    settle(expert)
    assert not axe.violations(expert), "a cancelled job"
    photograph(expert, f"cancelled-{scheme}")

    choose_sample(expert, SAMPLE)
    analyze(expert)
    await_result(expert)
    expert.get_by_role("button", name="Keep this run").click()
    settle(expert)
    expert.get_by_text("Expert: every figure").click()
    settle(expert)
    choose_what_if(expert, "After each kernel", "Layer normalization")
    expert.get_by_role("button", name="Find out").click()
    expect(expert.locator(".answer")).to_contain_text("with layer normalization")
    await_answer(expert)
    expect(expert.locator(".st-key-compared_what")).to_be_visible()
    assert not axe.violations(expert), "a what-if, and the comparison"
    photograph(expert, f"what-if-{scheme}")
    narrow(expert)


CUT_OFF = """() => {
    const main = document.querySelector('[data-testid=stMain]');
    const scrolls = element => {
        for (let up = element.parentElement; up && up !== main; up = up.parentElement)
            if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return true;
        return false;
    };
    // A slider's own input is there for screen readers only.
    const beyond = [...main.querySelectorAll('*:not(input[type=range])')].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width && box.height && box.right > innerWidth + 1 && !scrolls(element);
    });
    const clipped = [...main.querySelectorAll('button, p, label, h1, h2, h3, summary')].filter(
        e => e.clientWidth && e.scrollWidth > e.clientWidth + 2
            && getComputedStyle(e).overflowX !== 'visible');
    const wide = [document.documentElement, main].filter(e => e.scrollWidth > innerWidth);
    return [...beyond, ...clipped, ...wide].map(e => e.outerHTML.slice(0, 200));
}"""
# What remains of 1280 by 1024 pixels at 200 % and at 400 %.
ZOOMED = ((640, 512), (320, 256))


def narrow(page: Page) -> None:
    """Zooms in: all comes below each other, and nothing is cut off or beside the screen."""
    for width, height in ZOOMED:
        page.set_viewport_size({"width": width, "height": height})
        page.reload()  # tables keep the width that they were drawn at
        await_answer(page)
        expect(page.locator(".st-key-compared_what")).to_be_visible()
        settle(page)
        assert not page.evaluate(CUT_OFF), f"at {width} pixels"
        photograph(page, f"zoomed-{width}")


def test_from_upload_to_download_by_the_keyboard(newcomer: Page, vanishing: Path):
    # Playwright takes the dialogue from the browser only some time after it is asked to listen.
    newcomer.on("filechooser", lambda chooser: chooser.set_files(vanishing))
    expect(newcomer.locator(".st-key-drop input[type=file]")).to_be_attached()
    settle(newcomer)
    stops = from_the_top(newcomer, "Upload")
    newcomer.keyboard.press("Enter")
    await_answer(newcomer)
    # The download is read again before it is offered: after the answer.
    expect(newcomer.get_by_test_id("stDownloadButton").get_by_text("KB)")).to_be_visible()
    settle(newcomer)
    stops += from_the_top(newcomer, "KB)")
    with newcomer.expect_download() as download:
        newcomer.keyboard.press("Enter")
    assert download.value.suggested_filename == "vanishing-autoinit.keras"
    assert stops <= 15


def from_the_top(page: Page, until: str) -> int:
    """Past the sidebar by Streamlit's own first stop, and on to something; how many stops it is."""
    page.get_by_role("link", name="Skip to main content").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    return 1 + len(tab(page, until, most=7))
