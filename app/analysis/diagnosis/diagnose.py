"""The diagnosis of one analysis: from what was read and measured to faults and verdicts.

configuration ──► structure, losses ─────────┐
values ─────────► initial kernels, training ─┼─► faults ──► remedies ──► a verdict per series
figures ────────► signals, gradients, units ─┘
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from app.analysis.diagnosis.fault import Fault, found_by
from app.analysis.diagnosis.linter.architecture import NORMALIZERS
from app.analysis.diagnosis.linter.compiled.losses import classifies
from app.analysis.diagnosis.linter.compiled.optimizers import (
    curvature,
    descent_rate,
    gradient_scale,
    learns_by_steps,
    optimizer_of,
    takes_small_steps,
    unscaled_descent,
)
from app.analysis.diagnosis.linter.compiled.steps import stalled_steps
from app.analysis.diagnosis.linter.lint import Linted
from app.analysis.diagnosis.linter.training import statistics_mismatch
from app.analysis.diagnosis.linter.zeros import zero_kernels
from app.analysis.diagnosis.measured.dropout import dropout_upon_dropout
from app.analysis.diagnosis.measured.flow import Point, statistic_branches
from app.analysis.diagnosis.measured.inputs import (
    UNSCALED,
    collapse,
    constant_outputs,
    entrances,
    unscaled_inputs,
)
from app.analysis.diagnosis.measured.products import products_upon_products
from app.analysis.diagnosis.measured.reach import unreached
from app.analysis.diagnosis.measured.series import Measured, received_by_normalizers, spectral
from app.analysis.diagnosis.measured.signals import (
    distortions,
    gradient_changes,
    gradient_not_finite,
    gradient_over_batch_normalizations,
    gradient_within_recurrences,
    largest_changes,
    not_finite,
    signal_changes,
    slow_branches,
)
from app.analysis.diagnosis.measured.units import dead_units, saturated_units
from app.analysis.diagnosis.outputs import by_outputs
from app.analysis.diagnosis.roles import Role, roles_of
from app.analysis.diagnosis.verdict import SMALL, Verdict, Word, gathered, verdict_of, with_remedies
from autoinit.graph.model_graph import ModelGraph
from autoinit.propagation import Propagation
from autoinit.signals.signal import Observed, Signal
from probes.moments.figures import Moments


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        faults: of the file and of each series.
        verdicts: by series.
        trained: whether the file's weights were trained.
    """

    faults: tuple[Fault, ...] = ()
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    trained: bool = False


@dataclass(frozen=True, eq=False)
class SeriesFigures:
    """What was measured with one series of weights.

    Attributes:
        forward, backward: moments of each call's first output and of its gradient; an empty
            sequence where gradients could not be measured.
        growth: faults of recurrences, measured with these weights.
        updates: update ratio of each call's kernel; empty where gradients could not be measured.
        zero: indices of the calls whose kernels are zero; None for those of the file.
        slope: squared norm of a sample's gradient for all weights; None where it is not known.
    """

    forward: Sequence[Moments | None]
    backward: Sequence[Moments | None]
    growth: tuple[Fault, ...] = ()
    updates: Sequence[float | None] = ()
    zero: frozenset[int] | None = None
    slope: float | None = None


