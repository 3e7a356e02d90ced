"""Tasks of a user, each as short as the page makes it; clicks and seconds are told after."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.driving import (
    READ_CHART,
    await_answer,
    choose_sample,
    choose_what_if,
    download,
    main_chart,
    photograph,
    settle,
)

pytestmark = pytest.mark.e2e

DROP = """([name, content]) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name));
    for (const kind of ['dragover', 'drop'])
        document.querySelector('h1, h2').dispatchEvent(
            new DragEvent(kind, {dataTransfer: files, bubbles: true, cancelable: true}));
}"""
SCROLLED = "document.querySelector('[data-testid=stMain]').scrollTop"
BOTTOM = "element => element.getBoundingClientRect().bottom"
# How far what is printed reaches beyond a sheet's width, of this many pixels.
OVERHANG = """() => Math.max(...[...document.querySelectorAll('table, .chart, .verdict, pre')]
    .filter(element => element.closest('.wide') === null || innerWidth > 900)
    .map(element => element.getBoundingClientRect().right)) - innerWidth"""


@pytest.fixture
def task(newcomer: Page, record_property: Callable[[str, object], None]) -> Iterator[Page]:
    """A newcomer whose clicks are counted; only those of the task itself."""
    newcomer.evaluate("sessionStorage.clicks = 0")
    start = time.perf_counter()
    yield newcomer
    record_property("clicks", clicks(newcomer))
    record_property("seconds", time.perf_counter() - start)


def clicks(page: Page) -> int:
    return int(page.evaluate("Number(sessionStorage.clicks ?? 0)"))


def drop(page: Page, path: Path) -> None:
    """Lets a file fall on the page's heading, far from where files are asked for."""
    expect(page.locator(".st-key-drop input[type=file]")).to_be_attached()
    settle(page)
    page.wait_for_function("() => window.autoinitDrop")
    page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])


def swipe_up(page: Page, box: dict[str, float]) -> None:
    """One finger, over a chart: the page is to move, and not the chart."""
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + 150
    for kind, by in (("touchStart", 0), *(("touchMove", by) for by in range(20, 120, 20))):
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y - by}]}
        )
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_is_my_model_all_right_and_where_is_it_wrong(task, vanishing):
    drop(task, vanishing)
    await_answer(task)
    words = task.locator(".verdicts .word")
    expect(words).to_have_text(["✖ Cannot train", "✖ Cannot train", "✔ Trains"])
    # All of the answer on one screen.
    expect(task.locator(".answer")).to_contain_text("→")
    for part in (".answer", ".st-key-remedy", ".js-plotly-plot"):
        assert task.locator(part).first.evaluate(BOTTOM) <= 900
    assert clicks(task) == 0
    photograph(task, "answer")
    # Nothing moves when the page is seen again.
    heading = task.get_by_role("heading", name="vanishing.keras")
    before = heading.evaluate(BOTTOM)
    task.reload()
    await_answer(task)
    assert heading.evaluate(BOTTOM) == before
    # What is wrong, and where?
    expect(task.locator(".answer")).to_contain_text(re.compile("d[0-9]"))
    task.locator(".st-key-remedy").get_by_role("button", name=re.compile("Show ")).click()
    expect(task.locator(".st-key-call-details")).to_be_in_viewport()
    assert clicks(task) == 1


def test_make_it_right(task, vanishing, tmp_path):
    drop(task, vanishing)
    await_answer(task)
    path = download(task, "re-initialised", tmp_path)
    assert path.name == "vanishing-autoinit.keras"
    assert clicks(task) == 1
    old, new = keras.models.load_model(vanishing), keras.models.load_model(path)
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    for before, after in zip(old.layers, new.layers, strict=True):
        if before.name.startswith("d"):
            assert after.kernel.numpy().std() > 5 * before.kernel.numpy().std()
    drop(task, path)
    expect(task.get_by_role("heading", name="vanishing-autoinit.keras")).to_be_visible()
    await_answer(task)
    expect(task.locator(".verdicts .word").first).to_have_text("✔ Trains")


def test_would_tanh_be_better(task, tmp_path):
    layers = [keras.layers.Dense(16, "relu", name=f"d{place}") for place in range(30)]
    path = tmp_path / "deep.keras"
    keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(2, name="out")]).save(path)
    drop(task, path)
    await_answer(task)
    choose_what_if(task, "Activation", "tanh")
    task.get_by_role("button", name="Find out").click()
    answer = task.locator(".answer")
    expect(answer).to_contain_text("Better with tanh. Own weights: cannot train →")
    await_answer(task)
    expect(task.get_by_role("heading", name="deep.keras, tanh")).to_be_visible()
    expect(task.locator(".verdicts .of").filter(has_text="As it is")).to_have_count(2)
    legend = main_chart(task).locator(".legendtext")
    expect(legend.filter(has_text=re.compile("^As it is$"))).to_be_visible()
    # All of it on one screen.
    for part in (".answer", ".st-key-remedy", ".js-plotly-plot"):
        assert task.locator(part).first.evaluate(BOTTOM) <= 900
    assert clicks(task) <= 3
    path = download(task, "Re-initialised", tmp_path)
    assert path.name == "deep-tanh-autoinit.keras"
    model = keras.models.load_model(path)
    assert model.get_layer("d7").activation is keras.activations.tanh
    photograph(task, "what-if")


