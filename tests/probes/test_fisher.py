"""The Fisher information, held against its closed forms."""

import keras
import numpy as np
import pytest
from keras import layers

from probes import probe_fisher

X = np.random.default_rng(0).standard_normal((40, 6)).astype("float32")
X1 = np.hstack([X, np.ones((40, 1))]).astype(float)  # with the bias's input


def dense(units, activation=None, samples=40, **options):
    model = keras.Sequential([keras.Input((6,), name="x"), layers.Dense(units, activation)])
    found = probe_fisher(model, samples, input_data={"x": X[:samples]}, **options)
    return found, np.vstack(model.get_weights()).astype(float)


def eigenvalues(blocks):
    """Of the mean over samples of x̃x̃ᵀ ⊗ H, which a layer alone has."""
    x = X1[: len(blocks)]
    fisher = np.mean([np.kron(np.outer(a, a), h) for a, h in zip(x, blocks, strict=True)], 0)
    return np.linalg.eigvalsh(fisher)


@pytest.mark.parametrize("samples", [5, 40])  # a matrix of 20 rows; Lanczos on 160
def test_numbers_have_the_second_moments_of_what_is_read(samples):
    found, _ = dense(4, samples=samples)
    expected = eigenvalues([np.eye(4)] * samples)
    assert found.likelihoods == ("gaussian",)
    assert (found.parameters, found.samples) == (28, samples)
    assert found.largest == pytest.approx(expected[-1], rel=1e-3)
    assert found.trace == pytest.approx(expected.sum(), abs=4 * found.standard_error + 1e-4)
    assert (found.standard_error == 0.0) == (samples == 5)
    assert found.standard_error < 0.1 * found.trace


@pytest.mark.parametrize("samples", [9, 40])
def test_classes_have_those_of_their_probabilities(samples):
    found, weights = dense(5, "softmax", samples)
    logits = X1[:samples] @ weights
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = eigenvalues([np.diag(each) - np.outer(each, each) for each in p])
    assert found.likelihoods == ("categorical",)
    assert found.largest == pytest.approx(expected[-1], rel=1e-3)
    assert found.trace == pytest.approx(expected.sum(), abs=4 * found.standard_error + 1e-4)


def test_yes_or_no_has_those_of_its_probability():
    found, weights = dense(1, "sigmoid")
    p = 1 / (1 + np.exp(-X1 @ weights[:, 0]))
    expected = eigenvalues([np.array([[each * (1 - each)]]) for each in p])
    assert found.largest == pytest.approx(expected[-1], rel=1e-3)
    assert found.trace == pytest.approx(expected.sum(), rel=1e-4)
    numbers, _ = dense(1, "sigmoid", likelihood="gaussian")
    assert numbers.trace == pytest.approx((X1**2).sum(1).mean(), rel=1e-4)  # of the logits


def of_errors(wanted, given):
    return keras.ops.sum((given - wanted) ** 2, -1) / 2


def test_a_rate_beyond_two_over_the_largest_leaves_a_minimum_and_one_within_does_not():
    keras.utils.set_random_seed(1)
    stack = [layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,), name="x"), *stack])
    found = probe_fisher(model, 40, input_data={"x": X})
    before = model.get_weights()
    targets = np.asarray(model(X)) + 1e-3 * X[:, :3]  # a little beside what it gives already
    grown = {}
    for factor in (0.8, 1.2):
        model.set_weights(before)
        model.compile(keras.optimizers.SGD(factor * 2.0 / found.largest), of_errors)
        losses = [model.train_on_batch(X, targets) for _ in range(30)]
        grown[factor] = losses[-1] / losses[0]
    assert grown[0.8] < 1.0
    assert grown[1.2] > 10.0


def test_the_model_stays_as_it_was_and_the_seed_decides():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dropout(0.5),
            layers.Dense(30, "relu"),
            layers.BatchNormalization(),
            layers.Dense(4),
        ]
    )
    before = model.get_weights()
    one, again = probe_fisher(model, 32), probe_fisher(model, 32)
    assert one == again
    assert probe_fisher(model, 32, seed=1) != one
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_probabilities_that_are_certain_leave_no_information():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(60, "softmax")])
    model.layers[0].kernel.assign(1e6 * model.layers[0].kernel)
    assert probe_fisher(model).largest == probe_fisher(model).trace == 0.0


def test_what_has_none_is_told():
    x = keras.Input((6,))
    with pytest.raises(ValueError, match="no trainable parameters"):
        probe_fisher(keras.Model(x, layers.ReLU()(x)))
    with pytest.raises(ValueError, match="likelihood must be one of"):
        probe_fisher(keras.Model(x, layers.Dense(1)(x)), likelihood="poisson")
