"""Faults that figures show, from figures that were made up so that the answer is known."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops

from app.analysis.diagnosis.diagnose import measured_faults
from app.analysis.diagnosis.fault import Consequence
from app.analysis.diagnosis.measured.series import Measured, spectral
from autoinit import check
from probes.moments.distribution import Distribution
from probes.moments.figures import Moments
from tests.app.analysis.diagnosis.models import chain, dense
from tests.app.analysis.diagnosis.test_flow import roles_of, squeezed


def moments(square=1.0, *, finite=1.0, correlation=None, positions=None, **shares):
    return Moments(
        1000, 0.0, square, -1.0, 1.0, 0.0, finite, correlation, positions, Distribution(**shares)
    )


def faults(model, forward, backward=None, *, series="uploaded", zero=(), updates=None):
    """Figures by path; what is not named has a mean square of 1."""
    graph, roles = roles_of(model)
    back = backward or {}
    zeros = frozenset(call.index for call in graph.calls if call.path in zero)
    # A gradient's figure is its squared norm: the mean square is over the call's entries.
    gradients = [
        moments(back.get(call.path, 1.0) / call.outputs[0].entries) for call in graph.calls
    ]
    figures = [
        value if isinstance(value := forward.get(call.path, 1.0), Moments) else moments(value)
        for call in graph.calls
    ]
    ratios = [(updates or {}).get(call.path) for call in graph.calls]
    measured = Measured(graph, roles, figures, gradients, zeros, series, ratios)
    return {fault.code: fault for fault in measured_faults(measured)}


def deep(depth=6, activation="relu"):
    parts = [dense(8, activation, name=f"d{n}") for n in range(depth)]
    return chain((8,), *parts, dense(2, name="out"))


def falling(rate, depth=6, activation="relu"):
    found = {}
    for n in range(depth):
        found[f"d{n}"] = rate ** (n + 1)
        found[f"d{n}/{activation}"] = rate ** (n + 1) / 2
    return found | {"out": rate**depth / 2}


def test_a_signal_that_falls_layer_by_layer_vanishes_from_the_first_on():
    found = faults(deep(), falling(0.1))["signal_vanishes"]
    assert (found.path, found.series, found.consequence) == ("d0", "uploaded", Consequence.SERIOUS)
    assert "From 'd0' to 'd5/relu' the signal's mean square falls by 2.0×10⁶" in found.message
    assert faults(deep(), falling(0.01))["signal_vanishes"].consequence is Consequence.FATAL


@pytest.mark.parametrize(("error", "told"), [(None, False), (0.02, False), (0.1, True)])
def test_what_few_samples_leave_open_hides_no_fault(error, told):
    # Grows by 90 in all, where 100 is too much: 90·e^0.2 is beyond, 90·e^0.04 is not.
    rate = 90.0 ** (1 / 6)
    known = {
        path: replace(moments(square), standard_error=error)
        for path, square in falling(rate, activation="selu").items()
    }
    known |= {f"d{n}/selu": moments(rate ** (n + 1)) for n in range(6)}
    known["out"] = replace(moments(90.0), standard_error=error)
    assert ("signal_explodes" in faults(deep(activation="selu"), known)) is told


def test_a_signal_that_grows_explodes_unless_what_it_meets_is_bounded():
    found = faults(deep(), falling(5.0))["signal_explodes"]
    assert (found.path, found.remedy) == ("d0", "autoinit_helps")
    assert not found.bearable
    assert faults(deep(), falling(2.5))["signal_explodes"].bearable
    bounded = falling(5.0, activation="tanh") | {f"d{n}/tanh": 0.9 for n in range(6)}
    assert "signal_explodes" not in faults(deep(activation="tanh"), bounded | {"out": 1.0})


def test_what_only_makes_up_for_its_input_does_not_explode():
    assert (
        faults(
            chain((8,), dense(8, "relu", name="d0"), dense(2, name="out")), {"d0": 1.0, "out": 1.0}
        )
        == {}
    )
    model = chain((8,), layers.Rescaling(1.0, name="scale"), dense(2, name="out"))
    assert faults(model, {"scale": 1e-3, "out": 1.0}) == {}


def test_stable_signals_and_gradients_are_not_talked_about():
    assert faults(deep(), falling(0.6), {f"d{n}": 0.6 ** (6 - n) for n in range(6)}) == {}


def test_gradients_that_vanish_or_explode_on_their_way_back():
    def back(rate):
        return {f"d{n}{tail}": rate ** (6 - n) for n in range(6) for tail in ("", "/relu")}

    found = faults(deep(), {}, back(0.1))["gradient_vanishes"]
    assert found.path == "d0"
    assert "falls by 1.0×10⁶, 10 for each of 6 layers" in found.message
    assert faults(deep(), {}, back(8.0))["gradient_explodes"].path == "d0"
    assert "gradient_explodes" not in faults(deep(), {}, back(2.0))


def test_differences_that_grow_beside_the_signal():
    back = {f"d{n}{tail}": 4.0 ** (6 - n) for n in range(6) for tail in ("", "/tanh")}
    found = faults(deep(activation="tanh"), {}, back)["gradient_differs"]
    assert "amplified" in found.message
    # One large step is no trend, as the first layer of a SIREN.
    back = dict.fromkeys(back, 1.0) | {"d0": 4.0**6}
    assert "gradient_differs" not in faults(deep(activation="tanh"), {}, back)


def test_zeros_of_dead_units_are_no_vanishing():
    forward = falling(1.0) | {"d3/relu": moments(0.0, dead_fraction=1.0)}
    forward |= dict.fromkeys(["d4", "d4/relu", "d5", "d5/relu", "out"], 0.0)
    found = faults(deep(), forward)
    assert set(found) == {"dead_channels", "constant_output"}
    assert found["dead_channels"].path == "d3"


def test_what_underflows_has_vanished():
    forward = falling(1e-20)
    forward |= dict.fromkeys(["d3", "d3/relu", "d4", "d4/relu", "d5", "d5/relu", "out"], 0.0)
    assert "signal_vanishes" in faults(deep(), forward)


def test_where_inputs_become_alike():
    forward = {
        f"d{n}": moments(correlation=value)
        for n, value in enumerate([0.1, 0.995, 0.4, 0.9, 0.991, 0.9995])
    }
    found = faults(deep(), forward)["correlation_collapse"]
    assert (found.path, found.consequence) == ("d4", Consequence.FATAL)
    assert "at 'd5' by 0.9995" in found.message
    alike = {f"d{n}": moments(correlation=0.999) for n in range(6)}
    assert faults(deep(), alike) == {}, "they were fed so"


@pytest.mark.parametrize(("logits", "told"), [(0.98, False), (0.995, False), (0.9995, True)])
def test_a_softmax_that_begins_at_one_class_is_no_collapse(logits, told):
    model = chain((8,), dense(8, "relu", name="d"), dense(3, "softmax", name="out"))
    forward = {
        "d": moments(correlation=0.5),
        "d/relu": moments(correlation=0.6),
        "out": moments(correlation=logits),
        "out/softmax": moments(correlation=0.9999),
    }
    assert ("correlation_collapse" in faults(model, forward)) is told


def test_what_pixels_have_in_common_is_no_collapse():
    # Of the third that two images differ by 0.004 are left, 1.2 %; of 1 it would be 0.4 %.
    pixels = replace(moments(0.5, correlation=0.0), mean=1.0)
    later = {f"d{n}": moments(correlation=0.996) for n in range(1, 6)}
    assert "correlation_collapse" not in faults(deep(), {"d0": pixels} | later)
    assert "correlation_collapse" in faults(deep(), {"d0": moments(correlation=0.0)} | later)


def test_what_pooling_leaves_of_noise_is_no_collapse():
    forward = {f"d{n}": moments(correlation=0.1, positions=0.1) for n in range(3)}
    forward |= {f"d{n}": moments(correlation=0.999) for n in range(3, 6)}
    assert faults(deep(), forward) == {}


@pytest.mark.parametrize(
    ("share", "correlation", "found"), [(0.7, 0.95, False), (0.8, 0.95, True), (0.75, 0.5, True)]
)
def test_units_behind_what_pooling_leaves_of_noise(share, correlation, found):
    forward = {f"d{n}": moments(positions=0.1) for n in range(3)}
    forward |= {"d3": moments(correlation=correlation), "d3/relu": moments(dead_fraction=share)}
    assert ("dead_channels" in faults(deep(), forward)) == found


@pytest.mark.parametrize(
    ("units", "share", "told"),
    [(5, 0.8, False), (5, 1.0, True), (8, 0.74, False), (8, 0.75, True), (32, 0.57, False),
     (32, 0.58, True), (64, 0.39, False), (64, 0.41, True)],
)  # fmt: skip
def test_dead_units_are_more_than_chance_leaves(units, share, told):
    """Of 8 units 0.4 + 2·√(0.4·0.6/8) = 0.746 may be dead, of 32 0.573, of 64 and more 0.4."""
    model = chain((8,), layers.Dense(units, "relu", name="d0"), dense(2, name="out"))
    found = faults(model, {"d0/relu": moments(dead_fraction=share)})
    assert ("dead_channels" in found) == told


@pytest.mark.parametrize(("share", "found"), [(0.3, False), (0.5, True)])
def test_saturated_shares(share, found):
    forward = {"d1/tanh": moments(saturated_fraction=share)}
    assert ("saturated" in faults(deep(activation="tanh"), forward)) == found


@pytest.mark.parametrize(
    ("beside", "alike", "told"),
    [(1.0, 0.0, False), (0.05, 0.0, False), (0.005, 0.0, True), (1.0, 0.999, True)],
)
def test_a_saturated_branch_beside_which_inputs_pass(beside, alike, told):
    """Of 0.1 that the branch gives: the skip has to carry about as much, and tell inputs apart."""
    x = given = keras.Input((8,))
    x = dense(8, name="first")(x)
    y = dense(8, "tanh", name="branch")(x)
    model = keras.Model(given, dense(3, name="out")(layers.Add(name="sum")([x, y])))
    figures = {
        "first": moments(beside, correlation=alike),
        "branch": moments(0.1),
        "branch/tanh": moments(0.1, saturated_fraction=0.9),
    }
    assert ("saturated" in faults(model, figures)) is told


@pytest.mark.parametrize(("mean", "told"), [(-4.6, False), (0.1, True)])
def test_a_prior_saturates_nothing(mean, told):
    """Of a last sigmoid that its bias saturates; what kernels do, and hidden ones, is a fault."""
    model = chain((8,), dense(8, "tanh", name="hidden"), dense(2, "sigmoid", name="out"))
    figures = {
        "out": replace(moments(4.0), mean=mean),
        "out/sigmoid": moments(saturated_fraction=0.9),
    }
    assert ("saturated" in faults(model, figures)) is told
    hidden = {
        "hidden": replace(moments(4.0), mean=-4.6),
        "hidden/tanh": moments(saturated_fraction=0.9),
    }
    assert "saturated" in faults(model, hidden)


@pytest.mark.parametrize("last", [True, False])
def test_the_temperature_of_logits_makes_nothing_explode(last):
    inputs = keras.Input((8,), name="x")
    normalized = layers.UnitNormalization(name="norm")(inputs)
    logits = layers.Rescaling(20.0, name="factor")(dense(8, name="logits")(normalized))
    outputs = logits if last else dense(2, name="out")(ops.relu(logits))
    model = keras.Model(inputs, outputs)
    figures = {"norm": 0.125, "logits": 0.1, "factor": 40.0, "relu": 20.0, "out": 40.0}
    assert ("signal_explodes" in faults(model, figures)) is not last
    # A kernel that is as large is another matter.
    assert "signal_explodes" in faults(model, figures | {"logits": 40.0})


def test_the_zeros_of_a_relu_with_a_largest_value_are_no_saturation():
    forward = {"d1/relu6": moments(saturated_fraction=0.56)}
    assert faults(deep(activation="relu6"), forward) == {}


def test_a_softmax_that_decides_is_not_dead():
    forward = {"d1/softmax": moments(dead_fraction=0.8)}
    assert faults(deep(activation="softmax"), forward) == {}


def test_of_autoinits_own_weights_only_many_dead_units_are_told():
    forward = {"d1/relu": moments(dead_fraction=0.5)}
    assert faults(deep(), forward, series="autoinit") == {}
    forward = {"d1/relu": moments(dead_fraction=1.0)}
    assert set(faults(deep(), forward, series="autoinit")) == {"dead_channels"}


def test_figures_that_are_not_finite():
    forward = {"d2": moments(math.nan, finite=0.5), "d3": moments(math.nan, finite=0.0)}
    found = faults(deep(), forward)["not_finite"]
    assert (found.path, found.consequence) == ("d2", Consequence.FATAL)


# Functions of what a ReLU gives, and of an epsilon: without a value at zero, or without a slope.
AT_ZERO = {
    "log": lambda x, e: ops.log(x + e),
    "rsqrt": lambda x, e: ops.rsqrt(x + e),
    "true_divide": lambda x, e: x / (ops.sum(x[:, :2], axis=-1, keepdims=True) + e),
    "sqrt": lambda x, e: ops.sqrt(x + e),
    "power": lambda x, e: ops.power(x + e, 0.5),
}


@pytest.mark.parametrize("name", AT_ZERO)
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_functions_without_a_value_or_a_slope_at_zero(name, epsilon):
    """Where the verdict says so, one step of training leaves NaN; not with an epsilon."""
    inputs = keras.Input((16,), name="x")
    hidden = AT_ZERO[name](dense(16, "relu", name="hidden")(inputs), epsilon)
    model = keras.Model(inputs, dense(3, "softmax", name="out")(hidden))
    model.compile("sgd", "sparse_categorical_crossentropy")
    result = check(model, verbose=False)
    found = [f for f in result.findings if (f.code, f.series) == ("not_finite", "uploaded")]
    assert [(f.path.startswith(name), f.remedy) for f in found] == (
        [] if epsilon else [(True, "keep_from_zero")]
    )
    model.train_on_batch(np.random.default_rng(0).standard_normal((64, 16)), np.arange(64) % 3)
    assert np.isfinite(model.get_layer("hidden").get_weights()[0]).all() == (epsilon > 0.0)


def test_zero_kernels_say_nothing_of_sizes():
    found = faults(deep(), {"out": 0.0}, zero={"out"})
    assert set(found) == {"constant_output"}


def test_equal_shares_of_nothing_are_a_constant_output():
    model = chain((8,), dense(8, name="d0"), dense(2, "softmax", name="out"))
    share = replace(moments(0.0), mean=0.5)
    assert set(faults(model, {"out": 0.0, "out/softmax": share})) >= {"constant_output"}
    # What rounding leaves of a small signal is none.
    assert "constant_output" not in faults(model, {"out": 1e-20, "out/softmax": share})


@pytest.mark.parametrize(("logits", "told"), [(0.9, False), (0.9999, True)])
def test_a_softmax_that_begins_at_one_class_is_no_constant_while_logits_differ(logits, told):
    model = chain((8,), dense(8, name="d0"), dense(2, "softmax", name="out"))
    figures = {
        "out": moments(40.0, correlation=logits),
        "out/softmax": moments(0.25, correlation=1.0),
    }
    assert ("constant_output" in faults(model, figures)) is told


@pytest.mark.parametrize(
    ("logits", "mean", "told"), [(1e-12, 0.5, False), (0.0, 0.5, True), (1e4, 1.0, True)]
)
def test_what_rounding_leaves_of_a_sigmoid_is_no_constant(logits, mean, told):
    model = chain((8,), dense(8, name="d0"), dense(1, "sigmoid", name="out"))
    figures = {
        "out": moments(logits, correlation=0.1), "out/sigmoid": replace(moments(0.0), mean=mean)
    }  # fmt: skip
    assert ("constant_output" in faults(model, figures)) is told


def test_a_mean_whose_square_is_beyond_all_numbers():
    assert "signal_explodes" in faults(deep(), {"d2": replace(moments(), mean=1e200)})


def test_biases_that_leave_zeros_alone_make_no_signal_explode():
    zeros = {"d1/relu": moments(0.0, dead_fraction=1.0)}
    assert "signal_explodes" in faults(deep(), {"d1": 1e4})
    assert "signal_explodes" not in faults(deep(), {"d1": 1e4} | zeros)


@pytest.mark.parametrize(
    ("own", "told"), [(1e-5, "move 1.0×10⁵ times slower"), (0.5, None), (1e5, None)]
)
def test_a_gradient_that_vanishes_tells_how_much_slower_its_kernel_would_move(own, told):
    back = {f"d{n}{part}": 0.1 ** (6 - n) for n in range(6) for part in ("", "/relu")}
    found = faults(deep(), {}, back, updates={"d0": own, "out": 1.0})["gradient_vanishes"]
    assert found.path == "d0"
    assert ("At one learning rate" in found.message) == (told is not None)
    assert told is None or told in found.message
    assert told is None or "than that of 'out'." in found.message


RECURRENCES = {
    "bound_recurrence": lambda **more: layers.SimpleRNN(8, name="rnn", **more),
    "orthogonal": lambda **more: layers.Bidirectional(layers.LSTM(4, **more), name="rnn"),
}


@pytest.mark.parametrize("remedy", RECURRENCES)
@pytest.mark.parametrize(("back", "told"), [(900.0, False), (1100.0, True)])
def test_a_gradient_that_grows_within_a_recurrence(remedy, back, told):
    model = chain((16, 4), RECURRENCES[remedy](), dense(2, name="out"), name="x")
    found = faults(model, {}, {"x": back, "rnn": 1.0})
    assert ("gradient_explodes" in found) is told
    if told:
        fault = found["gradient_explodes"]
        assert (fault.path, fault.remedy) == ("rnn", remedy)
        assert "back through 16 steps its squared norm grows by 1100." in fault.message


@pytest.mark.parametrize(
    ("depth", "rate", "kernel", "told"),
    [(36, 1.38, 1.0, True), (36, 1.38, 1e4, True), (36, 1.37, 1.0, False), (35, 1.5, 1.0, False)],
)
def test_a_gradient_that_grows_from_one_batch_normalization_to_the_next(depth, rate, kernel, told):
    """Each sets the signal anew, however large the kernel; 1.37³⁶ is 0.83·10⁵, 1.38³⁶ 1.1·10⁵."""
    parts = []
    for n in range(depth):
        normalization = layers.BatchNormalization(name=f"b{n}")
        parts += [dense(8, name=f"d{n}"), normalization, layers.ReLU(name=f"r{n}")]
    back = {f"{part}{n}": rate ** (depth - n) for n in range(depth) for part in "dbr"}
    back |= {f"d{n}": back[f"d{n}"] / kernel for n in range(1, depth)}
    model = chain((8,), *parts, dense(2, name="out"))
    found = faults(model, {}, back).get("gradient_explodes")
    assert (found is not None) is told
    if told:
        expected = ("d0", "add_skips", Consequence.SERIOUS)
        assert (found.path, found.remedy, found.consequence) == expected
        assert "grows by 1.1×10⁵" in found.message


def test_what_others_give_back_is_no_growth_within_a_recurrence():
    """Both read x: 1,100 of a gradient may have come by the other one, which gets 10."""
    x = keras.Input((16, 4), name="x")
    beside = layers.LSTM(8, name="beside")(x)
    model = keras.Model(x, dense(2, name="out")(RECURRENCES["orthogonal"]()(x) + 0 * beside))
    assert "gradient_explodes" in faults(model, {}, {"x": 1100.0, "rnn": 0.5, "beside": 0.5})
    assert "gradient_explodes" not in faults(model, {}, {"x": 1100.0, "rnn": 0.5, "beside": 10.0})


@pytest.mark.parametrize(("deviation", "word"), [(0.2, "trains"), (2.0, "will struggle")])
def test_a_large_kernel_behind_a_recurrence_is_none_within_it(deviation, word):
    """Behind an LSTM it makes the gradient large that the LSTM gets, and lets it train."""
    recurrent = keras.initializers.RandomNormal(stddev=deviation, seed=1)
    model = chain(
        (24, 4),
        layers.LSTM(16, recurrent_initializer=recurrent, name="lstm"),
        dense(3, name="out", kernel_initializer=keras.initializers.RandomNormal(stddev=3.0)),
    )
    result = check(model, verbose=False)
    assert result.verdicts["uploaded"].verdict == word
    within = [f for f in result.findings if f.message.startswith("Within 'lstm'")]
    assert ("uploaded" in {f.series for f in within}) == bool(within)
    assert bool(within) is (word != "trains")


def test_no_size_is_judged_of_what_only_opens_a_gate():
    model = squeezed()
    small = {"squeeze": 1e-4, "squeeze/relu": moments(1e-5, dead_fraction=1.0), "excite": 1e-6}
    assert not faults(model, small, {"squeeze": 1e-6, "excite": 1e-6})
    # What the gate does to the signal is seen behind it.
    closed = small | {"weighed": 1e-6, "flat": 1e-6, "out": 1e-6}
    assert "signal_vanishes" in faults(squeezed("linear"), closed)


@pytest.mark.parametrize(
    ("dead", "out", "consequence"),
    [
        (1.0, 0.0, Consequence.FATAL),
        (1.0, 0.5, Consequence.SERIOUS),
        (0.9, 0.0, Consequence.SERIOUS),
    ],
)
def test_a_layer_that_is_dead_as_a_whole_ends_it_unless_something_passes_beside_it(
    dead, out, consequence
):
    figures = {"d1/relu": moments(0.1, dead_fraction=dead), "out": moments(out)}
    assert faults(deep(), figures)["dead_channels"].consequence is consequence


def test_a_head_may_give_little():
    assert "signal_vanishes" not in faults(deep(), {"out": 1e-6})
    assert "signal_vanishes" not in faults(chain((8,), dense(1, name="out")), {"out": 1e-6})
    assert "signal_explodes" in faults(deep(), {"out": 1e6})


@pytest.mark.parametrize("alike", [None, 1.0])
def test_a_branch_may_be_small_beside_what_tells_inputs_apart(alike):
    inputs = keras.Input((8,), name="x")
    stem = dense(8, name="stem")(inputs)
    branch = dense(8, "relu", name="first")(stem)
    added = layers.add([stem, dense(8, name="second")(branch)], name="sum")
    model = keras.Model(inputs, dense(2, name="out")(added))
    forward = {"stem": moments(1.0, correlation=alike)}
    forward |= dict.fromkeys(["first", "first/relu", "second"], 1e-5)
    backward = dict.fromkeys(["first", "first/relu"], 1e-5)
    small = {"signal_vanishes", "gradient_vanishes"}
    found = faults(model, forward, backward)
    assert small & found.keys() == (small if alike else set())
    # Where it is hopeless, nothing grows in time.
    forward |= dict.fromkeys(["first", "first/relu", "second"], 1e-12)
    assert "signal_vanishes" in faults(model, forward)


@pytest.mark.parametrize("let_go", [True, False])
def test_infinities_around_what_a_maximum_is_taken_of_are_no_fault(let_go):
    inputs = keras.Input((4, 4, 3), name="x")
    h = layers.Conv2D(8, 3, padding="same", name="kernel")(inputs)
    h = ops.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-math.inf)
    h = layers.MaxPooling2D(3, name="highest")(h)
    model = keras.Model(inputs, layers.Dense(2, name="out")(h))
    figures = {"pad": moments(finite=0.5), "highest": moments(finite=1.0 if let_go else 0.5)}
    assert ("not_finite" in faults(model, figures)) is not let_go
    # What overflows is a fault, also where it is bounded after.
    assert "not_finite" in faults(model, {"kernel": moments(finite=0.5)})


def test_a_mask_is_no_signal():
    inputs = keras.Input((6,), dtype="int32", name="words")
    h = layers.Embedding(20, 8, mask_zero=True, name="table")(inputs)
    h = layers.LSTM(8, return_sequences=True, name="lstm")(h)
    h = layers.TimeDistributed(layers.Dense(4, activation="relu"), name="each")(h)
    model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(3), name="out")(h))
    small = {"table": 1e-3, "lstm": 1e-4, "each": 1e-4, "each/relu": 5e-5, "out": 5e-5}
    assert not faults(model, small)


def test_update_ratios_of_singular_values_do_not_go_by_the_width():
    """Of 256 × 64 entries of deviation 2 the largest singular value is near 2 (16 + 8) = 48."""
    model = chain((8, 8, 4), layers.Conv2D(64, (8, 8), name="conv"), layers.Flatten(), dense(2))
    graph, _ = roles_of(model)
    kernel = 2.0 * np.random.default_rng(0).standard_normal((256, 64))
    gradient = np.outer(np.ones(256), np.ones(64))
    ratio = np.sqrt(np.mean(gradient**2)) / 2.0
    (moved,) = [
        ratio
        for ratio, call in zip(
            spectral(graph, [ratio] * len(graph.calls)), graph.calls, strict=True
        )
        if call.path == "conv"
    ]
    assert moved == pytest.approx(0.5 * 128 / 24)
    largest = np.linalg.norm(gradient, 2) / np.linalg.norm(kernel, 2)
    assert moved == pytest.approx(largest, rel=0.05)
    assert spectral(graph, [None] * len(graph.calls)) == [None] * len(graph.calls)


@pytest.mark.parametrize(
    ("parts", "figures", "consequence"),
    [
        ([dense(8, "relu", name="d0")], {}, Consequence.NOTE),
        ([dense(8, "tanh", name="d0")], {"d0/tanh": moments(saturated_fraction=0.6)},
         Consequence.SERIOUS),
        ([dense(8, "tanh", name="d0")], {"d0/tanh": moments(saturated_fraction=0.4)},
         Consequence.NOTE),
        ([layers.Reshape((4, 2)), layers.LSTM(3, name="d0")], {}, Consequence.SERIOUS),
        ([dense(8, name="d0"), layers.BatchNormalization()], {}, None),
    ],
)  # fmt: skip
def test_data_that_are_not_scaled(parts, figures, consequence):
    model = keras.Sequential([keras.Input((8,), name="data"), *parts, dense(2, name="out")])
    passing = {part.name: 2e3 for part in parts if isinstance(part, layers.Reshape)}
    found = faults(model, {"data": 2e3, "d0": 1.0, "out": 1.0} | passing | figures)
    fault = found.get("unscaled_input")
    assert (fault and fault.consequence) == consequence
    if fault is not None:
        assert (fault.path, fault.remedy) == ("d0", "scale_input")
    below = {"data": 90.0} | dict.fromkeys(passing, 90.0) | figures
    assert "unscaled_input" not in faults(model, below)


@pytest.mark.parametrize(("variance", "told"), [(1e-6, True), (1e-3, False)])
def test_data_that_were_scaled_before(variance, told):
    model = chain((8,), layers.Rescaling(1 / 255, name="again"), dense(2, name="out"))
    found = faults(model, {"again": variance, "out": variance})
    assert ("unscaled_input" in found) is told


@pytest.mark.parametrize(
    ("optimizer", "word"), [("sgd", "will struggle"), ("adam", "trains"), (None, "trains")]
)
def test_small_branches_by_plain_descent(optimizer, word):
    x = given = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same")(x)
    for _ in range(2):
        first, second = (keras.initializers.RandomNormal(stddev=1e-3) for _ in range(2))
        y = layers.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer=first)(x)
        y = layers.Conv2D(16, 3, padding="same", kernel_initializer=second)(y)
        x = layers.add([x, y])
    model = keras.Model(given, dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    if optimizer is not None:
        model.compile(optimizer, "categorical_crossentropy")
    verdict = check(model, verbose=False).verdicts["uploaded"]
    assert verdict.verdict == word
    assert ("without momentum" in verdict.reason) is (word != "trains")


def test_a_small_head_before_a_fixed_factor_is_a_head():
    """DDPG's actor: drawn small on purpose, times the largest action."""
    given = keras.Input((3,))
    hidden = dense(256, "relu")(dense(256, "relu")(given))
    head = keras.initializers.RandomUniform(-0.003, 0.003)
    model = keras.Model(given, dense(1, "tanh", kernel_initializer=head)(hidden) * 2.0)
    assert check(model, verbose=False).verdicts["uploaded"].verdict == "trains"


