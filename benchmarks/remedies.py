"""Remedies held against trainings: `python -m benchmarks.remedies [REMEDY ...]`.

For each remedy that a finding may end with a classifier of scikit-learn's digits that has the
fault, and the same with the remedy taken. Both are trained as they are compiled; printed is what
the verdict says of each, and for how many unseen digits beyond chance each is right.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import constraints, initializers, layers, losses, ops, optimizers, regularizers
from sklearn.datasets import load_digits

from autoinit import AutoInit, check

STEPS, BATCH, UNSEEN = 400, 32, 500
Network = Callable[[bool], Any]  # with the remedy taken, or not


def momentum(rate: float = 0.05) -> Any:
    """Gradient descent as it is mostly done."""
    return optimizers.SGD(rate, momentum=0.9)


def chain(
    *parts: Any, shape: tuple[int, ...] = (64,), optimizer: Any = "adam", loss: Any = None
) -> Any:
    """Layers one behind the other, compiled; lists among them are taken apart."""
    flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    model = keras.Sequential([keras.Input(shape), *flat])
    model.compile(optimizer, loss or "sparse_categorical_crossentropy")
    return model


def dense(function: str | None = "relu", units: int = 64, **given: Any) -> Any:
    """A dense layer."""
    return layers.Dense(units, function, **given)


def head(function: str | None = "softmax") -> Any:
    """Ten classes."""
    return layers.Dense(10, function)


def hidden(count: int, **given: Any) -> list[Any]:
    """Dense layers that are alike."""
    return [dense(**given) for _ in range(count)]


def normal(deviation: float) -> Any:
    """An initializer of its own."""
    return initializers.RandomNormal(stddev=deviation)


def with_autoinit(model: Any, taken: bool) -> Any:
    """The model, with AutoInit's weights where they are the remedy."""
    if taken:
        compiled = model.get_compile_config()
        model = AutoInit().initialize_model(model)
        model.compile_from_config(compiled)
    return model


