"""Recurrent layers: Monte Carlo through a copy of the layer (appendix A, "Recurrent Layers").

They keep their configured initialisers, and so are not weighted calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from autoinit.graph import Call
from autoinit.registry import Context, Outcome, Support, rule
from autoinit.sampling import sample_layer
from autoinit.signals.signal import Signal


@rule(
    layers.SimpleRNN, layers.GRU, layers.LSTM, layers.Bidirectional, layers.RNN,
    support=Support.SAMPLED,
)  # fmt: skip
def recurrent(call: Call, inputs: Sequence[Signal], context: Context) -> Outcome:
    """Mean and variance of the layer's output over Gaussian sequences, with the standard error."""
    signals, error = sample_layer(call, inputs, context)
    return Outcome(signals, standard_error=error)
