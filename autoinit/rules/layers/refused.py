"""Layers of Keras without a rule, and why: the finding about a pass-through says it."""

from __future__ import annotations

from autoinit.rules.fallbacks import REASONS

_JAX = "it runs a function of JAX, which does not say what it computes"

# By name: a version of Keras without one of these classes has nothing to refuse.
REASONS.update(
    {
        "Equalization": "Keras takes its output for its input, so that no graph can hold it",
        "FlaxLayer": _JAX,
        "JaxLayer": _JAX,
        # It has a rule, which needs a copy of the layer.
        "RandomShear": (
            "Keras refuses the configuration that it writes for a factor that is a number"
        ),
        "TFSMLayer": "it runs a SavedModel of TensorFlow, which does not say what it computes",
        "TorchModuleWrapper": "it runs a module of PyTorch, which does not say what it computes",
    }
)

OPENED = frozenset([
    "AdditiveAttention", "Attention", "GroupedQueryAttention", "Lambda", "Layer",
    "MultiHeadAttention", "Pipeline", "Wrapper",
])  # fmt: skip
"""Layers that are opened into their parts."""
