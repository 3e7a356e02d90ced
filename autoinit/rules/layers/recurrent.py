"""Recurrent layers: Monte Carlo through a copy of the layer (appendix A, "Recurrent Layers").

They keep their configured initialisers, and so are not weighted calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from autoinit.graph.model_graph import Call
from autoinit.rules.registry import Context, RuleResult, Support, rule
from autoinit.rules.sampling import sample_layer
from autoinit.signals.signal import Signal

# Sequences do not see each other: so many parts of a batch tell how far their variances differ.
_GROUPS = 8
# Relative standard error of the variance. That of a measurement of 128 samples is about as large
# where the last step of a sequence is all that there is to see.
_PRECISION = 0.01


@rule(
    layers.SimpleRNN,
    layers.GRU,
    layers.LSTM,
    layers.Bidirectional,
    layers.RNN,
    layers.ConvLSTM1D,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
    layers.SimpleRNNCell,
    layers.GRUCell,
    layers.LSTMCell,
    layers.StackedRNNCells,
    support=Support.SAMPLED,
)
def recurrent(call: Call, inputs: Sequence[Signal], context: Context) -> RuleResult:
    """Mean and variance of each output over Gaussian sequences, with the standard error.

    A cell that stands alone is one step: its state is one of its inputs.
    """
    signals, error = sample_layer(call, inputs, context, _GROUPS, _PRECISION)
    return RuleResult(signals, standard_error=error)
