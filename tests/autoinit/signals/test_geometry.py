import itertools

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.signals.geometry import counts, coverage, transposed_windows, windows


def positions(size):
    """1, 2, … along an axis: what a tap returns is where it read; padding is 0."""
    return np.arange(1, size + 1, dtype=np.float32)[None, :, None]


def convolution_reads(size, taps, stride, dilation, padding):
    layer = layers.Conv1D(
        taps, taps, strides=stride, dilation_rate=dilation, padding=padding, use_bias=False
    )
    layer.build((None, size, 1))
    layer.set_weights([np.eye(taps, dtype=np.float32)[:, None, :]])  # one tap for each filter
    return np.rint(keras.ops.convert_to_numpy(layer(positions(size))))[0].astype(int) - 1


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
def test_windows_are_those_that_keras_reads(padding, stride, dilation):
    for size, taps in itertools.product((1, 7, 8), (1, 2, 5)):
        if padding == "valid" and size < (taps - 1) * dilation + 1:
            continue
        expected = convolution_reads(size, taps, stride, dilation, padding)
        found = windows(size, taps, stride, dilation, padding)
        np.testing.assert_array_equal(found, expected, err_msg=f"size {size}, taps {taps}")


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("stride", "dilation", "extra"),
    [(1, 1, None), (2, 1, None), (3, 1, None), (2, 1, 1), (1, 2, None)],
)
def test_transposed_windows_are_those_that_keras_reads(padding, stride, dilation, extra):
    for size, taps in itertools.product((1, 4, 5), (2, 3, 4)):
        layer = layers.Conv1DTranspose(
            taps,
            taps,
            strides=stride,
            dilation_rate=dilation,
            padding=padding,
            output_padding=extra,
            use_bias=False,
        )
        layer.build((None, size, 1))
        layer.set_weights([np.eye(taps, dtype=np.float32)[:, :, None]])
        expected = np.rint(keras.ops.convert_to_numpy(layer(positions(size))))[0].astype(int) - 1
        found = transposed_windows(size, len(expected), taps, stride, dilation, padding)
        np.testing.assert_array_equal(found, expected, err_msg=f"size {size}, taps {taps}")


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pooling_windows_are_those_that_keras_reads(padding, stride):
    for size, taps in itertools.product((3, 7, 8), (2, 3)):
        pool = layers.MaxPooling1D(taps, strides=stride, padding=padding)
        last = keras.ops.convert_to_numpy(pool(positions(size)))[0, :, 0] - 1
        first = -keras.ops.convert_to_numpy(pool(-positions(size)))[0, :, 0] - 1
        found = windows(size, taps, stride, 1, padding)
        np.testing.assert_array_equal(found.max(1), last)
        np.testing.assert_array_equal(np.where(found < 0, size, found).min(1), first)


def test_windows_by_hand():
    # Three positions, three taps: the first and the last position miss one.
    assert windows(3, 3, padding="same").tolist() == [[-1, 0, 1], [0, 1, 2], [1, 2, -1]]
    # TensorFlow pads the end first: with stride 2, four positions need one, at the end.
    assert windows(4, 3, 2, padding="same").tolist() == [[0, 1, 2], [2, 3, -1]]
    assert windows(3, 2, dilation=2, padding="causal").tolist() == [[-1, 0], [-1, 1], [0, 2]]
    assert windows(2, 3).shape == (0, 3)


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match=r"'valid', 'same' or 'causal'.*'reflect'"):
        windows(4, 3, padding="reflect")


def test_coverage_by_hand():
    # Of three positions, taps 1 and 3 see two each, tap 2 all; taps 1 and 3 together, one.
    expected = np.array([[2, 2, 1], [2, 3, 2], [1, 2, 2]]) / 3
    np.testing.assert_allclose(coverage(windows(3, 3, padding="same")), expected)


def test_counts_by_hand():
    # Along one axis windows hold 2 entries (2 of 3) or 3 (1 of 3); over two axes 4, 6 and 9.
    axis = windows(3, 3, padding="same")
    numbers, shares = counts((axis, axis))
    assert numbers.tolist() == [4, 6, 9]
    np.testing.assert_allclose(shares, [4 / 9, 4 / 9, 1 / 9])
