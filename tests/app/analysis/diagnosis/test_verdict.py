"""The word, its cause and its remedy."""

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


def test_what_could_not_be_measured_is_not_judged():
    assert verdict_of("uploaded", [], 0.5).verdict is Word.UNKNOWN
    assert verdict_of("uploaded", [fault("saturated")], 0.5).verdict is Word.STRUGGLES


@pytest.mark.parametrize(
    ("codes", "updates", "word"),
    [
        (["init_vs_activation", "signal_vanishes", "gradient_vanishes"], [0.2, None, 0.15, 0.008],
         Word.TRAINS),
        (["signal_vanishes"], [0.4, 0.14, 0.1], Word.STRUGGLES),
        (["signal_vanishes"], [0.4, 0.4, 0.007], Word.STRUGGLES),
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
    hopeless = [fault("signal_vanishes", Consequence.FATAL)]
    assert verdict_of("uploaded", hopeless, 1.0, updates=updates).verdict is Word.CANNOT
    assert verdict_of("uploaded", [fault(codes[0])], 0.9, updates=updates).verdict is Word.STRUGGLES


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
