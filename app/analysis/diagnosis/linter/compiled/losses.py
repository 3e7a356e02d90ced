"""The last activation against the loss that is stored with a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.analysis.diagnosis.fault import Consequence, Fault
from app.analysis.diagnosis.linter.architecture import (
    NORMALIZERS,
    Architecture,
    LayerStep,
    function_name,
)
from app.analysis.diagnosis.linter.structure import last_of

CATEGORICAL = frozenset(
    [
        "categoricalcrossentropy",
        "sparsecategoricalcrossentropy",
        "categoricalfocalcrossentropy",
        "sparsecategoricalfocalcrossentropy",
    ]
)
BINARY = frozenset(["binarycrossentropy", "binaryfocalcrossentropy"])
_DIVERGENCES = frozenset(["kldivergence", "kullbackleiblerdivergence", "kld"])
# Not log_softmax: its softmax is the same probabilities, and so it may stand before logits.
_PROBABILITIES = frozenset({"softmax", "sigmoid", "hard_sigmoid", "sparsemax"})
# Functions that no one takes for a probability: they may leave [0, 1], or hold no two classes.
_NOT_PROBABILITIES = frozenset([
    "relu", "relu6", "leaky_relu", "leakyrelu", "elu", "selu", "gelu", "silu", "swish", "softplus",
    "tanh", "exponential", "exp", "prelu", "linear", "softsign", "mish", "celu", "log_softmax",
    "logsoftmax",
])  # fmt: skip
_NEVER_NEGATIVE = frozenset({"relu", "relu6", "softplus", "exponential", "sigmoid", "softmax"})
_DYING = frozenset({"relu", "relu6"})


def output_faults(
    architecture: Architecture, compiled: Mapping[str, Any] | None
) -> Iterator[Fault]:
    """Outputs that cannot give what the loss expects.

    Args:
        architecture: of the model.
        compiled: the settings as stored: `compile_config` of Keras 3, `training_config` of Keras 2.
    """
    losses = losses_of(compiled, architecture)
    for index, (step, activation) in last_of(architecture).items():
        loss = losses.get(index)
        if loss is None:
            continue
        name, from_logits = loss
        found = _mismatch(name, from_logits, step, activation) or _one_sided(
            architecture, name, activation
        )
        if found is not None:
            yield Fault(
                "output_activation_vs_loss",
                step.path,
                step.class_name,
                found,
                "change_last_activation",
                _consequence(name, from_logits, step, activation),
            )


# Keras divides positive outputs by their sum, and on TensorFlow takes back a sigmoid or softmax
# before logits: classes are learnt all the same. Small classifiers of digits, the best of three
# rates of SGD: softmax, sigmoid, softplus and exponential 98 to 99 % right, hard_sigmoid 52 %, ReLU
# 46 %, none 15 %, tanh 10 %; none before a binary loss 61 %, by Adam 91 %. By Adam: a normalization
# behind the softmax 81 to 94 % (descent 0 to
# 21 %), in its place 18 to 91 % (0 to 28 %); of three by a softmax of ReLUs one lost three digits.
_LEARNED_ALL_THE_SAME = frozenset(
    {"softmax", "sigmoid", "hard_sigmoid", "softplus", "exponential", "exp"}
)


def _consequence(
    name: str, from_logits: bool, step: LayerStep, activation: LayerStep | None
) -> Consequence:
    """Whether a loss and an activation that do not belong together keep a network from training."""
    function = activation.activation if activation is not None else None
    constant = step.channels == 1 and (function == "softmax" or name in CATEGORICAL)
    learned = from_logits or name not in CATEGORICAL or function in _LEARNED_ALL_THE_SAME
    # By Adam what a normalization gives is learnt, by descent hardly.
    hopeless = constant or (not learned and step.class_name not in NORMALIZERS)
    return Consequence.FATAL if hopeless else Consequence.SERIOUS


def _mismatch(
    name: str, from_logits: bool, step: LayerStep, activation: LayerStep | None
) -> str | None:
    function = activation.activation if activation is not None else None
    here = f"{step.path!r} ends with {function or 'no activation'}"
    units = step.channels
    shown = {"categorical": "a softmax", "binary": "a sigmoid"}
    if name in CATEGORICAL | BINARY:
        kind = "categorical" if name in CATEGORICAL else "binary"
        if kind == "categorical" and units == 1:
            return (
                f"{here} over a single unit, which {name} takes for the only class: it is always "
                "right, and nothing is learnt. Use binary_crossentropy and a sigmoid, or a unit "
                "for each class."
            )
        if from_logits:
            if function in _PROBABILITIES:
                return (
                    f"{here}, and the loss takes logits (from_logits=True): the {function} is "
                    "applied twice. Leave it out, or set from_logits=False."
                )
            if function in ("relu", "relu6", "softplus", "exponential"):
                return f"{here}: logits are never negative, and the loss needs them to be."
            return None
        if function is None and not _may_hide_activation(step):
            return (
                f"{here}, and {name} expects probabilities: put {shown[kind]} behind, or set "
                "from_logits=True."
            )
        if function in _NOT_PROBABILITIES:
            return f"{here}, which gives no probabilities; {name} expects {shown[kind]}."
        if name in CATEGORICAL and function in ("sigmoid", "hard_sigmoid"):
            return (
                f"{here}: sigmoids do not add up to 1 as classes do, and {name} looks at one of "
                "them only. Use a softmax, or binary_crossentropy."
            )
        if function == "softmax" and units == 1:
            return f"{here} over a single unit, which is always 1. Use a sigmoid."
    if name in _DIVERGENCES and (
        function in _NOT_PROBABILITIES or (function is None and step.is_kernel)
    ):
        return f"{here}, and the divergence compares probabilities: use a softmax."
    if name in _DIVERGENCES and function in ("sigmoid", "hard_sigmoid") and units != 1:
        return (
            f"{here}: sigmoids do not add up to 1, and the divergence is least where all of them "
            "are 1. Use a softmax."
        )
    if name == "poisson" and (function == "tanh" or (function is None and step.is_kernel)):
        return f"{here}: rates may be negative, and Poisson's loss takes their logarithm."
    return None


def _one_sided(architecture: Architecture, name: str, activation: LayerStep | None) -> str | None:
    """What is never negative before a sigmoid, which is then 0.5 or more, or before a softmax."""
    function = activation.activation if activation is not None else None
    if activation is None or (function, name in BINARY) not in (
        ("sigmoid", True),
        ("softmax", False),
    ):
        return None
    before = architecture.steps[activation.inputs[0]]
    if before.activation not in _NEVER_NEGATIVE:
        return None
    if function == "sigmoid":
        return (
            f"{before.path!r} ends with {before.activation}, and a sigmoid of what is never "
            f"negative gives 0.5 and more whatever the input: {name} needs less for one of two "
            f"classes. Leave the {before.activation} out."
        )
    if before.activation not in _DYING or name not in CATEGORICAL:
        return None
    return (
        f"{before.path!r} ends with {before.activation} before the softmax: a class whose unit is "
        f"below 0 for all inputs gets no gradient and is never learnt. Leave the "
        f"{before.activation} out."
    )


def _may_hide_activation(step: LayerStep) -> bool:
    """Whether the last step may apply a function of its own: a layer that is not a plain one."""
    plain = step.is_kernel or step.activation == "linear" or step.class_name in NORMALIZERS
    return not plain


def classifies(compiled: Mapping[str, Any] | None, architecture: Architecture) -> bool:
    """Whether all outputs are classes: by their losses, or without one by their activations."""
    losses = losses_of(compiled, architecture)
    if losses:
        return all(name in CATEGORICAL | BINARY for name, _ in losses.values())
    last = [activation for _, activation in last_of(architecture).values()]
    return bool(last) and all(a is not None and a.activation in _PROBABILITIES for a in last)


def losses_of(
    compiled: Mapping[str, Any] | None, architecture: Architecture
) -> dict[int, tuple[str, bool]]:
    """Name and `from_logits` of each output's loss, by the output's step."""
    each = by_outputs(compiled, architecture)
    return {index: named for index, value in each.items() if (named := _named(value)) is not None}


def by_outputs(compiled: Mapping[str, Any] | None, architecture: Architecture) -> dict[int, Any]:
    """What is stored of each output's loss, by the output's step."""
    if not isinstance(compiled, Mapping):
        return {}
    loss = compiled.get("loss")
    outputs = architecture.outputs
    if isinstance(loss, Mapping) and "class_name" not in loss:
        steps = {architecture.steps[i].name: i for i in outputs}
        return {steps[name]: value for name, value in loss.items() if name in steps}
    if isinstance(loss, list | tuple):
        return dict(zip(outputs, loss, strict=False))
    return dict.fromkeys(outputs, loss)


def _named(loss: Any) -> tuple[str, bool] | None:
    config: Mapping[str, Any] = {}
    if isinstance(loss, Mapping):
        inner = loss.get("config")
        if loss.get("class_name") == "function":
            loss = function_name(loss)
        else:
            config = inner if isinstance(inner, Mapping) else {}
            if ">" in str(loss.get("registered_name")):
                return None  # one's own, whatever it is called
            loss = loss.get("class_name")
    if not isinstance(loss, str):
        return None
    plain = loss.lower().replace("_", "")
    plain = {"bce": "binarycrossentropy"}.get(plain, plain)
    return plain, config.get("from_logits") is True
