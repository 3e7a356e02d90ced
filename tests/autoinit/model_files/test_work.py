"""Work is reckoned before it is done: a few kilobytes can ask for years of it."""

import keras
import pytest

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
        (layers.SpectralNormalization(layers.Dense(2), 3), '"power_iterations": 3',
         '"power_iterations": 1000000000'),
        (layers.AugMix(num_chains=7), '"num_chains": 7', '"num_chains": 1e300'),
        (layers.AugMix(chain_depth=7), '"chain_depth": 7', '"chain_depth": [1, 5000]'),
        (layers.TextVectorization(vocabulary=["a"], ngrams=2), '"ngrams": 2',
         '"ngrams": 5000'),
    ],
)  # fmt: skip
def test_what_a_layer_repeats(tmp_path, layer, old, new):
    dtype = "string" if isinstance(layer, layers.TextVectorization) else "float32"
    shape = (8, 8, 3) if isinstance(layer, layers.AugMix) else (1,)
    said = refused(tmp_path, chain(keras.Input(shape, dtype=dtype), layer), old, new)
    assert "repetitions, and the limit is 1,000 repetitions" in said


def test_steps_that_are_unrolled(tmp_path):
    model = chain(keras.Input((20, 2)), layers.LSTM(2, unroll=True))
    said = refused(tmp_path, model, "[null, 20, 2]", "[null, 20000, 2]")
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
        keras.Input((6, 6, 2)), layers.Conv2D(4, 3, use_bias=False), layers.Reshape((8, 8)),
        layers.SimpleRNN(5, use_bias=False), layers.Dense(3, use_bias=False),
    )  # fmt: skip
    # 4 × 4 positions of 3 × 3 × 2 × 4 weights; 8 steps of (8 + 5) × 5; 5 × 3.
    assert work(read_model(model)) == (16 * 72 + 8 * 65 + 15, 8)
