"""What each operation keeps of what is known of a tensor; all else is forgotten."""

from dataclasses import fields, replace

import numpy as np
import pytest

from autoinit.signals.correlated.signal import CorrelatedSignal
from autoinit.signals.correlated.state import OF_BRANCH, Annotations
from autoinit.signals.geometry import Taps, windows
from autoinit.signals.signal import NO_BIAS, KernelMoments, Lineage, Masking

# What is known of each channel has tests of its own: a state is then another one.
EVERY = {field.name for field in fields(Annotations)} - {"channels", "split", "pull", "products"}
BRANCH = set(OF_BRANCH)
WINDOWS = (windows(4, 2, 2),) * 2
KERNEL = KernelMoments(2.0, 2.0, 0.5, (windows(4, 3),) * 2, channels=3, units=8)
WHOLE_SAMPLES = frozenset({"positions", "channels"})
LABELS = ("abc", "abc", "ab")
LETTERS = {"a": 4, "b": 4, "c": 8}


def plain():
    return CorrelatedSignal.gaussian(0.5, 1.0).arrange((4, 4))


def annotated(*forgotten):
    """A signal of which everything is known that may be, but for some."""
    state, part = plain().state, plain().state
    pairs = state.cov_positions.shape
    notes = Annotations(
        parts=((0.5, part), (0.5, part)),
        cov_channels=(np.full(pairs, 0.1), np.full(pairs, 0.05)),
        logits=(part, Masking.none(8)),
        latent_is_gaussian=True,
        centered_second_moments=np.linspace(0.5, 1.5, 8),
        correlation_variance=np.full(pairs, 0.01),
        normalized_samples=7,
        known_channels=True,
        given_kernels=True,
        source=(7, 0.5, False),
        direction=0.2,
        of_one_length=True,
        private_share=0.3,
        channel_variance=0.2,
        lineage=Lineage(1, frozenset({0})),
        log_variance=0.1,
    )
    return CorrelatedSignal(replace(state, notes=notes.keep(*EVERY.difference(forgotten))))


def known(notes):
    """The names of what is known."""
    nothing = Annotations()
    return {
        name
        for name in EVERY
        if (found := getattr(notes, name)) is not getattr(nothing, name)
        and (isinstance(found, np.ndarray | tuple) or found != getattr(nothing, name))
    }


def test_a_new_signal_knows_nothing_and_an_annotated_one_everything():
    assert known(Annotations()) == set()
    assert known(annotated().state.notes) == EVERY
    assert known(annotated().state.notes.keep("logits", log_variance=2.0)) == {
        "logits",
        "log_variance",
    }


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        # The same entries, perhaps at other places.
        (lambda x: x.arrange((4, 1, 4)), EVERY),
        (lambda x: x.of_every_sample(), EVERY),
        (lambda x: x.masked(plain(), Masking.none(8)), EVERY),
        (lambda x: x.with_other_latents(), EVERY),
        (
            lambda x: x.repeat((3, 4, 4)),
            BRANCH | {"latent_is_gaussian", "centered_second_moments", "cov_channels", "logits"},
        ),
        (
            lambda x: x.transpose((4, 4, 8), (1, 0, 2)),
            BRANCH | {"latent_is_gaussian", "cov_channels"},
        ),
        (lambda x: x.reshape((4, 4, 8), (16, 8)), BRANCH | {"latent_is_gaussian", "cov_channels"}),
        # Other units.
        (lambda x: x.flatten(), {"given_kernels", "log_variance"}),
        (lambda x: x.arrange((8,)), {"given_kernels", "log_variance"}),
        (lambda x: x.looked_up((5,), 10.0), {"given_kernels", "log_variance"}),
    ],
)
def test_what_is_kept_of_entries_that_change_places(operation, kept):
    assert known(operation(annotated()).state.notes) == kept


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        (lambda x: x.affine(2.0, 1.0), EVERY - {"parts", "logits", "lineage"}),
        (
            lambda x: x.affine(1.0, np.arange(2.0)),
            EVERY - {"parts", "logits", "lineage", "cov_channels"},
        ),
        (lambda x: x.map(np.tanh)[0], BRANCH | {"latent_is_gaussian", "cov_channels"}),
        (lambda x: x.map(np.sign)[0], BRANCH | {"latent_is_gaussian", "cov_channels"}),
        (lambda x: x.map(np.multiply, [plain()])[0], {"given_kernels", "log_variance"}),
        (
            lambda x: x.linear(KERNEL, NO_BIAS),
            {
                "latent_is_gaussian",
                "centered_second_moments",
                "correlation_variance",
                "private_share",
                "channel_variance",
                "log_variance",
            },
        ),
        (
            lambda x: x.linear_map([Taps.averaging(w, 4) for w in WINDOWS]),
            {"given_kernels", "log_variance"},
        ),
        (lambda x: x.average_pool(WINDOWS), {"given_kernels", "log_variance"}),
        (lambda x: x.max_pool(WINDOWS), {"log_variance"}),
        (lambda x: x.dropout(0.5, 2.0), BRANCH | {"cov_channels"}),
        (lambda x: x.dropout(0.5, 2.0, shared=WHOLE_SAMPLES), BRANCH | {"cov_channels"}),
        (lambda x: x.softmax(8), BRANCH | {"cov_channels"}),
        (
            lambda x: x.normalize(0.1, None, centered=True, samples=16),
            BRANCH - {"log_variance"}
            | {"latent_is_gaussian", "correlation_variance", "normalized_samples"},
        ),
        (
            lambda x: x.normalize(0.1, 64, centered=True, positions=True),
            BRANCH - {"log_variance"} | {"latent_is_gaussian", "correlation_variance"},
        ),
        (
            lambda x: x.normalize(0.1, 8, centered=True),
            BRANCH - {"log_variance"} | {"of_one_length"},
        ),
        (
            lambda x: x.normalize(0.1, 8, centered=False),
            BRANCH - {"log_variance"} | {"of_one_length"},
        ),
        (lambda x: x.combine("add", [plain()]), {"given_kernels", "log_variance", "cov_channels"}),
        (lambda x: x.combine("multiply", [plain()]), {"given_kernels", "log_variance"}),
        (lambda x: x.combine("maximum", [plain()]), {"log_variance"}),
        (lambda x: x.contract(plain(), LABELS, LETTERS), {"log_variance", "cov_channels"}),
        (lambda x: x.dot(plain(), 8, normalized=True), {"latent_is_gaussian"}),
        (lambda x: x.mixture([x, plain()], [1, 1]), {"log_variance", "parts"}),
    ],
)
def test_what_a_new_signal_is_told(operation, kept):
    assert known(operation(annotated("parts", "logits")).state.notes) == kept


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        (lambda x: x.map(np.tanh)[0], {"parts"}),
        (lambda x: x.affine(2.0, 1.0), {"parts"}),
        (
            lambda x: x.affine(1.0, np.arange(2.0)),
            EVERY - {"parts", "logits", "lineage", "cov_channels"},
        ),
        (lambda x: x.normalize(0.1, None, centered=True, samples=16), set()),
        (lambda x: x.softmax(8), {"cov_channels"}),
        (
            lambda x: x.combine("add", [plain()]),
            {"given_kernels", "log_variance", "cov_channels", "logits"},
        ),
    ],
)
def test_parts_and_logits_take_the_place_of_the_rest(operation, kept):
    assert known(operation(annotated()).state.notes) == kept
