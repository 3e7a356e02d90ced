"""The page in each of its states, by Streamlit's AppTest; the jobs are stand-ins."""

import errno
import html
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import app.jobs
from app.analysis.result import Result, read_result
from app.dashboard import gallery, uploads
from app.dashboard.result.table import path_width
from app.export.downloads import downloads, file_stem
from app.jobs import AlreadyRunningError, JobSpec, Settings, folders
from app.jobs.processes import Progress
from app.text.escaping import markdown_text
from tests.app.parsing import parsed

PAGE = str(Path(app.__file__).parent / "streamlit_app.py")
KEY = "a" * 64
HOSTILE = "<img src=x onerror=alert(1)> **bold** [a](http://b) :red[r] $x$"


class StandInJob:
    """A job that stays in whichever state the test puts it."""

    def __init__(self, folder: Path, status: str = "running", spec: JobSpec | None = None) -> None:
        self.key, self.folder, self.status, self.spec = KEY, folder, status, spec
        self.progress, self.seconds_left = Progress(0.31, "Measuring default"), 21.0
        self.error: tuple[str, str] | None = None
        self.owners: set[str] = set()

    def result(self) -> Result:
        return read_result(self.folder / "result.json")

    def preview(self) -> tuple[Path, int] | None:
        path = self.folder / "preview.json"
        return (path, path.stat().st_mtime_ns) if path.exists() else None

    def is_owned_by(self, owner: str) -> bool:
        return owner in self.owners

    def cancel(self, owner: str) -> None:
        self.owners.discard(owner)
        if not self.owners:
            self.status = "cancelled"


class Jobs:
    """What stands in for `app.jobs`: remembers what was submitted, finds one job."""

    def __init__(self, folder: Path) -> None:
        self.job = StandInJob(folder)
        self.submitted: list[JobSpec] = []
        self.others: dict[str, StandInJob] = {}
        self.running: StandInJob | None = None
        self.lost = ""

    def submit(self, spec: JobSpec, owner: str, address: str | None) -> StandInJob:
        if self.running is not None and self.running.is_owned_by(owner):
            raise AlreadyRunningError(self.running)
        self.submitted.append(spec)
        self.job.spec = spec
        self.job.owners.add(owner)
        return self.job

    def find(self, key: str) -> StandInJob | None:
        return self.job if key == KEY else self.others.get(key)

    def has_begun(self, key: str) -> bool:
        return key == self.lost

    def finish(self, result: dict[str, Any], *files: str) -> None:
        self.job.folder.mkdir(exist_ok=True)
        (self.job.folder / "result.json").write_text(json.dumps(result, allow_nan=False))
        for name in files:
            (self.job.folder / name).write_bytes(b"model")
        self.job.status = "done"


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> Jobs:
    monkeypatch.setenv("AUTOINIT_DATA", str(tmp_path / "data"))
    stand_in = Jobs(tmp_path / "job")
    monkeypatch.setattr(app.jobs, "submit", stand_in.submit)
    monkeypatch.setattr(app.jobs, "find", stand_in.find)
    monkeypatch.setattr(app.jobs, "has_begun", stand_in.has_begun)
    monkeypatch.setattr(app.jobs, "warm_up", lambda: None)
    return stand_in


def open_page(key: str | None = None, expert: bool = True) -> AppTest:
    page = AppTest.from_file(PAGE, default_timeout=300)
    page.session_state["expert"] = expert
    if key is not None:
        page.query_params["job"] = key
    return checked(page.run())


def checked(page: AppTest) -> AppTest:
    assert not page.exception, page.exception
    return page


def press(page: AppTest, label: str) -> AppTest:
    (button,) = [button for button in page.button if button.label == label]
    return checked(button.click().run())


@pytest.fixture
def done(jobs) -> Callable[..., AppTest]:
    """Opens the page of a job that has left this result."""

    def open_result(result: dict[str, Any], *files: str) -> AppTest:
        st.cache_resource.clear()
        jobs.finish(result, *files)
        return open_page(KEY)

    return open_result


def test_the_page_never_imports_keras_and_arrow_takes_the_allocator_that_bears_ending_threads():
    program = """import sys, app.streamlit_app, pyarrow
print({'keras', 'tensorflow', 'tf_keras', 'autoinit', 'probes'} & set(sys.modules))
print(pyarrow.default_memory_pool().backend_name)"""
    environment = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert shown.stdout.split() == ["set()", "system"]


def test_the_first_visit_explains_and_offers_samples(jobs):
    page = open_page()
    assert page.title[0].value == "Will your network train?"
    labels = [button.label for button in page.button]
    assert "Analyse" in labels
    assert "All-CNN-C" in labels
    assert page.file_uploader
    assert not jobs.submitted


def test_a_sample_starts_with_one_click(jobs):
    page = press(open_page(), "All-CNN-C")
    assert jobs.submitted == [JobSpec("sample:all-cnn-c", "all-cnn-c", Settings())]
    assert page.query_params["job"] == KEY
    assert [button.label for button in page.button].count("Cancel") == 1


def test_analysing_nothing_asks_for_a_file(jobs):
    page = press(open_page(), "Analyse")
    assert "Choose a model file" in page.warning[0].value
    assert not jobs.submitted


def test_a_sample_takes_options_and_settings(jobs):
    page = open_page()
    checked(page.button_group(key="source").set_value("Try a sample").run())
    checked(page.selectbox(key="sample").set_value("all-cnn-c").run())
    page.selectbox(key="all-cnn-c-activation").set_value("elu")
    for label, value in (("Draws", 2), ("Input variance", 2.5), ("Seed", 7)):
        (field,) = [field for field in page.number_input if field.label == label]
        field.set_value(value)
    for label, value in (
        ("Samples", "32"),
        ("Distribution", "orthogonal"),
        ("Mode", "inference"),
        ("Layers without a rule", "pass_through"),
    ):
        (field,) = [field for field in page.selectbox if field.label == label]
        field.set_value(value)
    for box in page.checkbox:
        box.check()
    (field,) = [field for field in page.number_input if field.label == "Inputs for the Jacobian"]
    field.set_value(3)
    press(page, "Analyse")
    settings = Settings(
        gradients=True,
        jacobian=3,
        samples=32,
        seeds=2,
        seed=7,
        input_variance=2.5,
        distribution="orthogonal",
        mode="inference",
        unsupported="pass_through",
        constrain_weights=True,
        keep_frozen=True,
    )
    name = "all-cnn-c?activation=elu"
    assert jobs.submitted == [JobSpec(f"sample:{name}", name, settings)]


def test_a_wrong_setting_gets_a_sentence(jobs):
    page = open_page()
    checked(page.button_group(key="source").set_value("Try a sample").run())
    (field,) = [field for field in page.number_input if field.label == "Input variance"]
    field.set_value(-1.0)
    page = press(page, "Analyse")
    assert "1e-30" in page.error[0].value.replace("&#45;", "-")
    assert not jobs.submitted


