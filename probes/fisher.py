"""The Fisher information of a model's parameters: its largest eigenvalue and its trace.

F = E_x Σ_y p(y|x) ∇log p(y|x) ∇log p(y|x)ᵀ = E_x JᵀHJ, where J is the derivative of the outputs f
(of a softmax or sigmoid, of its logits) by the parameters, and H the Fisher information of f:
diag(p) − ppᵀ for classes, p(1 − p) for yes or no, 1 for numbers with Gaussian errors of variance 1
(Amari 1998; Martens 2020). Where the model fits, gradient descent on the log-likelihood is stable
up to a rate of 2/λ_max (Karakida, Akaho & Amari 2019); appendix E of the paper names the
conditioning of F as an objective (Pennington & Worah 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from autoinit.arrays import as_array
from autoinit.errors import NotMeasuredError, SettingsError
from autoinit.graph.input_moments import PerInput
from autoinit.graph.keras_internals import set_keras_mask
from autoinit.graph.model_graph import ModelGraph, Value
from autoinit.graph.shapes import all_activations, last_uses
from autoinit.randomness import derived
from autoinit.running.inputs import Given, draw_inputs
from autoinit.running.state import unchanged
from probes.batching import (
    OnProgress,
    fitting,
    fixed_batch,
    free_memory,
    require_positive,
    runnable,
)
from probes.devices import Device, find_device, placed_on
from probes.gradients import variables_by_path
from probes.jacobian_products import Array, finite, linearized
from probes.logits import LIKELIHOODS, likelihoods_of, logits_of

# Random vectors for the trace, and products of ARPACK for the largest eigenvalue, about so many.
_DRAWS, _EXPECTED, _RESTARTS = 16, 30, 30
# Up to so many entries of all outputs all products are taken, and both figures are exact.
_FEW = 48


@dataclass(frozen=True)
class FisherInformation:
    """Figures of the Fisher information of all trainable parameters together.

    Attributes:
        largest: eigenvalue λ_max, of the samples that were looked at.
        trace: the sum of all eigenvalues, of these samples: the mean square norm of the gradient of
            a sample's log-likelihood, for targets that are drawn from what the model says.
        standard_error: of `trace`, which random vectors tell; 0 where it is exact.
        parameters: how many there are; as many eigenvalues has F.
        samples: how many were looked at. Of fewer samples λ_max is larger: one alone has all of its
            trace in as many directions as it has outputs.
        likelihoods: `categorical`, `bernoulli` or `gaussian`, by output.
        device: where.
    """

    largest: float
    trace: float
    standard_error: float
    parameters: int
    samples: int
    likelihoods: tuple[str, ...]
    device: Device


def probe_fisher(
    model: Any,
    num_samples: int = 32,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = True,
    device: str = "auto",
    unknown_size: int = 32,
    likelihood: str | None = None,
    progress: OnProgress | None = None,
    input_data: Given | None = None,
) -> FisherInformation:
    """Largest eigenvalue and trace of the Fisher information of a model's trainable parameters.

    λ_max by Lanczos iteration, the trace beside it by random signs (Hutchinson 1990). The samples
    go through together; the model is unchanged afterwards.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_samples: how many samples; fewer where their activations do not fit into memory.
        seed: of the inputs, of dropout and of the random vectors.
        input_mean, input_variance, input_data, training, device, unknown_size: as for
            `probe_model`.
        likelihood: `categorical`, `bernoulli` or `gaussian`; by default what each output's last
            activation says: softmax, sigmoid, anything else.
        progress: told the share done, from 0 to 1.

    Raises:
        ValueError: for an unknown likelihood, a model without trainable parameters or outputs of a
            floating type, or with calls that cannot be run, and where a gradient is not finite or
            an operation has no second derivative, which products are computed by.

    Example:
        >>> import keras, numpy
        >>> from probes import probe_fisher
        >>> x, dense = keras.Input((1,), name="x"), keras.layers.Dense(1, use_bias=False)
        >>> data = {"x": numpy.array([[1.0], [2.0], [3.0], [4.0]])}
        >>> found = probe_fisher(keras.Model(x, dense(x)), 4, input_data=data)
        >>> f"{found.largest:.3f} {found.trace:.3f}"  # the mean of x², of f = w·x
        '7.500 7.500'
    """
    require_positive(num_samples=num_samples)
    if likelihood not in (None, *LIKELIHOODS):
        raise SettingsError(
            f"likelihood must be one of {', '.join(LIKELIHOODS)}. Received: {likelihood!r}"
        )
    graph = runnable(model, unknown_size, training, "The Fisher information needs")
    found = find_device(device)
    needed = partial(all_activations, graph)
    samples = fixed_batch(graph) or fitting(
        lambda number: 3 * needed(number), num_samples, free_memory(found) // 2
    )
    inputs = draw_inputs(graph, samples, seed, input_mean, input_variance, input_data)
    generator = np.random.default_rng(derived(seed, 2))
    with placed_on(found), unchanged(graph, seed):
        products = _Products(graph, inputs, samples, training, likelihood)
        products.check(generator)
        figures = _figures(products, generator, progress or (lambda share: None))
    parameters = sum(math.prod(each.shape) for each in products.variables)
    return FisherInformation(*figures, parameters, samples, products.likelihoods, found)


class _Products:
    """Products with the matrix of B·J·Jᵀ·Bᵀ/n, which has F's eigenvalues but for zeros; BᵀB = H."""

    def __init__(
        self, graph: ModelGraph, inputs: Any, samples: int, training: bool, likelihood: str | None
    ) -> None:
        outputs = [v for v in graph.outputs if keras.backend.is_float_dtype(v.dtype)]
        targets = logits_of(graph, outputs)
        self.variables = list(variables_by_path(graph).values())
        if not targets or not self.variables:
            missing = "outputs of a floating type" if not targets else "trainable parameters"
            raise NotMeasuredError(f"There is no Fisher information: the model has no {missing}.")
        # Logits that are an output themselves stand for both.
        by_target = likelihoods_of(graph, outputs)
        self.likelihoods = tuple(likelihood or by_target[value.index] for value in targets)
        self.samples = samples
        function = partial(_run, graph, inputs, samples, training, targets, self.variables)
        self._at = [variable.value for variable in self.variables]
        self._targets, self._pull, self._push = linearized()(function, self._at)
        values = [as_array(target).astype(np.float64) for target in self._targets]
        finite(np.concatenate([each.ravel() for each in values]))
        self._roots = [
            _root(each, kind) for each, kind in zip(values, self.likelihoods, strict=True)
        ]
        self._ends = np.cumsum([each.size for each in values])
        self.size = int(self._ends[-1])

    def square(self, vector: Array) -> float:
        """What the matrix makes of a vector, times the vector."""
        pulled = (as_array(part).ravel() for part in self._pulled(vector))
        return sum(float(np.vdot(part, part)) for part in pulled) / self.samples

    def __call__(self, vector: Array) -> Array:
        pushed = self._push(self._pulled(vector))
        parts = [
            _applied(root, as_array(part).astype(np.float64)).ravel()
            for root, part in zip(self._roots, pushed, strict=True)
        ]
        return finite(np.concatenate(parts)) / self.samples

    def check(self, generator: np.random.Generator) -> None:
        """Some operations have no second derivatives; TensorFlow takes some of these for zero."""
        vector = generator.standard_normal(self.size)
        try:
            product, square = float(vector @ self(vector)), self.square(vector)
        except LookupError:  # TensorFlow's, of an operation's gradient
            product, square = math.nan, 1.0
        if not abs(product - square) <= 0.01 * square:
            raise NotMeasuredError(
                "The Fisher information's products need second derivatives, which some layer's "
                "operation has not."
            )

    def _pulled(self, vector: Array) -> list[Any]:
        """JᵀBᵀv, by variable."""
        parts = np.split(vector, self._ends[:-1])
        cotangents = [
            keras.ops.convert_to_tensor(
                _transposed(root, part.reshape(tuple(target.shape))),
                keras.backend.standardize_dtype(target.dtype),
            )
            for root, part, target in zip(self._roots, parts, self._targets, strict=True)
        ]
        return list(self._pull(cotangents))


