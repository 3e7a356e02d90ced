"""A stranger's way through the page: upload, comparison, download; and what may go wrong."""

import csv
import json
import re
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from playwright.sync_api import expect

from autoinit.manifest import differing
from sample_models import FILES_FOLDER
from tests.e2e.driving import (
    analyse,
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


def test_a_keras_file_is_compared_and_its_reinitialised_model_opens(page, tmp_path):
    source = FILES_FOLDER / "small-cnn.keras"
    original = keras.models.load_model(source)
    upload(page, source)
    chart = await_result(page)
    assert chart["scale"] == "log"
    assert {trace["type"] for trace in chart["traces"]} == {"scatter"}
    for series in ("Default", "AutoInit", "Uploaded"):
        assert drawn(chart, f"{series} measured") >= len(original.layers)
        assert drawn(chart, f"{series} predicted") >= len(original.layers)
        assert drawn(chart, f"{series} kernels") >= 2

    path = download(page, r"\.keras", tmp_path)
    assert path.name == "small-cnn-autoinit.keras"
    model = keras.models.load_model(path)
    assert [layer.name for layer in model.layers] == [layer.name for layer in original.layers]
    assert model.compiled == original.compiled
    kernels = [
        (new.numpy(), old.numpy())
        for new, old in zip(model.weights, original.weights, strict=True)
        if new.path.endswith("kernel")
    ]
    assert kernels
    photograph(page, "done-upload")
    assert not any(np.allclose(new, old) for new, old in kernels)


def test_an_h5_file_is_offered_as_h5_again_and_everything_can_be_taken_home(
    page, browser, tmp_path
):
    source = FILES_FOLDER / "small-mlp.h5"
    upload(page, source)
    chart = await_result(page)
    assert drawn(chart, "AutoInit measured") > 3
    assert drawn(chart, "Uploaded measured") > 3

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

    report = download(page, "HTML", tmp_path)
    with browser.new_context(offline=True) as context:
        reader = context.new_page()
        reader.goto(report.as_uri())
        expect(reader.locator(".js-plotly-plot .main-svg").first).to_be_visible()
        expect(reader.locator(".js-plotly-plot")).to_have_count(5)
        expect(reader.get_by_role("heading", name="small-mlp.h5")).to_be_visible()


def test_a_broken_file_gets_one_sentence_and_the_page_goes_on(page, tmp_path):
    picture = tmp_path / "holiday.keras"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    upload(page, picture)
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_contain_text("'holiday.keras' seems to be an image")
    settle(page)
    assert "Traceback" not in page.inner_text("body")
    assert page.get_by_test_id("stException").count() == 0
    photograph(page, "refused")

    choose_sample(page, "deep-tanh-mlp")
    analyse(page)
    assert drawn(await_result(page), "AutoInit measured") > 10


def test_a_job_can_be_cancelled_and_another_one_started(page):
    choose_sample(page, "resnet-812-nobn")
    analyse(page)
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(0)
    photograph(page, "cancelled")

    choose_sample(page, "deep-tanh-mlp")
    analyse(page)
    await_result(page)


def test_a_worker_that_dies_gets_a_sentence_and_the_job_can_be_started_again(page, running):
    choose_sample(page, "deep-tanh-mlp")
    settle(page)
    page.get_by_text("Measurement", exact=True).click()
    page.get_by_role("spinbutton", name="Draws").fill("100")
    page.keyboard.press("Tab")
    analyse(page)
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    # As the kernel does where memory ends. The worker that stands by is not missed.
    for child in psutil.Process(running.pid).children():
        child.kill()
    expect(page.get_by_test_id("stAlert")).to_contain_text("memory")
    expect(page.get_by_text("Press Analyse to try again")).to_be_visible()
    photograph(page, "failed")

    page.get_by_text("Measurement", exact=True).click()
    page.get_by_role("spinbutton", name="Draws").fill("1")
    page.keyboard.press("Tab")
    analyse(page)
    await_result(page)


def test_a_running_job_is_its_visitors_own_and_the_only_one(page, browser, server, tmp_path):
    choose_sample(page, "resnet-812-nobn")
    analyse(page)
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


def test_the_address_leads_back_to_the_result_without_computing_it_again(page, browser, data):
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
    with browser.new_context(viewport={"width": 1440, "height": 900}) as elsewhere:
        visitor = elsewhere.new_page()
        visitor.goto(page.url)
        assert await_result(visitor)["traces"] == chart["traces"]
        # The same job for whoever asks for it: at once, and at the same address.
        visitor.goto(page.url.partition("?")[0] + "?expert=true")
        visitor.get_by_role("button", name="All-CNN-C", exact=True).click()
        assert await_result(visitor)["traces"] == chart["traces"]
        assert key in visitor.url
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
