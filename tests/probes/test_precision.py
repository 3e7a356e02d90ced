"""How sure a measured variance is, and how many samples that takes."""

import math
from statistics import fmean
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from scipy import stats

from autoinit.graph.shapes import largest_alive
from autoinit.reading import read_model
from probes import forward, probe_model
from probes.moments import host
from probes.moments.device import DeviceRecorder
from probes.moments.host import HostRecorder
from probes.moments.precision import standard_error
from probes.moments.recorder import FirstAxis
from probes.passing import Pass

RECORDERS = pytest.mark.parametrize("recorder", [HostRecorder, DeviceRecorder])


def jackknifed(units):
    """By leaving out each unit of samples in turn, and taking the variance of what is left."""
    left = [np.concatenate(units[:n] + units[n + 1 :]).var() for n in range(len(units))]
    n = len(units)
    return stats.t.ppf(0.975, n - 1) / 1.96 * math.sqrt((n - 1) * np.log(left).var())


@RECORDERS
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e18])
@pytest.mark.parametrize(
    ("shape", "mean"),
    [
        ((40, 1), 0.5),
        ((40, 24), 1e3),
        ((40, 5, 7, 13), 0.0),
        ((40, 33, 100), 0.5),
        ((80, 16, 8, 16), 0.5),
    ],
)
def test_errors_are_those_of_the_variance_with_a_unit_left_out(
    recorder, mixed, scale, shape, mean
):  # two rows of the last shape are a sample
    generator = np.random.default_rng(0)
    values = generator.standard_normal(shape) + generator.standard_normal(shape[0]).reshape(
        -1, *[1] * (len(shape) - 1)
    )
    values = ((values + mean) * scale).astype(np.float32)
    batches = np.split(values, 5)
    with recorder() as each:
        for batch in batches:
            tensor = keras.ops.convert_to_tensor(batch)
            each.record(tensor, None, "call", samples=FirstAxis(8, mixed))
        error = each.standard_errors()["call"]
        (figures,) = each.results()
    exact = values.astype(np.float64).reshape(40, -1) / scale
    units = np.split(exact, 5) if mixed else list(exact)
    assert error == figures.standard_error == pytest.approx(jackknifed(units), rel=1e-3)


@RECORDERS
def test_what_has_no_error(recorder):
    values = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    broken, silent, single = values.copy(), np.zeros_like(values), np.zeros_like(values)
    broken[3, 2] = np.inf
    single[5] = 1.0
    told = FirstAxis(8)
    with recorder() as each:
        for key, (array, samples) in enumerate(
            [
                (values, FirstAxis()),
                (values[:1], FirstAxis(1)),
                (broken, told),
                (silent, told),
                (values.astype(np.int32), told),
                (single, told),
            ]
        ):
            each.record(keras.ops.convert_to_tensor(array), None, key, samples=samples)
        assert [*each.standard_errors().values()] == [None] * 5 + [math.inf]


def convolutional(size=12):
    x = inputs = keras.Input((size, size, 3))
    for width in (12, 24):
        x = layers.Conv2D(width, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, "softmax")(x))


def recurrent():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(500, 24)(inputs)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(4, "sigmoid")(layers.GRU(24)(x)))


def attention():
    inputs = keras.Input((8, 24))
    x = layers.LayerNormalization()(inputs)
    x = layers.Add()([inputs, layers.MultiHeadAttention(4, 6)(x, x)])
    x = layers.Dense(48, "gelu")(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))


def gated():
    inputs = keras.Input((10, 10, 8))
    x = layers.Conv2D(16, 3, activation="swish")(inputs)
    gate = layers.Dense(16, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Dropout(0.2)(layers.Multiply()([x, gate]))
    x = layers.Multiply()([layers.Conv2D(8, 3)(x), layers.Conv2D(8, 3, activation="sigmoid")(x)])
    return keras.Model(inputs, layers.Dense(6, "tanh")(layers.Flatten()(x)))


def normalised():
    x = inputs = keras.Input((10, 10, 3))
    for width in (12, 24):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 3)(x)))
    x = layers.Dense(16)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Activation("tanh")(layers.BatchNormalization()(x)))


