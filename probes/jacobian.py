"""Singular values of a model's input–output Jacobian: is the network an isometry?

Where they all lie near 1, signals and gradients keep their length in every direction, not only on
average (*dynamical isometry*: Saxe et al. 2014, Pennington et al. 2017, Xiao et al. 2018).

A small Jacobian is computed as a matrix. Of a large one, only products with vectors are: Lanczos
iterations find its extremes, and stochastic Lanczos quadrature the density of its spectrum (Ubaru,
Chen & Saad 2017; Ghorbani et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from autoinit.errors import NotMeasuredError
from autoinit.graph.input_moments import PerInput
from autoinit.graph.model_graph import ModelGraph
from autoinit.randomness import derived
from autoinit.running.inputs import Given, draw_inputs
from probes.batching import OnProgress, graph_of, require_positive
from probes.devices import Device, find_device, placed_on
from probes.jacobian_products import Array, Ends, Jacobian, find_ends, finite

Product = Callable[[Array], Array]

MATRIX_SIDE = 256  # a smaller side up to this: the matrix itself
_STEPS = 40  # of Lanczos quadrature: exact for polynomials of degree 79
_PROBES = (2, 8)  # fewest and most random vectors
_BASIS = 1 << 21  # entries of all random vectors: 40 times that are kept
# Of ARPACK, some twenty products each: the smallest is found soon or not at all.
_RESTARTS = {"LA": 30, "SA": 5}
# Singular values below this many machine epsilons times the largest count as zero. Each row's
# rounding errors are relative to the row's length, whatever the size of the matrix.
_ROUNDING = 32


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values σ of an (n, m) Jacobian, of which there are min(n, m), zeros included.

    Attributes:
        obtained: `matrix` (every σ, by singular value decomposition) or `lanczos`.
        nodes, weights: density of σ², as points and their shares, which sum to 1.
        largest: σ.
        smallest: σ; None where it is not known.
        mean_square: ‖J‖²/min(n, m), the mean of σ².
        standard_error: of `mean_square` as an estimate of this Jacobian's; 0 from the matrix.
        condition_number: `largest` over the smallest σ that is not zero to rounding (32 machine
            epsilons of the coarsest floating type in the model, times `largest`); None where that
            is not known.
        rank_deficiency: how many σ are zero to rounding; None where that is not known.
        singular_values: every σ, the largest first; None by Lanczos.
        note: why something is not known, or is a bound only.
    """

    obtained: str
    nodes: Array
    weights: Array
    largest: float
    smallest: float | None
    mean_square: float
    standard_error: float
    condition_number: float | None
    rank_deficiency: int | None
    singular_values: Array | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class JacobianSpectrum:
    """Spectra of the Jacobians at some random inputs.

    Attributes:
        spectra: one for each input.
        pooled: all together: extremes of the extremes, the mean of the mean squares and of the
            densities, the worst of the condition numbers and of the rank deficiencies.
        shape: (n, m): entries of all outputs, and of all that the derivative is taken by.
        sources: paths of the calls whose outputs the derivative is taken by: the inputs; where
            these hold integers, the embeddings that look them up.
        targets: paths of the calls whose outputs are differentiated: those that give the model's
            outputs; with `logits`, what gives their logits.
        device: where.
    """

    spectra: tuple[Spectrum, ...]
    pooled: Spectrum
    shape: tuple[int, int]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    device: Device


def probe_jacobian(
    model: Any,
    num_inputs: int = 1,
    seed: int = 0,
    input_mean: PerInput = 0.0,
    input_variance: PerInput = 1.0,
    training: bool = False,
    device: str = "auto",
    unknown_size: int = 32,
    logits: bool = False,
    progress: OnProgress | None = None,
    input_data: Given | None = None,
) -> JacobianSpectrum:
    """Singular values of the Jacobian of a model at random inputs, one sample at a time.

    Its rows are the entries of all outputs and its columns those of all inputs. Integers have no
    derivative: other inputs are what counts, or else what embeddings make of integers. A softmax
    at the end takes one rank, as its outputs sum to 1, and shrinks every singular value; what the
    network before it does, `logits=True` tells. The model is unchanged afterwards.

    Args:
        model: a Keras model with a graph, or the `ModelGraph` of one.
        num_inputs: how many random inputs.
        seed: of the inputs, of dropout and of the random vectors.
        input_mean, input_variance, input_data, device, unknown_size: as for `probe_model`.
        training: mode of the model. In training mode each input has one dropout mask, and batch
            normalisation sees that input alone.
        logits: differentiate outputs that a softmax, log-softmax or sigmoid gives before that
            activation. Other activations stay.
        progress: told the share done, from 0 to 1.

    Raises:
        ValueError: for a number of inputs below 1, a device that is not there, a name that is no
            input's, data that do not fit, a backend other
            than TensorFlow, JAX and PyTorch, a model that holds calls that cannot be run, and
            one whose outputs have no derivative, one that is not finite, or, beyond a matrix, no
            second derivatives, which Jv is computed by.

    Example:
        >>> import keras
        >>> from probes import probe_jacobian
        >>> double = keras.layers.Rescaling(2.0)
        >>> spectrum = probe_jacobian(keras.Sequential([keras.Input((5,)), double])).pooled
        >>> spectrum.largest, spectrum.condition_number
        (2.0, 1.0)
    """
    require_positive(num_inputs=num_inputs)
    graph = graph_of(model, unknown_size, training)
    found = find_device(device)
    ends = find_ends(graph, logits)
    inputs = draw_inputs(graph, num_inputs, seed, input_mean, input_variance, input_data)
    spectra = []
    for number in range(num_inputs):
        sample = {index: array[number : number + 1] for index, array in inputs.items()}

        def part(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / num_inputs)

        with placed_on(found):
            own = derived(seed, number)
            spectra.append(_spectrum(graph, ends, sample, training, own, part))
    return JacobianSpectrum(
        tuple(spectra), _pooled(spectra), ends.shape, ends.source_paths, ends.target_paths, found
    )


