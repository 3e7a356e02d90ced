"""What a comparison finds, as it comes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.analysis.comparison.inputs import Inputs
from app.analysis.diagnosis.diagnose import Diagnosis
from app.analysis.diagnosis.fault import Fault
from app.analysis.diagnosis.verdict import Verdict
from autoinit.findings import Finding
from autoinit.graph.model_graph import ModelGraph, weights_of
from autoinit.propagation import Propagation
from autoinit.rules import RULES
from autoinit.rules.registry import KernelScale, Registry
from probes.devices import Device
from probes.fisher import FisherInformation
from probes.formats import FormatEffects
from probes.forward import Probe
from probes.gradients import Gradients
from probes.jacobian import JacobianSpectrum


class Summary(NamedTuple):
    """How many weights a layer has, and the class that draws its kernel."""

    parameters: int
    initializer: str | None


def summaries_of(graph: ModelGraph) -> dict[int, Summary]:
    """What `model.summary()` has of the layers, by the index of the first call of each."""
    found: dict[int, Summary] = {}
    counted: set[int] = set()
    for call in graph.calls:
        layer = call.layer
        if not hasattr(layer, "weights") or call.part == "activation" or id(layer) in counted:
            continue
        counted.add(id(layer))
        drawn_by = (getattr(layer, f"{name}_initializer", None) for name in _KERNELS)
        first = next((each for each in drawn_by if each is not None), None)
        found[call.index] = Summary(
            sum(math.prod(variable.shape) for variable in weights_of(layer)),
            None if first is None else type(first).__name__,
        )
    return found


_KERNELS = ("depthwise", "kernel", "embeddings")


@dataclass
class Comparison:
    """What was found for each series, draw by draw.

    Attributes:
        graph: the calls.
        predictions, probes: one per draw, by series.
        other_model: the signal model that was not chosen.
        by_other: what that one predicts for the first draw's weights, by series.
        gradients: one per draw, by series, where they were asked for and could be measured.
        few_gradients: of the first draw and of few samples, by series: what the verdict rests on.
        zeros: indices of the calls whose kernels are zero in the first draw, of series drawn anew.
        updates: update ratios of the first draw's kernels, by series: one for each call.
        growth: faults of recurrent layers, by series.
        foreseen: verdicts on what is predicted, by series.
        diagnosis: faults and verdicts.
        jacobians, fisher: of the first draw's weights, likewise.
        formats: what number formats do with them, by series and format.
        deviations: of the first draw's kernels, by series and identity of the variable.
        taken: the series whose first draw the model is left with.
        distribution: that AutoInit drew from.
        registry: of the rules that were used.
        inputs: what the inputs were taken to be.
        kept: identities of the frozen layers' weights, where those were kept.
        findings: what a person should know.
        timings: seconds by series.
        summaries: of the layers as they came, by the index of the first call of each.
    """

    graph: ModelGraph
    other_model: str
    predictions: dict[str, list[Propagation]] = field(default_factory=dict)
    probes: dict[str, list[Probe]] = field(default_factory=dict)
    by_other: dict[str, Propagation] = field(default_factory=dict)
    gradients: dict[str, list[Gradients]] = field(default_factory=dict)
    few_gradients: dict[str, Gradients] = field(default_factory=dict)
    zeros: dict[str, frozenset[int]] = field(default_factory=dict)
    updates: dict[str, Sequence[float | None]] = field(default_factory=dict)
    growth: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    foreseen: dict[str, Verdict] = field(default_factory=dict)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    jacobians: dict[str, JacobianSpectrum] = field(default_factory=dict)
    fisher: dict[str, FisherInformation] = field(default_factory=dict)
    formats: dict[str, dict[str, FormatEffects]] = field(default_factory=dict)
    deviations: dict[str, dict[int, float]] = field(default_factory=dict)
    taken: str = "autoinit"
    distribution: str = "truncated_normal"
    registry: Registry = RULES
    inputs: Inputs | None = None
    kept: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    summaries: dict[int, Summary] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[KernelScale, ...]:
        """How the kernels of the model that is taken home were drawn."""
        return self.predictions[self.taken][0].scales

    @property
    def device(self) -> Device:
        """Where the probes ran."""
        return self.probes["autoinit"][0].device

    @property
    def batch_size(self) -> int:
        """The smallest batch that went through together."""
        return min(probe.batch_size for probes in self.probes.values() for probe in probes)

    @property
    def samples(self) -> dict[str, int]:
        """How many samples were measured by series: the fewest of its draws."""
        return {
            series: min(probe.samples for probe in probes) for series, probes in self.probes.items()
        }
