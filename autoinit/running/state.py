"""What a forward pass changes in a model, put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from autoinit.graph.changing import changing_variables, put_values_back, values_of
from autoinit.graph.keras_internals import clear_losses
from autoinit.graph.model_graph import ModelGraph
from autoinit.randomness import derived


@contextlib.contextmanager
def unchanged(graph: ModelGraph, seed: int) -> Iterator[None]:
    """Seed the layers' noise inside the block; put back what a forward pass changes after it.

    PyTorch's dropout ignores the layers' own seeds: there it is the generator of the device where
    Keras puts tensors at the moment that is seeded and put back.
    """
    kept = values_of(changing_variables(graph.layers()))
    for number, (variable, values) in enumerate(kept):
        if variable.name.endswith("seed_generator_state"):
            variable.assign(np.array([derived(seed, number) % 2**31, 0]).astype(values.dtype))
    noise = noise_state()
    if noise is not None:
        _generator().manual_seed(derived(seed, 0))
    try:
        yield
    finally:
        set_noise_state(noise)
        put_values_back(kept)
        for layer in graph.layers():
            clear_losses(layer)


def noise_state() -> Any:
    """What PyTorch's generator holds; None elsewhere."""
    return _generator().get_state() if keras.backend.backend() == "torch" else None


def set_noise_state(state: Any) -> None:
    """Let PyTorch's generator go on from a state of `noise_state`."""
    if state is not None:
        _generator().set_state(state)


def _generator() -> Any:
    """PyTorch's own, of the device where Keras puts tensors at the moment."""
    import torch

    place = keras.ops.zeros(()).device
    if place.type == "cuda":  # that of one GPU, as others may be at other draws
        return torch.cuda.default_generators[place.index]
    return torch.default_generator


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """PyTorch would keep every activation for a backward pass; the others need no telling."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            yield
    else:
        yield
