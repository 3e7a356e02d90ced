"""Shares of attention: logits, their masks, the softmax over them (K), and given weights (L)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoinit.quadrature import gaussian
from autoinit.signals.correlated.channels.channels import Channels, MadeOf, of_samples
from autoinit.signals.correlated.channels.functions import shares_of
from autoinit.signals.correlated.channels.paths import Step
from autoinit.signals.correlated.channels.skewness import is_sum
from autoinit.signals.correlated.known import agreeing
from autoinit.signals.correlated.operations.reshape import units_of
from autoinit.signals.correlated.pairs import at_diagonal, diagonal, each_with_each
from autoinit.signals.correlated.state import OF_BRANCH, Logits, State
from autoinit.signals.signal import Array, Masking

# Of a direction in the variance of tokens, below which their lengths are taken as alike.
_LEAST_PART = 1 / 32
# Tokens that are drawn, and multiplications that they may take.
_TOKENS, _MOST_OPERATIONS = 8192, 2e8
# Is added to logits that do not count.
_HIDDEN = -1e9
# By identity, centered tokens: (samples, tokens, channels).
Drawn = dict[int, Array]


def masked(state: State, logits: State, masking: Masking) -> State:
    """As `Signal.masked`."""
    return replace(state, notes=replace(state.notes, logits=(logits, masking)))


def softmax(state: State, count: int, masking: Masking | None = None) -> State:
    """What all logits of a position have in common drops out.

    The covariance of two positions is that of log-normal variables, exact for small logits.
    """
    if state.notes.logits is not None:
        logits, masking = state.notes.logits
        return softmax(logits, count, masking)
    known = state.channels if masking is None else None
    products, mask = state.notes.products, None if masking is None else masking.samples
    if masking is not None and mask is None:
        products = None
    masking = masking or Masking.none(count)
    common = (
        state.average(diagonal(state.notes.cov_channels[0], state.means.shape))
        if state.notes.cov_channels
        else 0.0
    )
    deviation = math.sqrt(max(state.variance - common, 0.0))
    mean, square = gaussian.masked_softmax(deviation, count, masking.seen)
    pulled = 0.0
    if state.notes.source is not None:
        _, part, alike_in_length = state.notes.source
        square, pulled = _of_features(deviation, count, masking, part, alike_in_length)
    first, second = each_with_each(state.deviations)
    scale = first * second
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = [
            np.clip(np.where(scale > 0, pairs / scale, 0.0), 0.0, 1.0)
            for pairs in (state.cov_positions, state.cov_samples)
        ]
    powers = [
        overlap / count * (square * count / overlap) ** correlation
        for overlap, correlation in zip(
            (masking.overlap, masking.overlap_between), alike, strict=True
        )
    ]
    cov_positions, cov_samples = (power - mean**2 for power in powers)
    # The shares of a position sum to 1.
    cov_channels = [
        (1 / count - power) / (count - 1) - mean**2 if count > 1 else power - mean**2
        for power in powers
    ]
    variances = np.full(state.means.shape, max(square - mean**2, 0.0))
    notes = state.notes.keep(
        *OF_BRANCH,
        cov_channels=(cov_channels[0], cov_channels[1]),
        products=products and replace(products, shares=True, mask=mask),
    )
    if state.notes.source is not None:
        notes = replace(notes, pull=(state.notes.source[0], pulled, alike[0], alike[1]))
    result = State(
        state.axes,
        np.full_like(state.means, mean),
        at_diagonal(cov_positions, variances),
        cov_samples,
        state.marginal,
        notes=notes,
    )
    if known is None or known.count != count:
        return result
    shared = result.average(diagonal(cov_samples, state.means.shape))
    return agreeing(replace(result, stored_marginal=None), shared, shares_of(known))


def _of_features(
    deviation: float, count: int, masking: Masking, part: float, alike: bool
) -> tuple[float, float]:
    """E p², and what values gain that come from the same tensor as the keys, over their variance.

    Logits xᵀBy of tokens of n = 1/`part` features have deviations over y that differ between
    heads, and between tokens, unless these are all of one length (`alike`). A value correlates with
    the logit by its own direction's part of the variance: of that, Σ p·v takes E (Σ p_s z_s)² in
    place of E Σ p².
    """
    square = gained = 0.0
    seen = max(round(sum(masking.seen) / len(masking.seen)), 1)
    scales, weights = np.ones(1), np.ones(1)
    if part > _LEAST_PART:
        scales, weights = gaussian.scales_of_products(round(1 / part, 3), alike)
    for scale, weight in zip(scales, weights, strict=True):
        # Rounded, so that what is sampled is looked up the next time.
        each = float(f"{deviation * scale:.2g}")
        once = gaussian.masked_softmax(deviation * scale, count, masking.seen)[1]
        square += weight * once
        gained += weight * part * (gaussian.softmax_pull(each, seen) - count * once)
    return float(square), float(gained)


def weighed_tokens(
    logits: Logits,
    values: State,
    labels: tuple[str, str, str],
    sizes: Mapping[str, int],
    related: float,
) -> Channels | None:
    """Channels of softmax(q·k)·v, or None where tokens are not known.

    Queries, keys and values are linear in tokens of which means and covariances are known: what
    becomes of them has no closed form, and is averaged over Gaussian tokens.

    Args:
        logits: of the shares.
        values: that are weighed.
        labels: letters of the axes of the shares, the values and the result.
        sizes: by letter.
        related: correlation of a feature in two tokens of one sample.
    """
    names = dict(zip(logits.labels[2], labels[0], strict=True))
    every = dict(sizes)
    every |= {names.get(x, x.upper()): size for x, size in logits.sizes.items()}
    terms = ["".join(names.get(x, x.upper()) for x in term) for term in logits.labels[:2]]
    operands = [*zip(logits.operands, terms, strict=True), (values, labels[1])]
    common = set.intersection(*(set(term) for _, term in operands))
    channels, _ = units_of(values)
    if channels is None:
        return None
    pairs = math.prod(every[x] for x in labels[0] if x not in common)
    number = min(_TOKENS // math.sqrt(pairs), _MOST_OPERATIONS // (pairs * channels.count))
    draw = _Draw(every, common, max(int(number), 4), related)
    found = [draw.of(state, term) for state, term in operands]
    if any(each is None for each in found):
        return None
    (query, one), (key, two), (value, three) = (each for each in found if each is not None)
    left = ["".join(x for x in term if x in one + two + three) for term in (labels[0], labels[2])]
    scores = np.einsum(f"{one},{two}->Z{left[0]}", query, key, optimize=True) * logits.scale
    if logits.mask is not None:
        hidden = _hidden(logits.mask, scores.shape)
        if hidden is None:
            return None
        scores += _HIDDEN * hidden
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    units = three[2:]
    order = "".join(x for x in left[1] if x not in units) + units
    result = np.einsum(f"Z{left[0]},{three}->Z{order}", shares, value, optimize=True)
    sampled = of_samples(result.reshape(len(result), -1, channels.count))
    rows = result.reshape(-1, channels.count) - sampled.means
    return replace(sampled, made_of=_made_of(channels, rows, draw.drawn))


def _hidden(mask: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.bool_] | None:
    """Entries that a mask leaves out, (samples, heads…, queries, keys); None where it is another.

    Args:
        mask: true where an entry counts, (samples, positions, keys): positions are queries, or
            these of each head, or one for all.
        shape: of what it is for; its samples take turns.
    """
    samples, places, keys = mask.shape
    heads, every = len(shape) - 3, tuple(shape)
    kept = [every[1:], (1,) * heads + every[-2:], (1,) * (heads + 1) + every[-1:]]
    fitting = next((each for each in kept if math.prod(each) == places * keys), None)
    if fitting is None or keys != shape[-1]:
        return None
    return np.asarray(~mask[np.arange(shape[0]) % samples].reshape(shape[0], *fitting))


class _Draw:
    """Samples of operands, which may have been made of the same tokens.

    Args:
        sizes: by letter.
        common: letters of all operands: heads, or windows that are alike.
        number: of samples.
        related: as `weighed_tokens` takes it.
    """

    def __init__(
        self, sizes: Mapping[str, int], common: set[str], number: int, related: float
    ) -> None:
        self.sizes, self.common, self.number = sizes, common, number
        self.related = min(max(related, 0.0), 1.0)
        self.generator = np.random.default_rng(0)
        self.drawn: Drawn = {}

    def of(self, state: State, term: str) -> tuple[Array, str] | None:
        """An operand's entries, and the letters of its axes: samples, tokens, units."""
        channels, places = units_of(state)
        units = [term[place] for place in places if place < len(term)]
        rest = [x for x in term if x not in units and x not in self.common]
        shape = [self.sizes[x] for x in units]
        if channels is None or len(rest) != 1 or math.prod(shape) != channels.count:
            return None
        source, matrix = _linear(channels)
        tokens = self._tokens(source, self.sizes[rest[0]])
        if tokens is None:
            return None
        values = channels.means + tokens @ matrix
        return values.reshape(*values.shape[:2], *shape), f"Z{rest[0]}{''.join(units)}"

    def _tokens(self, source: Channels, count: int) -> Array | None:
        if source.identity not in self.drawn:
            values, shared = (
                self.generator.standard_normal((self.number, each, source.count))
                for each in (count, 1)
            )
            values = math.sqrt(1 - self.related) * values + math.sqrt(self.related) * shared
            self.drawn[source.identity] = source.drawn(values) - source.means
        found = self.drawn[source.identity]
        return found if found.shape[1] == count else None


def _linear(channels: Channels) -> tuple[Channels, Array]:
    """Tokens that some channels are linear in, and the matrix: of themselves, if of no others.

    Tokens that were divided by their length are gone back to, before they were scaled.
    """
    matrix, found, each = np.eye(channels.count), None, channels
    while len(each.made_of) == 1 and is_sum(each):
        ((source, step),) = each.made_of
        weights = step.weights[0]
        if step.offsets.size or (found and weights.ndim == 2):
            break
        matrix = weights @ matrix if weights.ndim == 2 else weights[:, None] * matrix
        if source.of_one_length or (weights.ndim == 2 and not found):
            found = source, matrix
        if source.of_one_length:
            break
        each = source
    return found or (channels, np.eye(channels.count))


def _made_of(channels: Channels, rows: Array, drawn: Drawn) -> MadeOf:
    """The tokens that queries, keys and values have in common, by linear regression."""
    source, _ = _linear(channels)
    if len(drawn) > 1 or source is channels:
        return ()
    tokens = drawn[source.identity].reshape(-1, source.count)
    slopes = np.linalg.pinv(source.at_same_position, 1e-6, hermitian=True) @ (tokens.T @ rows)
    return ((source, Step(slopes[None] / len(rows))),)
