"""What a short training learns: shapes, losses, and what needs no training."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.reading import read_model
from probes.trials.tasks import digits_task, task_of


def graph_of(*stack, shape=(4,), dtype="float32"):
    return read_model(keras.Sequential([keras.Input(shape, dtype=dtype), *stack]))


RNG = np.random.default_rng(0)
X = RNG.standard_normal((100, 4)).astype("float32")


@pytest.mark.parametrize(
    ("last", "target", "name", "from_logits"),
    [
        (layers.Dense(3), RNG.integers(0, 3, 100), "sparse_categorical_crossentropy", True),
        (
            layers.Dense(3, "softmax"),
            RNG.integers(0, 3, (100, 1)),
            "sparse_categorical_crossentropy",
            False,
        ),
        (layers.Dense(3), np.eye(3)[RNG.integers(0, 3, 100)], "categorical_crossentropy", True),
        (layers.Dense(1, "sigmoid"), RNG.integers(0, 2, 100), "binary_crossentropy", False),
        (layers.Dense(1), RNG.integers(0, 2, 100).astype(float), "binary_crossentropy", True),
        (layers.Dense(1), RNG.standard_normal(100), "mean_squared_error", None),
        (layers.Dense(2), RNG.standard_normal((100, 2)), "mean_squared_error", None),
    ],
)
def test_the_loss_follows_from_output_and_targets(last, target, name, from_logits):
    (loss,) = task_of(graph_of(last), [X], [target], "").losses
    assert loss.name == name
    assert loss.get_config().get("from_logits") == from_logits


def test_chance_is_the_loss_of_the_best_constant():
    classes = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    for last in (layers.Dense(4), layers.Dense(4, "softmax")):
        task = task_of(graph_of(last), [X], [classes], "")
        shares = np.bincount(task.targets[0][-task.held_out :], minlength=4) / task.held_out
        entropy = -sum(share * math.log(share) for share in shares if share)
        assert task.chance == pytest.approx(entropy, abs=1e-4)
        assert task.largest_class == shares.max()
    numbers = RNG.standard_normal((100, 2))
    task = task_of(graph_of(layers.Dense(2)), [X], [numbers], "")
    assert task.chance == pytest.approx(task.targets[0][-task.held_out :].var(0).mean(), rel=1e-5)
    assert not task.counts


@pytest.mark.parametrize(
    ("loss", "least"), [("cosine_similarity", -1.0), ("mean_squared_error", 0.0), ("huber", 0.0)]
)
def test_the_least_loss_is_that_of_the_targets(loss, least):
    numbers = RNG.standard_normal((100, 2))
    task = task_of(graph_of(layers.Dense(2)), [X], [numbers], "", [loss])
    assert task.least == pytest.approx(least, abs=1e-6)


def test_the_best_constant_is_the_median_where_that_is_best():
    """Of skewed targets, a network that gives the median has learnt nothing."""
    skewed = np.exp(2.0 * RNG.standard_normal((100, 1)))
    task = task_of(graph_of(layers.Dense(1)), [X], [skewed], "", ["mean_absolute_error"])
    held = task.targets[0][-task.held_out :]
    assert task.chance == pytest.approx(np.abs(held - np.median(held)).mean(), rel=1e-5)
    assert task.chance < 0.9 * np.abs(held - held.mean()).mean()


def test_a_fifth_is_held_out_and_the_order_follows_from_the_seed():
    classes = RNG.integers(0, 3, 100)
    one, same, other = (
        task_of(graph_of(layers.Dense(3)), [X], [classes], "", seed=seed) for seed in (1, 1, 2)
    )
    assert one.held_out == 20
    assert np.array_equal(one.inputs[0], same.inputs[0])
    assert not np.array_equal(one.inputs[0], other.inputs[0])
    rows = {tuple(row): klass for row, klass in zip(X, classes, strict=True)}
    assert all(rows[tuple(row)] == k for row, k in zip(one.inputs[0], one.targets[0], strict=True))


@pytest.mark.parametrize(
    ("last", "target", "sentence"),
    [
        (layers.Dense(3), np.full(100, 3), "from 0 to 2"),
        (layers.Dense(3), np.zeros((100, 5)), "the targets have"),
        (layers.Dense(3), np.zeros(90, int), "as many samples"),
    ],
)
def test_targets_that_do_not_fit_are_refused(last, target, sentence):
    with pytest.raises(ValueError, match=sentence):
        task_of(graph_of(last), [X], [target], "")


@pytest.mark.parametrize(
    ("shape", "stack"),
    [
        ((12, 10, 3), [layers.Flatten(), layers.Dense(10)]),
        ((784,), [layers.Dense(1000, "softmax")]),
        ((5, 6), [layers.LSTM(3), layers.Dense(2)]),
        ((2,), [layers.Dense(10)]),
        ((6, 6, 1), [layers.Conv2D(1, 3, padding="same")]),
        ((6, 6, 1), [layers.Conv2D(4, 3, padding="same"), layers.Softmax()]),
    ],
)
def test_digits_come_in_any_shape(shape, stack):
    graph = graph_of(*stack, shape=shape)
    task = digits_task(graph, {graph.inputs[0].path: (3.0, 4.0)})
    (x,), (y,) = task.inputs, task.targets
    assert x.shape == (1797, *shape)
    assert x.mean() == pytest.approx(3.0, abs=0.2)
    assert x.std() == pytest.approx(2.0, rel=0.15)
    output = np.zeros((1797, *graph.outputs[0].sample), "float32")
    assert np.isfinite(np.asarray(task.losses[0](y, output + 0.01)))
    assert task.chance > 0


def test_whole_numbers_stay_within_the_vocabulary():
    graph = graph_of(
        layers.Embedding(7, 3),
        layers.GlobalAveragePooling1D(),
        layers.Dense(1, "sigmoid"),
        shape=(9,),
        dtype="int32",
    )
    (x,) = digits_task(graph, {}).inputs
    assert x.dtype == np.int32
    assert x.min() == 0
    assert x.max() == 6


def test_the_losses_of_a_compiled_model_are_taken():
    losses = [keras.losses.CategoricalCrossentropy()]
    task = digits_task(graph_of(layers.Dense(4, "softmax")), {}, losses)
    assert task.losses == tuple(losses)
    assert task.targets[0].shape == (1797, 4)
    assert task.counts
    task = digits_task(graph_of(layers.Dense(4)), {}, [keras.losses.MeanSquaredError()])
    assert task.targets[0].dtype == np.float32
    assert not task.counts
