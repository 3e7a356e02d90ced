"""Singular values of the input–output Jacobian."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from autoinit.graph.placeholders import Opaque
from autoinit.reading import read_model
from autoinit.running.inputs import draw_inputs
from probes import jacobian_products as jacobian
from probes import probe_jacobian
from probes.jacobian import lanczos_quadrature

OF_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="TensorFlow's own derivatives are the reference, or what it lacks is met",
)


def chain(*widths, activation=None, initializer="glorot_uniform", seed=0):
    keras.utils.set_random_seed(seed)
    dense = [
        layers.Dense(width, activation, use_bias=False, kernel_initializer=initializer)
        for width in widths[1:]
    ]
    return keras.Sequential([keras.Input((widths[0],)), *dense])


def product_of_kernels(model, masks=()):
    """The Jacobian of a chain, (outputs, inputs)."""
    result = np.eye(model.input_shape[-1])
    for number, layer in enumerate(model.layers):
        result = layer.kernel.numpy().astype(np.float64).T @ result
        if masks:
            result = masks[number][:, None] * result
    return result


def singular_values(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


def state(model):
    return [variable.numpy().copy() for variable in model.variables]


@pytest.mark.parametrize("widths", [(20, 30, 12), (9, 30, 25)], ids=["by rows", "by columns"])
def test_a_linear_chain_has_the_singular_values_of_its_kernels_product(widths):
    model = chain(*widths)
    expected = singular_values(product_of_kernels(model))
    found = probe_jacobian(model)
    assert found.shape == (widths[-1], widths[0])
    (spectrum,) = found.spectra
    assert spectrum.obtained == "matrix"
    np.testing.assert_allclose(spectrum.singular_values, expected, rtol=1e-5)
    assert spectrum.largest == pytest.approx(expected[0], rel=1e-5)
    assert spectrum.smallest == pytest.approx(expected[-1], rel=1e-5)
    assert spectrum.mean_square == pytest.approx((expected**2).mean(), rel=1e-5)
    assert spectrum.standard_error == 0.0
    assert spectrum.condition_number == pytest.approx(expected[0] / expected[-1], rel=1e-5)
    assert spectrum.rank_deficiency == 0


def test_an_orthogonal_chain_is_an_isometry():
    spectrum = probe_jacobian(chain(16, 16, 16, 16, initializer="orthogonal")).pooled
    np.testing.assert_allclose(spectrum.singular_values, 1.0, rtol=1e-5)
    assert spectrum.condition_number == pytest.approx(1.0, rel=1e-5)


def test_a_relu_chain_has_its_masks_in_the_product():
    model = chain(20, 24, 24, 15, activation="relu", initializer="he_normal")
    found = probe_jacobian(model, seed=5, input_mean=0.3, input_variance=2.0)
    x = np.random.default_rng(5).standard_normal((1, 20), dtype=np.float32)
    x = (x * np.sqrt(2.0) + 0.3)[0]
    masks = []
    for layer in model.layers:
        x = np.maximum(x @ layer.kernel.numpy(), 0.0)
        masks.append((x > 0.0).astype(float))
    expected = singular_values(product_of_kernels(model, masks))
    np.testing.assert_allclose(
        found.pooled.singular_values, expected, rtol=1e-5, atol=1e-6 * expected[0]
    )
    assert found.pooled.rank_deficiency == (expected < 1e-6 * expected[0]).sum() > 0


@OF_TENSORFLOW
def test_a_convolutional_network_has_tensorflows_own_jacobian():
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="tanh")(inputs)
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    x = layers.Conv2D(12, 2, activation="swish")(x)
    model = keras.Model(inputs, layers.Dense(200)(layers.Flatten()(x)))
    found = probe_jacobian(model, 2, seed=3)
    assert found.shape == (200, 192)
    noise = np.random.default_rng(3).standard_normal((2, 8, 8, 3), dtype=np.float32)
    for number, spectrum in enumerate(found.spectra):
        x = tf.constant(noise[number : number + 1])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
        expected = singular_values(tape.jacobian(y, x).numpy().reshape(200, 192))
        np.testing.assert_allclose(
            spectrum.singular_values, expected, rtol=1e-4, atol=1e-5 * expected[0]
        )


@pytest.mark.parametrize("widths", [(600, 500), (400, 450)], ids=["JJᵀ", "JᵀJ"])
def test_a_wide_layer_by_lanczos(widths):
    model = chain(*widths)
    expected = singular_values(product_of_kernels(model))
    (spectrum,) = probe_jacobian(model).spectra
    assert spectrum.obtained == "lanczos"
    assert spectrum.singular_values is None
    assert spectrum.largest == pytest.approx(expected[0], rel=1e-3)
    if spectrum.smallest is None:
        bound = float(re.search(r"at most (\S+),", spectrum.note)[1])
        assert expected[-1] < bound < 0.1 * expected[0]
    else:
        assert spectrum.smallest == pytest.approx(expected[-1], rel=1e-2)
    error = spectrum.standard_error
    assert 0.0 < error < 0.05 * spectrum.mean_square
    assert abs(spectrum.mean_square - (expected**2).mean()) < 3.0 * error
    assert spectrum.weights.sum() == pytest.approx(1.0)
    for power in (1, 2):
        moment = spectrum.weights @ spectrum.nodes**power
        # Hutchinson's estimate from 8 vectors of signs has at most this standard error.
        error = np.sqrt(2.0 * (expected ** (4 * power)).mean() / len(expected) / 8)
        assert moment == pytest.approx((expected ** (2 * power)).mean(), abs=3.0 * error)
    for bound in np.quantile(expected**2, [0.25, 0.5, 0.75]):
        share = spectrum.weights[spectrum.nodes <= bound].sum()
        assert share == pytest.approx((expected**2 <= bound).mean(), abs=0.06)


def test_the_smallest_is_found_where_the_spectrum_has_an_edge_there():
    kernel = np.diag(np.r_[0.1, np.linspace(0.8, 1.2, 298), 2.0]).astype(np.float32)
    model = chain(300, 300)
    model.layers[0].kernel.assign(kernel)
    spectrum = probe_jacobian(model).pooled
    assert spectrum.largest == pytest.approx(2.0, rel=1e-4)
    assert spectrum.smallest == pytest.approx(0.1, rel=1e-3)
    assert spectrum.condition_number == pytest.approx(20.0, rel=1e-3)
    assert (spectrum.rank_deficiency, spectrum.note) == (0, "")


def test_a_wide_orthogonal_layer_ends_lanczos_early():
    spectrum = probe_jacobian(chain(300, 300, initializer="orthogonal")).pooled
    assert spectrum.weights @ np.abs(spectrum.nodes - 1.0) == pytest.approx(0.0, abs=1e-5)
    assert spectrum.condition_number == pytest.approx(1.0, rel=1e-4)


def test_a_bottleneck_leaves_ones_rank_short():
    (spectrum,) = probe_jacobian(chain(30, 30, 4, 30, 30)).spectra
    assert spectrum.rank_deficiency == 26
    assert spectrum.condition_number == pytest.approx(
        spectrum.largest / spectrum.singular_values[3], rel=1e-9
    )
    assert spectrum.smallest < 1e-5 * spectrum.largest
    wide = probe_jacobian(chain(300, 4, 300)).pooled
    assert wide.smallest is wide.condition_number is wide.rank_deficiency is None
    assert "rounding hides it" in wide.note
    assert wide.weights[wide.nodes < 1e-4 * wide.nodes.max()].sum() == pytest.approx(
        296 / 300, abs=0.02
    )


def test_a_deep_network_is_not_short_of_ranks_by_rounding():
    model = chain(40, *[40] * 60, 6, *[40] * 30, initializer="orthogonal")
    assert probe_jacobian(model).pooled.rank_deficiency == 34


@pytest.mark.parametrize("width", [10, 300])
def test_no_derivative_at_all_gives_zeros(width):
    model = chain(width, width, initializer="zeros")
    spectrum = probe_jacobian(model).pooled
    assert (spectrum.largest, spectrum.smallest, spectrum.mean_square) == (0.0, 0.0, 0.0)
    assert spectrum.condition_number is None
    assert spectrum.rank_deficiency == width


def test_two_inputs_and_two_outputs_are_one_matrix():
    left, right = keras.Input((4,), name="left"), keras.Input((2, 3), name="right")
    a, b, c = (layers.Dense(5, use_bias=False) for _ in range(3))
    flat = layers.Flatten()(right)
    model = keras.Model([left, right], [layers.Add()([a(left), b(flat)]), c(left)])
    found = probe_jacobian(model)
    kernels = [layer.kernel.numpy().T for layer in (a, b, c)]
    expected = np.block([[kernels[0], kernels[1]], [kernels[2], np.zeros((5, 6))]])
    assert found.shape == expected.shape
    assert found.sources == ("left", "right")
    np.testing.assert_allclose(
        found.pooled.singular_values, singular_values(expected), rtol=1e-5, atol=1e-6
    )


def test_several_inputs_are_pooled_and_the_same_whatever_their_number():
    model = chain(12, 20, 12, activation="tanh")
    few, many = probe_jacobian(model, 1), probe_jacobian(model, 3)
    np.testing.assert_array_equal(few.spectra[0].singular_values, many.spectra[0].singular_values)
    pooled = many.pooled
    assert len(pooled.singular_values) == 36
    assert pooled.weights.sum() == pytest.approx(1.0)
    assert pooled.largest == max(spectrum.largest for spectrum in many.spectra)
    assert pooled.smallest == min(spectrum.smallest for spectrum in many.spectra)
    assert pooled.mean_square == pytest.approx(pooled.weights @ pooled.nodes)
    assert pooled.condition_number == max(item.condition_number for item in many.spectra)


def noisy(width):
    inputs = keras.Input((width,))
    x = layers.Dense(width, "tanh")(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(width)(x))


@pytest.mark.parametrize("width", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_figures(width):
    model = noisy(width)
    first, again, other = (probe_jacobian(model, seed=seed).pooled for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.nodes, again.nodes)
    assert (first.largest, first.smallest) == (again.largest, again.smallest)
    assert first.largest != other.largest


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_unchanged_afterwards(training):
    model = noisy(8)
    before = state(model)
    probe_jacobian(model, 2, training=training)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("columns", [True, False])
def test_all_products_share_one_dropout_mask(columns):
    widths = (20, 26, 30) if columns else (30, 26, 20)
    keras.utils.set_random_seed(0)
    first, last = (layers.Dense(width, use_bias=False) for width in widths[1:])
    inputs = keras.Input(widths[:1])
    model = keras.Model(inputs, last(layers.Dropout(0.5)(first(inputs))))
    values = probe_jacobian(model, training=True).pooled.singular_values
    again = probe_jacobian(model, training=True).pooled.singular_values
    np.testing.assert_array_equal(values, again)
    # A mask leaves as many ranks as it leaves units; products with different masks leave all.
    assert 0 < (values < 1e-5 * values[0]).sum() < 20


@keras.saving.register_keras_serializable(package="test_jacobian")
class Gain(layers.Layer):
    """A random gain for each sample, in inference mode too."""

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        shape = (keras.ops.shape(inputs)[0], 1)
        return inputs * keras.random.uniform(shape, 0.5, 2.0, seed=self.generator)


def test_noise_in_inference_mode_is_drawn_once():
    inputs = keras.Input((12,))
    model = keras.Model(inputs, Gain()(inputs))
    spectrum = probe_jacobian(model).pooled
    assert spectrum.condition_number == pytest.approx(1.0, rel=1e-6)


def test_indices_are_differentiated_after_their_embedding():
    inputs = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(7, 3, mask_zero=True, name="embed")
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(embedding(inputs)))
    found = probe_jacobian(model, seed=2)
    (indices,) = draw_inputs(read_model(model), 1, 2).values()
    assert found.shape == (3, 15)
    assert found.sources == ("embed",)
    expected = 1.0 / np.sqrt((indices != 0).sum())
    np.testing.assert_allclose(found.pooled.singular_values, expected, rtol=1e-5)


def test_indices_of_a_floating_type_are_followed_to_their_embedding():
    inputs = keras.Input((2, 3))
    x = layers.Embedding(7, 2, name="embed")(layers.Reshape((6,))(inputs))
    found = probe_jacobian(keras.Model(inputs, layers.Flatten()(x)))
    assert found.sources == ("embed",)
    np.testing.assert_allclose(found.pooled.singular_values, np.ones(12), rtol=1e-6)


def test_half_precision_has_a_coarser_zero():
    inputs = keras.Input((30,))
    x = layers.Dense(5, dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, layers.Dense(20, dtype="mixed_float16")(x))
    assert probe_jacobian(model).pooled.rank_deficiency == 15


@OF_TENSORFLOW
def test_recurrent_layers_and_lookups_have_both_products():
    import tensorflow as tf

    inputs = keras.Input((4, 3))
    x = layers.LSTM(5, return_sequences=True)(inputs)
    few = keras.Model(inputs, keras.ops.take(x, [0, 3], axis=1))  # 10 outputs by 12 inputs
    many = keras.Model(inputs, layers.GRU(6, return_sequences=True)(x))  # 24 by 12
    for model in (few, many):
        noise = np.random.default_rng(0).standard_normal((1, 4, 3), dtype=np.float32)
        x = tf.constant(noise)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = model(x)
        matrix = tape.jacobian(y, x, experimental_use_pfor=False).numpy()
        np.testing.assert_allclose(
            probe_jacobian(model).pooled.singular_values,
            singular_values(matrix.reshape(-1, 12)),
            rtol=1e-4,
            atol=1e-6,
        )


@OF_TENSORFLOW
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_operations_without_second_derivatives_go_by_rows(interpolation):
    resize = layers.UpSampling2D(3, interpolation=interpolation)
    model = keras.Sequential([keras.Input((4, 4, 2)), resize])
    basis = np.eye(32, dtype=np.float32).reshape(32, 4, 4, 2)
    expected = singular_values(model(basis).numpy().reshape(32, -1))
    found = probe_jacobian(model)
    np.testing.assert_allclose(found.pooled.singular_values, expected, rtol=1e-4, atol=1e-5)
    wide = keras.Sequential([keras.Input((12, 12, 2)), resize])
    with pytest.raises(ValueError, match="second derivatives"):
        probe_jacobian(wide)


def test_a_fixed_batch_works_in_inference_mode_only():
    inputs = keras.Input(batch_shape=(4, 10))
    layer = layers.Dense(7)
    model = keras.Model(inputs, layer(inputs))
    values = probe_jacobian(model).pooled.singular_values
    np.testing.assert_allclose(values, singular_values(layer.kernel.numpy()), rtol=1e-5)
    with pytest.raises(ValueError, match="4 samples together"):
        probe_jacobian(model, training=True)


@keras.saving.register_keras_serializable(package="test_jacobian")
class Counting(layers.Layer):
    """A gain that is one more in each pass."""

    def build(self, _):
        self.passes = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.passes.assign_add(1.0)
        return inputs * self.passes


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="PyTorch refuses derivatives by way of a state that is put back in place",
)
def test_the_state_of_a_layer_does_not_reach_the_next_pass():
    inputs = keras.Input((300,))
    model = keras.Model(inputs, Counting()(inputs))
    before = state(model)
    found = probe_jacobian(model, 2)
    for spectrum in found.spectra:  # two passes each
        assert spectrum.mean_square == pytest.approx(spectrum.largest**2, rel=1e-5)
    assert found.pooled.condition_number == pytest.approx(1.0, rel=1e-4)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "last",
    [
        lambda x: layers.Dense(5, "softmax", use_bias=False, name="last")(x),
        lambda x: layers.Softmax()(layers.Dense(5, use_bias=False, name="last")(x)),
        lambda x: layers.Activation("sigmoid")(layers.Dense(5, use_bias=False, name="last")(x)),
        lambda x: keras.ops.log_softmax(layers.Dense(5, use_bias=False, name="last")(x)),
    ],
    ids=["fused", "layer", "sigmoid", "operation"],
)
def test_before_a_softmax_or_sigmoid_the_jacobian_is_that_of_the_logits(last):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, last(inputs))
    kernel = model.get_layer("last").kernel
    found = probe_jacobian(model, logits=True)
    assert found.targets == ("last",)
    np.testing.assert_allclose(
        found.pooled.singular_values, singular_values(keras.ops.convert_to_numpy(kernel)), rtol=1e-5
    )
    after = probe_jacobian(model)
    assert after.targets != ("last",)
    assert after.pooled.smallest < 0.9 * found.pooled.smallest


def test_only_a_softmax_or_sigmoid_at_the_end_is_left_out():
    inputs = keras.Input((8,))
    x = layers.Dense(6, "sigmoid", name="gate")(inputs)
    logits = layers.Dense(4, name="logits")(x)
    outputs = [logits, layers.Softmax(name="soft")(logits), layers.Dense(3, "tanh", name="tanh")(x)]
    model = keras.Model(inputs, outputs)
    assert probe_jacobian(model).targets == ("logits", "soft", "tanh/tanh")
    found = probe_jacobian(model, logits=True)
    assert found.targets == ("logits", "tanh/tanh")
    assert found.shape == (7, 8)
    without = keras.Model(inputs, [logits, outputs[2]])
    np.testing.assert_array_equal(
        found.pooled.singular_values, probe_jacobian(without).pooled.singular_values
    )


def test_an_output_that_is_an_input_has_the_identity():
    inputs = keras.Input((3, 2))
    found = probe_jacobian(keras.Model(inputs, [inputs, layers.Flatten()(inputs)]))
    np.testing.assert_allclose(found.pooled.singular_values, np.sqrt(2.0), rtol=1e-6)


def test_batches_of_products_that_memory_limits_give_the_same(monkeypatch):
    model = chain(20, 30, 12, activation="tanh")
    together = probe_jacobian(model).pooled.singular_values
    monkeypatch.setattr(jacobian, "_MEMORY", 3 * 5 * 4 * (20 + 2 * 30 + 2 * 12))
    seen = []
    apart = probe_jacobian(model, progress=seen.append).pooled.singular_values
    assert seen == [5 / 12, 10 / 12, 1.0]
    np.testing.assert_allclose(apart, together, rtol=1e-5)


def test_progress_by_lanczos_only_grows():
    seen = []
    probe_jacobian(chain(300, 280), 2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_has_no_jacobian_is_refused():
    with pytest.raises(ValueError, match="num_inputs"):
        probe_jacobian(chain(3, 3), 0)
    inputs = keras.Input((4,))
    opaque = Opaque("Lambda", "it holds code", name="cut")(inputs)
    with pytest.raises(ValueError, match=r"'cut' \(Lambda\)"):
        probe_jacobian(keras.Model(inputs, opaque))
    with pytest.raises(ValueError, match="no output of a floating type"):
        probe_jacobian(keras.Model(inputs, keras.ops.argmax(inputs, axis=-1)))


@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 6, 6), (300, 300, 300)])
def test_a_jacobian_that_overflows_is_refused(widths):
    exploding = chain(*widths, initializer=keras.initializers.Constant(1e20))
    with pytest.raises(ValueError, match="not finite"):
        probe_jacobian(exploding)


def test_a_backend_without_derivatives_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match="openvino"):
        jacobian.linearized()


def test_quadrature_is_exact_for_low_moments_of_each_vectors_measure():
    generator = np.random.default_rng(0)
    matrix = np.diag(np.linspace(0.0, 3.0, 50))

    def product(vectors):
        return vectors @ matrix

    nodes, weights, means = lanczos_quadrature(product, 50, 3, 8, generator)
    assert nodes.shape == weights.shape == (3, 8)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    # Vectors of signs weigh the eigenvalues of a diagonal matrix evenly.
    for power in range(1, 16):
        expected = (np.diag(matrix) ** power).mean()
        np.testing.assert_allclose((weights * nodes**power).sum(axis=1), expected, rtol=1e-9)
    np.testing.assert_allclose(means, 1.5)
