import keras
import numpy as np

from autoinit.arrays import double_precision
from autoinit.rules.functions import on_points


def test_functions_are_evaluated_in_double_precision_on_every_backend():
    points = np.linspace(-3.0, 3.0, 7)
    values = on_points(keras.ops.exp)(points)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, np.exp(points), rtol=1e-14)


def test_numbers_that_single_precision_confuses_stay_apart():
    numbers = np.array([2.0**24, 2.0**24 + 1])
    with double_precision():
        tensor = keras.ops.reshape(keras.ops.convert_to_tensor(numbers, dtype="float64"), (2, 1))
        kept = keras.ops.convert_to_numpy(tensor)
    assert np.diff(kept.ravel()) == 1.0