def held(build, monkeypatch, samples, redraws, together=None):
    """How often the interval of some samples holds the variance of all, for each call.

    Weights stay; inputs are drawn anew each time. Only sample by sample, or batch by batch where
    they go `together`, is what they give cut into redraws.
    """
    keras.utils.set_random_seed(0)
    rows = []
    monkeypatch.setattr(host, "standard_error", lambda batches, mixed: rows.append(batches))
    probe_model(build(), samples * redraws, batch_size=together)
    each, shares = together or samples, []
    for batches in rows:
        whole = np.concatenate(batches, axis=1)
        parts = np.split(whole, samples * redraws // each, axis=1)
        groups = [parts[n : n + samples // each] for n in range(0, len(parts), samples // each)]
        hits = [
            abs(math.log(variance(np.concatenate(group, axis=1)) / variance(whole)))
            <= 1.96 * standard_error(group, mixed=together is not None) + 1e-6
            for group in groups
        ]
        shares.append(fmean(hits))
    return shares


def variance(rows):
    """Of all entries, from means and variances of samples."""
    return rows[1].mean() + rows[0].var()


@pytest.mark.parametrize("build", [convolutional, recurrent, attention, gated])
def test_intervals_hold_as_often_as_they_should(build, monkeypatch):
    shares = held(build, monkeypatch, 8, 200)
    assert 0.90 <= fmean(shares) <= 0.98
    assert min(shares) > 0.85


@pytest.mark.slow
def test_intervals_of_batches_hold_as_often_as_they_should(monkeypatch):
    shares = held(normalised, monkeypatch, 32, 40, together=8)
    assert 0.90 <= fmean(shares) <= 0.98
    assert min(shares) > 0.80


@pytest.mark.slow
@pytest.mark.parametrize("samples", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("build", [convolutional, recurrent, attention, gated, normalised])
def test_intervals_hold_whatever_the_number_of_samples(build, samples, monkeypatch):
    together = 8 if build is normalised else None
    shares = held(build, monkeypatch, samples, 400 if samples < 32 else 100, together)
    assert min(shares) >= 0.84
    if together and samples < 32:
        assert fmean(shares) >= 0.90  # too few batches to be units: the error is too large
    else:
        assert 0.90 <= fmean(shares) <= 0.98


def sizes_of_batches(monkeypatch):
    """How many samples each batch has, from now on."""
    run, sizes = Pass.run, []

    def counting(one, inputs, *arguments):
        sizes.append(len(next(iter(inputs.values()))))
        run(one, inputs, *arguments)

    monkeypatch.setattr(Pass, "run", counting)
    return sizes


def test_few_samples_where_they_are_enough(monkeypatch):
    model = keras.Sequential([keras.Input((250, 250, 3)), layers.Conv2D(4, 3, name="conv")])
    few = probe_model(model, 8)
    sizes, told = sizes_of_batches(monkeypatch), []
    probe = probe_model(model, "auto", progress=told.append)
    assert (sizes, probe.samples, probe.batch_size) == ([8], 8, 8)
    assert max(moments.standard_error for moments in probe.values()) <= 0.02
    assert probe.moments == few.moments
    assert told == sorted(told)


def test_more_until_they_are_enough_and_as_many_at_once_as_that_takes(monkeypatch):
    keras.utils.set_random_seed(0)
    monkeypatch.setattr(forward, "_FIRST", 0)
    model = keras.Sequential([keras.Input((500,)), layers.Dense(200, name="dense")])
    sizes, told = sizes_of_batches(monkeypatch), []
    probe = probe_model(model, "auto", progress=told.append)
    assert sizes[0] == 8
    assert probe.samples == sum(sizes) in (64, 128)
    assert len(sizes) < 4  # errors fall with the root of the number: it need not be doubled
    assert max(moments.standard_error for moments in probe.values()) <= 0.02
    assert told == sorted(told)
    assert told[-1] <= 1.0
    again = probe_model(model, probe.samples, batch_size=8)
    for path, moments in probe.items():
        assert again[path].variance == pytest.approx(moments.variance, rel=1e-5)
        assert again[path].standard_error == pytest.approx(moments.standard_error, rel=1e-3)


def test_a_normalisation_sees_batches_of_one_size(monkeypatch):
    model, sizes = normalised(), sizes_of_batches(monkeypatch)
    probe = probe_model(model, "auto", precision=1e-9)
    assert (sizes, probe.samples, probe.batch_size) == ([8] * 16, 128, 8)
    assert probe_model(model, 128, batch_size=8).moments == probe.moments
    sizes.clear()
    assert probe_model(model, "auto", batch_size=48, precision=1e-9).samples == 96
    assert sizes == [48, 48]
    sizes.clear()
    assert probe_model(model, 50, batch_size=20).batch_size == 20
    assert sizes == [20, 20, 10]


def test_what_memory_does_not_hold_goes_through_in_parts(monkeypatch):
    graph, sizes = read_model(normalised()), sizes_of_batches(monkeypatch)
    probe = probe_model(graph, "auto", precision=1e-9, memory_limit=largest_alive(graph, 4))
    assert (probe.samples, probe.batch_size, {*sizes}) == (128, 4, {4})


@pytest.mark.parametrize(("width", "first"), [(6, 128), (20_000, 16), (200_000, 8)])
def test_the_first_samples_are_as_many_as_cost_no_more(width, first, monkeypatch):
    """Two calls may write 2 · 2^19 entries: 2^20 / 40,000 = 26 samples, and 32 are too many."""
    model = keras.Sequential([keras.Input((width,)), layers.ReLU()])
    sizes = sizes_of_batches(monkeypatch)
    probe = probe_model(model, "auto", budget=0.0, precision=1e-9)
    assert (sizes, probe.samples) == ([first], first)
    again = probe_model(model, first, batch_size=8)
    for path, moments in probe.items():
        assert again[path].variance == pytest.approx(moments.variance, rel=1e-5)
    fixed = keras.Sequential([keras.Input((6,)), layers.BatchNormalization()])
    assert probe_model(fixed, "auto", budget=0.0).samples == 8  # it sees 8 together, and no others


def test_for_some_calls_all_are_run_again_for_their_share_of_the_time():
    errors = {"body": 0.01, "more of it": 0.02, "head": 0.05, "constant": None, "last": 0.015}
    recorder = SimpleNamespace(standard_errors=lambda: errors)

    def goal(budget, left, done=8, skip=False, each=0.1):
        noise = forward._Noise("auto", 0.0, 1.0, True, None, None, None, 0.02, budget)
        return noise._next_goal([8, 16, 32, 64, 128], done, recorder, left, each, skip)

    # One of four is not there: a fourth of 10 seconds is time for 25 samples more.
    assert goal(10.0, 9.0) == 16
    assert goal(10.0, 9.0, skip=True) == 32  # 8 · (0.05 / (1.25 · 0.02))²
    assert goal(2.0, 1.9) == 8  # half a second, where 8 more samples take 0.8
    assert goal(4.0, 0.7) == 8  # what is left of all time is less
    assert goal(4.0, 0.9) == 16
    assert goal(math.inf, math.inf, 64) == 128
    errors["head"] = 0.02
    assert goal(math.inf, math.inf) == 8


def test_no_more_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr(forward, "_FIRST", 0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    assert probe_model(model, "auto", budget=0.0).samples == 8
    assert probe_model(model, "auto", budget=1e9).samples == 128


def test_no_sample_of_data_is_taken_twice(monkeypatch):
    seen = []
    run = Pass.run

    def looking(one, inputs, *arguments):
        seen.extend(next(iter(inputs.values()))[:, 0])
        run(one, inputs, *arguments)

    monkeypatch.setattr(Pass, "run", looking)
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    data = {"in": np.arange(60, dtype=np.float32).reshape(20, 3)}
    assert probe_model(model, "auto", input_data=data).samples == 16
    assert len({*seen}) == 16


def test_a_batch_that_the_model_lays_down(monkeypatch):
    inputs = keras.Input(batch_shape=(3, 5))
    model, sizes = keras.Model(inputs, layers.Dense(2)(inputs)), sizes_of_batches(monkeypatch)
    probe = probe_model(model, "auto", precision=1e-9)
    assert (probe.samples, {*sizes}) == (72, {3})  # the largest of 9, 18, 36, 72 up to 128


def test_draws_of_their_own_numbers_of_samples():
    probe = probe_model(normalised(), "auto", seeds=2, precision=0.05)
    assert probe.samples in (8, 16, 32, 64, 128)
    assert len(probe.draws) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_samples": "many"},
        {"num_samples": "auto", "batch_size": 0},
        {"num_samples": "auto", "precision": 0.0},
    ],
)
def test_what_is_wrong_is_said(wrong):
    with pytest.raises(ValueError, match="Received"):
        probe_model(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), **wrong)


def test_figures_of_an_accelerator_have_the_same_errors(monkeypatch):
    graph = read_model(normalised())
    on_host = probe_model(graph, 32, batch_size=8)
    monkeypatch.setattr(forward, "HostRecorder", DeviceRecorder)
    on_device = probe_model(graph, 32, batch_size=8)
    for path, moments in on_host.items():
        found = on_device[path].standard_error
        assert found == pytest.approx(moments.standard_error, rel=1e-2, abs=1e-5), path