def _spectrum(
    graph: ModelGraph,
    ends: Ends,
    sample: dict[int, NDArray[Any]],
    training: bool,
    seed: int,
    progress: OnProgress,
) -> Spectrum:
    side = min(ends.shape)
    zero = _ROUNDING * _epsilon(graph)
    if side <= MATRIX_SIDE:
        jacobian = Jacobian(graph, ends, sample, training, seed, side)
        return _of_matrix(finite(jacobian.matrix(progress)), zero)
    probes = int(np.clip(_BASIS // side, *_PROBES))
    several = Jacobian(graph, ends, sample, training, seed, probes)
    if not several.has_columns:
        raise NotMeasuredError(
            f"The Jacobian, {ends.shape[0]} by {ends.shape[1]}, is too large for a matrix, and its "
            "products with vectors need second derivatives that some layer's operation has not, "
            "as resizing by interpolation has not: choose smaller inputs."
        )
    generator = np.random.default_rng(derived(seed, 1))
    estimate = lanczos_quadrature(
        _gram(several), side, probes, _STEPS, generator, lambda share: progress(share / 2)
    )
    # Extremes are sought with one vector at a time: the others' share of a pass would be wasted.
    single = Jacobian(graph, ends, sample, training, seed, 1) if several.replicas > 1 else several
    del several
    return _of_products(_gram(single), side, estimate, zero, generator, progress)


def _of_matrix(matrix: Array, zero: float) -> Spectrum:
    values: Array = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    squares = values**2
    not_zero = values[values > zero * values[0]]
    return Spectrum(
        "matrix",
        squares,
        np.full(len(values), 1.0 / len(values)),
        float(values[0]),
        float(values[-1]),
        float(squares.mean()),
        0.0,
        float(values[0] / not_zero[-1]) if len(not_zero) else None,
        len(values) - len(not_zero),
        values,
    )


def _gram(jacobian: Jacobian) -> Product:
    """Products with JJᵀ or JᵀJ, whichever is smaller: (vectors, size) to the same shape."""
    outputs, inputs = jacobian.shape
    there, back = jacobian.rows, jacobian.columns
    if outputs > inputs:
        there, back = back, there

    def product(vectors: Array) -> Array:
        halfway = finite(there(vectors))
        # σ² may be outside single precision where σ is not.
        length = np.linalg.norm(halfway, axis=1, keepdims=True)
        image: Array = finite(back(halfway / np.where(length > 0.0, length, 1.0))) * length
        return image

    return product


def _of_products(
    product: Product,
    size: int,
    estimate: tuple[Array, Array, Array],
    zero: float,
    generator: np.random.Generator,
    progress: OnProgress,
) -> Spectrum:
    nodes, weights, means = estimate
    # Bounds: Ritz values lie within the spectrum.
    largest, least = float(nodes.max()), float(nodes[weights > 1e-9].min())
    smallest, reason, notes = 0.0 if largest == 0.0 else None, "rounding hides it", []
    if largest > 0.0:
        found = _extreme(product, size, "LA", generator)
        if found is None:
            notes.append("The largest singular value is a lower bound: Lanczos did not converge.")
        largest = max(largest, found or 0.0)
        progress(0.75)
    if least > zero * largest:
        smallest = _extreme(product, size, "SA", generator)
        if smallest is None:
            reason = "Lanczos did not converge"
        elif smallest <= zero * largest:
            least, smallest = zero * largest, None
    if smallest is None:
        bound = np.sqrt(max(least, zero * largest))
        notes.append(f"The smallest singular value is at most {bound:.2g}, but {reason}.")
    progress(1.0)
    return Spectrum(
        "lanczos",
        nodes.ravel(),
        weights.ravel() / len(weights),
        float(np.sqrt(largest)),
        None if smallest is None else float(np.sqrt(smallest)),
        float(means.mean()),
        float(means.std(ddof=1) / np.sqrt(len(means))),
        float(np.sqrt(largest / smallest)) if smallest else None,
        size if largest == 0.0 else 0 if smallest else None,
        note=" ".join(notes),
    )


def _extreme(
    product: Product, size: int, which: str, generator: np.random.Generator
) -> float | None:
    """Largest (`LA`) or smallest (`SA`) eigenvalue; None where the iteration does not converge."""
    operator = LinearOperator(
        (size, size), matvec=lambda vector: product(vector.reshape(1, -1))[0], dtype=np.float64
    )
    start = generator.standard_normal(size)
    try:
        # The eigenvalue's error is of the order of the residual's square.
        (value,) = eigsh(
            operator,
            1,
            which=which,
            v0=start,
            tol=1e-4,
            maxiter=_RESTARTS[which],
            return_eigenvectors=False,
            rng=generator,
        )
    except ArpackError:
        return None
    return float(value)


def lanczos_quadrature(
    product: Product,
    size: int,
    probes: int,
    steps: int,
    generator: np.random.Generator,
    progress: OnProgress = lambda share: None,
) -> tuple[Array, Array, Array]:
    """Density of the eigenvalues of a positive semidefinite matrix, from products with it.

    For each random vector u of signs, Lanczos's tridiagonal matrix holds the Gauss quadrature rule
    of the eigenvalues' density as weighted by u; the mean over u is weighted evenly (Golub &
    Welsch 1969; Ubaru, Chen & Saad 2017).

    Args:
        product: (probes, size) to (probes, size).
        size: of the matrix.
        probes: random vectors, which go through together.
        steps: of the iteration.
        generator: of the vectors.
        progress: told the share done.

    Returns:
        Nodes and weights, (probes, steps), each row's weights summing to 1; and for each vector
        uᵀGu/uᵀu, whose expectation is the mean eigenvalue (Hutchinson 1990).
    """
    steps = min(steps, size)
    basis = np.zeros((probes, steps, size))
    tridiagonal = np.zeros((probes, steps + 1, steps + 1))
    vector = generator.choice([-1.0, 1.0], (probes, size)) / np.sqrt(size)
    for step in range(steps):
        basis[:, step] = vector
        image = product(vector)
        tridiagonal[:, step, step] = np.vecdot(image, vector)
        known = basis[:, : step + 1]
        for _ in range(2):  # once leaves rounding errors that grow (Parlett 1980)
            overlaps = known @ image[:, :, None]
            image = image - (overlaps.mT @ known)[:, 0]
        length = np.linalg.norm(image, axis=1)
        # What is left of a Krylov space that is exhausted is rounding error; zero vectors instead
        # add nodes without weight.
        length[length < 1e-6 * np.abs(tridiagonal).max(axis=(1, 2))] = 0.0
        tridiagonal[:, step, step + 1] = tridiagonal[:, step + 1, step] = length
        vector = np.where(length > 0.0, 1.0, 0.0)[:, None] * image
        vector /= np.where(length > 0.0, length, 1.0)[:, None]
        progress((step + 1) / steps)
    nodes, vectors = np.linalg.eigh(tridiagonal[:, :steps, :steps])
    return np.maximum(nodes, 0.0), vectors[:, 0] ** 2, tridiagonal[:, 0, 0].copy()


def _pooled(spectra: list[Spectrum]) -> Spectrum:
    def worst(choose: Callable[[list[Any]], Any], name: str) -> Any:
        values = [getattr(spectrum, name) for spectrum in spectra]
        return None if None in values else choose(values)

    count = len(spectra)
    values = [s.singular_values for s in spectra if s.singular_values is not None]
    return Spectrum(
        spectra[0].obtained,
        np.concatenate([spectrum.nodes for spectrum in spectra]),
        np.concatenate([spectrum.weights for spectrum in spectra]) / count,
        worst(max, "largest"),
        worst(min, "smallest"),
        float(np.mean([spectrum.mean_square for spectrum in spectra])),
        float(np.linalg.norm([spectrum.standard_error for spectrum in spectra]) / count),
        worst(max, "condition_number"),
        worst(max, "rank_deficiency"),
        np.sort(np.concatenate(values))[::-1] if values else None,
        " ".join(dict.fromkeys(spectrum.note for spectrum in spectra if spectrum.note)),
    )


def _epsilon(graph: ModelGraph) -> float:
    """Machine epsilon of the coarsest floating type that flows through a graph."""
    bits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    return max((2.0 ** -bits[v.dtype] for v in graph.values if v.dtype in bits), default=2.0**-23)
