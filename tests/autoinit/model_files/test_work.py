"""Work is reckoned before it is done: a few kilobytes can ask for years of it."""

import keras
import pytest
import tf_keras

from autoinit.errors import ModelFileError
from autoinit.graph.shapes import work
from autoinit.model_files import Budgets, open_model_file
from autoinit.model_files.rebuilding import require_activations
from autoinit.reading import read_model

layers = keras.layers


def refused(tmp_path, model, old="", new=""):
    """Why a model is refused whose JSON says something else in one place."""
    text = model.to_json()
    assert old in text
    path = tmp_path / "model.json"
    path.write_text(text.replace(old, new) if old else text)
    with pytest.raises(ModelFileError) as caught:
        require_activations(read_model(open_model_file(path).model), 8, Budgets())
    assert caught.value.code == "over_budget"
    return str(caught.value)


def chain(*parts):
    return keras.Sequential(list(parts))


@pytest.mark.parametrize(
    ("layer", "old", "new"),
    [
        (
            layers.SpectralNormalization(layers.Dense(2), 3),
            '"power_iterations": 3',
            '"power_iterations": 1000000000',
        ),
        (layers.AugMix(num_chains=7), '"num_chains": 7', '"num_chains": 1e300'),
        (layers.AugMix(chain_depth=7), '"chain_depth": 7', '"chain_depth": [1, 5000]'),
        (layers.AugMix(num_chains=7, chain_depth=50), '"num_chains": 7', '"num_chains": 50'),
        (layers.RandAugment(num_ops=7), '"num_ops": 7', '"num_ops": 1e9'),
        (layers.TextVectorization(vocabulary=["a"], ngrams=2), '"ngrams": 2', '"ngrams": 5000'),
    ],
)
def test_what_a_layer_repeats(tmp_path, layer, old, new):
    dtype = "string" if isinstance(layer, layers.TextVectorization) else "float32"
    is_image = isinstance(layer, (layers.AugMix, layers.RandAugment))
    shape = (8, 8, 3) if is_image else (1,)
    said = refused(tmp_path, chain(keras.Input(shape, dtype=dtype), layer), old, new)
    assert "repetitions, and the limit is 1,000 repetitions" in said


ENCODINGS = [
    ("CategoryEncoding", {"num_tokens": 77}, "int64"),
    ("Hashing", {"num_bins": 77, "output_mode": "multi_hot"}, "int64"),
    ("IntegerLookup", {"max_tokens": 77, "vocabulary": [1]}, "int64"),
    ("StringLookup", {"max_tokens": 77, "vocabulary": ["a"]}, "string"),
    ("TextVectorization", {"max_tokens": 77, "vocabulary": ["a"]}, "string"),
]


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
@pytest.mark.parametrize(("name", "arguments", "dtype"), ENCODINGS, ids=lambda each: str(each)[:20])
def test_sizes_that_only_the_output_shows(tmp_path, kind, name, arguments, dtype):
    """A billion numbers of a sample; encodings hold them twice."""
    pads = (
        {"output_mode": "multi_hot", "pad_to_max_tokens": True} if "vocabulary" in arguments else {}
    )
    model = kind.Sequential(
        [kind.Input((1,), dtype=dtype), getattr(kind.layers, name)(**arguments, **pads)]
    )
    said = refused(tmp_path, model, ": 77", ": 1000000000")
    assert "The activations of one sample would take 7.451 GiB, and the limit is 4 GiB" in said


@pytest.mark.parametrize(
    ("operation", "new"),
    [
        (lambda x: keras.ops.linspace(x, x + 1, num=77), "10000000000"),
        (lambda x: keras.ops.one_hot(keras.ops.cast(x, "int32"), 77), "1000000000"),
        (lambda x: keras.ops.multi_hot(keras.ops.cast(x, "int32"), 77), "1000000000"),
        (lambda x: keras.ops.repeat(x, 77, axis=1), "1000000000"),
    ],
    ids=["linspace", "one_hot", "multi_hot", "repeat"],
)
def test_sizes_that_operations_make(tmp_path, operation, new):
    data = keras.Input((4,))
    said = refused(tmp_path, keras.Model(data, operation(data)), "77", new)
    assert "The activations of one sample would take" in said
    assert "GiB, and the limit is 4 GiB" in said


def test_unknown_words_that_are_told_apart(tmp_path):
    lookup = layers.StringLookup(vocabulary=["a"], num_oov_indices=77)
    model = chain(keras.Input((1,), dtype="string"), lookup)
    said = refused(tmp_path, model, ": 77", ": 1000000000")
    assert "num_oov_indices=1e+09 of a layer would take 1,000,000,000 values" in said


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["Keras 3", "Keras 2"])
@pytest.mark.parametrize("use", ["once", "twice", "for each of three"])
def test_steps_that_are_unrolled(tmp_path, kind, use):
    layer = kind.layers.LSTM(2, unroll=True)
    if use == "for each of three":
        data = kind.Input((3, 20, 2))
        result = kind.layers.TimeDistributed(layer)(data)
    else:
        data = kind.Input((20, 2))
        result = layer(data)
    if use == "twice":
        result = kind.layers.add([result, layer(data)])
    said = refused(tmp_path, kind.Model(data, result), "20, 2]", "20000, 2]")
    assert "An unrolled layer would take 20,000 repetitions" in said


def test_few_unrolled_steps_stay_unrolled(tmp_path):
    model = chain(keras.Input((5, 2)), layers.Bidirectional(layers.LSTM(2, unroll=True)))
    model.save(tmp_path / "model.keras")
    found = open_model_file(tmp_path / "model.keras").model
    assert found.layers[0].forward_layer.unroll
    assert found.get_config() == model.get_config()


def test_steps_and_multiplications(tmp_path):
    recurrent = chain(keras.Input((20, 2)), layers.GRU(2))
    said = refused(tmp_path, recurrent, "[null, 20, 2]", "[null, 1000000, 2]")
    assert "1,000,000 steps, and the limit is 100,000 steps" in said
    wide = chain(keras.Input((2000, 2000, 1)), layers.Conv2D(1, 2000, padding="same"))
    assert "A pass of 8 samples would take 128,000,000,000,008 multiplications" in refused(
        tmp_path, wide
    )


def test_work_by_hand():
    model = chain(
        keras.Input((6, 6, 2)),
        layers.Conv2D(4, 3, use_bias=False),
        layers.Reshape((8, 8)),
        layers.SimpleRNN(5, use_bias=False),
        layers.Dense(3, use_bias=False),
    )
    # 4 × 4 positions of 3 × 3 × 2 × 4 weights; 8 steps of (8 + 5) × 5; 5 × 3.
    assert work(read_model(model)) == (16 * 72 + 8 * 65 + 15, 8)