def test_an_upload_goes_to_disk_under_a_name_of_our_own(jobs):
    page = open_page()
    page.file_uploader[0].set_value(("../<b>evil.KERAS", b"PK\x03\x04 model", "application/zip"))
    checked(page.run())  # Which starts the analysis.
    (spec,) = jobs.submitted
    stored = Path(spec.model)
    assert stored.parent == uploads.uploads_folder()
    assert stored.suffix == ".keras"
    assert stored.read_bytes() == b"PK\x03\x04 model"
    assert spec.name.endswith("evil.KERAS")
    assert stored.parent.stat().st_mode & 0o777 == 0o700


def test_an_architecture_and_its_weights_are_chosen_together(jobs):
    page = open_page()
    weights = ("net.weights.h5", b"\x89HDF\r\n\x1a\n weights", "application/x-hdf5")
    page.file_uploader[0].set_value([("net.json", b'{"a": 1}', "application/json"), weights])
    checked(page.run())
    (spec,) = jobs.submitted
    assert (spec.name, Path(spec.model).suffix) == ("net.zip", ".zip")
    with zipfile.ZipFile(spec.model) as archive:
        assert archive.read("parts/net.weights.h5") == weights[1]
        assert archive.read("parts/net.json") == b'{"a": 1}'


def field(page: AppTest, kind: str, label: str) -> Any:
    (found,) = [each for each in page.get(kind) if each.label == label]
    return found


def upload_data(page: AppTest, name: str, content: bytes = b"1,2") -> AppTest:
    field(page, "file_uploader", "Samples of the inputs").set_value((name, content, "text/csv"))
    return checked(page.run())


def test_data_go_to_disk_and_are_fed(jobs):
    page = open_page()
    checked(page.button_group(key="source").set_value("Try a sample").run())
    page = upload_data(page, "../<i>pixels.CSV")
    assert len(page.file_uploader) == 1  # for a model
    assert "pixels" in "".join(text.value for text in page.sidebar.markdown)
    press(page, "Analyse")
    settings = jobs.submitted[0].settings
    stored = Path(settings.input_data)
    assert stored.parent == uploads.uploads_folder()
    assert (stored.suffix, stored.read_bytes()) == (".csv", b"1,2")
    assert settings.input_data_name.endswith("pixels.CSV")
    assert settings.input_source == "data"


def test_noise_like_the_data_and_no_data_again(jobs):
    page = open_page()
    checked(page.button_group(key="source").set_value("Try a sample").run())
    page = upload_data(page, "pixels.npy", b"\x93NUMPY")
    checked(page.button_group(key="input-source").set_value("noise").run())
    page = press(page, "Analyse")
    assert jobs.submitted[0].settings.input_source == "noise"
    jobs.job.status = "cancelled"
    page = press(press(checked(page.run()), "Remove the data"), "Analyse")
    assert jobs.submitted[1].settings == Settings()


def test_data_of_another_kind_are_refused_with_a_sentence(jobs):
    with pytest.raises(ValueError, match=r"file of data ends in \.npy, \.npz, \.csv"):
        uploads.store(io.BytesIO(b"x"), "data.pkl", uploads.DATA_SUFFIXES)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("holiday.keras", b"\x89PNG\r\n\x1a\n", "is no model file: what is in it is neither"),
        ("weights.h5", b"\x80\x02}", "is no model file"),
        ("config.json", b"", "is no model file"),
        ("pixels.npy", b"1,2", "is no .npy file"),
        ("table.csv", b"\0\0", "is no .csv file"),
    ],
)
def test_a_files_kind_is_seen_by_what_is_in_it(jobs, name, content, says):
    page = open_page()
    is_data = name.endswith((".npy", ".csv"))
    page = (upload_data if is_data else bring)(page, name, content)
    (error,) = page.error
    assert says in html.unescape(error.value)
    assert not jobs.submitted


def test_texts_in_any_encoding_are_models(jobs):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32-be"):
        uploads.require_kind(io.BytesIO(' {"class_name": "Sequential"}'.encode(encoding)), "a.json")


def test_moments_per_input_are_asked_for_where_there_are_several(done, jobs, result):
    label = "Mean and variance per input"
    (only,) = result["model"]["inputs"]
    assert not [box for box in done(result).text_input if box.label == label]
    result["model"]["inputs"] = [{**only, "name": name} for name in ("left", HOSTILE)]
    page = done(result)
    checked(page.button_group(key="source").set_value("Try a sample").run())
    field(page, "text_input", label).set_value("left: 0.5 0.25")
    page = press(page, "Analyse")
    assert "Expected name: mean, variance" in html.unescape(page.error[0].value)
    field(page, "text_input", label).set_value("left: 0.5, 0.25; a: b: -1, 2;")
    press(page, "Analyse")
    assert jobs.submitted[-1].settings.input_moments == {"left": [0.5, 0.25], "a: b": [-1, 2]}


@pytest.mark.parametrize(
    ("asked", "samples", "shown"),
    [
        ({}, 33, "33"),
        ({"samples_asked": "auto", "batch_size": 8, "batch": None}, "auto", "Automatic"),
    ],
)
def test_the_form_begins_with_the_settings_of_the_job_on_the_page(
    asked, samples, shown, done, jobs, build_result
):
    result = build_result(10)
    moments = {"left": [0.5, 2.0], "right": [0.0, 1.0]}
    result["settings"] |= {
        "samples": 33,
        "mode": "inference",
        "keep_frozen": True,
        "seed": 7,
        "input_moments": moments,
        "input_data": "/gone.npy",
    }
    result["settings"] |= asked
    result["model"]["inputs"] = [{"name": "left"}, {"name": "right"}]
    page = done(result)
    assert field(page, "selectbox", "Samples").value == shown
    assert field(page, "number_input", "Seed").value == 7
    assert field(page, "selectbox", "Mode").value == "inference"
    assert field(page, "checkbox", "Keep frozen layers' weights").value is True
    text = field(page, "text_input", "Mean and variance per input").value
    assert text == "left: 0.5, 2.0; right: 0.0, 1.0"
    checked(page.button_group(key="source").set_value("Try a sample").run())
    checked(page.selectbox(key="sample").set_value("all-cnn-c").run())
    press(page, "Analyse")
    assert jobs.submitted[-1].settings == Settings(
        samples=samples,
        seed=7,
        mode="inference",
        keep_frozen=True,
        input_moments=moments,
        input_mean=0.0,
        input_variance=1.0,
    )


def bring(page: AppTest, name: str, content: bytes = b"{}") -> AppTest:
    (place,) = [each for each in page.file_uploader if "Samples" not in each.label]
    place.set_value((name, content, "application/octet-stream"))
    return checked(page.run())


