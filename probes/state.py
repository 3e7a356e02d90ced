"""What a forward pass changes in a model, put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from autoinit.graph.keras_internals import clear_losses, layers_in, own_variables, seed_generators
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
        for variable, values in kept:
            variable.assign(values)
        for layer in graph.layers():
            clear_losses(layer)


def changing_variables(layers: Iterable[Any]) -> list[Any]:
    """Variables that running the layers may change, in an order that noise is seeded by."""
    changing: list[Any] = []
    for layer in layers:
        for part in layers_in(layer):
            changing += own_variables(part)[1]
            # A stateful recurrent layer's, which Keras does not list among a layer's variables.
            states = keras.tree.flatten(getattr(part, "states", None))
            changing += [v for v in states if isinstance(v, keras.Variable)]
            if isinstance(part, keras.layers.SpectralNormalization):
                changing.append(part.kernel)  # divided by its norm in each step of training
            changing += [generator.state for generator in seed_generators(part)]
    return changing


def values_of(variables: Iterable[Any]) -> list[tuple[Any, NDArray[Any]]]:
    """Variables and copies of what they hold."""
    return [(v, np.array(keras.ops.convert_to_numpy(v.value))) for v in variables]


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
