"""One walk through a graph's calls, in order: what arrives, what the rules make of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import keras
import numpy as np
from threadpoolctl import ThreadpoolController

from autoinit.errors import AutoInitError, RuleError
from autoinit.graph.model_graph import Call, ModelGraph, Parameter
from autoinit.graph.shapes import last_uses
from autoinit.propagation.by_hand import tensors_met_again, written_out
from autoinit.propagation.dependence import SUMS_OF_PRODUCTS, form_of, is_related, regions
from autoinit.propagation.values import Values
from autoinit.rules.fallbacks import not_run, pass_through, without_rule
from autoinit.rules.kernel_sources import Latents
from autoinit.rules.operations.signs import never_negative
from autoinit.rules.registry import Context, RuleResult, Support
from autoinit.rules.sampling import sample_calls
from autoinit.rules.shared_kernels import SharedKernels, variables_met_again
from autoinit.signals.scaled import alike, settled
from autoinit.signals.signal import Lineage, Observed, Signal

# Looked for once: to look through a process's libraries takes longer than a small network's pass.
_BLAS = ThreadpoolController().select(user_api="blas")


class Walk:
    """One walk through a graph's calls.

    Args:
        graph: of the model.
        inputs: the signals of its inputs, by value index.
        context: of the rules.
        measured: signals that take the place of the rules', by value index.
        latents: told the variance of each value.
    """

    def __init__(
        self,
        graph: ModelGraph,
        inputs: Mapping[int, Signal],
        context: Context,
        measured: Mapping[int, Signal],
        latents: Latents | None = None,
    ) -> None:
        self.graph = graph
        self.inputs = inputs
        met_again = variables_met_again(graph)
        self.shared = SharedKernels(met_again) if met_again else None
        if self.shared is not None:
            source = self.shared.recording(context.kernel_moments)
            context = replace(context, kernel_moments=source)
        self.context = replace(
            context, never_negative=never_negative(graph.calls), workspace=graph.workspace
        )
        self.measured, self.latents = measured, latents
        self.kind = type(next(iter(inputs.values())))
        # Factors of the products that their other factor is added to, and those calls' inputs.
        self.gates: dict[int, Signal] = {}
        self.gated = _gated(graph)
        self.regions = regions(graph)
        self.met_again = tensors_met_again(graph)
        self.signals: dict[int, Signal] = {}
        self.lineages: dict[Hashable, int] = {}
        owners = [id(call.layer) for call in graph.calls if call.part != "activation"]
        self.reuses = len(set(owners)) < len(owners)
        self.tainted: set[int] = set()
        self.warned: set[int] = set()
        self.values = Values(graph, self.context, self.kind)

    def results(self) -> tuple[RuleResult, ...]:
        """The results of all calls, in order."""
        results: list[RuleResult] = []
        # Its matrices are small: threads would wait for each other more than they compute.
        with _BLAS.limit(limits=1):
            for call, finished in zip(self.graph.calls, self._last_uses(), strict=True):
                results.append(self._result_of(call))
                # Signals may be large: they are let go of once nothing reads them.
                for index in finished:
                    del self.signals[index]
                    self.values.known.pop(index, None)
        return tuple(results)

    def _last_uses(self) -> list[set[int]]:
        """By call the values that are needed no more: sources of what is sampled last longer."""
        ends = [set(each) for each in last_uses(self.graph, running=False)]
        sampled = {
            place: region
            for place, region in self.regions.items()
            if type(region.calls[-1].layer).__name__ in SUMS_OF_PRODUCTS
        }
        for place, region in (sampled | self.met_again).items():
            sources = {value.index for value in region.sources}
            for finished in ends[:place]:
                ends[place] |= finished & sources
                finished -= sources
        return ends

    def _result_of(self, call: Call) -> RuleResult:
        try:
            return self._step(call)
        except (AutoInitError, MemoryError):
            raise
        except Exception as error:  # nothing that a model or a setting could mend
            raise RuleError(call.path, call.class_name, error) from error

    def _step(self, call: Call) -> RuleResult:
        """Leaves the signals of a call; gives its result, with what a measurement would show."""
        arrived = alike([self.signals[value.index] for value in call.inputs])
        result = self._mark_tainted(call, self._result(call, arrived))
        self._keep_gate(call, arrived)
        if self.shared is not None:
            result = self.shared.follow(call, arrived, result)
        for place, (value, signal) in enumerate(zip(call.outputs, result.signals, strict=True)):
            signal = settled(cast(Signal, signal)).arrange(value.positions)
            lineage = self._lineage(call, place, signal) if self.reuses else None
            self.signals[value.index] = signal.descended(lineage)
        observed = self._observed(call, result)
        if self.latents is not None:
            pairs = zip(call.outputs, observed, strict=True)
            self.latents.variances.update((value.index, each.variance) for value, each in pairs)
        return replace(result, signals=observed)

    def _lineage(self, call: Call, place: int, signal: Signal) -> Lineage | None:
        """Of an output; None where constants or signals without one are read."""
        if call.is_input:
            output = call.outputs[place]
            key: Hashable = signal.mean, signal.variance, output.sample
            inputs = frozenset((output.index,))
        else:
            behind = [self.signals[value.index].lineage for value in call.inputs]
            known = [each for each in behind if each is not None]
            if not known or len(known) < len(behind) or call.outputs[place].constant:
                return None
            # The same tensor twice is not what two are.
            order = [call.inputs.index(value) for value in call.inputs]
            read = tuple((each.layers, at) for each, at in zip(known, order, strict=True))
            key = id(call.layer), call.part, place, read
            inputs = frozenset[int]().union(*(each.inputs for each in known))
        return Lineage(self.lineages.setdefault(key, len(self.lineages)), inputs)

    def _keep_gate(self, call: Call, arrived: Sequence[Signal]) -> None:
        for reader, (product, place) in self.gated.items():
            if product == call.outputs[0].index:
                x = self.graph.calls[reader].inputs[place].index
                other = next(n for n, value in enumerate(call.inputs) if value.index != x)
                if arrived[other].latent_id != arrived[1 - other].latent_id:
                    self.gates[product] = arrived[other]

    def _result(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        if call.is_input:
            return RuleResult((self.inputs[call.outputs[0].index],), Support.NEUTRAL)
        if call.outputs[0].constant:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return self._of_constant(call, arrived)
        result = self._by_rule(call, arrived)
        if result.support is Support.PASS_THROUGH and call.placeholder is None:
            self._warn_unsupported(call)
        measured = self.measured.get(call.outputs[0].index)
        if measured is not None:
            result = _as_measured(result, measured)
        sampled = self.values.sample(call) if call.inputs else None
        return result if sampled is None else sampled

    def _by_rule(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        if call.placeholder is not None:
            return not_run(call, arrived, self.context.unsupported)
        context = self._context_of(call)
        if call.index in self.gated:
            product, place = self.gated[call.index]
            # x·s + x = x·(1 + s): a product and its factor go together.
            if product in self.gates:
                gate = self.gates.pop(product).affine(1.0, 1.0)
                return RuleResult((arrived[place].combine("multiply", [gate]),), Support.EXACT)
        whole = self._written_out(call)
        if whole is not None:
            return whole
        registration = context.registry.of_call(call)
        if registration is None:
            return without_rule(pass_through(call, arrived), call, arrived, context)
        # Signals that leave the range of floating point are findings, not warnings.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            result = registration.apply(call, arrived, context)
        if result.support is Support.PASS_THROUGH:
            result = without_rule(result, call, arrived, context)
        elif self._is_related(call, arrived, result):
            result = self._of_related(call, context) or replace(result, support=Support.APPROXIMATE)
        if not all(signal.finite for signal in arrived):
            # Some rules would make figures of it again, as normalisation does.
            unknown = self.kind.gaussian(math.nan, math.nan)
            result = replace(result, signals=(unknown,) * len(call.outputs))
        return result

    def _written_out(self, call: Call) -> RuleResult | None:
        """Of a tensor that meets what divides it by its own length, or makes shares of it."""
        region = self.met_again.get(call.index)
        if region is None:
            return None
        tensor, *constants = region.sources
        known = self.values.of(constants)
        form = form_of(region), tuple(np.asarray(known[index]).tobytes() for index in known)
        found = self.graph.workspace.written_out
        if form not in found:
            found[form] = written_out(region, known)
        if found[form] is None:
            return None
        signal = found[form].applied(self.signals[tensor.index])
        return RuleResult((signal,), Support.EXACT)

    def _is_related(self, call: Call, arrived: Sequence[Signal], result: RuleResult) -> bool:
        """Whether operands depend on each other that the rule took as independent."""
        region = self.regions.get(call.index)
        if region is None or not all(signal.finite for signal in arrived):
            return False
        alike = len({signal.latent_id for signal in arrived}) == 1
        if type(call.layer).__name__ not in SUMS_OF_PRODUCTS and alike:
            return False  # entry by entry, functions of the same Gaussians
        found, form = self.graph.workspace.related, form_of(region)
        if form not in found:
            found[form] = is_related(region, self.values.known)
        return found[form]

    def _of_related(self, call: Call, context: Context) -> RuleResult | None:
        """What products have in common, by samples of what their operands were made of."""
        if type(call.layer).__name__ not in SUMS_OF_PRODUCTS:
            return None
        region = self.regions[call.index]
        sources = [(value, self.signals[value.index]) for value in region.sources]
        found = sample_calls(region.calls, sources, self.values.known, context)
        if found is None:
            return None
        signals, error = found
        return RuleResult(signals, Support.SAMPLED, standard_error=error)

    def _context_of(self, call: Call) -> Context:
        known = self.values.of(call.inputs)
        return replace(self.context, known=known) if known else self.context

    def _mark_tainted(self, call: Call, result: RuleResult) -> RuleResult:
        """Keeps account of what comes after a call without a rule."""
        tainted = any(value.index in self.tainted for value in call.inputs)
        if tainted or result.support is Support.PASS_THROUGH:
            self.tainted.update(value.index for value in call.outputs)
        return replace(result, tainted=True) if tainted else result

    def _observed(self, call: Call, result: RuleResult) -> tuple[Observed, ...]:
        with np.errstate(over="ignore", invalid="ignore"):
            first, *others = (
                self.signals[value.index].observed(value.channels, self.context.batch)
                for value in call.outputs
            )
            if result.weighted and call.inputs:
                slope = self.signals[call.inputs[0].index].chi_1
                first = replace(first, chi_1=slope)
        return first, *others

    def _warn_unsupported(self, call: Call) -> None:
        if id(call.layer) in self.warned:
            return
        self.warned.add(id(call.layer))
        # The paper's package warns in these words on the root logger; scripts may look for them.
        logging.warning(
            "No LayerOutputDistributionEstimator found for layer %s. "
            "Using the default PassThroughOutputDistributionEstimator instead.",
            call.class_name,
        )

    def _of_constant(self, call: Call, arrived: Sequence[Signal]) -> RuleResult:
        """Computed from the values that there are; a layer's table is drawn like an embedding."""
        if isinstance(call.layer, Parameter):
            return self.values.parameter(call, call.layer)
        if isinstance(call.layer, keras.Layer):
            result = self._by_rule(call, list(arrived) or [self.kind.gaussian(0.0, 1.0)])
            places = call.outputs[0].positions
            signals = tuple(
                cast(Signal, signal).arrange(places).of_every_sample() for signal in result.signals
            )
            return replace(result, signals=signals)
        found = self.values.constants(call)
        return self._by_rule(call, arrived) if found is None else RuleResult(found, Support.EXACT)


def _gated(graph: ModelGraph) -> dict[int, tuple[int, int]]:
    """Sums of a tensor and of its product with another, such as a gate.

    Returns:
        By the sum's call: the product's value, and the tensor's place among the call's inputs.
    """
    makers, found = graph.producers(), dict[int, tuple[int, int]]()
    for call in graph.calls:
        if type(call.layer).__name__ != "Add" or len(call.inputs) != 2 or call.placeholder:
            continue
        for place, value in enumerate(call.inputs):
            maker = makers.get(call.inputs[1 - place].index)
            if maker is None or type(maker.layer).__name__ != "Multiply" or maker.placeholder:
                continue
            factors = {each.index for each in maker.inputs}
            whole = value.shape == call.outputs[0].shape == maker.outputs[0].shape
            if whole and len(factors) == len(maker.inputs) == 2 and value.index in factors:
                found[call.index] = (maker.outputs[0].index, place)
    return found


def _as_measured(result: RuleResult, signal: Signal) -> RuleResult:
    by_rule = result.support in (Support.EXACT, Support.APPROXIMATE)
    return replace(
        result,
        signals=(signal, *result.signals[1:]),
        support=Support.SAMPLED if by_rule else result.support,
    )
