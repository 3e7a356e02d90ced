"""Hints about the input that a network expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from keras import layers

from app.analysis.diagnosis.thresholds import INPUT_MEAN_OFF, INPUT_VARIANCE_OFF
from autoinit.arrays import as_array
from autoinit.findings import Finding
from autoinit.graph.input_moments import PerInput, input_moments
from autoinit.graph.model_graph import Call, ModelGraph
from autoinit.rules import RULES
from autoinit.rules.registry import Context
from autoinit.signals.independent import IndependentSignal


def input_scaling(
    graph: ModelGraph, mean: PerInput, variance: PerInput, from_data: bool = False
) -> Iterator[Finding]:
    """For inputs that Rescaling or Normalization layers receive: the input that they expect.

    That is the one which leaves them with mean 0 and variance 1; nothing is said where the
    input's moments are close to it.

    Args:
        graph: the model.
        mean, variance: of its inputs.
        from_data: whether they are those of real data, not a choice.
    """
    moments = input_moments(graph, mean, variance)
    which = "the input" if len(graph.inputs) == 1 else "this input's"
    for entrance in graph.inputs:
        own_mean, own_variance = moments[entrance.outputs[0].index]
        scalers = _scalers(graph, entrance)
        if not scalers:
            continue
        offset = _through(scalers, 0.0, 0.0)
        gain = _through(scalers, 1.0, 0.0).mean - offset.mean
        if gain == 0.0:
            continue
        expected_mean, expected_variance = 0.0 - offset.mean / gain, 1.0 / gain**2
        off = abs(own_mean - expected_mean) > INPUT_MEAN_OFF * expected_variance**0.5
        if (
            off
            or not 1 / INPUT_VARIANCE_OFF < own_variance / expected_variance < INPUT_VARIANCE_OFF
        ):
            first = scalers[0]
            expected = (
                f"it is made for data of mean {expected_mean:.6g} and variance "
                f"{expected_variance:.6g}. Data that were scaled before are scaled twice."
                if from_data
                else f"set {which} mean to {expected_mean:.6g} and {which} variance to "
                f"{expected_variance:.6g}."
            )
            yield Finding(
                "input_scaling", first.path, first.class_name,
                f"The network scales its input {entrance.path!r} itself ({first.class_name}) and "
                f"does not expect mean {own_mean:g} and variance {own_variance:g}: {expected}",
            )  # fmt: skip


def _scalers(graph: ModelGraph, entrance: Call) -> list[Call]:
    """The chain of scaling layers that an input enters."""
    chain: list[Call] = []
    value = entrance.outputs[0]
    for call in graph.calls:
        if value in call.inputs:
            if not isinstance(call.layer, (layers.Rescaling, layers.Normalization)):
                break
            chain.append(call)
            value = call.outputs[0]
    return chain


def _through(calls: list[Call], mean: float, variance: float) -> IndependentSignal:
    signal = IndependentSignal.gaussian(mean, variance)
    for call in calls:
        registration = RULES.find(call.layer)
        if registration is None:
            continue
        (scaled,) = registration.apply(call, [signal], _CONTEXT).signals
        signal = IndependentSignal.gaussian(scaled.mean, scaled.variance)
    return signal


def _no_weights(*arguments: object) -> NoReturn:
    raise AssertionError("Scaling layers have no kernel.")


_CONTEXT = Context(training=False, kernel_moments=_no_weights, load=as_array)