def test_a_file_is_analysed_at_once_and_another_one_takes_its_place(jobs):
    page = open_page()
    field(page, "number_input", "Seed").set_value(7)
    page = bring(checked(page.run()), "one.h5", b"\x89HDF\r\n\x1a\n")
    assert page.query_params["job"] == KEY
    jobs.job.status = "cancelled"
    page = bring(checked(page.run()), "two.json")
    assert [(spec.name, spec.settings.seed) for spec in jobs.submitted] == [
        ("one.h5", 7),
        ("two.json", 7),
    ]


@pytest.mark.parametrize("status", ["cancelled", "refused", "failed", "done"])
def test_a_changed_setting_runs_again_what_is_on_the_page(jobs, result, status):
    """After a welcome button, a cancellation, a refusal, a failure; in a session of its own."""
    st.cache_resource.clear()
    press(open_page(), "All-CNN-C")
    jobs.finish(result)
    jobs.job.status = status
    page = open_page(KEY)
    field(page, "number_input", "Seed").set_value(5)
    page = press(page, "Analyse")
    first, again = jobs.submitted
    assert (again.model, again.settings.seed) == (first.model, 5)
    assert not any("Choose a model" in each.value for each in page.warning)


def test_a_server_that_was_started_again_finds_the_file_of_a_result(done, jobs, result):
    stored = uploads.store(io.BytesIO(b"PK model"), "made-up.keras")
    os.utime(stored.path, (1, 1))
    result["model"]["sha256"] = stored.path.stem
    press(done(result), "Analyse")
    assert jobs.submitted[0].model == str(stored.path)
    assert stored.path.stat().st_mtime > 1, "it is kept as long as somebody looks at the result"
    jobs.job.spec = None
    stored.path.unlink()
    jobs.job.status = "done"
    press(open_page(KEY), "Analyse")
    assert len(jobs.submitted) == 1


def test_the_pictures_of_the_first_page_are_what_analyses_find():
    """Of the first of them, what the README and the page say of it."""
    first = gallery.pictures()[0]
    assert [each.sample for each in gallery.pictures()] == list(gallery.LABELS)
    assert len(first.layers) == len(first.variances["default"]) > 100
    assert (first.verdicts["default"], first.verdicts["autoinit"]) == ("will struggle", "trains")
    assert max(first.variances["default"]) > 1e6 > 100 > max(first.variances["autoinit"])


def test_a_picture_is_made_of_a_result(result):
    verdicts = {s: {"verdict": "trains", "reason": "a"} for s in result["series"]}
    picture = gallery.picture_of(parsed(result | {"verdicts": verdicts}))
    assert picture.layers[0] == "block0/conv"
    assert picture.variances["default"][1] == pytest.approx(
        result["calls"][1]["default"]["measured"]["variance"], rel=1e-2
    )


def test_uploads_are_of_a_bounded_size(jobs, monkeypatch):
    monkeypatch.setenv("AUTOINIT_MAX_FILE_BYTES", "2048")
    assert uploads.store(io.BytesIO(bytes(2048)), "x" * 300 + ".h5").name.endswith("x.h5")
    with pytest.raises(ValueError, match=r"more than 2 KiB.*AUTOINIT_MAX_FILE_BYTES"):
        uploads.store(io.BytesIO(bytes(2049)), "model.h5")
    (stored,) = uploads.uploads_folder().iterdir()
    assert stored.stat().st_size == 2048


def test_new_uploads_make_room_but_not_for_what_is_in_use(jobs, monkeypatch):
    monkeypatch.setenv("AUTOINIT_MAX_STORED_BYTES", "2500")
    in_use, unused = (uploads.store(io.BytesIO(bytes([n]) * 1000), "a.h5") for n in range(2))
    monkeypatch.setattr(app.jobs, "in_use", lambda: {in_use.path})
    new = uploads.store(io.BytesIO(b"new" * 333), "a.h5")
    assert [upload.path.exists() for upload in (in_use, unused, new)] == [True, False, True]


def test_uploads_are_swept_after_a_day_unless_used(jobs, tmp_path):
    yesterday = time.time() - folders.SECONDS_KEPT - 60
    old, used = (uploads.store(io.BytesIO(content), "model.h5") for content in (b"old", b"used"))
    for upload in (old, used):
        os.utime(upload.path, (yesterday, yesterday))
    assert uploads.keep(used.path)
    uploads.store(io.BytesIO(b"new"), "model.h5")
    assert used.path.exists()
    assert not old.path.exists()
    assert not uploads.keep(old.path)


def test_a_running_job_shows_stage_and_fraction_and_can_be_cancelled(jobs):
    page = press(open_page(), "All-CNN-C")
    progress = page.get("progress")[0].proto
    assert (progress.value, progress.text) == (31, "Measuring default&#44; about 20 s left")
    page = press(page, "Cancel")
    assert jobs.job.status == "cancelled"
    assert page.info[0].value.startswith("Cancelled.")
    assert "Analyse" in [button.label for button in page.button]


def test_a_running_job_shows_what_it_knows_so_far(jobs, build_result):
    page = press(open_page(), "All-CNN-C")
    assert not page.get("plotly_chart")
    result = build_result(12)
    for call in result["calls"]:
        del call["autoinit"]
        call["default"]["measured"] = None
    verdict = {
        "foreseen": True,
        "verdict": "cannot train",
        "reason": f"The signal vanishes at {HOSTILE}.",
    }
    known = {
        "calls": result["calls"],
        "series": ["default"],
        "settings": {"signal_variance": 1.0},
        "verdicts": {"default": verdict},
    }
    partial = jobs.job.folder / "preview.json"
    partial.parent.mkdir(exist_ok=True)
    partial.write_text(json.dumps(known))
    (chart,) = checked(page.run()).get("plotly_chart")
    (cards,) = [x.proto.body for x in page.get("html") if 'class="verdicts"' in x.proto.body]
    assert "Default weights, predicted" in cards
    assert "Cannot train" in cards
    assert html.escape(HOSTILE) in cards
    lines = {trace["name"]: trace["y"] for trace in json.loads(chart.proto.spec)["data"]}
    predicted = [call["default"]["predicted"]["variance"] for call in known["calls"]]
    assert lines["Default predicted"] == predicted
    assert lines["Default measured"] == [None] * 12
    assert not any("AutoInit" in name for name in lines)
    partial.write_text("half of a")
    os.utime(partial, (1, 1))
    assert not checked(page.run()).get("plotly_chart")


def test_a_job_that_others_wait_for_goes_on_without_who_cancels(jobs):
    page = press(open_page(), "All-CNN-C")
    jobs.job.owners.add("someone else")
    page = press(page, "Cancel")
    assert jobs.job.status == "running"
    assert page.info[0].value.startswith("Cancelled.")
    assert not page.get("progress")
    page = press(page, "Analyse")
    assert page.get("progress")
    assert "Cancel" in [button.label for button in page.button]


