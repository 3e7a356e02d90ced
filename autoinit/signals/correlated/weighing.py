"""Attention with weights that are given, on samples of tokens (L).

Queries, keys and values are linear in tokens of which means and covariances are known: what
softmax(q·k)·v makes of them has no closed form, and is averaged over Gaussian tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from autoinit.signals.correlated.channels import Channels
from autoinit.signals.correlated.paths import Path, Step
from autoinit.signals.correlated.reshape import units_of
from autoinit.signals.correlated.state import Logits, State
from autoinit.signals.signal import Array

# Tokens that are drawn, and multiplications that they may take.
_TOKENS, _MOST_OPERATIONS = 8192, 2e8
# By identity, centered tokens: (samples, tokens, channels).
Drawn = dict[int, Array]


def weighed(
    logits: Logits,
    values: State,
    labels: tuple[str, str, str],
    sizes: Mapping[str, int],
    related: float,
) -> Channels | None:
    """Channels of softmax(q·k)·v, or None where tokens are not known.

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
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    units = three[2:]
    order = "".join(x for x in left[1] if x not in units) + units
    result = np.einsum(f"Z{left[0]},{three}->Z{order}", shares, value, optimize=True)
    rows = result.reshape(-1, channels.count)
    means = rows.mean(0)
    rows = rows - means
    return Channels(means, rows.T @ rows / len(rows), path=_path(channels, rows, draw.drawn))


class _Draw:
    """Samples of operands, which may have been made of the same tokens.

    Args:
        sizes: by letter.
        common: letters of all operands: heads, or windows that are alike.
        number: of samples.
        related: as `weighed` takes it.
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
    matrix, found = np.eye(channels.count), None
    for source, step in reversed(channels.path if channels.functions is None else ()):
        weights = step.weights[0]
        if step.offsets.size or not isinstance(source, Channels) or (found and weights.ndim == 2):
            break
        matrix = weights @ matrix if weights.ndim == 2 else weights[:, None] * matrix
        if source.of_one_length or (weights.ndim == 2 and not found):
            found = source, matrix
        if source.of_one_length:
            break
    return found or (channels, np.eye(channels.count))


def _path(channels: Channels, rows: Array, drawn: Drawn) -> Path:
    """From the tokens that queries, keys and values have in common, by linear regression."""
    source, _ = _linear(channels)
    if len(drawn) > 1 or source is channels:
        return ()
    tokens = drawn[source.identity].reshape(-1, source.count)
    slopes = np.linalg.pinv(source.at_same_position, 1e-6, hermitian=True) @ (tokens.T @ rows)
    place = next(n for n, (each, _) in enumerate(channels.path) if each is source)
    return (*channels.path[:place], (source, Step(slopes[None] / len(rows))))