@pytest.mark.parametrize(("mean", "remedy"), [(-6.0, "bias_at_zero"), (-1.0, "autoinit_helps")])
def test_units_that_a_bias_keeps_at_zero(mean, remedy):
    figures = {"d1": replace(moments(1.0), mean=mean), "d1/relu": moments(0.0, dead_fraction=1.0)}
    assert faults(deep(), figures)["dead_channels"].remedy == remedy


def named(model, start):
    """An operation's name, which has a number."""
    return next(each.name for each in model.operations if each.name.startswith(start))


@pytest.mark.parametrize(("square", "told"), [(1e-8, False), (1e-20, True)])
def test_a_head_that_gets_nothing_of_its_input(square, told):
    given = keras.Input((8,), name="x")
    model = keras.Model(given, dense(2, name="out")(ops.exp(-ops.square(given))))
    figures = {named(model, "exp"): square, "out": square}
    assert ("signal_vanishes" in faults(model, figures)) is told


@pytest.mark.parametrize(
    ("divisor", "word", "remedy"), [(1.0, "trains", "none_needed"), (1e5, "cannot", "drop_factor")]
)
def test_a_factor_behind_the_last_kernel_that_leaves_no_gradient(divisor, word, remedy):
    given = keras.Input((16,))
    hidden = dense(32, "relu")(given)
    model = keras.Model(given, ops.softmax(dense(4)(hidden) / divisor))
    model.compile("sgd", "categorical_crossentropy")
    verdict = check(model, verbose=False).verdicts["uploaded"]
    assert verdict.verdict.startswith(word)
    assert verdict.remedy == remedy


