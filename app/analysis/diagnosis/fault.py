"""What a diagnosis finds: one fault of a model, its place, its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Consequence(StrEnum):
    """How much a fault weighs in the verdict.

    Attributes:
        FATAL: the network cannot train.
        SERIOUS: it will struggle.
        NOTE: worth knowing; no part of the verdict.
    """

    FATAL = "fatal"
    SERIOUS = "serious"
    NOTE = "note"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        code: of the table of findings.
        path: of the layer where it starts.
        class_name: of that layer.
        message: what is wrong, where, with figures: a sentence or two.
        remedy: a word of `REMEDIES`.
        consequence: for the verdict.
        series: whose weights show it; None where it is the file's, whatever the weights.
        bearable: whether networks learn all the same, as long as nothing else is wrong.
        others: paths of further layers that have it.
    """

    code: str
    path: str
    class_name: str
    message: str
    remedy: str
    consequence: Consequence = Consequence.SERIOUS
    series: str | None = None
    bearable: bool = False
    others: tuple[str, ...] = ()


def found_by(rules: Iterable[Callable[..., Iterable[Fault]]], *given: Any) -> Iterator[Fault]:
    """What rules find. One that a configuration of a shape of its own trips up finds nothing."""
    for rule in rules:
        try:
            yield from list(rule(*given))
        except Exception:  # a stranger's configuration may hold anything anywhere
            continue


def layers_have(count: int) -> str:
    """How a sentence about layers begins."""
    return "One layer has" if count == 1 else f"{count:,} layers have"


# What to do, in a sentence each.
REMEDIES = {
    "autoinit_helps": "Take AutoInit's weights: its own series shows the difference.",
    "change_activation": "Change the activation of the hidden layers: ReLU, GELU or SELU for "
    "sigmoid, exponential or softmax.",
    "change_last_activation": "Change the last activation, or the loss that goes with it.",
    "add_nonlinearity": "Put an activation between the layers, or leave one of them out.",
    "add_normalisation": "Put a normalization between the layers.",
    "add_skips": "Lead skip connections round every two or three layers, or take fewer layers.",
    "keep_from_zero": "Keep what it gets above zero: add a small number, such as 1e-6, to what a "
    "root or a logarithm takes and to what is divided by.",
    "orthogonal": "Draw the kernels by an orthogonal initializer "
    '(kernel_initializer="orthogonal"; recurrent_initializer in a recurrence).',
    "widen": "Make the layers wider, or fewer.",
    "scale_input": "Scale the input once, to mean 0 and variance 1, before the first kernel.",
    "redraw_random": "Draw the kernels at random, by He's or Glorot's initializer.",
    "reseed": "Leave the seed out, or give each layer one of its own.",
    "bound_recurrence": "Use tanh in the recurrence, gates (LSTM, GRU), or orthogonal recurrent "
    "kernels.",
    "lower_rate": "Drop less: a rate of 0.1 to 0.5.",
    "weaken_regularizer": "Take a weaker penalty: L2 of 1e-4 to 1e-2, L1 of 1e-5 to 1e-3.",
    "loosen_constraint": "Leave the constraint out, or let norms reach 1 and more: "
    "max_norm of 2 to 4.",
    "change_loss": "Take the loss with its default arguments.",
    "start_at_one": 'Start gamma at 1 (gamma_initializer="ones"): zeros belong at the end of a '
    "residual branch only.",
    "move_dropout": "Put the dropout before the last layer, or leave it out.",
    "unfreeze": "Set trainable=True for the layers that are to learn, and compile the model anew.",
    "let_gradient_through": "Take a smooth function in its place while training, softmax for "
    "argmax or a sigmoid for a threshold, or let the gradient go straight through: "
    "x + stop_gradient(round(x) - x).",
    "drop_normalization": "Leave this normalization out, or let it span more than one entry.",
    "bias_at_zero": 'Start the biases at 0 (bias_initializer="zeros").',
    "change_rate": "Begin training with the learning rate that is named.",
    "default_optimizer": "Take the optimizer with its default settings, or Adam with a rate of "
    "0.001.",
    "longer_schedule": "Count decay_steps in steps, not in epochs, or leave the schedule out.",
    "weaken_decay": "Take a weaker weight_decay: 0.001 to 0.1.",
    "clip_less": "Clip gradients to norms of about 1, or not at all.",
    "faster_descent": "Train by Adam or with momentum, or take AutoInit's weights.",
    "fix_statistics": "Set moving_mean and moving_variance anew: train on with training=True, or "
    "reset them to 0 and 1.",
    "drop_factor": "Leave the factor behind the last kernel out.",
    "lower_momentum": "Let the moving statistics move: momentum=0.99, or 0.9 for short trainings.",
    "keep_zero_init": "Keep these zeros: they are there on purpose.",
    "keep_init": "Keep the weights as they are.",
    "none_needed": "Nothing needs to be done.",
}
