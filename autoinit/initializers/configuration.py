"""`weight_init_config`: the options of the published package, checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autoinit.errors import SettingsError
from autoinit.initializers.distributions import DISTRIBUTIONS
from autoinit.initializers.schemes import SCHEMES
from autoinit.rules.fallbacks import UNSUPPORTED
from autoinit.signals import DEFAULT_SIGNAL_MODEL, SIGNAL_MODELS

_Check = tuple[Callable[[Any], bool], str]


def _one_of(choices: Collection[str]) -> _Check:
    return lambda value: value in choices, f"one of {', '.join(choices)}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FLAG: _Check = (lambda value: isinstance(value, bool)), "True or False"
_SIZE: _Check = (lambda value: _is_whole(value) and value >= 1), "a whole number of at least 1"
_NUMBER: _Check = (
    lambda value: (_is_whole(value) or isinstance(value, float)) and value >= 1,
    "a number of at least 1",
)
# Which values an option may have, and in words.
_VALUES: dict[str, _Check] = {
    "distribution": _one_of(DISTRIBUTIONS),
    "constrain_weights": _FLAG,
    "monte_carlo_samples": _NUMBER,
    "recurrent_monte_carlo_samples": _NUMBER,
    "signal_model": _one_of(SIGNAL_MODELS),
    "keep_frozen": _FLAG,
    "zero_kernels": _one_of(("keep", "replace")),
    "unsupported": _one_of(UNSUPPORTED),
    "scheme": _one_of(SCHEMES),
    "calibrate": _FLAG,
    "training": _FLAG,
    "batch_size": _SIZE,
    "unknown_size": _SIZE,
    "seed": (lambda value: value is None or _is_whole(value), "an integer or None"),
}


@dataclass(frozen=True)
class Configuration:
    """Options of AutoInit.

    Attributes:
        distribution: which distribution kernels are drawn from.
        constrain_weights: keep kernels at zero mean and their scale throughout training.
        monte_carlo_samples: of the published package; pooling is exact here, and does not use it.
        recurrent_monte_carlo_samples: most sequences for a recurrent layer's estimate.
        signal_model: what is carried through the network: `correlated` (distributions, and
            covariances between positions and samples) or `independent` (the paper's mean and
            variance).
        keep_frozen: leave the weights of frozen layers (`trainable=False`) as they are, and draw
            the others for the signal that these really give. For live models only: a configuration
            brings no weights.
        zero_kernels: `keep` leaves kernels at zero that start there on purpose, as the last of a
            residual branch, of a low-rank adapter or of the network; `replace` draws them.
        unsupported: what becomes of layers without a rule: `pass_through` (taken as unchanged, as
            the paper does), `sample` (estimated by Monte Carlo through the layer itself) or
            `error`.
        training: mode of the model that kernels are drawn for; in inference mode, say, dropout
            passes everything.
        batch_size: how many samples batch normalisation is predicted to see together.
        unknown_size: size taken for axes that the model leaves open.
        seed: of every draw; None takes one from Python's generator, as Keras does.
        scheme: how kernels are drawn: a key of `SCHEMES`.
        calibrate: whether each kernel is then scaled by what is measured behind it, in one pass of
            Gaussian inputs.
    """

    distribution: str = "truncated_normal"
    constrain_weights: bool = False
    monte_carlo_samples: float = 1e7
    recurrent_monte_carlo_samples: float = 1e4
    signal_model: str = DEFAULT_SIGNAL_MODEL
    keep_frozen: bool = False
    zero_kernels: str = "keep"
    unsupported: str = "pass_through"
    training: bool = True
    batch_size: int = 128
    unknown_size: int = 32
    seed: int | None = None
    scheme: str = "autoinit"
    calibrate: bool = False

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any] | None) -> Configuration:
        """Check a `weight_init_config`.

        Raises:
            ValueError: for an unknown key or value, listing the right ones.
        """
        names = [field.name for field in fields(cls)]
        for key in config or {}:
            if key not in names:
                raise SettingsError(
                    f"weight_init_config has no key {key!r}. The keys are: {', '.join(names)}."
                )
        made = cls(**dict(config or {}))
        for name, (is_right, expected) in _VALUES.items():
            value = getattr(made, name)
            if not is_right(value):
                raise SettingsError(
                    f"weight_init_config[{name!r}] must be {expected}. Received: {value!r}"
                )
        return made

    def as_dict(self) -> dict[str, Any]:
        """For estimators written by users."""
        return asdict(self)