@pytest.mark.parametrize(("phase", "consequence"), [(500.0, "serious"), (300.0, "note")])
def test_sines_of_data_that_are_not_scaled(phase, consequence):
    given = keras.Input((8,), name="data")
    model = keras.Model(given, dense(2, name="out")(ops.sin(30.0 * dense(8, name="d0")(given))))
    found = faults(model, {"data": 2e3, named(model, "multiply"): phase})
    assert found["unscaled_input"].consequence == consequence


@pytest.mark.parametrize(("deviation", "told"), [(1.0, False), (30.0, True)])
def test_lookups_that_saturate_gates(deviation, told):
    drawn = keras.initializers.RandomNormal(stddev=deviation)
    lookup = layers.Embedding(20, 8, embeddings_initializer=drawn, name="words")
    model = chain((12,), lookup, layers.LSTM(8), dense(3, "softmax"), dtype="int32")
    verdict = check(model, verbose=False).verdicts["uploaded"]
    assert verdict.causes == (("init_vs_activation",) if told else ())
    assert not told or ("'words'" in verdict.reason and verdict.remedy == "redraw_random")


@pytest.mark.parametrize(("square", "told"), [(1e3, True), (10.0, False)])
def test_a_normalization_that_was_adapted_to_other_data(square, told):
    columns = layers.Normalization(mean=[5.0, 300.0], variance=[1.0, 1e4], name="columns")
    model = chain((2,), columns, dense(8, "relu", name="d0"), dense(1, name="out"))
    found = faults(model, {"columns": square, "d0": 1.0, "out": 1.0}).get("unscaled_input")
    assert (found is not None) is told
    if found is not None:
        assert (found.consequence, found.remedy) == (Consequence.SERIOUS, "scale_input")
        assert "'columns'" in found.message


@pytest.mark.parametrize(("growth", "borne"), [(2e3, True), (2e4, False)])
def test_a_gradient_that_grows_by_little_is_borne(growth, borne):
    found = faults(deep(), {}, {f"d{n}": growth ** (1 - n / 6) for n in range(6)})
    assert found["gradient_explodes"].bearable is borne
