"""The word, its cause and its remedy."""

import math
from dataclasses import replace

import pytest

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.verdict import Word, gathered, verdict_of, with_remedies


def fault(code, consequence=Consequence.SERIOUS, series="uploaded", remedy="autoinit_helps"):
    return Fault(code, "layer", "Dense", f"{code}.", remedy, consequence, series)


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ([], Word.TRAINS),
        ([fault("saturated")], Word.STRUGGLES),
        ([fault("saturated"), fault("constant_output", Consequence.FATAL)], Word.CANNOT),
        ([fault("zero_on_purpose", Consequence.NOTE, None)], Word.TRAINS),
        ([fault("saturated", series="autoinit")], Word.TRAINS),
    ],
)
def test_the_word_follows_from_the_faults(faults, word):
    assert verdict_of("uploaded", faults, 1.0).verdict is word


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ((1.0, 9.0), "Signals and gradients arrive in a size that trains, and"),
        (
            (90.0, 4.0),
            "Signals and gradients arrive in a size that trains (the mean square changes by up to "
            "90, the gradient's squared norm by 4), and",
        ),
    ],
)
def test_figures_are_told_where_sizes_change(factors, told):
    changes = math.log(factors[0]), math.log(factors[1])
    assert verdict_of("uploaded", [], 1.0, changes=changes).reason.startswith(told)


def test_what_could_not_be_measured_is_not_judged():
    assert verdict_of("uploaded", [], 0.5).verdict is Word.UNKNOWN
    assert verdict_of("uploaded", [fault("saturated")], 0.5).verdict is Word.STRUGGLES


@pytest.mark.parametrize(
    ("codes", "updates", "word"),
    [
        (["init_vs_activation", "signal_vanishes", "gradient_vanishes"], [0.4, None, 0.3, 0.003],
         Word.TRAINS),
        (["signal_vanishes"], [0.4, 0.29, 0.1], Word.STRUGGLES),
        (["signal_vanishes"], [0.2, 0.12, 0.12], Word.TRAINS),
        (["signal_vanishes"], [0.2, 0.12, 0.11], Word.STRUGGLES),
        (["signal_vanishes"], [0.4, 0.4, 0.002], Word.STRUGGLES),
        (["signal_vanishes"], [], Word.STRUGGLES),
        (["signal_vanishes", "dead_channels"], [1.0], Word.STRUGGLES),
        (["init_vs_activation"], [1.0], Word.TRAINS),
        (["init_vs_activation", "gradient_explodes"], [1.0], Word.STRUGGLES),
    ],
)  # fmt: skip
def test_small_signals_whose_kernels_move(codes, updates, word):
    found = verdict_of("uploaded", [fault(code) for code in codes], 1.0, updates=updates)
    assert found.verdict is word
    assert ("by enough to learn" in found.reason) == (word is Word.TRAINS)
    alone = set(codes) <= {"init_vs_activation", "signal_vanishes", "gradient_vanishes"}
    assert ("Adam" in found.reason) == (word is not Word.TRAINS and alone and bool(updates))
    assert verdict_of("uploaded", [fault(codes[0])], 0.9, updates=updates).verdict is Word.STRUGGLES


@pytest.mark.parametrize(
    ("consequence", "adaptive", "updates", "word"),
    [
        (Consequence.SERIOUS, True, [0.04, 0.02, 0.001], Word.TRAINS),
        (Consequence.SERIOUS, False, [0.04, 0.02, 0.001], Word.STRUGGLES),
        (Consequence.SERIOUS, None, [0.04, 0.02, 0.001], Word.STRUGGLES),
        (Consequence.SERIOUS, True, [0.04, 0.02, 0.0005], Word.STRUGGLES),
        (Consequence.FATAL, True, [0.02], Word.TRAINS),
        (Consequence.FATAL, None, [0.4], Word.STRUGGLES),
        (Consequence.FATAL, False, [0.4], Word.CANNOT),
        (Consequence.FATAL, True, [0.002], Word.STRUGGLES),
        (Consequence.FATAL, True, [0.000005], Word.STRUGGLES),
        (Consequence.FATAL, True, [0.0000005], Word.CANNOT),
        (Consequence.FATAL, None, [0.0005], Word.CANNOT),
        (Consequence.FATAL, True, [], Word.CANNOT),
    ],
)
def test_what_adapts_does_not_go_by_the_size_of_gradients(consequence, adaptive, updates, word):
    small = [fault("signal_vanishes", consequence), fault("init_vs_activation")]
    found = verdict_of("uploaded", small, 1.0, updates=updates, adaptive=adaptive)
    assert found.verdict is word
    assert ("steps of its optimizer" in found.reason) is (word is Word.TRAINS)
    worse = [*small, fault("correlation_collapse", Consequence.FATAL)]
    found = verdict_of("uploaded", worse, 1.0, updates=updates, adaptive=adaptive)
    assert found.verdict is Word.CANNOT


