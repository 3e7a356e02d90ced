"""Transformers of `keras_hub`: opened whole, predicted, and re-initialised."""

import math

import numpy as np
import pytest

from autoinit.propagation import input_signals, plan
from autoinit.reading import read_model
from benchmarks.transformers import backbones, ratios

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of layers that keras_hub builds late, and their masks
]


@pytest.fixture(scope="module")
def makers():
    return backbones()


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "ViT", "T5", "Whisper", "Gemma", "Llama"])
def test_a_transformer_has_no_call_without_a_rule_and_is_predicted(name, makers):
    model = makers[name]()
    graph = read_model(model)
    assert not [call.path for call in graph.calls if call.untraceable]
    result = plan(graph, input_signals(graph))
    states = {str(outcome.support) for outcome in result.results}
    assert "pass_through" not in states
    assert len(result.scales) >= 8
    for series in ("default", "autoinit"):
        _, found, _ = ratios(model, series, draws=3)
        logs = np.abs(np.log(found[np.isfinite(found)]))
        assert np.median(logs) < math.log(1.15), series
        pairs = zip(graph.calls, result.results, strict=True)
        weighted = [outcome.weighted and not call.is_internal for call, outcome in pairs]
        assert np.quantile(np.abs(np.log(found[weighted])), 0.9) < math.log(1.6), series
