"""The heart of it: predictions beside measurements, for each series of weights.

Whoever is new here reads this page first. A *series* is one way to come to weights: `uploaded` (the
file's own), `default` (the layers' initializers), `autoinit`, or another scheme that was asked for.
Weights that are drawn are drawn `settings.seeds` times. For each of them

- the rules predict mean and variance at every call, and nothing is run;
- samples go forward through the same calls, and from the figures of both comes a verdict;
- what no verdict needs follows: the other signal model, spectra, number formats.

`compare` has the order; how a step is done stands in `steps`, how a probe is called in
`measurements`, and what is found in `found`. `app.analysis.reporting` makes of that the result that
a file has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.analysis.comparison.found import Comparison
from app.analysis.comparison.progress import OnProgress
from app.analysis.comparison.steps import Analysis
from app.analysis.diagnosis.linter.lint import Linted, lint_model
from app.analysis.settings import Settings
from autoinit.rules import RULES
from autoinit.rules.registry import Registry
from autoinit.running.inputs import Data


def compare(
    model: Any,
    settings: Settings,
    *,
    uploaded: bool,
    registry: Registry = RULES,
    progress: OnProgress = lambda fraction, stage: None,
    preview: Callable[[Comparison], None] = lambda comparison: None,
    data: Data | None = None,
    linted: Linted | None = None,
    brief: bool = False,
) -> Comparison:
    """Analyse a model with its default, its uploaded and AutoInit's weights.

    The model is worked on in place: it ends with AutoInit's weights of the first draw, and with
    its layers' initialisers recorded.

    Args:
        model: with a graph.
        settings: of the analysis.
        uploaded: whether the model's own weights are a series; if not, they count as a draw by
            its initialisers.
        registry: rules to use.
        progress: told the share done and what is being done.
        preview: given what is known so far whenever a series has been predicted, of which nothing
            has been measured then, when it has, and when its verdict rests on that; the last time
            before what nobody looks at yet is done.
        data: real data for the inputs, by their names.
        linted: what the file shows by itself; the model's own configuration by default.
        brief: whether only the weights that count are a series, those that came or else those of
            the initializers, beside the schemes', and only the chosen signal model predicts.

    Raises:
        UnsupportedLayerError: for a layer without a rule, where the settings refuse it.
        ModelFileError: for data that do not fit the inputs.
        ValueError: for moments of an input that is not there, or that takes integers.
    """
    linted = linted or lint_model(model)
    analysis = Analysis(model, settings, uploaded, registry, data, progress, brief)
    for series in analysis.series:
        with analysis.timed(series):
            # Backwards, so that the first draw's weights are those that stay.
            for draw in reversed(range(settings.seeds)):
                analysis.set_weights_and_predict(series, draw)
                if series not in analysis.found.probes:
                    analysis.foresee(series, linted)
                    preview(analysis.found)
                analysis.measure(series, draw)
            preview(analysis.found)
            analysis.measure_backward(series)
            analysis.judge(linted)
            preview(analysis.found)
            analysis.look_further(series)
    analysis.conclude(model)
    return analysis.found