def test_whoever_has_only_the_address_cannot_cancel(jobs):
    jobs.job.owners.add("someone else")
    page = open_page(KEY)
    assert page.get("progress")
    assert "Cancel" not in [button.label for button in page.button]


@pytest.mark.parametrize("keep", [True, False])
def test_a_second_job_waits_for_a_choice(jobs, tmp_path, keep):
    page = press(open_page(), "All-CNN-C")
    first = jobs.running = jobs.job
    first.spec = JobSpec("sample:x", HOSTILE, Settings())
    jobs.job = StandInJob(tmp_path / "second")
    del page.query_params["job"]
    page = press(checked(page.run()), "ResNet-56 without batch normalisation")
    assert len(jobs.submitted) == 1
    (sentence,) = [each.value for each in page.markdown if "one analysis at a time" in each.value]
    assert "<img" not in sentence
    if keep:
        page = press(page, "Keep it")
        assert (first.status, len(jobs.submitted)) == ("running", 1)
    else:
        page = press(page, "Cancel it and start the new one")
        assert first.status == "cancelled"
        assert jobs.submitted[1].name == "resnet-56-nobn"
    assert page.query_params["job"] == KEY
    assert not any("one analysis at a time" in each.value for each in page.markdown)


def test_a_full_disk_gets_a_sentence_without_our_paths(jobs, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr(app.jobs, "submit", fail)
    page = press(open_page(), "All-CNN-C")
    assert "No space left on device" in page.error[0].value
    assert "secret" not in page.error[0].value


def test_the_page_moves_on_when_the_job_is_done(jobs, result):
    page = press(open_page(), "All-CNN-C")
    jobs.finish(result, "reinitialized.keras")
    checked(page.run())
    assert len(page.get("plotly_chart")) == 1
    assert not page.get("progress")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("refused", "model.keras is not a model file: it is a PNG picture."),
        ("failed", "The worker process was killed by signal 9 (SIGKILL)."),
    ],
)
def test_a_job_that_ends_without_a_result_gets_its_sentence(jobs, status, message):
    page = press(open_page(), "All-CNN-C")
    jobs.job.status, jobs.job.error = status, ("code", message)
    checked(page.run())
    assert page.error[0].value == markdown_text(message)
    assert not page.get("plotly_chart")
    press(page, "Analyse")
    assert len(jobs.submitted) == 2  # The app goes on.


def test_a_model_refused_for_a_layer_without_a_rule_leads_to_the_setting(jobs):
    page = press(open_page(), "All-CNN-C")
    jobs.job.status, jobs.job.error = "refused", ("unsupported_layer", "No rule for 'a'.")
    checked(page.run())
    assert "No rule for" in page.error[0].value
    assert any("setting in the sidebar" in caption.value for caption in page.caption)


def test_a_job_knows_an_upload_by_its_owners_name(jobs):
    page = open_page()
    page.file_uploader[0].set_value(("holiday.keras", b"PK\x03\x04", "image/png"))
    checked(page.run())
    assert jobs.submitted[0].name == "holiday.keras"
    assert Path(jobs.submitted[0].model).name != "holiday.keras"


def test_an_unknown_address_says_so(jobs):
    page = open_page("b" * 64)
    assert "no result at this address" in page.warning[0].value
    jobs.lost = "c" * 64
    page = open_page(jobs.lost)
    assert "This analysis is lost" in page.warning[0].value


def test_a_result_that_cannot_be_read_says_so(jobs):
    jobs.job.folder.mkdir()
    (jobs.job.folder / "result.json").write_text("{")
    jobs.job.status = "done"
    st.cache_resource.clear()
    page = open_page(KEY)
    assert "cannot be read" in page.error[0].value


def test_a_result_has_headline_charts_table_and_downloads(done, deep_result):
    page = done(deep_result, "reinitialized.keras", "reinitialized.h5", "manifest.json")
    assert [metric.label for metric in page.metric] == [
        "Variance, Default weights",
        "Variance, AutoInit weights",
        "Variance, Uploaded weights",
        "Error of the prediction",
        "Outside the band",
        "Layers with a rule",
        "Time",
    ]
    assert [metric.delta for metric in page.metric][:3] == [
        "above 100 × the target",
        "stable",
        "stable",
    ]
    charts = [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]
    assert len(charts) == 2
    assert {trace["name"] for trace in charts[0]["data"]} >= {
        "Default measured",
        "AutoInit predicted",
        "Uploaded kernels",
        "Layers without a rule",
    }
    assert not any("predicted by" in trace["name"] for trace in charts[0]["data"])
    assert len(page.dataframe[-1].value) == 140
    assert [button.label for button in page.download_button] == [
        "Re-initialised model, .keras (5 B)",
        "As .h5 (5 B)",
        "Table, CSV",
        "Result, JSON",
        "Report, HTML",
        "Manifest, JSON",
    ]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("vgg16.keras", "vgg16-autoinit"),
        ("all-cnn-c?activation=elu&dropout=0.25", "all-cnn-c-activation-elu-dropout-0-25-autoinit"),
        ("sub/../we<i>rd\u202e.H5", "sub-we-i-rd-autoinit"),
        ("模型.keras", "model-autoinit"),
    ],
)
def test_downloads_carry_a_name_that_is_safe_everywhere(result, name, stem):
    result["model"]["name"] = name
    assert file_stem(parsed(result)) == stem


def test_without_a_model_there_is_no_model_to_download(done, result):
    page = done(result)
    assert len(page.download_button) == 3
    assert any("no re-initialised model" in caption.value for caption in page.caption)


def test_formats_are_offered_in_the_jobs_order_with_their_notes(done, result):
    note = "Opens in **Keras 2**."
    result["downloads"] = [
        {"file": "reinitialized.h5", "label": "Re-initialised model, .h5", "note": note},
        {"file": "reinitialized.keras", "label": "For Keras 3, .keras", "note": ""},
        {"file": "reinitialized.json", "label": "Not there", "note": "Not there"},
    ]
    page = done(result, "reinitialized.keras", "reinitialized.h5")
    assert [button.label for button in page.download_button][:3] == [
        "Re-initialised model, .h5 (5 B)",
        "For Keras 3, .keras (5 B)",
        "Table, CSV",
    ]
    shown = [caption.value for caption in page.caption]
    assert markdown_text(".h5") + ": " + markdown_text(note) in shown
    assert not any("Not there" in text for text in shown)


def test_a_model_and_a_result_in_json_have_names_of_their_own(result, tmp_path):
    result["downloads"] = [
        {"file": "../reinitialized.json", "label": "Architecture, .json", "note": None}
    ]
    (tmp_path / "reinitialized.json").write_text("{}")
    (offered,) = downloads(parsed(result), tmp_path)
    assert (offered.path, offered.note) == (tmp_path / "reinitialized.json", "")