@pytest.mark.parametrize(
    ("others", "measured", "word"),
    [
        ([], 1.0, Word.TRAINS),
        (["signal_vanishes"], 1.0, Word.TRAINS),  # gradients move all kernels
        (["saturated"], 1.0, Word.STRUGGLES),
        ([], 0.9, Word.STRUGGLES),
    ],
)
def test_a_fault_that_training_bears(others, measured, word):
    borne = replace(fault("shared_seed", series=None, remedy="reseed"), bearable=True)
    found = verdict_of("uploaded", [borne, *map(fault, others)], measured, updates=[1.0])
    assert found.verdict is word
    assert found.remedy == ("autoinit_helps" if others == ["signal_vanishes"] else "reseed")
    assert found.causes == (() if word is Word.TRAINS else ("shared_seed", *others))


@pytest.mark.parametrize(
    ("others", "bearable", "word"),
    [
        ([], True, Word.TRAINS),
        (["init_vs_activation"], True, Word.TRAINS),  # the kernels that make it grow
        (["init_vs_activation"], False, Word.STRUGGLES),
        (["gradient_explodes"], True, Word.STRUGGLES),
    ],
)
def test_a_signal_that_grows_by_what_a_classifier_bears(others, bearable, word):
    grown = replace(fault("signal_explodes"), bearable=bearable)
    found = verdict_of("uploaded", [grown, *map(fault, others)], 1.0, updates=[1.0])
    assert found.verdict is word


@pytest.mark.parametrize(
    ("updates", "word"), [([9.0, 3.0, 0.3], Word.TRAINS), ([9.0, 2.0, 0.3], Word.CANNOT)]
)
def test_inputs_that_are_alike_where_gradients_are_large(updates, word):
    alike = fault("correlation_collapse", Consequence.FATAL)
    assert verdict_of("uploaded", [alike], 1.0, updates=updates).verdict is word


def test_weights_that_are_right_are_kept():
    worse = [fault("gradient_explodes", series="autoinit")]
    assert verdict_of("uploaded", worse, 1.0).remedy == "keep_init"
    zeros = [fault("zero_on_purpose", Consequence.NOTE, None)]
    assert verdict_of("uploaded", zeros, 1.0).remedy == "keep_zero_init"
    assert verdict_of("uploaded", [], 1.0).remedy == "none_needed"
    assert verdict_of("uploaded", [], 1.0, self_normalizing=True).remedy == "keep_init"


def test_faults_of_the_start_are_none_of_autoinits():
    faults = [fault("init_vs_activation", series=None), fault("missing_nonlinearity", series=None)]
    assert verdict_of("uploaded", faults, 1.0).causes == (
        "missing_nonlinearity",
        "init_vs_activation",
    )
    assert verdict_of("autoinit", faults, 1.0).causes == ("missing_nonlinearity",)


def test_autoinit_is_no_cure_where_its_own_series_has_the_fault():
    both = [fault("signal_vanishes"), fault("signal_vanishes", series="autoinit")]
    assert with_remedies(both, {"relu": 3}, normalized=False)[0].remedy == "add_normalisation"
    assert with_remedies(both[:1], {"relu": 3}, normalized=False)[0].remedy == "autoinit_helps"
    assert with_remedies(both, {"sigmoid": 3}, normalized=False)[0].remedy == "change_activation"


def test_faults_of_autoinits_weights_alone_are_mended_by_keeping_the_files():
    explodes = fault("gradient_explodes", series="autoinit")
    few = fault("dead_channels", Consequence.NOTE)
    told = with_remedies([few, explodes], {"relu": 3}, normalized=False)
    assert [each.remedy for each in told] == ["autoinit_helps", "keep_init"]
    for own in (fault("signal_vanishes", series="default"), fault("symmetric_kernel", series=None)):
        told = with_remedies([own, explodes], {"relu": 3}, normalized=False)
        assert told[1].remedy != "keep_init"


def test_the_scale_is_the_least_where_functions_squash_and_it_shows():
    scale = fault("init_vs_activation")
    for faults, functions, remedy in (
        ([scale, fault("correlation_collapse")], {"sigmoid": 3}, "change_activation"),
        ([scale], {"sigmoid": 3}, "autoinit_helps"),
        ([scale, fault("correlation_collapse")], {"relu": 3, "sigmoid": 1}, "autoinit_helps"),
    ):
        assert with_remedies(faults, functions, normalized=False)[0].remedy == remedy


def test_one_cause_is_told_once():
    series = ("default", "uploaded", "autoinit")
    found = gathered([fault("signal_vanishes", series=name) for name in series])
    assert [each.series for each in found] == ["uploaded", "autoinit"]


def test_data_that_could_be_scaled_are_told_of_where_a_model_trains():
    note = fault("unscaled_input", Consequence.NOTE, remedy="scale_input")
    found = verdict_of("uploaded", [note], 1.0)
    assert (found.verdict, found.remedy, found.causes) == (Word.TRAINS, "scale_input", ())
    assert "unscaled_input." in found.reason
    assert verdict_of("autoinit", [note], 1.0).remedy == "none_needed"


def test_what_no_weights_make_good_is_told_first():
    """A softmax over one unit before kernels that are too small: the file before its weights."""
    over_one = fault("constant_output", Consequence.FATAL, None, "change_last_activation")
    found = verdict_of("uploaded", [fault("init_vs_activation", series=None), over_one], 1.0)
    assert (found.causes[0], found.remedy) == ("constant_output", "change_last_activation")