def _run(
    graph: ModelGraph,
    inputs: Any,
    samples: int,
    training: bool,
    targets: Sequence[Value],
    variables: Sequence[Any],
    values: Sequence[Any],
) -> list[Any]:
    """The targets, with other values of the variables."""
    alive: dict[int, Any] = {}
    wanted = {value.index for value in targets}
    with keras.StatelessScope(list(zip(variables, values, strict=True))):
        for call, finished in zip(graph.calls, last_uses(graph), strict=True):
            if call.is_input:
                (value,) = call.outputs
                outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
            else:
                outputs = call.run([alive[v.index] for v in call.inputs], training, samples)
            alive.update((v.index, t) for v, t in zip(call.outputs, outputs, strict=True))
            for index in finished:
                if index not in wanted:
                    del alive[index]
    found = [alive[value.index] for value in targets]
    for tensor in found:
        set_keras_mask(tensor, None)
    return found


def _root(values: Array, likelihood: str) -> tuple[str, Array]:
    """What B is made of: √p of classes, √(p(1 − p)) of yes or no."""
    if likelihood == "categorical":
        odds = np.exp(values - values.max(-1, keepdims=True))
        return likelihood, np.sqrt(odds / odds.sum(-1, keepdims=True))
    if likelihood == "bernoulli":
        return likelihood, 0.5 / np.cosh(np.clip(values / 2, -300, 300))
    return likelihood, np.ones(())


