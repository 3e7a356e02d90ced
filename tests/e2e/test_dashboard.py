"""A stranger's way through the page: upload, comparison, download; and what may go wrong."""

import csv
import json
import re
from pathlib import Path

import keras
import psutil
import pytest
from playwright.sync_api import expect

from autoinit.manifest import differing
from sample_models import FILES_FOLDER
from tests.e2e.driving import (
    analyze,
    await_result,
    choose_sample,
    download,
    drawn,
    main_chart,
    photograph,
    settle,
    upload,
)

pytestmark = pytest.mark.e2e


def test_an_h5_file_is_offered_as_h5_again_and_everything_can_be_taken_home(page, tmp_path):
    source = FILES_FOLDER / "small-mlp.h5"
    upload(page, source)
    chart = await_result(page)
    assert chart["scale"] == "log"
    assert {trace["type"] for trace in chart["traces"]} == {"scatter"}
    for series in ("Default", "AutoInit", "Uploaded"):
        for what in ("measured", "predicted"):
            assert drawn(chart, f"{series} {what}") > 3

    original = keras.models.load_model(source, compile=False)
    for label in (r"\.keras", r"\.h5"):
        model = keras.models.load_model(download(page, label, tmp_path))
        assert model.count_params() == original.count_params()

    result = json.loads(download(page, "Result, JSON", tmp_path).read_text(encoding="utf-8"))
    assert result["model"]["name"] == "small-mlp.h5"
    assert result["series"] == ["default", "autoinit", "uploaded"]
    with download(page, "CSV", tmp_path).open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["path"] for row in rows] == [call["path"] for call in result["calls"]]

    manifest = json.loads(download(page, "Manifest", tmp_path).read_text(encoding="utf-8"))
    model = keras.models.load_model(download(page, r"\.keras", tmp_path))
    assert differing(manifest, model) == []


@pytest.mark.slow
def test_a_worker_that_dies_gets_a_sentence_and_the_job_can_be_started_again(page, running):
    choose_sample(page, "deep-tanh-mlp")
    settle(page)
    page.get_by_text("Measurement", exact=True).click()
    page.get_by_role("spinbutton", name="Draws").fill("100")
    page.keyboard.press("Tab")
    analyze(page)
    # Before that it may still be without a worker.
    expect(page.get_by_test_id("stProgress")).to_contain_text(re.compile("Predicting|Measuring"))
    # As the kernel does where memory ends. The worker that stands by is not missed.
    for child in psutil.Process(running.pid).children():
        child.kill()
    expect(page.get_by_test_id("stAlert")).to_contain_text("memory")
    expect(page.get_by_text("Press Analyse to try again")).to_be_visible()
    photograph(page, "failed")

    page.get_by_text("Measurement", exact=True).click()
    page.get_by_role("spinbutton", name="Draws").fill("1")
    page.keyboard.press("Tab")
    analyze(page)
    await_result(page)


@pytest.mark.slow
def test_a_running_job_is_its_visitors_own_and_the_only_one(page, browser, server, tmp_path):
    choose_sample(page, "resnet-812-nobn")
    analyze(page)
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(page.url)
        expect(other.get_by_test_id("stProgress")).to_be_visible()
        expect(other.get_by_text("You may close this page")).to_be_visible()
        expect(other.get_by_role("button", name="Cancel")).to_have_count(0)

    page.reload()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.goto(f"{server}/?expert=true")
    upload(page, small_model(tmp_path / "second.json", "second"))
    expect(page.get_by_text("one analysis at a time")).to_be_visible()
    photograph(page, "one-at-a-time")
    page.get_by_role("button", name="Cancel it and start the new one").click()
    assert drawn(await_result(page), "AutoInit kernels") == 1


@pytest.mark.slow
def test_the_address_leads_back_to_the_result_without_computing_it_again(page, data):
    page.get_by_role("button", name="All-CNN-C", exact=True).click()
    chart = await_result(page)
    assert drawn(chart, "AutoInit kernels") == 9
    key = re.search(r"job=([0-9a-f]{64})", page.url).group(1)
    written = (data / key / "result.json").stat().st_mtime_ns
    jobs = {folder.name for folder in data.iterdir() if len(folder.name) == len(key)}

    page.reload()
    assert await_result(page) == chart
    # From the keyboard, without a job of its own: what the other signal model predicts.
    page.get_by_role("switch", name="Draw what the paper's model").focus()
    page.keyboard.press("Space")
    other = "AutoInit predicted by the paper's model"
    expect(main_chart(page).get_by_text(other)).to_be_visible()
    assert drawn(await_result(page), other) > 9
    # The same job for whoever asks for it: at once, and at the same address.
    page.goto(page.url.partition("?")[0] + "?expert=true")
    page.get_by_role("button", name="All-CNN-C", exact=True).click()
    page.wait_for_url(f"**job={key}**")
    await_result(page)
    assert (data / key / "result.json").stat().st_mtime_ns == written
    assert {folder.name for folder in data.iterdir() if len(folder.name) == len(key)} == jobs


def test_names_of_a_strangers_file_are_text(page, tmp_path):
    name = "<img src=x onerror=alert(1)>**b**[l](http:x)"
    path = small_model(tmp_path / "<b>bold<b>.json", name)
    alarms: list[str] = []
    page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
    upload(page, path)
    await_result(page)
    page.wait_for_timeout(1000)
    assert not alarms
    assert page.locator("[data-testid=stMain] img").count() == 0
    assert "<img" in main_chart(page).text_content()


def small_model(path: Path, name: str) -> Path:
    """The file of a model with one layer, which has the model's name."""
    inputs = keras.Input((8,), name="in")
    model = keras.Model(inputs, keras.layers.Dense(4, "relu", name=name)(inputs), name=name)
    path.write_text(model.to_json())
    return path
