"""Sentences about figures that were made up so that the answer is known."""

import math

import pytest

from app.analysis.diagnosis import findings
from app.analysis.diagnosis.diagnose import Diagnosis
from app.analysis.headline import largest_change
from tests.app.parsing import on_files

findings_of = on_files(findings.findings_of)


def a_call(index, path, kind="Dense"):
    return {
        "index": index,
        "path": path,
        "class": kind,
        "weighted": True,
        "support": "exact",
        "tainted": False,
        "inputs": [],
    }


def chain(variances, *, series="default", autoinit=None, norms=None, **measured):
    """A chain of weighted calls with these variances; other figures are lists alongside."""
    calls = []
    for place, variance in enumerate(variances):
        figures = {"variance": variance, "minimum": -1.0, "maximum": 1.0, "finite_fraction": 1.0}
        figures |= {name: values[place] for name, values in measured.items()}
        call = a_call(place, f"dense_{place}")
        call[series] = {"measured": figures}
        if norms is not None:
            call[series]["gradient"] = {"square_norm": norms[place]}
        if autoinit is not None:
            call["autoinit"] = {"measured": {"variance": autoinit[place], "finite_fraction": 1.0}}
        calls.append(call)
    return calls


def told(calls, series=("default",)):
    found = findings_of(Diagnosis(), calls, series)
    return {each.code: each.model_dump(by_alias=True) for each in found}


@pytest.mark.parametrize(
    ("maximum", "code"), [(65505.0, "beyond_float16"), (5e-8, "below_float16")]
)
def test_what_half_precision_does_not_hold(maximum, code):
    largest = [1.0, maximum, maximum]
    found = told(chain([1.0] * 3, minimum=[-0.0] * 3, maximum=largest))
    assert set(found) == {code}
    assert found[code]["path"] == "dense_1"
    assert "of 2 layers" in found[code]["message"]
    assert told(chain([1.0] * 3, maximum=[65504.0] * 3)) == {}
    calm = chain([1.0] * 3, minimum=[-0.0] * 3, maximum=largest)
    for call in calm:
        call["autoinit"] = {"measured": {"variance": 1.1, "minimum": -3.0, "maximum": 2.0}}
    assert told(calm)[code]["message"].endswith("weights give a largest entry of 3 there.")
    # Beyond single precision, too: that is another finding.
    assert told(chain([1.0] * 3, maximum=largest, finite_fraction=[1.0, 0.5, 0.5])) == {}


def test_what_was_not_measured_is_passed_over():
    calls = chain([1.0, 2.0])
    calls.insert(1, a_call(1, "cut", "Lambda") | {"default": None})
    calls.insert(2, a_call(2, "c") | {"default": {"measured": {}}})
    assert told(calls) == {}


def test_the_largest_change_is_found_past_a_lower_start_that_leads_nowhere():
    figures = [({}, value) for value in (1.0, 10.0, 0.1, 5.0, 0.01, 0.02)]
    way = largest_change(figures, 1)
    assert (way.first, way.last, way.steps) == (0.1, 5.0, 1)
    assert way.factor == pytest.approx(50.0)
    fall = largest_change(figures, -1)
    assert (fall.first, fall.last, fall.steps) == (10.0, 0.01, 3)
    assert fall.rate == pytest.approx(10.0)
    assert largest_change(figures[:2], -1) is None
    assert math.isfinite(largest_change([({}, 5e-324), ({}, 1.7e308)], 1).rate)
