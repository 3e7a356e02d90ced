"""Sampled signals keep what their positions and samples have in common."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.signals.correlated.signal import CorrelatedSignal


def decaying(generator, samples, channels, offset=0.0):
    """x_t = 0.8·x_{t−1} + 0.6·z_t, with an offset for each channel."""
    steps = [generator.standard_normal((samples, channels))]
    for _ in range(11):
        steps.append(0.8 * steps[-1] + 0.6 * generator.standard_normal((samples, channels)))
    return np.stack(steps, 1) + offset * generator.standard_normal(channels)


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_samples_of_a_sampled_signal_have_its_covariances(offset):
    generator = np.random.default_rng(0)
    values = decaying(generator, 200, 300, offset)
    signal = CorrelatedSignal.of_samples(0.0, 1 + offset**2, values)
    assert signal.variance == pytest.approx(1 + offset**2)
    assert signal.mean == pytest.approx(0.0, abs=1e-9)
    drawn = signal.drawn(generator, (200, 12, 300)).astype(float)
    for apart in (0, 1, 3, 11):
        products = (drawn[:, : 12 - apart] * drawn[:, apart:]).mean()
        assert products == pytest.approx(0.8**apart + offset**2, abs=0.05)
    assert (drawn.mean(0) ** 2).mean() == pytest.approx(offset**2, abs=0.05)


def test_of_many_positions_those_at_a_border_count_as_few():
    generator = np.random.default_rng(0)
    values = decaying(generator, 100, 16 * 16 * 8).reshape(100, 12, 16, 16, 8)
    border = np.r_[0.5, np.ones(14), 0.5]
    values *= (border[:, None] * border)[:, :, None]
    signal = CorrelatedSignal.of_samples(0.0, values.var(), values)
    drawn = signal.drawn(generator, values.shape).astype(float)
    assert drawn.var() == pytest.approx(values.var(), rel=0.1)
    steps = [(each[:, :11] * each[:, 1:]).mean() / each.var() for each in (values, drawn)]
    assert steps[1] == pytest.approx(steps[0], abs=0.1)


def test_independent_entries_are_drawn_as_ever():
    one = CorrelatedSignal.gaussian(0.5, 2.0).drawn(np.random.default_rng(3), (4, 5, 6))
    numbers = np.random.default_rng(3).standard_normal((4, 5, 6), dtype=np.float32)
    assert (one == numbers * np.float32(np.sqrt(2.0)) + np.float32(0.5)).all()


def two_layers(x):
    return layers.LSTM(24)(layers.LSTM(24, return_sequences=True)(x))


def both_ways(x):
    inner = layers.Bidirectional(layers.GRU(16, return_sequences=True))(x)
    return layers.Bidirectional(layers.GRU(16))(inner)


def averaged(x):
    return layers.GlobalAveragePooling1D()(layers.GRU(24, return_sequences=True)(x))


def convolved(x):
    x = layers.Reshape((6, 6, 2, 2))(x)
    x = layers.ConvLSTM2D(8, 3, padding="same", return_sequences=True)(x)
    return layers.Flatten()(layers.ConvLSTM2D(8, 3, padding="same")(x))


# What channels have in common is not carried: draws of so few convolved ones differ by a tenth.
@pytest.mark.parametrize(
    ("build", "allowed"), [(two_layers, 0.2), (both_ways, 0.2), (averaged, 0.2), (convolved, 0.25)]
)
def test_a_dense_layer_after_sampled_layers_has_the_target_variance(build, allowed):
    keras.utils.set_random_seed(0)
    data = keras.Input((6, 24))
    model = keras.Model(data, layers.Dense(300)(build(data)))
    new = AutoInit({"seed": 0}).initialize_model(model)
    values = np.random.default_rng(1).standard_normal((200, 6, 24)).astype("float32")
    assert np.var(np.asarray(new(values))) == pytest.approx(1.0, rel=allowed)


def test_what_is_the_same_in_every_sample_is_drawn_so():
    """Such as a table of positions: nothing of its variance is a sample's own."""
    signal = CorrelatedSignal.gaussian(1.0, 4.0).arrange((6,)).of_every_sample()
    values = signal.drawn(np.random.default_rng(0), (5, 6, 400))
    assert np.ptp(values, 0).max() == 0
    assert values.mean() == pytest.approx(1.0, abs=0.1)
    assert values.var() == pytest.approx(4.0, rel=0.1)


def test_rectified_entries_are_drawn_as_what_they_are():
    """E max(Z, 0)·max(Z′, 0) of Gaussians with a correlation of 1/2: (√3/2 + π/3)/2π."""
    generator = np.random.default_rng(0)
    values = generator.standard_normal((4000, 4, 1)) / 2**0.5
    values = values + generator.standard_normal((4000, 1, 1)) / 2**0.5
    signal, _ = CorrelatedSignal.of_samples(0.0, 1.0, values).map(lambda x: np.maximum(x, 0.0))
    drawn = signal.drawn(generator, (4000, 4, 5)).astype(float)
    assert drawn.min() == pytest.approx(0.0, abs=1e-6)
    assert drawn.mean() == pytest.approx(1 / (2 * np.pi) ** 0.5, abs=0.01)
    expected = (3**0.5 / 2 + np.pi / 3) / (2 * np.pi)
    assert (drawn[:, 0] * drawn[:, 2]).mean() == pytest.approx(expected, abs=0.015)
