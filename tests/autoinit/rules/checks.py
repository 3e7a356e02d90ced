"""Predictions of tiny models: as they are, and against seeded Monte Carlo of the real layer.

Values by hand are those of the paper's model; the Monte Carlo holds for every model.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest

from autoinit.graph.input_moments import known_integers
from autoinit.initializers.drawing import SavedWeights, apply_plans, draw_configured_weights
from autoinit.propagation import Options, input_signals, plan, predict
from autoinit.reading import read_model
from autoinit.rules.registry import Support
from autoinit.running.inputs import draw_inputs
from autoinit.signals import SIGNAL_MODELS

BATCHES = 32
DRAWS = 64  # of AutoInit's weights
FEW_BATCHES = 12  # where the prediction itself is sampled anew for each
SEQUENCES = 512  # that a sampled prediction uses
ERRORS = 5  # standard errors that a measurement may lie from its prediction
# Relative to the second moment: of single precision, and of a distribution on a grid.
ROUNDING = {"independent": 1e-5, "correlated": 1e-4}

# Cases that the correlated model is known to miss, and why. They must stay missed: who mends the
# cause takes the case off this list.
MISSED = {"Dot: of unit vectors": "the entries of a unit vector are not independent"}


def missed(case, signal_model):
    return signal_model == "correlated" and str(case) in MISSED


def signals_for(case, graph, signal_model="independent"):
    """What reaches the model: the case's moments, or uniform indices."""
    if not case.dtype.startswith("float"):
        return input_signals(graph, signal_model=signal_model)
    return {
        call.outputs[0].index: SIGNAL_MODELS[signal_model].gaussian(*moments)
        for call, moments in zip(graph.inputs, case.input_moments(), strict=True)
    }


def predicted(case, *, planned=False, **options):
    """The analytic pass over a case, with the weights that it has or with AutoInit's."""
    graph = read_model(case.model())
    interpret = plan if planned else predict
    return interpret(graph, signals_for(case, graph), Options(training=case.training, **options))


def last_signal(case, *, planned=False, **options):
    """The signal that leaves a case with one output."""
    return predicted(case, planned=planned, **options).results[-1].signals[0]


def check_given_weights(case, known_to=0.01):
    """Compare the predictions for the weights that a model has."""
    model = case.model()
    graph = read_model(model)
    state = SavedWeights(model.non_trainable_weights)
    generator = np.random.default_rng(1)
    options = Options(training=case.training, samples=SEQUENCES, batch=case.samples)

    def predictions(options):
        results = {
            name: predict(graph, signals_for(case, graph, name), options) for name in SIGNAL_MODELS
        }
        return {name: _outputs(result) for name, result in results.items()}

    first = predict(graph, signals_for(case, graph), options)
    sampled = any(outcome.support is Support.SAMPLED for outcome in first.results)
    found = None
    predicted, measured = [], []
    for batch in range(FEW_BATCHES if sampled else BATCHES):
        if case.redrawn:
            draw_configured_weights(graph, seed=batch)
        state.restore()  # the batch before has moved moving statistics
        if found is None or case.redrawn or sampled:
            found = predictions(replace(options, seed=batch))
        predicted.append(found)
        measured.append(_measured(case, graph, model, generator, case.samples))
    for name in SIGNAL_MODELS:
        table = np.array(
            [[each[name], seen] for each, seen in zip(predicted, measured, strict=True)]
        )
        _compare(case, name, table, 2 * known_to if sampled else known_to)


def check_planned_weights(case, known_to=0.01):
    """Compare the predictions for AutoInit's weights, over draws of them."""
    model = case.model()
    graph = read_model(model)
    samples = case.samples // 6
    options = Options(training=case.training, batch=samples)
    results = {name: plan(graph, signals_for(case, graph, name), options) for name in SIGNAL_MODELS}
    plans = results["independent"].scales
    assert plans, "the case has no kernel that AutoInit sets"
    generator = np.random.default_rng(2)
    measured = []
    for seed in range(DRAWS):
        apply_plans(plans, "truncated_normal", seed)
        measured.append(_measured(case, graph, model, generator, samples))
    for name, result in results.items():
        if missed(case, name):
            continue
        deviations = [found.standard_deviation for found in result.scales]
        expected = [found.standard_deviation for found in plans]
        assert deviations == pytest.approx(expected, rel=1e-3)
        table = np.array([[_outputs(result), seen] for seen in measured])
        _compare(case, name, table, known_to)


def _outputs(propagation):
    """Predicted first two moments of each output: (outputs, 2)."""
    signals = {
        value.index: signal
        for call, outcome in zip(propagation.graph.calls, propagation.results, strict=True)
        for value, signal in zip(call.outputs, outcome.signals, strict=True)
    }
    found = [signals[value.index] for value in propagation.graph.outputs]
    return np.array([[signal.mean, signal.second_moment] for signal in found])


def _measured(case, graph, model, generator, samples):
    """First two moments of each output of the real model over one batch: (outputs, 2)."""
    tensors = _data(case, graph, generator, samples)
    outputs = model(tensors, training=case.training)
    arrays = [
        np.asarray(keras.ops.convert_to_numpy(output), np.float64)
        for output in keras.tree.flatten(outputs)
    ]
    return np.array([[array.mean(), (array**2).mean()] for array in arrays])


def _data(case, graph, generator, samples):
    vocabulary, known = graph.vocabulary(), known_integers(graph)
    tensors = []
    for call, (mean, variance) in zip(graph.inputs, case.input_moments(), strict=True):
        (value,) = call.outputs
        shape = (samples, *value.shape[1:])
        # Integers that nothing bounds are 0 and 1, as in `input_signals`.
        size = vocabulary.get(value.index, None if value.dtype.startswith("float") else 2)
        if value.dtype == "string":
            drawn = draw_inputs(graph, samples, int(generator.integers(2**31)))
            tensors.append(keras.ops.convert_to_tensor(drawn[value.index]))
        elif value.index in known:
            tensors.append(generator.choice(known[value.index], shape).astype(value.dtype))
        elif size is not None:
            tensors.append(generator.integers(0, size, shape).astype(value.dtype))
        else:
            noise = generator.standard_normal(shape)
            tensors.append((mean + np.sqrt(variance) * noise).astype("float32"))
    return tensors


def _compare(case, signal_model, table, known_to):
    """Hold predictions against measurements, given as (batches, 2, outputs, 2 moments).

    Predictions may differ from batch to batch, with the weights or with the seed: what is tested
    is that the differences have mean zero. The largest standard error at which that says anything
    is `known_to`, relative to the signal's scale.
    """
    prediction, measurement = table.mean(0)
    mean, second = measurement.T
    # To first order the variance changes like E x² − 2·mean·E x.
    table = np.stack([table[..., 0], table[..., 1] - 2 * mean * table[..., 0]], axis=-1)
    differences = table[:, 1] - table[:, 0]
    deviation = differences.mean(0)
    error = differences.std(0, ddof=1) / np.sqrt(len(differences))
    unit = np.stack([np.sqrt(second), second - mean**2], axis=-1)
    assert (error <= known_to * unit).all(), f"too few samples: errors are {error / unit}"
    allowed = ERRORS * error + ROUNDING[signal_model] * second[:, None]
    assert (np.abs(deviation) <= allowed).all() != missed(case, signal_model), (
        f"{signal_model}: predicted {prediction.tolist()}, measured {measurement.tolist()} (mean, "
        f"second moment); mean and variance are off by {deviation} ± {error}"
    )
