"""What is kept of one model of many."""

import json
from dataclasses import fields

import pyarrow as pa
import pytest

from app.analysis.batch.row import Row, depth, hash_of, schema
from app.analysis.result import read_result
from app.analysis.settings import Settings

SETTINGS = Settings(samples=32, scheme="he")


def row_of(result, settings=SETTINGS):
    return Row.begun("/nets/a.keras", "ab" * 32, settings).of(
        read_result(json.dumps(result).encode())
    )


def test_each_field_is_a_column():
    kinds = {
        "variances": pa.list_(pa.float64()),
        "causes": pa.list_(pa.string()),
        "file": pa.string(),
        "depth": pa.int64(),
        "within": pa.float64(),
        "status": pa.string(),
    }
    assert schema().names == [field.name for field in fields(Row)]
    assert {name: schema().field(name).type for name in kinds} == kinds


def test_figures_are_those_of_the_weights_as_they_are_and_of_the_scheme(build_result):
    result = build_result(11, growth=2.0, uploaded=True)
    for index, call in enumerate(result["calls"]):
        call["uploaded"]["measured"]["variance"] = 4.0**index
        call["autoinit"]["measured"]["variance"] = 1.0
        call["weighted"] = index in (1, 6)
    result["verdicts"] = {
        "uploaded": {"verdict": "cannot train", "reason": "It grows.", "causes": ["x", "y"]},
        "autoinit": {"verdict": "trains", "reason": ""},
    }
    found = row_of(result)
    assert (found.weighted, found.calls, found.variances) == (
        2,
        result["model"]["calls"],
        (4.0, 4.0**6),
    )
    assert (found.smallest, found.largest, found.within) == (4.0, 4.0**6, 0.0)
    assert (found.after_variances, found.after_within) == ((1.0, 1.0), 1.0)
    assert (found.verdict, found.causes, found.after_verdict) == (
        "cannot train",
        ("x", "y"),
        "trains",
    )
    assert json.loads(found.settings) == {"samples": 32, "scheme": "he"}


def test_what_is_not_finite_is_none(build_result):
    result = build_result(6)
    result["calls"][0]["weighted"] = True
    result["calls"][0]["default"]["measured"]["variance"] = None
    assert row_of(result).variances[0] is None


def test_depth_is_the_longest_way(build_result):
    calls = read_result(json.dumps(build_result(4)).encode()).calls
    chain = [call.model_copy(update={"weighted": True}) for call in calls]
    chain[3] = chain[3].model_copy(update={"inputs": (0, 1)})  # goes round the third
    assert depth(chain) == 3
    assert depth([]) == 0


def test_other_settings_and_other_data_are_another_row(tmp_path):
    data = tmp_path / "x.npy"
    hashes = [hash_of(Settings()), hash_of(SETTINGS)]
    for content in (b"1", b"2"):
        data.write_bytes(content)
        hashes.append(hash_of(Settings(input_data=str(data))))
    assert len(set(hashes)) == 4
    data.unlink()
    with pytest.raises(OSError, match=r"x\.npy"):
        hash_of(Settings(input_data=str(data)))