def test_a_network_that_is_measured_in_part(done, cut_result):
    page = done(cut_result)
    assert [metric.delta for metric in page.metric][:3] == ["stable so far"] * 3
    assert "1 layer of **Lambda** was not run" in page.warning[0].value
    assert "it holds code" in page.warning[0].value
    table = page.dataframe[-1].value
    assert list(table["not_run"][11:14]) == ["", "it holds code", ""]
    assert table["autoinit_measured_variance"][13:].isna().all()


def test_a_constrained_model_comes_with_the_import_it_needs(done, result):
    result["settings"]["constrain_weights"] = True
    page = done(result, "reinitialized.keras")
    assert any(code.value.startswith("import autoinit") for code in page.code)


def test_warnings_stand_below_the_verdicts_and_the_chart_and_notes_are_folded(done, deep_result):
    for code in ("input_scaling", "shared_layer"):
        warning = {"code": code, "path": "a", "class": "B", "message": f"about {code}"}
        deep_result["warnings"].append(warning)
    page = done(deep_result)
    assert "1 layer of **Swirl** has no rule" in page.warning[0].value
    assert "\n\nno rule for Swirl" in page.warning[0].value, "the message has the reason"
    assert "about input" in page.info[0].value.replace("&#95;", "_")
    (cards,) = [h for h in page.get("html") if 'class="verdicts"' in h.proto.body]
    assert '<span aria-hidden="true">▲</span> Explodes' in cards.proto.body
    assert cards.proto.body.index("Uploaded weights") < cards.proto.body.index("Default weights")
    assert "Also: 1 finding" in [expander.label for expander in page.expander]


def test_names_are_never_markdown(done, build_result):
    result = build_result(20, name=HOSTILE, unsupported=(7,))
    for call in result["calls"]:
        call["class"] = HOSTILE
    page = done(result)
    shown = [
        element.value
        for kind in ("header", "caption", "warning", "markdown")
        for element in getattr(page, kind)
    ]
    assert any("img" in text for text in shown)
    assert not any("<img" in text or "[a](" in text or ":red[" in text for text in shown)


def test_the_table_can_be_filtered(done, deep_result):
    page = done(deep_result)
    checked(page.text_input(key="filter").set_value("BLOCK12/").run())
    assert len(page.dataframe[-1].value) == 5
    page.multiselect(key="classes").set_value(["Conv2D", "relu"])
    assert len(checked(page.run()).dataframe[-1].value) == 2
    page.toggle(key="only_weighted").set_value(True)
    assert list(checked(page.run()).dataframe[-1].value["path"]) == ["block12/conv"]


def test_sampled_layers_are_a_note(done, result):
    result["calls"][3] |= {"class": "Swirl", "support": "sampled"}
    message = "No rule for 'block0/flip': its output was estimated by Monte Carlo."
    warning = {"code": "sampled_layer", "path": "block0/flip", "class": "Swirl"}
    result["warnings"] = [warning | {"message": message}]
    page = done(result)
    assert "Also: 1 finding" in [expander.label for expander in page.expander]
    (note,) = page.warning
    assert "**Layers without a rule, estimated by sampling**" in note.value
    assert "estimated by Monte Carlo" in note.value
    (card,) = [metric for metric in page.metric if metric.label == "Layers with a rule"]
    assert card.value == "100 %"
    assert "1 sampled" in card.help
    assert "Layers without a rule" not in drawn_names(page)


def test_parts_of_an_opened_layer_are_told_apart_in_the_table(done, build_result):
    parts = ("conv", "add", "dropout")
    longest = "encoder/transformer_layer_11/self_attention_layer/"
    result = build_result(10, path=lambda block, layer: f"{longest}{block}/{layer}")
    page = done(result)
    shown = list(page.dataframe[-1].value["path"])
    assert len(set(shown)) == 10
    assert all(len(path) <= 48 for path in shown)
    assert {path.rpartition("/")[2] for path in shown} >= set(parts)
    page.text_input(key="filter").set_value("layer_11/self_attention_layer/1/add")
    assert len(checked(page.run()).dataframe[-1].value) == 1


def test_the_column_of_paths_is_as_wide_as_they_are():
    assert path_width(["a", "conv1/relu"]) == path_width([]) == 200
    assert 200 < path_width(["a" * 35]) < path_width(["a" * 48]) == path_width(["a" * 4000]) < 400


def drawn_names(page):
    chart, *_ = page.get("plotly_chart")
    return [trace["name"] for trace in json.loads(chart.proto.spec)["data"]]


def view(page, name):
    return checked(page.segmented_control(key="view").set_value(name).run())


def test_the_other_models_predictions_can_be_drawn_in_every_view_that_has_predictions(
    done, deep_result
):
    for call in deep_result["calls"]:
        for series in deep_result["series"]:
            call[series]["predicted_by"]["independent"]["sample_correlation"] = 0.5
    page = done(deep_result)
    name = "AutoInit predicted by the paper's model"
    assert name not in drawn_names(page)
    page = checked(page.toggle(key="other_model").set_value(True).run())
    for chosen in ("variance", "mean", "correlation"):
        assert name in drawn_names(view(page, chosen))
    assert name not in drawn_names(view(page, "largest"))


def test_correlations_between_samples_or_between_positions(done, deep_result):
    page = view(done(deep_result), "correlation")
    assert "1: inputs cannot be told apart" in drawn_names(page)
    page.segmented_control(key="correlation_kind").set_value("position_correlation")
    assert "1: the same at every position" in drawn_names(checked(page.run()))


def test_every_view_of_what_was_measured(done, build_result):
    page = done(build_result(12, gradients=True, jacobian=2))
    titles = {
        "variance": "variance",
        "mean": "mean",
        "correlation": "correlation",
        "gradient": "variance of the gradient",
        "largest": "largest absolute value",
        "jacobian": "share",
    }
    for name, title in titles.items():
        (chart,) = view(page, name).get("plotly_chart")
        layout = json.loads(chart.proto.spec)["layout"]
        assert layout["yaxis"]["title"]["text"] == title
    assert any("condition number 1.0×10⁶" in html.unescape(text.value) for text in page.markdown)
    assert any("at 2 random inputs" in text.value for text in page.markdown)


@pytest.mark.parametrize(
    ("name", "label", "settings"),
    [
        ("gradient", "Measure: gradient", {"gradients": True}),
        ("jacobian", "Measure: jacobian", {"jacobian": 1}),
    ],
)
def test_what_was_not_measured_is_offered(jobs, result, name, label, settings):
    st.cache_resource.clear()
    page = press(open_page(), "All-CNN-C")
    jobs.finish(result, "reinitialized.keras")
    page = view(checked(page.run()), name)
    assert not page.get("plotly_chart")
    press(page, label)
    assert jobs.submitted[1] == replace(
        jobs.submitted[0], settings=jobs.submitted[0].settings.replace(**settings)
    )