def diagnose(
    graph: ModelGraph,
    weighted: Sequence[bool],
    linted: Linted,
    series: Mapping[str, SeriesFigures],
    disabled: Collection[str] = (),
) -> Diagnosis:
    """Faults and verdicts.

    Args:
        graph: the calls.
        weighted: for each call whether it has a kernel that AutoInit sets.
        linted: what the file shows by itself.
        series: figures by the series' names.
        disabled: codes of faults that do not count.
    """
    roles = roles_of(graph, weighted)
    architecture = linted.architecture
    zero_paths = {architecture.steps[i].path for i in zero_kernels(architecture)}
    zero = frozenset(
        call.index
        for call in graph.calls
        if call.path in zero_paths and roles[call.index] is Role.KERNEL
    )
    optimizer = optimizer_of(linted.compiled)
    faults = list(linted.faults)
    codes = {fault.code for fault in faults}
    moved: dict[str, Sequence[float | None]] = {}
    changes: dict[str, tuple[float, float]] = {}
    for name, figures in series.items():
        backward = figures.backward or [None] * len(graph.calls)
        own_zero = (
            zero
            if figures.zero is None
            else frozenset(index for index in figures.zero if roles[index] is Role.KERNEL)
        )
        measured = Measured(
            graph, roles, figures.forward, backward, own_zero, name, figures.updates, figures.slope
        )
        found = [*measured_faults(measured), *figures.growth]
        moved[name] = _moved(measured)
        changes[name] = largest_changes(measured, points_of(measured))
        if name == "uploaded":
            found += statistics_mismatch(architecture, received_by_normalizers(measured))
        if linted.trained and name == "uploaded":
            found = [fault for fault in found if fault.code in _OF_A_CHECKUP]
        if not _takes_small_steps(linted, measured):
            found = [
                replace(f, bearable=False) if f.code in _BORNE_BY_SMALL_STEPS else f for f in found
            ]
        if not classifies(linted.compiled, architecture):
            found = [
                replace(f, bearable=False) if f.code == "signal_explodes" else f for f in found
            ]
        on_purpose = "zero_on_purpose" in codes and "zero_kernel" not in codes
        faults += [f for f in found if f.code != "constant_output" or not on_purpose]
        if not linted.trained:
            faults += found_by((_descent_rate, _stalled_steps), linted, measured)
            if optimizer is not None and optimizer.is_plain:
                faults += found_by((slow_branches,), measured, points_of(measured))
    functions = Counter(
        step.activation
        for step in architecture.steps
        if step.activation and step.index not in architecture.output_set
    )
    by_selu = 2 * functions["selu"] > functions.total() and "init_vs_activation" not in codes
    normalized = any(step.class_name in NORMALIZERS for step in architecture.steps)
    counted = [
        fault
        for fault in with_remedies(by_outputs(graph, faults), functions, normalized)
        if fault.code not in disabled
    ]
    verdicts = {
        name: verdict_of(
            name,
            counted,
            _measured_share(graph, roles, figures.forward),
            linted.trained and name == "uploaded",
            moved[name],
            by_selu,
            None if optimizer is None else learns_by_steps(architecture, optimizer),
            changes[name],
        )
        for name, figures in series.items()
    }
    return Diagnosis(tuple(gathered(counted)), verdicts, linted.trained)


def _moved(measured: Measured) -> list[float | None]:
    """Update ratios of the largest singular values of kernels whose size is judged, if known."""
    if not measured.updates:
        return []
    return [
        ratio
        for index, ratio in enumerate(spectral(measured.graph, measured.updates))
        if index not in measured.steering
    ]


def measured_faults(measured: Measured) -> Iterator[Fault]:
    """All faults that the figures of a series show."""
    points = points_of(measured)
    yield from unreached(measured)
    yield from dropout_upon_dropout(measured)
    yield from unscaled_inputs(measured)
    yield from not_finite(measured)
    yield from gradient_not_finite(measured)
    yield from dead_units(measured)
    yield from signal_changes(measured, points)
    yield from gradient_changes(measured, points)
    yield from gradient_within_recurrences(measured)
    yield from gradient_over_batch_normalizations(measured, points)
    yield from distortions(measured, points)
    yield from products_upon_products(measured)
    yield from collapse(measured)
    yield from saturated_units(measured)
    yield from constant_outputs(measured)


def points_of(measured: Measured) -> list[Point]:
    """The places where levels count."""
    aside = measured.gates | statistic_branches(measured.graph, measured.roles)
    return measured.flow.points(aside)


_BORNE_BY_SMALL_STEPS = frozenset({"gradient_explodes", "gradient_differs"})


def _takes_small_steps(linted: Linted, measured: Measured) -> bool:
    """Whether the stored optimizer takes small steps, by what was measured of a series."""
    optimizer, graph = optimizer_of(linted.compiled), measured.graph
    if optimizer is None or len(graph.outputs) != 1:
        return False
    (output,) = graph.outputs
    size = output.entries, int(output.shape[-1] or 1)
    scale = gradient_scale(linted.architecture, linted.compiled, *size)
    return takes_small_steps(optimizer, measured.updates, scale)


