"""`result.json`: its schema, what older and newer files open as, and what it takes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import app
from app.analysis.result import ResultError, json_schema, json_text, read_preview, read_result

SCHEMA = Path(app.__file__).parents[1] / "docs" / "result.schema.json"


@pytest.fixture
def write(tmp_path):
    def to_file(value):
        path = tmp_path / "result.json"
        path.write_text(json.dumps(value))
        return path

    return to_file


def test_the_published_schema_is_that_of_the_models():
    """`python -m app.analysis.result > docs/result.schema.json` writes it."""
    assert SCHEMA.read_text(encoding="utf-8") == json_schema()


def test_reading_it_needs_no_keras():
    code = "import sys, app.analysis.result as r; sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_was_read_is_written_as_it_was(write, build_result):
    whole = build_result(12, uploaded=True, seeds=3, gradients=True, jacobian=1, opaque=9)
    assert json.loads(json_text(read_result(write(whole)))) == whole


def test_older_files_open(write, result):
    for call in result["calls"]:
        del call["opaque"], call["frozen"], call["layer"]
        for series in result["series"]:
            del call[series]["predicted_by"]
    for part in ("phases", "gradients", "jacobian"):
        del result[part]
    del result["settings"]["seeds"]
    found = read_result(write(result))
    assert not any(call.opaque or call.frozen for call in found.calls)
    assert (found.settings.seeds, found.other_model, found.downloads) == (1, None, None)


def test_what_is_not_known_here_is_passed_over(write, result):
    result["prognosis"] = {"default": {"what": "is to come"}}
    result["calls"][0]["curvature"] = {"largest": "beyond this version"}
    result["calls"][0]["default"]["measured"]["skewness"] = "0"
    result["settings"]["disable"] = ["dead_channels"]
    found = read_result(write(result))
    assert set(found.calls[0].series) == {"default", "autoinit"}
    assert found.settings.by_name["disable"] == ["dead_channels"]


def test_a_name_that_no_encoding_has_is_kept_out(write, result):
    result["calls"][0]["path"] = "a\ud800b"
    found = read_result(write(result))
    assert found.calls[0].path == "a?b"
    assert json_text(found).encode()


def test_nothing_in_it_can_be_changed(write, result):
    found = read_result(write(result))
    with pytest.raises(ValueError, match="frozen"):
        found.calls[0].path = "another"


@pytest.mark.parametrize("value", [float("inf"), "text", [1.0]])
def test_a_figure_is_finite(write, result, value):
    result["calls"][0]["default"]["measured"]["variance"] = value
    with pytest.raises(ResultError):
        read_result(write(result))


@pytest.mark.parametrize(
    "hostile", ["<b>x</b>", "\x1b[2Jx", "=1+1", "%{y}", "a\nb", "\u202ex", "x" * 99]
)
@pytest.mark.parametrize("place", ["series", "support", "format", "code", "label", "cause"])
def test_what_the_program_calls_something_is_a_plain_word(result, hostile, place):
    match place:
        case "series":
            result["series"] = [*result["series"], hostile]
        case "support":
            result["calls"][0]["support"] = hostile
        case "format":
            result["model"]["format"] = hostile
        case "code":
            result["warnings"] = [{"code": hostile, "message": "x"}]
        case "label":
            result["downloads"] = [{"file": "x", "label": hostile}]
        case "cause":
            verdict = {"verdict": "trains", "reason": "x", "causes": [hostile]}
            result["verdicts"] = {"default": verdict}
    with pytest.raises(ResultError):
        read_result(json.dumps(result).encode())


@pytest.mark.parametrize("inputs", [[5], [-1], [10**9]])
def test_a_call_reads_what_came_before_it(result, inputs):
    result["calls"][5]["inputs"] = inputs
    with pytest.raises(ResultError):
        read_result(json.dumps(result).encode())


def test_a_result_of_too_many_values_is_refused(monkeypatch):
    monkeypatch.setattr("app.analysis.result.RESULT_VALUES", 1000)
    with pytest.raises(ResultError, match="more than 1,000 values"):
        read_result(b'{"schema": 1, "calls": [%s]}' % b",".join([b"[]"] * 1001))


def test_a_preview_needs_calls_and_series_only(write, result):
    known = {name: result[name] for name in ("calls", "series")}
    found = read_preview(write(known | {"settings": {"signal_variance": 0.5}}))
    assert (len(found.calls), found.target) == (10, 0.5)


def test_4000_calls_are_read_about_as_quickly_as_their_json(write, build_result):
    path = write(build_result(4000, uploaded=True, seeds=3, gradients=True))
    start = time.process_time()
    json.loads(path.read_bytes())
    parsed = time.process_time()
    read_result(path)
    assert time.process_time() - parsed < 2.0 + 6 * (parsed - start)