def products(taken: bool) -> Any:
    """Six products of two kernels."""
    x = given = keras.Input((64,))
    for _ in range(6):
        x = layers.Multiply()([dense(None)(x), dense(None)(x)])
        x = layers.LayerNormalization()(x) if taken else x
    model = AutoInit().initialize_model(keras.Model(given, head()(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def normalized(taken: bool) -> Any:
    """Fifty dense layers, each with a batch normalization."""
    x = given = keras.Input((64,))
    x = dense()(x)
    for _ in range(25):
        y = x
        for _ in range(2):
            y = layers.ReLU()(layers.BatchNormalization()(dense(None)(y)))
        x = layers.Add()([x, y]) if taken else y
    model = keras.Model(given, head()(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def branches(taken: bool) -> Any:
    """Residual branches of tiny kernels, by descent without momentum."""
    x = given = keras.Input((64,))
    for _ in range(4):
        y = dense(kernel_initializer=normal(1e-4))(x)
        x = layers.Add()([x, dense(None, kernel_initializer=normal(1e-4))(y)])
    squashed = dense("relu", 16, kernel_initializer=normal(1e-4))(x)
    model = keras.Model(given, head()(squashed))
    model.compile("adam" if taken else optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    return model


def rooted(taken: bool) -> Any:
    """A root of what is zero for some."""
    x = given = keras.Input((64,))
    x = ops.sqrt(ops.relu(dense(None)(x)) + (1e-6 if taken else 0.0))
    model = keras.Model(given, head()(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def rounded(taken: bool) -> Any:
    """What is rounded in the middle."""
    x = given = keras.Input((64,))
    x = dense("sigmoid")(x)
    x = x if taken else ops.round(x)
    x = dense("sigmoid")(x) if taken else ops.round(dense("sigmoid")(x))
    model = keras.Model(given, head()(x) if taken else ops.round(head()(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def frozen(taken: bool) -> Any:
    """Nothing that may learn."""
    model = chain(hidden(2), head())
    model.trainable = taken
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def smoothed(taken: bool) -> Any:
    """Labels of which nothing is left."""
    return chain(
        hidden(1), head(), loss=losses.CategoricalCrossentropy(label_smoothing=0.1 if taken else 1)
    )


def _schedule(steps: int) -> Any:
    return optimizers.Adam(optimizers.schedules.ExponentialDecay(1e-3, steps, 0.5))


NETWORKS: Mapping[str, Network] = {
    "autoinit_helps": lambda taken: with_autoinit(
        chain(hidden(30, kernel_initializer="glorot_uniform"), head(), optimizer=momentum(0.01)),
        taken,
    ),
    "change_activation": lambda taken: chain(
        hidden(9, function="relu" if taken else "sigmoid", kernel_initializer="he_normal"), head()
    ),
    "change_last_activation": lambda taken: chain(hidden(1), head("softmax" if taken else "relu")),
    "add_nonlinearity": lambda taken: chain(hidden(3, function="relu" if taken else None), head()),
    "add_normalisation": products,
    "add_skips": normalized,
    "keep_from_zero": rooted,
    "orthogonal": lambda taken: chain(
        [
            dense("tanh", 16, kernel_initializer="orthogonal" if taken else normal(0.25))
            for _ in range(60)
        ],
        head(),
    ),
    "widen": lambda taken: chain(
        hidden(10, units=32 if taken else 2, kernel_initializer="he_normal"), head()
    ),
    "scale_input": lambda taken: chain(
        [] if taken else layers.Rescaling(255.0), hidden(2), head(), optimizer=momentum(0.01)
    ),
    "redraw_random": lambda taken: chain(
        hidden(2, kernel_initializer="he_normal" if taken else "ones"), head()
    ),
    "reseed": lambda taken: chain(
        [
            dense(kernel_initializer=initializers.HeNormal(seed=None if taken else 1))
            for _ in range(3)
        ],
        head(),
    ),
    "bound_recurrence": lambda taken: chain(
        layers.Reshape((64, 1)),
        layers.SimpleRNN(
            32,
            "tanh" if taken else "relu",
            recurrent_initializer="orthogonal" if taken else normal(0.5),
        ),
        head(),
    ),
    "lower_rate": lambda taken: chain(
        [one for _ in range(3) for one in (dense(), layers.Dropout(0.2 if taken else 0.95))], head()
    ),
    "weaken_regularizer": lambda taken: chain(
        hidden(2, kernel_regularizer=regularizers.L2(1e-3 if taken else 1.0)), head()
    ),
    "loosen_constraint": lambda taken: chain(
        hidden(2, kernel_constraint=constraints.MaxNorm(3.0 if taken else 0.03)), head()
    ),
    "change_loss": smoothed,
    "default_optimizer": lambda taken: chain(
        hidden(2), head(), optimizer=optimizers.Adam(epsilon=1e-7 if taken else 1e4)
    ),
    "change_rate": lambda taken: chain(
        hidden(2), head(), optimizer=optimizers.Adam(0.001 if taken else 1.0)
    ),
    "longer_schedule": lambda taken: chain(
        hidden(2), head(), optimizer=_schedule(1000 if taken else 3)
    ),
    "weaken_decay": lambda taken: chain(
        hidden(2), head(), optimizer=optimizers.AdamW(weight_decay=0.01 if taken else 100.0)
    ),
    "clip_less": lambda taken: chain(
        hidden(2), head(), optimizer=optimizers.SGD(0.05, 0.9, clipnorm=1.0 if taken else 1e-4)
    ),
    "start_at_one": lambda taken: chain(
        [
            one
            for _ in range(3)
            for one in (
                dense(None),
                layers.BatchNormalization(gamma_initializer="ones" if taken else "zeros"),
                layers.ReLU(),
            )
        ],
        head(),
    ),
    "move_dropout": lambda taken: chain(
        hidden(1), [layers.Dropout(0.5), head()] if taken else [head(), layers.Dropout(0.5)]
    ),
    "unfreeze": frozen,
    "let_gradient_through": rounded,
    "drop_normalization": lambda taken: chain(
        hidden(1), [] if taken else [dense(None, 1), layers.LayerNormalization()], hidden(1), head()
    ),
    "bias_at_zero": lambda taken: chain(
        hidden(2, bias_initializer=initializers.Constant(0.0 if taken else -10.0)), head()
    ),
    "faster_descent": branches,
    "drop_factor": lambda taken: chain(
        hidden(2),
        head(None),
        [] if taken else layers.Rescaling(1e-4),
        optimizer=momentum(),
        loss=losses.SparseCategoricalCrossentropy(from_logits=True),
    ),
}


def right(model: Any) -> float:
    """For how many unseen digits beyond chance a network is right, once it was trained."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = ((data.data - data.data.mean()) / data.data.std())[order].astype("float32")
    y = data.target[order]
    seen = len(y) - UNSEEN
    rows = np.random.default_rng(1).integers(0, seen, STEPS * BATCH)
    targets = np.eye(10)[y] if isinstance(model.loss, losses.CategoricalCrossentropy) else y
    try:
        model.fit(x[rows], targets[rows], batch_size=BATCH, shuffle=False, verbose=0)
    except ValueError:
        # Keras refuses to train where no gradient reaches any variable: nothing is learnt.
        if model.trainable_variables and "No gradients" not in traceback.format_exc():
            raise
    answers = np.asarray(model.predict(x[seen:], verbose=0)).argmax(-1)
    return float(((answers == y[seen:]).mean() - 0.1) / 0.9)


def main() -> None:
    """Print a line for each remedy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("remedies", nargs="*")
    wanted = parser.parse_args().remedies or list(NETWORKS)
    print("| remedy | verdict before | its remedy | right | verdict after | right |")
    print("|---|---|---|---|---|---|")
    for name in wanted:
        cells = []
        for taken in (False, True):
            keras.utils.set_random_seed(1)
            model = NETWORKS[name](taken)
            verdict = check(model, verbose=False).verdicts["uploaded"]
            said = [verdict.verdict] if taken else [verdict.verdict, verdict.remedy]
            cells += [*said, f"{right(model):.0%}"]
            keras.utils.clear_session()
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
