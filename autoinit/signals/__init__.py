"""Signal models: what is known of a tensor's entries, and how layers change it.

`independent` is the paper's: mean and variance of independent Gaussian entries. `correlated`
carries distributions, and covariances between positions and samples. Rules are written once, for
both.
"""

from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.independent import IndependentSignal
from autoinit.signals.signal import Signal

SIGNAL_MODELS: dict[str, type[Signal]] = {
    "correlated": CorrelatedSignal,
    "independent": IndependentSignal,
}
DEFAULT_SIGNAL_MODEL = "correlated"
