"""Noise and real data for a probe: which input gets what, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from autoinit import AutoInit
from autoinit.propagation import input_signals, predict
from autoinit.reading import read_model
from autoinit.running.inputs import check_data, data_moments, draw_inputs
from probes.forward import probe_model
from probes.gradients import probe_gradients
from probes.jacobian import probe_jacobian


def two_inputs():
    left, right = keras.Input((40,), name="left"), keras.Input((10,), name="right")
    sides = [layers.Dense(16, name="from_left")(left), layers.Dense(16, name="from_right")(right)]
    return keras.Model([left, right], layers.Add(name="sum")(sides))


def token_model(size=None, dtype="int32"):
    tokens = keras.Input((size,), dtype=dtype, name="tokens")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(10, 4, name="table")(tokens))
    return keras.Model(tokens, layers.Dense(2)(x))


def uniform(samples, *shape, seed=0):
    return np.random.default_rng(seed).random((samples, *shape))


MEANS, VARIANCES = {"left": 3.0}, {"right": 0.25, "left": 4.0}


def test_each_input_has_noise_of_its_own_moments():
    graph = read_model(two_inputs())
    left, right = draw_inputs(graph, 4000, 0, MEANS, VARIANCES).values()
    assert (left.mean(), left.var()) == pytest.approx((3, 4), rel=0.02)
    assert right.mean() == pytest.approx(0, abs=0.02), "an input that is not named keeps 0"
    assert right.var() == pytest.approx(0.25, rel=0.02)


def test_one_number_for_all_is_what_it_was():
    graph = read_model(two_inputs())
    both = draw_inputs(graph, 5, 1, 2.0, 9.0)
    named = draw_inputs(
        graph, 5, 1, dict.fromkeys(("left", "right"), 2.0), dict.fromkeys(("left", "right"), 9.0)
    )
    assert all(np.array_equal(both[index], named[index]) for index in both)


def test_predictions_take_moments_by_name():
    graph = read_model(two_inputs())
    left, right = (input_signals(graph, MEANS, VARIANCES)[call.index] for call in graph.inputs)
    assert (left.mean, left.variance, right.mean, right.variance) == (3, 4, 0, 0.25)


@pytest.mark.parametrize("numbers", [{"middle": 1.0}, {"left": 1.0, "Left": 1.0}])
def test_a_name_that_is_no_inputs_gets_the_list_of_those_that_are(numbers):
    graph = read_model(two_inputs())
    for call in (
        lambda: draw_inputs(graph, 2, 0, numbers),
        lambda: draw_inputs(graph, 2, 0, 0.0, numbers),
        lambda: input_signals(graph, numbers),
    ):
        with pytest.raises(ValueError, match=r"no input '\w+'\. Its inputs: 'left', 'right'\."):
            call()


@pytest.mark.parametrize(
    ("mean", "variance"),
    [(np.nan, 1.0), (0.0, -1.0), ({"left": np.inf}, 1.0), (0.0, {"left": -1.0})],
)
def test_moments_that_no_data_have_are_refused(mean, variance):
    with pytest.raises(ValueError, match=r"must be finite.*Received"):
        draw_inputs(read_model(two_inputs()), 2, 0, mean, variance)


def test_integer_inputs_have_no_moments_of_noise():
    graph = read_model(token_model(8))
    with pytest.raises(ValueError, match=r"'tokens' takes integers, which are drawn uniformly"):
        draw_inputs(graph, 2, 0, {"tokens": 3.0})
    assert set(np.unique(*draw_inputs(graph, 50, 0, 3.0, 7.0).values())) == set(range(10))


def test_integers_are_those_that_a_lookup_knows():
    number = keras.Input((3,), dtype="int64", name="number")
    place = keras.layers.IntegerLookup(vocabulary=[10, 20, 60])(number)
    graph = read_model(keras.Model(number, keras.layers.Embedding(4, 2)(place)))
    (drawn,) = draw_inputs(graph, 200, 0).values()
    assert set(np.unique(drawn)) == {10, 20, 60}
    # Index 0 is of what is not known: 1, 2 and 3 are as likely, of mean 2 and variance 2/3.
    looked_up = predict(graph, input_signals(graph)).results[1].signals[0]
    assert (looked_up.mean, looked_up.variance) == pytest.approx((2, 2 / 3))


def test_a_text_is_made_of_the_words_that_are_known():
    import tensorflow as tf

    vocabulary = ["a", "the", "of"]
    text = keras.Input((1,), dtype="string", name="text")
    word = keras.Input((2,), dtype="string", name="word")
    name = keras.Input((1,), dtype="string", name="name")
    split = keras.layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=16)(text)
    looked_up = keras.layers.StringLookup(vocabulary=vocabulary)(word)
    hashed = keras.layers.Hashing(50)(name)
    model = keras.Model([text, word, name], [split, looked_up, hashed])
    drawn = list(draw_inputs(read_model(model), 64, 0).values())
    assert [array.shape for array in drawn] == [(64, 1), (64, 2), (64, 1)]
    found = [np.asarray(array) for array in model([tf.constant(array) for array in drawn])]
    # 0 is padding and 1 an unknown word for the one, and 0 an unknown word for the other.
    assert np.unique(found[0]).tolist() == [2, 3, 4]
    assert np.unique(found[1]).tolist() == [1, 2, 3]
    assert len(np.unique(found[2])) > 20


def test_real_data_are_what_is_measured():
    model, data = two_inputs(), {"left": uniform(300, 40), "right": 5 + uniform(300, 10, seed=1)}
    probe = probe_model(model, 300, input_data=data, device="cpu")
    for name, array in data.items():
        # Of as many samples as there are, each is taken once.
        assert probe[name].mean == pytest.approx(array.mean(), rel=1e-5)
        assert probe[name].variance == pytest.approx(array.var(), rel=1e-4)
        assert probe[name].maximum == pytest.approx(array.max(), rel=1e-6)
    gradients = probe_gradients(model, 300, input_data=data, device="cpu")
    variance = gradients.variables["from_right/kernel"].variance
    noise = probe_gradients(model, 300, device="cpu").variables["from_right/kernel"].variance
    # Σ over samples of c·x, for c of mean 0 and variance 1: proportional to E[x²].
    assert variance / noise == pytest.approx((data["right"] ** 2).mean(), rel=0.4)


def test_the_jacobian_is_taken_at_the_data():
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, keras.ops.square(inputs))
    data = {"in": np.array([[1.0, 2.0, 5.0]])}
    found = probe_jacobian(model, input_data=data, device="cpu")
    assert found.pooled.singular_values == pytest.approx([10, 4, 2])


def test_rows_go_together_and_are_taken_once_where_there_are_enough():
    graph = read_model(two_inputs())
    number = np.arange(50.0)[:, None]
    data = {"left": np.tile(number, 40), "right": np.tile(number, 10)}
    left, right = draw_inputs(graph, 50, 3, data=data).values()
    assert np.array_equal(left[:, 0], right[:, 0])
    assert sorted(left[:, 0]) == list(range(50))
    (more, _) = draw_inputs(graph, 80, 3, data=data).values()
    assert set(more[:, 0]) <= set(range(50))
    again, other = (draw_inputs(graph, 20, seed, data=data)[0] for seed in (3, 4))
    assert np.array_equal(again, draw_inputs(graph, 20, 3, data=data)[0])
    assert not np.array_equal(again, other)


def test_inputs_without_data_get_noise():
    graph = read_model(two_inputs())
    left, right = draw_inputs(graph, 500, 0, 2.0, data={"left": np.ones((3, 40))}).values()
    assert np.all(left == 1)
    assert right.mean() == pytest.approx(2, abs=0.05)


def test_real_tokens_are_looked_up():
    model = token_model(6)
    tokens = np.full((20, 6), 7, np.int64)
    probe = probe_model(model, 20, input_data={"tokens": tokens}, device="cpu")
    row = np.array(keras.ops.convert_to_numpy(model.get_layer("table").embeddings))[7]
    assert probe["table"].mean == pytest.approx(row.mean(), rel=1e-4)
    assert draw_inputs(probe.graph, 2, 0, data={"tokens": tokens.astype(float)})[0].dtype == "int32"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": np.ones((2, 6))}, r"no input 'x'\. Its inputs: 'tokens'"),
        ({"tokens": np.ones((0, 6), int)}, "have no samples"),
        (
            {"tokens": np.ones((2, 6, 1), int)},
            r"samples of shape \(32,\), and the data's are \(6, 1\)",
        ),
        ({"tokens": np.ones((2, 6), int)}, r"choose 6 as the size for unknown dimensions"),
        ({"tokens": np.full((2, 32), 10)}, "integers from 0 to 9, and the data have 10 to 10"),
        ({"tokens": np.full((2, 32), -1)}, "integers from 0 to 9, and the data have -1 to -1"),
        ({"tokens": np.full((2, 32), 0.5)}, "takes integers, and the data have fractions"),
        ({"tokens": np.full((2, 32), np.nan)}, "hold NaN or infinity"),
        ({"tokens": np.full((2, 32), "a")}, "are no numbers"),
    ],
)
def test_data_that_do_not_fit_get_a_sentence(data, says):
    with pytest.raises(ValueError, match=says):
        check_data(read_model(token_model()), data)


def test_several_unknown_sizes_that_differ():
    inputs = keras.Input((None, None, 3), name="image")
    graph = read_model(keras.Model(inputs, layers.Conv2D(4, 3)(inputs)))
    check_data(graph, {"image": np.ones((2, 32, 32, 3))})
    with pytest.raises(ValueError, match="choose 40 as the size"):
        check_data(graph, {"image": np.ones((2, 40, 40, 3))})
    with pytest.raises(ValueError, match="are taken to be of one size"):
        check_data(graph, {"image": np.ones((2, 40, 30, 3))})
    with pytest.raises(ValueError, match=r"are \(3, 32, 32\)\.$"):
        check_data(graph, {"image": np.ones((2, 3, 32, 32))})


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (np.ones((3, 10)), "2 for 'left', 3 for 'right'"),
        (np.full((2, 10), 1e300), "too large for single precision"),
        (np.full((2, 10), np.inf), "hold NaN or infinity"),
    ],
)
def test_numbers_that_floats_do_not_hold(right, says):
    with pytest.raises(ValueError, match=says):
        check_data(read_model(two_inputs()), {"left": np.ones((2, 40)), "right": right})


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", "bool"])
def test_moments_of_data(dtype):
    array = (100 * uniform(3000, 1000) % 2).astype(dtype)
    assert data_moments(array) == pytest.approx((array.mean(dtype=float), array.var(dtype=float)))


def test_autoinit_takes_moments_by_name():
    auto = AutoInit({"seed": 0}, input_data_mean={"left": 5.0}, input_data_var={"right": 9.0})
    model = auto.initialize_model(two_inputs())
    for name, power in (("from_left", 40 * (25 + 1)), ("from_right", 10 * 9)):
        kernel = np.array(keras.ops.convert_to_numpy(model.get_layer(name).kernel))
        # Paper, eq. 2: fan_in · σ² · (mean² + variance) = 1.
        assert power * kernel.var() == pytest.approx(1, rel=0.25)
    with pytest.raises(ValueError, match="no input 'wrong'"):
        AutoInit(input_data_mean={"wrong": 1.0}).initialize_model(two_inputs())
    with pytest.raises(ValueError, match="input_data_var must be finite and 0 or more"):
        AutoInit(input_data_var={"left": -1.0})