def test_the_input_that_was_taken_is_told_and_others_are_a_click_away(jobs, result):
    st.cache_resource.clear()
    page = press(open_page(), "All-CNN-C")
    taken = {"mean": 127.5, "variance": 255.0**2 / 12, "taken": "bytes"}
    result["model"]["inputs"][0] |= taken
    jobs.finish(result, "reinitialized.keras")
    page = checked(page.run())
    (said,) = [each.value for each in page.caption if each.value.startswith("Input taken")]
    assert "**Bytes, 0 to 255** (mean 128, variance 5,420)" in said.replace("5420", "5,420")
    assert not [button for button in page.button if button.label == "Bytes, 0 to 255"]
    press(page, "0 to 1")
    settings = jobs.submitted[1].settings
    assert (settings.input_mean, settings.input_variance) == (0.5, pytest.approx(1 / 12))


def test_shards_join_the_model_that_they_belong_to(jobs):
    files = {"model.json": b'{"modelTopology": {}}', "group1-shard1of1.bin": b"\0\1\2"}
    parts = [
        uploads.received(io.BytesIO(content), name, uploads.SUFFIXES)
        for name, content in files.items()
    ]
    packed = uploads.together(parts)
    assert packed.name == "model.zip"
    with zipfile.ZipFile(packed.path) as archive:
        assert {name: archive.read(f"parts/{name}") for name in files} == files


def test_what_a_name_says_is_a_click_away(jobs, result):
    st.cache_resource.clear()
    page = press(open_page(), "All-CNN-C")
    path = result["calls"][2]["path"]
    held = {"code": "opaque_activation", "path": path, "class": "Activation", "message": "Held."}
    result["warnings"].append(held)
    result["offers"] = ["pkg>hard_swish=hard_swish", "FixedDropout=Dropout"]
    result["settings"]["treat_as"] = ["z=GaussianSampling"]
    jobs.finish(result, "reinitialized.keras")
    page = checked(page.run())
    labels = [each.label for each in page.button if each.label.startswith("Run ")]
    assert labels[1] == "Run FixedDropout as Keras's Dropout"
    press(page, labels[0])
    treated = jobs.submitted[1].settings.treat_as
    assert treated == ("z=GaussianSampling", "pkg>hard_swish=hard_swish")
    # Once it is done there is nothing more to offer.
    result["offers"] = []
    st.cache_resource.clear()
    jobs.finish(result, "reinitialized.keras")
    assert not [each for each in open_page(KEY).button if each.label.startswith("Run ")]


@pytest.mark.parametrize("trusts", [False, True])
def test_ones_own_code_is_run_where_the_server_lets_one_ask(jobs, monkeypatch, trusts):
    st.cache_resource.clear()
    monkeypatch.setattr(uploads, "TRUSTS", trusts)
    page = checked(open_page().button_group(key="source").set_value("Try a sample").run())
    boxes = [each for each in page.checkbox if each.key == "trust"]
    assert len(boxes) == trusts
    for box in boxes:
        assert not box.value
        box.check()
    press(page, "Analyse")
    assert jobs.submitted[0].settings.trust is trusts


def test_weights_for_another_input_are_not_offered_without_saying_so(done, result):
    finding = {"code": "input_scaling", "path": "image", "class": "InputLayer", "message": "Other."}
    result["warnings"].append(finding)
    page = done(result, "reinitialized.keras")
    assert [each.value for each in page.warning if each.value.startswith("AutoInit's weights were")]
    result["warnings"].clear()
    page = done(result, "reinitialized.keras")
    assert not [each for each in page.warning if each.value.startswith("AutoInit's weights were")]


def test_a_result_of_which_the_page_knows_no_job_points_to_the_sidebar(done, result):
    page = view(done(result), "gradient")
    assert not any(button.label.startswith("Measure") for button in page.button)
    assert any("under Measurement" in caption.value for caption in page.caption)


def drawn_calls(page: AppTest) -> list[str]:
    """The calls in the chart, by the names that their measured line tells on hover."""
    chart, *_ = page.get("plotly_chart")
    (line,) = [t for t in json.loads(chart.proto.spec)["data"] if t["name"] == "Default measured"]
    return [row[0] for row in line["customdata"]]


def test_a_stretch_of_a_deep_network_is_shown_in_chart_and_table(done, build_result):
    assert not done(build_result(40)).slider
    page = done(build_result(50))
    chart, strip = page.get("plotly_chart")
    assert "the chart shows 0 to 49" in strip.proto.alt
    page = checked(page.slider[0].set_value((12, 16)).run())
    chart, strip = page.get("plotly_chart")
    assert "the chart shows 12 to 16" in strip.proto.alt
    title = json.loads(chart.proto.spec)["layout"]["xaxis"]["title"]["text"]
    assert title == "layers 12 to 16 of 50, in order of execution"
    assert drawn_calls(page) == list(page.dataframe[-1].value["path"])
    assert list(page.dataframe[-1].value["index"]) == [12, 13, 14, 15, 16]
    # It is kept from view to view, and for other settings of the same network.
    for view in ("mean", "correlation", "variance"):
        page = checked(page.segmented_control(key="view").set_value(view).run())
        assert len(drawn_calls(page)) == 5
    # And while the page has something else to show, such as the analysis that comes next.
    page = checked(page.segmented_control(key="view").set_value("mean").run())
    address = page.query_params["job"]
    page.query_params["job"] = "0" * 64
    assert not checked(page.run()).slider
    page.query_params["job"] = address
    page = checked(page.run())
    assert page.slider[0].value == (12, 16)
    assert page.segmented_control(key="view").value == "mean"


def test_the_table_is_a_summary_with_what_is_wrong_at_each_layer(jobs, result):
    st.cache_resource.clear()
    result["calls"][0] |= {"parameters": 1792, "initializer": "GlorotUniform"}
    result["warnings"] = [
        {
            "code": "signal_explodes",
            "path": "block0/conv",
            "class": "Conv2D",
            "message": "It does.",
            "severity": severity,
        }
        for severity in ("note", "fatal")
    ]
    jobs.finish(result)
    page = open_page(KEY, expert=False)
    table = page.dataframe[-1]
    assert list(table.proto.column_order) == [
        "index",
        "path",
        "class",
        "output_shape",
        "parameters",
        "initializer",
        "told",
        "default_measured_variance",
        "autoinit_measured_variance",
    ]
    first = table.value.iloc[0]
    assert (first["parameters"], first["told"]) == (1792, "✖ The signal explodes")


def test_the_graph_is_drawn_where_it_is_asked_for_and_folded(done, build_result):
    page = done(build_result(50))
    assert not page.get("graphviz_chart")
    page.session_state["network"] = True
    page = checked(page.run())
    (graph,) = page.get("graphviz_chart")
    assert graph.proto.spec.count(" [label=") == 10
    page = checked(page.multiselect(key="unfolded").set_value(["block3"]).run())
    assert page.get("graphviz_chart")[0].proto.spec.count(" [label=") == 14


