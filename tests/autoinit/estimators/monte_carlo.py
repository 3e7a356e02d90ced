"""Predictions against the real layer: seeded Gaussian input, moments, and their standard errors."""

import keras
import numpy as np

from autoinit.graph import read_model
from autoinit.initializer.drawing import SavedWeights, apply_plans, draw_configured_weights
from autoinit.propagate import Options, input_signals, plan, predict
from autoinit.registry import Support
from autoinit.signals.independent import IndependentSignal

BATCHES = 12
DRAWS = 64
ERRORS = 5  # standard errors that a measurement may lie from its prediction
ROUNDING = 1e-5  # of single precision, relative to the second moment


def signals_for(case, graph):
    """What reaches the model: the case's moments, or uniform indices."""
    if not case.dtype.startswith("float"):
        return input_signals(graph)
    return {
        call.outputs[0].index: IndependentSignal.gaussian(*moments)
        for call, moments in zip(graph.inputs, case.input_moments(), strict=True)
    }


def tensors_for(case, graph, generator, samples):
    """A batch of data with those moments."""
    bounds = graph.vocabulary()
    tensors = []
    for call, (mean, variance) in zip(graph.inputs, case.input_moments(), strict=True):
        (value,) = call.outputs
        shape = (samples, *value.shape[1:])
        if value.index in bounds:
            tensors.append(generator.integers(0, bounds[value.index], shape, dtype=value.dtype))
        else:
            tensors.append(
                (mean + np.sqrt(variance) * generator.standard_normal(shape)).astype("float32")
            )
    return tensors


def outputs_of(propagation):
    """Predicted first two moments of each output: (outputs, 2)."""
    signals = {
        value.index: signal
        for call, outcome in zip(propagation.graph.calls, propagation.outcomes, strict=True)
        for value, signal in zip(call.outputs, outcome.signals, strict=True)
    }
    return np.array(
        [[signals[v.index].mean, signals[v.index].second_moment] for v in propagation.graph.outputs]
    )


def measure(case, graph, model, generator, samples):
    """First two moments of each output over one batch: (outputs, 2)."""
    tensors = tensors_for(case, graph, generator, samples)
    outputs = model(tensors[0] if len(tensors) == 1 else tensors, training=case.training)
    arrays = [
        np.asarray(keras.ops.convert_to_numpy(output), np.float64)
        for output in keras.tree.flatten(outputs)
    ]
    return np.array([[array.mean(), (array**2).mean()] for array in arrays])


def compare(predicted, measured, known_to):
    """Hold measured against predicted moments, both (batches, outputs, 2), batch by batch.

    Args:
        known_to: largest standard error, as a share of the second moment, at which the
            comparison means something.
    """
    first, second = predicted.mean(0), measured.mean(0)
    scale = second[:, 1]
    for name, transform in {
        "mean": lambda table: table[..., 0],
        # To first order a variance changes like E x² − 2·mean·E x.
        "variance": lambda table: table[..., 1] - 2 * second[:, 0] * table[..., 0],
    }.items():
        differences = transform(measured) - transform(predicted)
        error = differences.std(0, ddof=1) / np.sqrt(len(differences))
        unit = np.sqrt(scale) if name == "mean" else scale
        assert (error <= known_to * unit).all(), f"{name}: too few samples, {error / unit}"
        deviation = differences.mean(0)
        allowed = ERRORS * error + ROUNDING * unit
        assert (np.abs(deviation) <= allowed).all(), (
            f"{name}: predicted {first.tolist()}, measured {second.tolist()}, "
            f"off by {deviation / np.where(error > 0, error, 1)} standard errors"
        )


def check_given_weights(case, known_to=0.01):
    """The prediction for the weights that a model has."""
    model = case.model()
    graph = read_model(model)
    signals = signals_for(case, graph)
    generator = np.random.default_rng(1)
    state = SavedWeights(model.non_trainable_weights)
    result = predict(graph, signals, Options(training=case.training, samples=512))
    again = case.redrawn or any(o.support is Support.SAMPLED for o in result.outcomes)
    predicted, measured = [], []
    for batch in range(BATCHES):
        if case.redrawn:
            draw_configured_weights(graph, seed=batch)
        if again:
            options = Options(training=case.training, seed=batch, samples=512)
            result = predict(graph, signals, options)
        predicted.append(outputs_of(result))
        state.restore()  # the batch before has moved moving statistics
        measured.append(measure(case, graph, model, generator, case.samples))
    compare(np.array(predicted), np.array(measured), known_to)
    return result


def check_planned_weights(case, known_to=0.02):
    """The prediction for AutoInit's weights, over draws of them."""
    model = case.model()
    graph = read_model(model)
    generator = np.random.default_rng(2)
    result = plan(graph, signals_for(case, graph), Options(training=case.training))
    assert result.plans
    measured = []
    for batch in range(DRAWS):
        apply_plans(result.plans, "truncated_normal", seed=batch)
        measured.append(measure(case, graph, model, generator, case.samples // 16))
    compare(np.array([outputs_of(result)] * len(measured)), np.array(measured), known_to)
    return result