def _descent_rate(linted: Linted, measured: Measured) -> Iterator[Fault]:
    """The stored rate of plain gradient descent beside what was measured of a series."""
    optimizer, graph = optimizer_of(linted.compiled), measured.graph
    if optimizer is None or not measured.updates or len(graph.outputs) != 1:
        return
    (output,) = graph.outputs
    told = linted.architecture, linted.compiled, output.entries, int(output.shape[-1] or 1)
    large = [each for each in entrances(measured) if each.square >= UNSCALED]
    if large and measured.slope is not None:
        data = max(each.square for each in large)
        slope = max(measured.slope, *(each.slope for each in large))
        yield from unscaled_descent(optimizer, data, slope, curvature(*told), measured.series)
    else:
        yield from descent_rate(
            linted.architecture, optimizer, measured.updates, gradient_scale(*told), measured.series
        )


def _stalled_steps(linted: Linted, measured: Measured) -> Iterator[Fault]:
    """The stored optimizer's steps, of gradients as they were measured of a series."""
    if not measured.updates or len(measured.graph.outputs) != 1:
        return
    (output,) = measured.graph.outputs
    size = output.entries, int(output.shape[-1] or 1)
    scale = gradient_scale(linted.architecture, linted.compiled, *size)
    yield from stalled_steps(
        linted.architecture, linted.compiled, measured.updates, scale, measured.series
    )


def foreseen(
    graph: ModelGraph,
    linted: Linted,
    predicted: Propagation,
    series: str,
    disabled: Collection[str] = (),
) -> Verdict:
    """The verdict on one series before anything was measured: by the file and the rules' signals.

    Args:
        graph: the calls.
        linted: what the file shows by itself.
        predicted: what the rules say of the series' weights.
        series: its name.
        disabled: codes of faults that do not count.
    """
    signals = [result.signals[0] for result in predicted.results]
    figures = SeriesFigures([_as_measured(signal) for signal in signals], ())
    weighted = [result.weighted for result in predicted.results]
    verdict = diagnose(graph, weighted, linted, {series: figures}, disabled).verdicts[series]
    if verdict.trained:
        return verdict
    if verdict.verdict is Word.TRAINS:
        told = "Signals arrive in a size that trains; gradients have to be measured."
        return replace(verdict, reason=told)
    optimizer = optimizer_of(linted.compiled)
    adaptive = optimizer is not None and learns_by_steps(linted.architecture, optimizer)
    hopeless = verdict.verdict is Word.CANNOT and not adaptive
    if verdict.causes and SMALL.issuperset(verdict.causes) and not hopeless:
        told = (
            f"{verdict.reason} Whether gradients move the kernels all the same has to be measured."
        )
        return replace(verdict, verdict=Word.UNKNOWN, reason=told)
    return verdict


def _as_measured(signal: Signal | Observed) -> Moments:
    """A predicted signal as figures of a tensor of single precision."""
    alike = (
        (signal.sample_correlation, signal.position_correlation)
        if isinstance(signal, Observed)
        else (None, None)
    )
    return Moments(
        0,
        signal.mean,
        signal.variance,
        -math.inf,
        math.inf,
        0.0,
        1.0 if signal.second_moment < _LARGEST_SQUARE else 0.0,
        *alike,
    )


_LARGEST_SQUARE = float(np.finfo(np.float32).max) ** 2
# Of weights that were trained: what no training leaves behind on purpose.
_OF_A_CHECKUP = frozenset([
    "not_finite", "dead_channels", "saturated", "train_inference_mismatch", "constant_output",
    "recurrent_growth", "correlation_collapse",
])  # fmt: skip


def _measured_share(
    graph: ModelGraph, roles: Sequence[Role], forward: Sequence[Moments | None]
) -> float:
    kernels = [call.index for call in graph.calls if roles[call.index] is Role.KERNEL]
    if not kernels:
        return 1.0
    return sum(forward[index] is not None for index in kernels) / len(kernels)
