"""Seeds: one number decides every draw, and nobody else's random state is disturbed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np


def derived(seed: int, *keys: int) -> int:
    """A seed for one use, from the seed of all and what tells the uses apart."""
    return int(np.random.SeedSequence(seed, spawn_key=keys).generate_state(1)[0] >> 1)


@contextlib.contextmanager
def python_seed(seed: int) -> Iterator[None]:
    """Keras takes the seeds that nobody gave from Python's generator: fix them inside the block."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
