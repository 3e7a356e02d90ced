import math

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.propagation import Options, input_signals, predict
from autoinit.reading import read_model
from autoinit.rules import sampling
from autoinit.rules.registry import Support
from tests.autoinit.rules.checks import check_given_weights, predicted, signals_for
from tests.contracts.cases import PAIR, RECURRENT, SHIFTED, case

# Recurrence and biases of zero; over one step what is left is the activation of the kernel.
LINEAR = {
    "activation": "linear",
    "kernel_initializer": "ones",
    "recurrent_initializer": "zeros",
    "bias_initializer": "zeros",
}


@pytest.mark.parametrize(
    ("case", "mean", "variance"),
    [
        # x₁ + x₂ + x₃.
        (case(layers.SimpleRNN, "one step", (1, 3), units=2, moments=SHIFTED, **LINEAR), 1.5, 4.5),
        # The last step alone, as nothing recurs.
        (case(layers.SimpleRNN, "two steps", (2, 3), units=2, moments=SHIFTED, **LINEAR), 1.5, 4.5),
        # The candidate is tanh(0), whatever the gates.
        (
            case(layers.GRU, "kernel of zeros", (3, 2), units=2, kernel_initializer="zeros"),
            0.0,
            0.0,
        ),
        (
            case(
                layers.Bidirectional,
                "the sum of both ways",
                (1, 3),
                moments=SHIFTED,
                build=lambda x: layers.Bidirectional(layers.SimpleRNN(2, **LINEAR), "sum")(x),
            ),
            3.0,
            18.0,
        ),
        (
            case(
                layers.ConvLSTM1D,
                "kernel of zeros",
                (2, 3, 1),
                filters=2,
                kernel_size=2,
                kernel_initializer="zeros",
                recurrent_initializer="zeros",
            ),
            0.0,
            0.0,
        ),
        # x₁ + x₂ + x₃ + h₁ + h₂.
        (
            case(
                layers.SimpleRNNCell,
                "sums",
                (3,),
                (2,),
                moments=PAIR,
                build=lambda x, h: layers.SimpleRNNCell(
                    2, **LINEAR | {"recurrent_initializer": "ones"}
                )(x, [h]),
            ),
            1.5 - 2.0,
            4.5 + 0.8,
        ),
        # Gates of ½ and a candidate of 0: h/2.
        (
            case(
                layers.GRUCell,
                "zeros",
                (3,),
                (2,),
                moments=PAIR,
                build=lambda x, h: layers.GRUCell(
                    2, kernel_initializer="zeros", recurrent_initializer="zeros"
                )(x, [h]),
            ),
            -0.5,
            0.1,
        ),
        # The sum of two equal sums of three.
        (
            case(
                layers.StackedRNNCells,
                "sums of sums",
                (3,),
                (2,),
                (2,),
                moments=(*SHIFTED, *PAIR),
                build=lambda x, h, k: layers.StackedRNNCells(
                    [layers.SimpleRNNCell(2, **LINEAR) for _ in range(2)]
                )(x, [[h], [k]]),
            ),
            3.0,
            18.0,
        ),
    ],
    ids=str,
)
def test_by_hand(case, mean, variance):
    outcome = predicted(case, samples=2000).results[-1]
    signal = outcome.signals[0]
    assert outcome.support is Support.SAMPLED
    assert signal.variance == pytest.approx(variance, abs=5 * outcome.standard_error)
    # The mean over sequences, of which there are at least 256.
    assert signal.mean == pytest.approx(mean, abs=5 * math.sqrt(variance / 256))


def test_standard_error_is_the_spread_over_seeds():
    model = case(layers.GRU, "", (3, 4), units=8, moments=SHIFTED)
    graph = read_model(model.model())
    outcomes = [
        predict(graph, signals_for(model, graph), Options(seed=seed, samples=512)).results[-1]
        for seed in range(12)
    ]
    spread = np.std([outcome.signals[0].variance for outcome in outcomes], ddof=1)
    stated = np.mean([outcome.standard_error for outcome in outcomes])
    assert 0.5 < spread / stated < 2.0


def test_sampling_ends_when_the_variance_is_known():
    # One step of a wide layer has many entries: a batch is enough.
    wide = case(layers.SimpleRNN, "", (1, 40), units=200)
    outcome = predicted(wide, samples=10**9).results[-1]
    assert outcome.standard_error <= 0.01 * outcome.signals[0].variance


