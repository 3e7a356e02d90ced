"""Sentences about figures that were made up so that the answer is known."""

import math

import pytest

from app.analysis.diagnosis import stretches, table
from tests.app.parsing import on_files

largest_change = stretches.largest_change
diagnose = on_files(table.diagnose)


def a_call(index, path, kind="Dense"):
    return {
        "index": index, "path": path, "class": kind, "weighted": True, "support": "exact",
        "tainted": False, "inputs": [],
    }  # fmt: skip


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


def told(calls, series=("default",), target=1.0):
    found = diagnose(calls, series, target)
    return {each.code: each.model_dump(by_alias=True) for each in found}


def test_where_a_signal_explodes_and_how_fast():
    variances = [1.0, 0.9, 0.5, *(0.5 * 3.0**step for step in range(1, 9)), 900.0]
    found = told(chain(variances, autoinit=[1.1] * len(variances)))
    assert set(found) == {"signal_explodes"}
    finding = found["signal_explodes"]
    assert finding["path"] == "dense_2"
    assert "from 'dense_2' to 'dense_10' its variance grows from 0.5 to 3280" in finding["message"]
    assert "by a factor of 3.00 for each of 8 layers" in finding["message"]
    assert finding["message"].endswith("AutoInit's weights give a variance of 1.1 there.")


def test_where_a_signal_vanishes():
    found = told(chain([1.0, 1.2, *(1.2 * 0.5**step for step in range(1, 15)), 0.0]))
    finding = found["signal_vanishes"]
    assert finding["path"] == "dense_1"
    assert (
        "falls from 1.2 to 7.3×10⁻⁵, by a factor of 2.00 for each of 14 layers"
        in finding["message"]
    )
    assert "AutoInit" not in finding["message"]


def test_of_autoinits_own_weights_nothing_is_compared():
    found = told(chain([1.0, 1e3], series="autoinit"), ["autoinit"])
    assert "AutoInit's weights give" not in found["signal_explodes"]["message"]


def test_a_stable_signal_is_not_talked_about():
    assert told(chain([1.0, 2.0, 0.2, 30.0, 1.0])) == {}


def test_a_signal_that_is_large_from_the_start_does_not_explode():
    assert told(chain([1e4, 1.1e4, 0.9e4])) == {}


def test_the_target_is_the_measure():
    assert told(chain([1.0, 3.0, 60.0]), target=0.5).keys() == {"signal_explodes"}
    assert told(chain([1.0, 3.0, 60.0]), target=1.0) == {}


def test_gradients_that_explode_on_their_way_back():
    norms = [4.0**step for step in range(9, -1, -1)]
    found = told(chain([1.0] * 10, norms=norms))
    assert set(found) == {"gradient_explodes", "gradient_differs"}
    message = found["gradient_explodes"]["message"]
    assert found["gradient_explodes"]["path"] == "dense_0"
    assert "from 'dense_9' to 'dense_0' its mean square grows by a factor of 2.6×10⁵" in message
    assert "4.00 for each of 9 layers" in message
    # 2⁹, in amplitude.
    assert (
        "is amplified beside the signal itself by a factor of 512"
        in (found["gradient_differs"]["message"])
    )


def test_a_gradient_that_mirrors_the_signal_differs_from_nothing():
    """In a network that only scales, the gradient falls on its way back as the signal grew."""
    variances = [1.3**step for step in range(12)]
    assert told(chain(variances, norms=[1 / v for v in variances])) == {}


def test_gradients_that_vanish():
    found = told(chain([1.0] * 12, norms=[10.0**step for step in range(-12, 0)]))
    assert "falls by a factor of 1.0×10¹¹" in found["gradient_vanishes"]["message"]
    assert "is damped" in found["gradient_differs"]["message"]


def test_where_inputs_become_alike():
    correlations = [0.1, 0.995, 0.4, 0.9, 0.991, None, 0.9999]
    finding = told(chain([1.0] * 7, sample_correlation=correlations))["correlation_collapse"]
    assert finding["path"] == "dense_4"
    assert "at 'dense_6' by 0.9999" in finding["message"]
    assert told(chain([1.0] * 3, sample_correlation=[0.2, 0.999, 0.3])) == {}


def test_inputs_that_are_fed_alike_are_no_collapse():
    assert told(chain([1.0] * 3, sample_correlation=[0.995, 0.999, 0.999])) == {}
    assert told(chain([1.0] * 3, sample_correlation=[None, 0.995, 0.999])) == {}
    assert set(told(chain([1.0] * 4, sample_correlation=[0.995, 0.2, 0.999, 0.999]))) == {
        "correlation_collapse"
    }


def test_what_pooling_leaves_of_noise_is_no_collapse():
    correlations = [0.1, 0.2, 0.3, 0.999, 0.999]
    calls = chain([1.0] * 5, sample_correlation=correlations)
    for call in calls[:3]:
        call["default"]["measured"]["position_correlation"] = 0.1
    assert told(calls) == {}
    calls[2]["default"]["measured"]["sample_correlation"] = 0.995
    assert told(calls)["correlation_collapse"]["path"] == "dense_2"


@pytest.mark.parametrize(
    ("maximum", "code"), [(65505.0, "beyond_float16"), (5e-8, "below_float16")]
)
def test_what_half_precision_does_not_hold(maximum, code):
    largest = [1.0, maximum, maximum]
    found = told(chain([1.0] * 3, minimum=[-0.0] * 3, maximum=largest))
    assert set(found) == {code}
    assert found[code]["path"] == "dense_1"
    assert "of 2 calls" in found[code]["message"]
    assert told(chain([1.0] * 3, maximum=[65504.0] * 3)) == {}
    calm = chain([1.0] * 3, minimum=[-0.0] * 3, maximum=largest)
    for call in calm:
        call["autoinit"] = {"measured": {"variance": 1.1, "minimum": -3.0, "maximum": 2.0}}
    assert told(calm)[code]["message"].endswith("weights give a largest entry of 3 there.")
    # Beyond single precision, too: that is another finding.
    infinite = chain([1.0] * 3, maximum=largest, finite_fraction=[1.0, 0.5, 0.5])
    assert set(told(infinite)) == {"not_finite"}


def test_dead_and_saturated_calls_are_counted_and_the_worst_is_named():
    calls = chain([1.0] * 3, dead_fraction=[0.3, 0.9, 0.1], saturated_fraction=[None, 0.6, 0.4])
    found = told(calls)
    assert found["dead_channels"]["path"] == "dense_1"
    assert (
        "the output of 2 calls is zero for every sample in 25% or more of the channels"
        in (found["dead_channels"]["message"])
    )
    assert "It is 90% at 'dense_1'" in found["dead_channels"]["message"]
    assert "the output of 1 call is saturated in 50% or more" in found["saturated"]["message"]


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