def test_a_layer_of_the_address_is_chosen_and_a_block_unfolds(done, build_result):
    page = done(build_result(50))
    page.session_state["network"] = True
    page.query_params["layer"] = "block3/conv"
    page = checked(page.run())
    (table,) = [each.value for each in page.dataframe if "path" in each.value]
    assert list(table["path"]) == ["block3/conv"]
    assert any(html.unescape(each.value) == "**block3/conv**" for each in page.markdown)
    marked = json.loads(page.get("plotly_chart")[0].proto.spec)["data"]
    assert [each["x"][0] for each in marked if each["name"] == "Chosen"] == [15]
    page.query_params["layer"] = "block4"
    page = checked(page.run())
    assert page.multiselect(key="unfolded").value == ["block4"]
    assert "layer" not in page.query_params
    page.query_params["layer"] = "nothing of the kind"
    checked(page.run())
    assert page.multiselect(key="unfolded").value == ["block4"]


def test_blocks_can_be_looked_at_in_place_of_calls(done, build_result):
    page = done(build_result(50))
    page = checked(page.segmented_control(key="depth").set_value(1).run())
    assert list(page.dataframe[0].value["path"]) == [f"block{n}" for n in range(10)]
    (chart,) = page.get("plotly_chart")
    assert len(json.loads(chart.proto.spec)["data"][0]["y"]) == 10


@pytest.mark.parametrize(
    ("pattern", "count"), [("CONV$", 10), ("^block[12]/", 10), ("(", 0), ("conv/", 10), ("", 50)]
)
def test_the_table_is_filtered_by_a_pattern(done, build_result, pattern, count):
    page = done(build_result(50))
    page = checked(page.text_input(key="filter").set_value(pattern).run())
    assert len(page.dataframe[0].value) == count
    assert any("is no regular expression" in c.value for c in page.caption) is (pattern == "(")


def test_a_pattern_that_would_keep_python_busy_for_ever_takes_no_time(done, build_result):
    result = build_result(5, path=lambda block, layer: "a" * 200 + layer)
    page = done(result)
    assert len(checked(page.text_input(key="filter").set_value("(a+)+$").run()).dataframe) == 1


def test_only_calls_that_findings_name(done, deep_result):
    page = done(deep_result)
    page = checked(page.toggle(key="only_findings").set_value(True).run())
    assert list(page.dataframe[0].value["path"]) == ["block12/dropout"]


def test_a_finding_leads_to_the_details_of_its_call(done, deep_result, jobs):
    deep_result["rules"] = {"Swirl": {"rule": "swirl", "says": "Turns `all` <b>things</b> around."}}
    page = done(deep_result)
    assert any("Choose a layer" in caption.value for caption in page.caption)
    press(page, f"Show {markdown_text('block12/dropout')}")
    assert any(text.value == f"**{markdown_text('block12/dropout')}**" for text in page.markdown)
    assert any("there is no rule" in caption.value for caption in page.caption)
    (rule,) = [text.value for text in page.markdown if text.value.startswith("Rule: ")]
    assert "<b>" not in rule
    assert "Turns all" in html.unescape(rule)
    assert not any("Choose a layer" in caption.value for caption in page.caption)


def test_details_have_kernels_and_histograms_where_the_job_left_them(done, result, jobs):
    kernel = {
        "variable": "conv/kernel",
        "shape": [3, 3, 16, 16],
        "fan_in": 144,
        "effective_fan_in": 138.1,
        "planned": 0.1,
        "deviation": {"default": 0.05, "autoinit": 0.1},
    }
    result["calls"][0]["kernels"] = [kernel]
    code = {"code": "saturated", "path": "block0/conv", "class": "Conv2D", "message": "a"}
    result["warnings"] = [code]
    jobs.job.folder.mkdir(exist_ok=True)
    counts = {"low": -1.0, "high": 1.0, "counts": [1, 2, 1]}
    (jobs.job.folder / "histograms.json").write_text(
        json.dumps({"default": {"block0/conv": counts}})
    )
    page = done(result)
    press(page, f"Show {markdown_text('block0/conv')}")
    kernels = page.dataframe[1].value
    assert list(kernels["σ, AutoInit"]) == ["0.1"]
    assert list(kernels["fan-in"]) == ["144"]
    assert len(page.get("plotly_chart")) == 3  # variance, histogram, neighbours


def test_pictures_are_saved_as_svg_or_png(done, result):
    page = done(result)

    def picture():
        (chart,) = page.get("plotly_chart")
        return json.loads(chart.proto.config)["toImageButtonOptions"]["format"]

    assert picture() == "svg"
    page = checked(page.segmented_control(key="picture").set_value("png").run())
    assert picture() == "png"


OTHER = "b" * 64


@pytest.fixture
def another(jobs, tmp_path) -> Callable[[dict[str, Any]], None]:
    """Leaves a second result, under the key `OTHER`."""

    def leave(result: dict[str, Any]) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(result))
        jobs.others[OTHER] = StandInJob(folder, "done")
        jobs.others[OTHER].key = OTHER

    return leave


def test_a_run_is_kept_in_the_address_and_let_go(done, result):
    page = done(result)
    press(page, "Keep this run")
    assert page.query_params["kept"] in (KEY, [KEY])
    press(page, "Let go of this run")
    assert "kept" not in page.query_params


def test_runs_are_compared_side_by_side_and_by_their_difference(done, another, build_result):
    other = build_result(10, growth=0.9, name="other.keras")
    other["settings"]["distribution"] = "uniform"
    another(other)
    page = done(build_result(10))
    page.query_params["kept"] = OTHER
    page = checked(page.run())
    table = page.dataframe[-1].value
    assert list(table["run"]) == ["1: made-up.keras", "2: other.keras"]
    assert list(table["distribution"]) == ["truncated normal", "uniform"]
    assert "seed" not in table
    runs = json.loads(page.get("plotly_chart")[1].proto.spec)
    assert [trace["name"] for trace in runs["data"]] == ["1: made-up.keras", "2: other.keras"]
    page = checked(page.segmented_control(key="compared_how").set_value("Difference").run())
    runs = json.loads(page.get("plotly_chart")[1].proto.spec)
    assert [trace["name"] for trace in runs["data"]] == [
        "2: other.keras ÷ 1: made-up.keras",
        "1: no difference",
    ]


def with_verdicts(result: dict[str, Any], own: str, **settings: Any) -> dict[str, Any]:
    words = {"default": own, "autoinit": "trains"}
    result["verdicts"] = {name: {"verdict": w, "reason": "So."} for name, w in words.items()}
    result["settings"] |= settings
    return result