def counted_batches(monkeypatch):
    batches = []
    run = sampling._run

    def counting(call, tensors, context):
        batches.append(call.layer)
        return run(call, tensors, context)

    monkeypatch.setattr(sampling, "_run", counting)
    return batches


def test_equal_weights_and_equal_inputs_are_sampled_once(monkeypatch):
    batches = counted_batches(monkeypatch)
    model = case(layers.LSTM, "", (3, 40), units=200).model()
    graph = read_model(model)

    def outcome(kind="correlated", variance=1.0, seed=0, of=graph):
        signals = input_signals(of, variance=variance, signal_model=kind)
        result = predict(of, signals, Options(seed=seed)).results[-1]
        return result.signals[0].variance, result.standard_error

    first = outcome()
    once = len(batches)
    assert outcome() == first
    assert outcome("independent") == pytest.approx(first)  # whose inputs are the same
    assert len(batches) == once
    assert len({first, outcome(variance=2.0), outcome(seed=1)}) == 3
    model.layers[-1].set_weights([2 * weight for weight in model.get_weights()])
    doubled = outcome()
    assert len(set(map(id, batches))) == 1  # of the layer there is one copy
    assert doubled[0] > 1.2 * first[0]
    assert doubled == pytest.approx(outcome(of=read_model(model)))


def test_the_correlated_model_looks_at_samples_that_the_papers_does_not(monkeypatch):
    batches = counted_batches(monkeypatch)
    model = case(layers.GRU, "", (4, 5), units=64, return_sequences=True).model()
    graph = read_model(model)
    counts = []
    for kind in ("independent", "correlated", "independent"):
        predict(graph, input_signals(graph, signal_model=kind))
        counts.append(len(batches))
    assert 0 < counts[0] < counts[1] == counts[2]


def test_recurrent_layers_keep_their_initialisers():
    model = case(layers.LSTM, "", (3, 4), units=8)
    result = predicted(model, planned=True, samples=128)
    assert not result.scales
    assert not result.results[-1].weighted


def test_the_outputs_of_a_layer_with_states_have_signals_of_their_own():
    # The cell's state is not squashed: its variance is larger than the output's.
    model = case(layers.LSTM, "", (3, 4), units=8, return_state=True, moments=((0.0, 9.0),))
    output, state, cell = predicted(model, samples=512).results[-1].signals
    assert output == state
    assert cell.variance > 1.5 * output.variance


def test_a_stateful_layer_is_sampled_without_memory():
    layer = layers.LSTM(8, stateful=True)
    data = keras.Input(batch_shape=(4, 3, 5))
    model = keras.Model(data, layer(data))
    layer.states[0].assign(np.full((4, 8), 7.0))
    graph = read_model(model)
    stateful = predict(graph, input_signals(graph), Options(samples=512)).results[-1]
    assert (keras.ops.convert_to_numpy(layer.states[0]) == 7.0).all()
    fresh = layers.LSTM(8)
    data = keras.Input((3, 5))
    model = keras.Model(data, fresh(data))
    fresh.set_weights(layer.get_weights()[:3])
    graph = read_model(model)
    other = predict(graph, input_signals(graph), Options(samples=512)).results[-1]
    error = math.hypot(stateful.standard_error, other.standard_error)
    assert abs(stateful.signals[0].variance - other.signals[0].variance) < 5 * error


@pytest.mark.parametrize("case", RECURRENT, ids=str)
def test_real_layer(case):
    check_given_weights(case)


def test_a_stateful_layer_is_sampled_in_as_many_sequences_as_another():
    """In batches of the two that it takes, it took thousands of calls, and was five times off."""

    def chain(**options):
        return keras.Sequential(
            [
                keras.Input(**options),
                layers.LSTM(8, return_sequences=True, stateful="batch_shape" in options),
                layers.LSTM(6, stateful="batch_shape" in options),
            ]
        )

    free, bound = chain(shape=(12, 3)), chain(batch_shape=(2, 12, 3))
    bound.set_weights([w.numpy() for w in free.weights])
    graphs = [read_model(model) for model in (free, bound)]
    one, other = (predict(graph, input_signals(graph)).results[-1].signals[0] for graph in graphs)
    assert other.variance == pytest.approx(one.variance, rel=0.05)
