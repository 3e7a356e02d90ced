"""A model trained again and again: the same steps as by hand, and no trace of earlier ones."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.reading import read_model
from probes.trials.tasks import task_of
from probes.trials.training import Trainer

RNG = np.random.default_rng(1)
X = RNG.standard_normal((250, 3)).astype("float32")
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.3).astype("float32")


def trainer(optimizer=None, batch=32, stack=(), y=Y, last=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), *stack, last or layers.Dense(1)])
    graph = read_model(model, training=True)
    task = task_of(graph, [X], [y], "")
    return model, Trainer(model, graph, task, optimizer or keras.optimizers.SGD(), batch)


def test_steps_are_those_of_gradient_descent():
    model, found = trainer(batch=50)
    kernel, bias = (v.numpy().astype(float) for v in model.trainable_variables)
    found.start()
    losses, diverged = found.train(0.1, range(3))
    assert not diverged
    for step, loss in enumerate(losses):
        rows = found._rows(step, 0)
        x, y = found.task.inputs[0][rows], found.task.targets[0][rows]
        error = x @ kernel + bias - y
        assert loss == pytest.approx((error**2).mean(), rel=1e-4)
        kernel -= 0.1 * 2 * x.T @ error / len(x)
        bias -= 0.1 * 2 * error.mean(0)
    assert model.trainable_variables[0].numpy() == pytest.approx(kernel, rel=1e-4)


def test_a_training_begins_without_the_past_of_another():
    _, found = trainer(keras.optimizers.Adam())
    begun = found.start()
    first = found.train(0.01, range(12))
    found.train(0.5, range(12, 20))
    found.restore(begun)
    assert found.train(0.01, range(12)) == first


def test_a_training_goes_on_where_it_stood():
    _, found = trainer(keras.optimizers.SGD(momentum=0.9))
    begun = found.start()
    whole, _ = found.train(0.01, range(20))
    found.restore(begun)
    half, _ = found.train(0.01, range(8))
    stood = found.state()
    found.train(0.3, range(5))
    found.restore(stood)
    more, _ = found.train(0.01, range(8, 20))
    assert [*half, *more] == pytest.approx(whole, rel=1e-5)


def test_divergence_stops_a_training():
    _, found = trainer()
    found.start()
    losses, diverged = found.train(30.0, range(200))
    assert diverged
    assert len(losses) < 50


def test_what_is_learnt_shows_on_samples_that_are_held_out():
    _, found = trainer()
    found.start()
    before = found.judge()
    found.train(0.1, range(100))
    after = found.judge()
    assert after.value > 0.99 > before.value
    assert after.loss < 0.01 * found.task.chance


def test_judging_changes_nothing_also_where_the_batch_is_normalized():
    classes = (Y > 0).astype(int)
    stack = [layers.Dense(8), layers.BatchNormalization(), layers.ReLU()]
    model, found = trainer(stack=stack, y=classes, last=layers.Dense(2), batch=20)
    found.start()
    found.train(0.05, range(40))
    before = model.get_weights()
    score = found.judge()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    # In training mode: by the batch's own statistics, which the moving ones are far from.
    x, y = (each[0][200:] for each in (found.task.inputs, found.task.targets))
    parts = x[:20], x[20:40], x[40:]
    logits = np.concatenate([np.asarray(model(part, training=True)) for part in parts])
    assert score.value == pytest.approx((logits.argmax(1) == y).mean())
    assert score.error > 0


def test_a_model_without_weights_to_train_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, trainable=False)])
    graph = read_model(model)
    task = task_of(graph, [X], [Y], "")
    with pytest.raises(ValueError, match="no weights"):
        Trainer(model, graph, task, keras.optimizers.SGD())


def everything(optimizer):
    """What a step of training may have to heed, compiled; the same each time."""
    keras.utils.set_random_seed(0)
    x, other = keras.Input((3,)), keras.Input((3,))
    inner = layers.Dense(
        16, kernel_regularizer="l2", activity_regularizer="l2", kernel_constraint="max_norm"
    )(layers.Concatenate()([x, other]))
    inner = layers.Dropout(0.3)(layers.ReLU()(layers.BatchNormalization()(inner)))
    hidden = layers.Dense(4, trainable=False)(inner)
    outputs = [layers.Dense(1)(hidden), layers.Dense(2, "softmax")(inner)]
    model = keras.Model([x, other], outputs)
    losses = [keras.losses.Huber(), "sparse_categorical_crossentropy"]
    model.compile(optimizer(), losses)
    return model, losses


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda: keras.optimizers.Adam(0.05, clipnorm=0.5, use_ema=True),
    ],
)
def test_a_step_is_that_of_keras(optimizer):
    keras_own, losses = everything(optimizer)
    ours, _ = everything(optimizer)
    graph = read_model(ours, training=True)
    task = task_of(graph, [X, -X], [Y, (Y > 0).astype(int)], "", losses)
    found = Trainer(ours, graph, task, ours.optimizer)
    found.start()
    taken, _ = found.train(0.05, range(13))
    for step, loss in enumerate(taken):
        inputs, targets = found._samples(found._rows(step, 0))
        expected = keras_own.train_on_batch(inputs, targets, return_dict=True)["loss"]
        assert loss == pytest.approx(float(expected), rel=1e-4), step
    for one, other in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_scores_of_logits_are_those_of_their_signs():
    classes = (Y > 0).astype(int)
    model, found = trainer(y=classes)
    assert found.task.losses[0].get_config()["from_logits"]
    x, y = (each[0][200:] for each in (found.task.inputs, found.task.targets))
    given = np.asarray(model(x)) > 0
    assert found.judge().value == pytest.approx((given == y).mean())


def test_all_samples_that_are_held_out_are_judged_also_where_they_fill_no_batch():
    """50 of 250 are held out: a batch of 40, and ten that it takes four times to fill another."""
    model, found = trainer(batch=40)
    x, y = (each[0][200:] for each in (found.task.inputs, found.task.targets))
    assert len(x) == 50
    errors = (np.asarray(model(x)) - y) ** 2
    assert found.judge().loss == pytest.approx(errors.mean(), rel=1e-5)
    assert abs(errors[:40].mean() / errors.mean() - 1) > 0.02  # what the first batch alone says


@pytest.mark.parametrize(
    ("loss", "y", "last"),
    [
        ("cosine_similarity", np.stack([Y, -2.0 * Y + 1.0], -1), layers.Dense(2)),
        ("poisson", np.exp(0.5 * Y + 1.0), layers.Dense(1, "exponential")),
    ],
)
def test_losses_below_zero_are_judged_from_the_least_one(loss, y, last):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), last])
    graph = read_model(model, training=True)
    task = task_of(graph, [X], [y], "", [loss])
    found = Trainer(model, graph, task, keras.optimizers.Adam(), batch=25)
    found.start()
    before = found.judge()
    losses, diverged = found.train(0.05, range(200))
    after = found.judge()
    assert not diverged
    assert len(losses) == 200
    assert before.value < 0.5 < 0.9 < after.value <= 1.0 + 1e-6
    assert found.task.least < found.task.chance < 0.0