def _applied(root: tuple[str, Array], values: Array) -> Array:
    """B·v. Of classes B = (1 − ssᵀ)·diag(s) with s = √p: BᵀB = diag(p) − ppᵀ, as s has length 1."""
    kind, s = root
    values = s * values
    return values - s * (s * values).sum(-1, keepdims=True) if kind == "categorical" else values


def _transposed(root: tuple[str, Array], values: Array) -> Array:
    kind, s = root
    if kind == "categorical":
        values = values - s * (s * values).sum(-1, keepdims=True)
    return s * values


def _figures(
    products: _Products, generator: np.random.Generator, progress: OnProgress
) -> tuple[float, float, float]:
    """Largest eigenvalue, trace, and the trace's standard error."""
    size = products.size
    if size <= _FEW:
        columns = []
        for column in np.eye(size):
            columns.append(products(column))
            progress(len(columns) / size)
        matrix = np.array(columns)
        return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]), float(matrix.trace()), 0.0
    taken = 0

    def product(vector: Array) -> Array:
        nonlocal taken
        taken += 1
        progress(min(taken / (_EXPECTED + _DRAWS), 0.9))
        return products(vector.ravel())

    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = generator.standard_normal(size)
    if products.square(start) == 0.0:  # saturated probabilities, or no gradient at all
        return 0.0, 0.0, 0.0
    try:
        (largest,), vectors = eigsh(
            operator, 1, which="LA", v0=start, tol=1e-4, maxiter=_RESTARTS, rng=generator
        )
    except ArpackError as error:
        raise NotMeasuredError(
            f"The largest eigenvalue of the Fisher information was not found: {error}"
        ) from error
    # The largest eigenvalue may be most of the trace: what is beside it is what is drawn for.
    rest = []
    for _ in range(_DRAWS):
        signs = generator.choice([-1.0, 1.0], size)
        rest.append(products.square(signs - vectors[:, 0] * (vectors[:, 0] @ signs)))
    progress(1.0)
    deviation = float(np.std(rest, ddof=1))
    return float(largest), float(largest + np.mean(rest)), deviation / math.sqrt(len(rest))
