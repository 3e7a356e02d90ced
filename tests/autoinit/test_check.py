"""`autoinit.check`: the verdict on a model in memory, before `fit`."""

import keras
import numpy as np
import pytest
from keras import layers

import autoinit
from autoinit.errors import CannotTrainError, GraphError, ModelFileError, SettingsError


def chain(deviation):
    def drawn(seed):
        return keras.initializers.RandomNormal(stddev=deviation, seed=seed)

    stack = [layers.Dense(64, "tanh", kernel_initializer=drawn(n), name=f"d{n}") for n in range(12)]
    return keras.Sequential([keras.Input((64,)), *stack, layers.Dense(4, "softmax")], name="chain")


def test_a_model_that_cannot_train_is_told_and_left_as_it_was(capsys):
    model = chain(0.01)
    before = model.get_weights()
    result = autoinit.check(model)
    printed = capsys.readouterr().out
    assert result.verdicts["uploaded"].verdict == "cannot train"
    assert result.verdicts["autoinit"].verdict == "trains"
    assert "cannot train" in printed.splitlines()[0]
    assert "AutoInit" in printed
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(CannotTrainError, match="cannot train") as caught:
        autoinit.check(model, strict=True, verbose=False)
    assert caught.value.result.verdicts["uploaded"].verdict == "cannot train"
    assert capsys.readouterr().out == ""


def test_a_healthy_model_trains_on_its_own_data():
    x = np.random.default_rng(0).normal(2.0, 3.0, (50, 64)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((64,), name="x"),
            layers.Normalization(mean=2.0, variance=9.0),
            layers.Dense(64, "relu", kernel_initializer="he_normal"),
            layers.Dense(4, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    result = autoinit.check(model, x, strict=True, verbose=False)
    assert result.verdicts["uploaded"].verdict == "trains"
    assert result.model.inputs[0].taken == "data"
    assert result.model.inputs[0].mean == pytest.approx(float(x.mean()), rel=1e-5)
    with pytest.raises(ModelFileError, match="shape"):
        autoinit.check(model, x[:, :3], verbose=False)


def test_what_it_is_compiled_with_counts():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3, "relu")])
    model.compile("adam", "categorical_crossentropy")
    found = autoinit.check(model, verbose=False).findings
    assert "output_activation_vs_loss" in {each.code for each in found}


def test_arrays_of_several_inputs_have_names():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))
    x = np.zeros((10, 4), "float32")
    with pytest.raises(ValueError, match="'a', 'b'"):
        autoinit.check(model, x)
    taken = autoinit.check(model, {"a": x + 1, "b": x}, verbose=False).model.inputs
    assert [each.mean for each in taken] == [1.0, 0.0]


@pytest.mark.parametrize("given", [True, False], ids=["data", "what the layer says"])
def test_columns_of_other_sizes_that_a_normalization_was_adapted_to(given):
    """Each has mean 0 and variance 1 behind it: in the copy, in predictions and in AutoInit's."""
    columns = np.random.default_rng(0).random((256, 3)) * [8.0, 400.0, 4000.0]
    normalization = layers.Normalization(name="n")
    normalization.adapt(columns)
    stack = [normalization, layers.Dense(64, "relu", name="d"), layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *stack])
    result = autoinit.check(model, columns.astype("float32") if given else None, verbose=False)
    for call in result.calls:
        if call.path in ("n", "d"):
            assert call.measured("autoinit").variance == pytest.approx(1.0, rel=0.35)
        if call.path == "n":
            assert call.predicted("autoinit").variance == pytest.approx(1.0, rel=0.1)
    assert result.verdicts["uploaded"].verdict == "trains"


def two_inputs():
    sides = [keras.Input((4,), name="a"), keras.Input((6,), name="b")]
    return keras.Model(sides, layers.Dense(3)(layers.Concatenate()(sides)))


def test_arrays_of_several_inputs_come_in_their_order():
    arrays = [np.full((5, 4), 2.0) + np.eye(5, 4), np.eye(5, 6)]
    result = autoinit.check(two_inputs(), arrays, verbose=False)
    assert [each.mean for each in result.model.inputs] == pytest.approx([2.2, 1 / 6])


def test_what_is_no_model_or_no_array_is_told():
    class Late(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(GraphError, match=r"Open a file with keras.models.load_model\(path\)"):
        autoinit.check("model.keras")
    with pytest.raises(SettingsError, match=r"Open a file with keras.models.load_model\(path\)"):
        autoinit.AutoInit().initialize_model("model.keras")
    with pytest.raises(GraphError, match=r"no weights and shapes yet. Call it once on data"):
        autoinit.check(Late())
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(2)])
    with pytest.raises(SettingsError, match=r"must be an array of samples. Received: object"):
        autoinit.check(model, object())
    with pytest.raises(SettingsError, match="give arrays by their names"):
        autoinit.check(two_inputs(), np.ones((5, 4)))


def test_a_result_is_a_line_in_a_notebook():
    result = autoinit.check(chain(0.01), verbose=False)
    line = "<Result of 'chain': uploaded cannot train, default cannot train, autoinit trains>"
    assert (repr(result), str(result)) == (line, line)


def test_what_the_documentation_names_is_there():
    assert {name for name in autoinit.__all__ if not hasattr(autoinit, name)} == set()
    assert {"manifest", "variants"} <= set(autoinit.__all__)