def test_a_what_if_is_chosen_on_the_page_and_kept_beside_it(jobs, result):
    st.cache_resource.clear()
    press(open_page(), "All-CNN-C")
    jobs.finish(result)
    page = open_page(KEY)
    (button,) = [each for each in page.button if each.label == "Find out"]
    assert button.disabled, "nothing is changed yet"
    page.selectbox(key=f"activation-{KEY[:8]}").select("tanh")
    page.selectbox(key=f"normalization-{KEY[:8]}").select("layer")
    page = press(checked(page.run()), "Find out")
    spec = jobs.submitted[-1]
    assert (spec.settings.activation, spec.settings.normalization) == ("tanh", "layer")
    assert spec.model == jobs.submitted[0].model
    assert page.query_params["kept"] in (KEY, [KEY])


def test_a_what_if_answers_and_has_the_model_as_it_is_beside_it(done, another, build_result):
    another(with_verdicts(build_result(10), "cannot train"))
    result = with_verdicts(build_result(10, growth=1.0), "trains", activation="tanh")
    page = done(result, "reinitialized.keras")
    assert "made-up.keras, tanh" in [html.unescape(each.value) for each in page.header]
    page.query_params["kept"] = OTHER
    page = checked(page.run())
    bodies = [x.proto.body for x in page.get("html")]
    (answer,) = [body for body in bodies if 'class="answer' in body]
    assert "answer good" in answer
    assert "Better with tanh. Own weights: cannot train → trains." in answer
    (cards,) = [body for body in bodies if 'class="verdicts"' in body]
    assert [name in cards for name in ("As it is<", "As it is, AutoInit<")] == [True, True]
    assert "As it is measured" in drawn_names(page)
    assert page.download_button[0].proto.id
    page = press(page, "As it is")
    assert page.query_params["job"] == OTHER
    assert page.query_params["kept"] in (f"{OTHER},{KEY}", [f"{OTHER},{KEY}"])


def test_what_was_kept_first_is_the_model_as_it_is(done, another, build_result):
    another(with_verdicts(build_result(10), "trains", scheme="he"))
    page = done(with_verdicts(build_result(10), "trains"))
    for kept, is_what_if in ((f"{KEY},{OTHER}", False), (f"{OTHER},{KEY}", True)):
        page.query_params["kept"] = kept
        page = checked(page.run())
        assert ("As it is" in [button.label for button in page.button]) is is_what_if


def test_a_refused_what_if_leads_back(jobs):
    page = press(open_page(), "All-CNN-C")
    jobs.job.spec = replace(jobs.job.spec, settings=Settings(activation="relu"))
    jobs.job.status, jobs.job.error = "refused", ("unsupported_model", "Nothing to change.")
    page.query_params["kept"] = OTHER
    page = press(checked(page.run()), "As it is")
    assert page.query_params["job"] == OTHER


def test_runs_that_are_gone_and_keys_that_are_none_are_told(done, result):
    page = done(result)
    page.query_params["kept"] = "nonsense,../../etc"
    page = checked(page.run())
    assert any("2 of the runs in the address" in caption.value for caption in page.caption)


def test_recent_runs_are_a_click_away_and_have_names(jobs, result):
    page = press(open_page(), "All-CNN-C")
    jobs.finish(result)
    page = checked(page.run())
    field(page, "text_input", "Name of this run").set_value(HOSTILE)
    checked(page.run())
    del page.query_params["job"]
    page = press(checked(page.run()), markdown_text(HOSTILE, 60))
    assert page.query_params["job"] == KEY
    assert field(page, "text_input", "Name of this run").value == HOSTILE
    # Who comes with the link has runs of their own.
    assert not any("Name of" in each.label for each in open_page(KEY).text_input)


def test_an_answer_comes_first_and_the_rest_is_folded_away(jobs, deep_result):
    st.cache_resource.clear()
    verdict = {
        "verdict": "cannot train",
        "reason": "The signal explodes.",
        "remedy": "redraw",
        "causes": ["signal_explodes"],
        "advice": "Take AutoInit's weights.",
    }
    fine = {"verdict": "trains", "reason": "All is well."}
    deep_result["verdicts"] = {"default": verdict, "autoinit": fine, "uploaded": verdict}
    jobs.finish(deep_result, "reinitialized.keras")
    page = open_page(KEY, expert=False)
    (answer,) = [x.proto.body for x in page.get("html") if 'class="answer' in x.proto.body]
    assert "The signal explodes." in answer
    assert "→ Take AutoInit&#x27;s weights." in answer
    assert page.download_button[0].label == "Re-initialised model, .keras (5 B)"
    assert "Copy link" in [button.label for button in page.button]
    assert not any(expander.proto.expanded for expander in page.expander)
    assert page.segmented_control(key="view").options == ["Variance", "Gradient"]
    assert not any("predicted" in name for name in drawn_names(page))
    assert any("predicted" in name for name in drawn_names(open_page(KEY)))


@pytest.mark.slow
def test_four_thousand_calls(done, deepest_result):
    page = done(deepest_result)
    assert len(page.dataframe[-1].value) == 4000
    assert page.metric[0].delta == "overflows"


def test_several_models_at_once_are_refused_by_name(jobs):
    page = open_page()
    files = [(name, b"\x89HDF\r\n\x1a\n", "application/x-hdf5") for name in ("a.h5", "b.hdf5")]
    page.file_uploader[0].set_value(files)
    checked(page.run())
    assert not jobs.submitted
    (told,) = [html.unescape(each.value) for each in page.error]
    assert told.startswith("These are 2 models, 'a.h5', 'b.hdf5': choose one at a time.")


def test_what_was_changed_of_one_model_is_not_changed_of_the_next(jobs, result):
    st.cache_resource.clear()
    page = press(open_page(), "All-CNN-C")
    result["settings"] |= {"activation": "tanh", "seed": 5}
    jobs.finish(result, "reinitialized.keras")
    page = checked(page.run())
    assert {box.value for box in page.selectbox if box.label == "Activation"} == {"tanh"}
    uploader = field(page, "file_uploader", "Another file, dropped anywhere")
    uploader.set_value(("next.keras", b"PK\x03\x04 model", "application/zip"))
    checked(page.run())
    settings = jobs.submitted[-1].settings
    assert (settings.activation, settings.seed) == ("as_it_is", 5)


def test_an_input_that_was_chosen_is_told_and_the_first_layers_are_a_click_away(jobs, result):
    st.cache_resource.clear()
    page = press(open_page(), "All-CNN-C")
    result["model"]["inputs"][0] |= {"mean": 0.5, "variance": 1 / 12, "taken": "chosen"}
    jobs.finish(result, "reinitialized.keras")
    page = checked(page.run())
    (said,) = [each.value for each in page.caption if each.value.startswith("Input taken")]
    assert "**0 to 1**" in said
    assert "as was chosen" in said
    press(page, "Automatic")
    assert jobs.submitted[-1].settings.takes_expected_input
