"""Transformers of `keras_hub`: opened whole, predicted, and re-initialised."""

import pytest

from autoinit.propagation import input_signals, plan
from autoinit.reading import read_model
from benchmarks.menagerie import hub
from benchmarks.menagerie.catalogue import Architecture
from benchmarks.menagerie.measuring import EQUAL, measured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of layers that keras_hub builds late, and their masks
]


@pytest.mark.parametrize("name", ["Bert", "GPT2", "ViT", "T5", "Whisper", "Gemma", "Llama"])
def test_a_transformer_has_no_call_without_a_rule_and_is_predicted(name):
    family, build = hub.architectures()[name]
    graph = read_model(build(), 16)
    assert not [call.path for call in graph.calls if call.untraceable]
    assert len(plan(graph, input_signals(graph)).scales) >= 8
    row = measured(Architecture("keras_hub", family, name, build))
    assert row.unknown == 0
    assert row.replay <= EQUAL
    assert row.verdict == row.autoinit_verdict == "trains"
    assert row.default_agree > 0.7 * row.default_compared
    assert row.autoinit_agree > 0.7 * row.autoinit_compared
    assert row.calibrated > 0.9 * row.weighted
