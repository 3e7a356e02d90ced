import numpy as np

from autoinit.signals.correlated.operations.linear import linear
from autoinit.signals.correlated.operations.reshape import arrange
from autoinit.signals.correlated.pairs import MeanProducts, as_matrix, as_pairs, products
from autoinit.signals.correlated.state import State
from autoinit.signals.geometry import windows
from autoinit.signals.signal import NO_BIAS, KernelMoments

COUNTS = (2, 3)


def test_pairs_and_matrices_hold_the_same_values_at_places_of_their_own():
    matrix = np.arange(36.0).reshape(6, 6)
    pairs = as_pairs(matrix, COUNTS)
    assert pairs.shape == (4, 9)
    # Positions (0, 2) and (1, 0): 2 and 3 in a row; 0·2 + 1 and 2·3 + 0 along the axes.
    assert pairs[1, 6] == matrix[2, 3]
    np.testing.assert_array_equal(as_matrix(pairs, COUNTS), matrix)


def test_mean_products_are_those_of_each_order_by_itself():
    values = np.random.default_rng(0).normal(size=(5, 4, 6))
    by_order = MeanProducts(values)
    for order in range(5):
        expected = np.einsum("jp,jq->pq", values[order], values[order]) / 4
        np.testing.assert_allclose(by_order[order], expected)
    one = MeanProducts(values[:, :1])[2]
    np.testing.assert_allclose(
        as_pairs(one, COUNTS), products(values[2, :1], values[2, :1], COUNTS)
    )


def test_kernels_that_read_one_state_give_what_each_gives_alone():
    def state() -> State:
        return arrange(State.gaussian(0.5, 2.0), (8, 8))

    reads = (windows(8, 3, padding="same"),) * 2
    first, second = (
        KernelMoments(9.0, 9.0, 0.0, reads, 16, 4),
        KernelMoments(2.0, 3.0, 0.1, reads, 16, 4),
    )
    other = KernelMoments(2.0, 3.0, 0.1, reads, 16, 32)
    shared = state()
    for kernel in (first, second, other):
        found, alone = linear(shared, kernel, NO_BIAS), linear(state(), kernel, NO_BIAS)
        for name in ("means", "cov_positions", "cov_samples"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
        assert found.notes.log_variance == alone.notes.log_variance
        assert found.latent_id != alone.latent_id
    assert linear(shared, first, NO_BIAS).latent_id != linear(shared, second, NO_BIAS).latent_id