@pytest.mark.slow
def test_runs_are_compared_after_a_reload_and_by_their_difference(newcomer):
    newcomer.get_by_role("button", name="All-CNN-C", exact=True).click()
    await_answer(newcomer)
    newcomer.get_by_role("button", name="Keep this run").click()
    expect(newcomer.get_by_role("button", name="Let go of this run")).to_be_visible()
    choose_sample(newcomer, "deep-tanh-mlp")
    settle(newcomer)
    newcomer.get_by_role("button", name="Analyse", exact=True).click()
    expect(newcomer.get_by_role("heading", name="deep-tanh-mlp")).to_be_visible()
    await_answer(newcomer)
    newcomer.reload()
    await_answer(newcomer)
    runs = newcomer.locator(".js-plotly-plot").last
    expect(runs.locator(".legendtext")).to_have_text(["1: deep-tanh-mlp", "2: all-cnn-c"])
    newcomer.get_by_role("radio", name="Mean", exact=True).click()
    expect(runs.locator(".ytitle")).to_contain_text("mean, AutoInit weights")
    newcomer.get_by_role("radio", name="Difference", exact=True).click()
    expect(runs.locator(".ytitle")).to_contain_text("difference of the mean")
    photograph(newcomer, "compare")
    newcomer.get_by_role("button", name="Let go of all").click()
    newcomer.wait_for_url(re.compile("^(?!.*kept)"))


def test_show_a_colleague_and_print_it(task, vanishing, browser: Browser, tmp_path):
    task.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drop(task, vanishing)
    await_answer(task)
    task.get_by_role("button", name="Copy link").click()
    expect(task.get_by_text("Copied", exact=True)).to_be_visible()
    assert clicks(task) == 1
    look_on_a_phone(browser, task.evaluate("navigator.clipboard.readText()"))
    report = download(task, "Report", tmp_path)
    assert clicks(task) == 2
    print_report(browser, report)


def look_on_a_phone(browser: Browser, address: str) -> None:
    with browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True
    ) as phone:
        colleague = phone.new_page()
        colleague.goto(address)
        await_answer(colleague)
        expect(colleague.locator(".verdicts .word")).to_have_count(3)
        assert colleague.evaluate("document.documentElement.scrollWidth") <= 390
        chart = main_chart(colleague)
        # Verdict, remedy and the chart's top, without a swipe; and the legend leaves it room.
        assert chart.evaluate("gd => gd.getBoundingClientRect().top") < 744
        legend = chart.locator(".legend").evaluate(
            "legend => legend.getBoundingClientRect().height"
        )
        figures = chart.evaluate(READ_CHART)
        assert legend <= figures["plotTop"]
        assert figures["plotHeight"] > 180
        swipe_up(colleague, chart.bounding_box())
        colleague.wait_for_function(f"() => {SCROLLED} > 0")
        photograph(colleague, "phone")


def print_report(browser: Browser, report: Path) -> None:
    with browser.new_context(offline=True, viewport={"width": 1280, "height": 900}) as context:
        reader = context.new_page()
        reader.goto(report.as_uri())
        expect(reader.locator(".js-plotly-plot .main-svg").first).to_be_visible()
        expect(reader.locator(".js-plotly-plot")).to_have_count(4)
        expect(reader.locator(".verdict").first).to_contain_text("Cannot train")
        expect(reader.locator("pre")).to_contain_text("def initialize(model)")
        reader.emulate_media(media="print")
        # A4 upright and Letter across, between their margins.
        for width in (703, 996):
            reader.set_viewport_size({"width": width, "height": 700})
            assert reader.evaluate(OVERHANG) <= 0


@pytest.mark.slow
def test_which_initialisation_learns_my_data(task: Page, vanishing: Path, tmp_path: Path) -> None:
    """A model and data of one's own, a grid that fills, and the best one taken home."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((600, 32)).astype("float32")
    np.savez(tmp_path / "train.npz", x=x, y=(x[:, 0] > 0) + 2 * (x[:, 1] > 0))
    drop(task, vanishing)
    await_answer(task)
    task.get_by_text("Try it: which initialisation").click()
    part = task.locator(".st-key-trials")
    part.locator("input[type=file]").set_input_files(tmp_path / "train.npz")
    expect(part.get_by_text("train.npz")).to_be_visible()
    part.get_by_role("button", name="Train it").click()
    expect(part.get_by_role("button", name="Stop, and keep what is there")).to_be_visible()
    expect(part.locator(".st-key-trial-grid")).to_be_visible()
    photograph(task, "trial-filling")
    expect(part.get_by_role("button", name="All trainings, JSON")).to_be_visible()
    answer = part.locator(".answer")
    expect(answer).to_contain_text("with a rate of")
    expect(answer).to_contain_text("Its own initializers")
    photograph(task, "trial")
    path = download(task, "The model with", tmp_path)
    own, best = (keras.models.load_model(each, compile=False) for each in (vanishing, path))
    assert float(np.std(best.get_layer("d5").kernel)) > 5 * float(
        np.std(own.get_layer("d5").kernel)
    )
