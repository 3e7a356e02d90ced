"""The public interface, as the published package's readmes show it."""

import json
import logging
import math
import re

import keras
import numpy as np
import pytest
from keras import layers

import autoinit
from autoinit import AutoInit, AutoInitVisualizer, variants
from autoinit.errors import GraphError
from autoinit.initializers.autoinit import AutoInit as DirectAutoInit
from autoinit.rules.estimators import LayerOutputDistributionEstimator
from probes import probe_model
from tests.autoinit.closed import Closed


class Doubling(Closed):
    """The readme's MyCustomLayer, which nothing can be read of: it doubles its input."""

    def __init__(self, factor=2.0, **options):
        super().__init__(factor, **options)


class DoublingEstimator(LayerOutputDistributionEstimator):
    def estimate(self, means_in, vars_in):
        return means_in[0], 4.0 * vars_in[0]


def small_model(**first):
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(300, activation="relu", name="hidden", **first),
            layers.Dense(200, name="logits"),
        ]
    )


def measured(model, path, **arguments):
    return probe_model(model, 400, **arguments)[path]


def test_both_import_paths_give_the_same_class():
    assert AutoInit is DirectAutoInit


def test_weighted_layers_keep_mean_zero_and_variance_one():
    model = AutoInit({"seed": 3}).initialize_model(small_model(kernel_initializer="ones"))
    figures = probe_model(model, 2000)
    assert figures["hidden"].variance == pytest.approx(1.0, rel=0.08)
    assert figures["logits"].variance == pytest.approx(1.0, rel=0.15)
    assert abs(figures["hidden"].mean) < 0.05


@pytest.mark.parametrize(
    "distribution", ["truncated_normal", "untruncated_normal", "uniform", "orthogonal"]
)
def test_kernels_have_the_planned_deviation_whatever_the_distribution(distribution):
    config = {"seed": 0, "distribution": distribution}
    model = AutoInit(config, input_data_mean=1.0, input_data_var=3.0).initialize_model(
        small_model()
    )
    kernel = model.get_layer("hidden").kernel.numpy()
    # eq. 3: 1/√(fan_in·(v + m²)) = 1/√(20·4)
    assert math.sqrt((kernel**2).mean()) == pytest.approx(1 / math.sqrt(80), rel=0.03)


def test_the_configuration_records_the_initialiser_and_reproduces_the_weights():
    model = AutoInit({"seed": 5}).initialize_model(small_model())
    config = model.get_layer("hidden").get_config()["kernel_initializer"]
    assert config["class_name"] == "TruncatedNormal"
    again = keras.initializers.deserialize(config)((20, 300))
    np.testing.assert_array_equal(again, model.get_layer("hidden").kernel)


def test_same_seed_same_weights_and_no_seed_new_weights():
    first, second = (AutoInit({"seed": 1}).initialize_model(small_model()) for _ in range(2))
    np.testing.assert_array_equal(first.weights[0], second.weights[0])
    first, second = (AutoInit().initialize_model(small_model()) for _ in range(2))
    assert not np.array_equal(first.weights[0], second.weights[0])


def test_the_model_passed_in_is_left_as_it_was():
    model = small_model()
    model.compile("sgd", "mse", metrics=["mae"])
    before = model.get_weights()
    config = json.dumps(model.get_config())
    optimizer, loss = model.optimizer, model.loss
    AutoInit({"seed": 0}).initialize_model(model)
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)
    assert json.dumps(model.get_config()) == config
    assert model.optimizer is optimizer
    assert model.loss is loss


def test_in_place_it_is_the_same_model_with_the_weights_that_a_copy_gets():
    model = small_model()
    model.compile("adam", "mse")
    optimizer = model.optimizer
    copy = AutoInit({"seed": 3}).initialize_model(model)
    found, estimates = AutoInit({"seed": 3}).initialize_model(
        model, return_estimates=True, in_place=True
    )
    assert found is model
    assert found.optimizer is optimizer
    assert set(estimates) >= {"hidden", "logits"}
    for left, right in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert copy.get_config() == model.get_config()
    with pytest.raises(TypeError, match="in place"):
        AutoInit().initialize_model(model.get_config(), in_place=True)


def without_initializers(config):
    text = json.dumps(config)
    return re.sub(r'"(kernel|embeddings)_initializer": \{[^{}]*\{[^{}]*\}[^{}]*\}', "", text)


def test_the_new_model_has_the_same_architecture_names_included():
    left, right = keras.Input((6,), name="left"), keras.Input((6,), dtype="int32", name="right")
    inner_input = keras.Input((6,), name="inner_input")
    inner = keras.Model(inner_input, layers.Dense(6, name="core")(inner_input), name="inner")
    shared = layers.Dense(6, name="shared", trainable=False)
    coded = layers.Flatten()(layers.Embedding(9, 1, name="code")(right))
    joined = keras.ops.concatenate([shared(inner(left)), coded])
    model = keras.Model({"left": left, "right": right}, [joined, layers.Softmax()(joined)])
    new = AutoInit({"seed": 0}).initialize_model(model)
    assert without_initializers(new.get_config()) == without_initializers(model.get_config())
    assert "TruncatedNormal" in json.dumps(new.get_config())


def custom_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(delta=0.5), custom_loss])
@pytest.mark.parametrize("functional", [False, True])
def test_the_new_model_is_compiled_the_same_way(loss, functional):
    model = small_model()
    if functional:
        model = keras.Model(model.inputs, model.outputs)
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), loss, metrics=["mae"])
    new = AutoInit().initialize_model(model)
    assert new.compiled
    assert new.optimizer is not model.optimizer
    assert float(new.optimizer.learning_rate) == 0.25
    assert new.optimizer.momentum == 0.5
    assert new.loss is loss
    history = new.fit(np.zeros((8, 20)), np.zeros((8, 200)), verbose=0).history
    assert set(history) == {"loss", "mae"}


def test_an_activation_of_ones_own_needs_no_registration():
    def shifted(x):
        return keras.ops.tanh(x) + 1.0

    def other(x):
        return -x

    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, shifted), layers.Dense(2)])
    copy = AutoInit({"seed": 0}).initialize_model(model)
    assert copy is not model
    assert copy.layers[0].activation is shifted
    # Which of two of one name a layer has cannot be told: neither is guessed.
    other.__name__ = "shifted"
    mixed = keras.Sequential([keras.Input((8,)), layers.Dense(8, shifted), layers.Dense(2, other)])
    with pytest.raises(GraphError, match="Could not locate function 'shifted'"):
        AutoInit().initialize_model(mixed)


def test_an_uncompiled_model_stays_uncompiled():
    assert not AutoInit().initialize_model(small_model()).compiled


def test_biases_are_kept_and_counted_in():
    model = small_model(bias_initializer=keras.initializers.RandomNormal(stddev=0.6, seed=0))
    new = AutoInit({"seed": 0}).initialize_model(model)
    np.testing.assert_array_equal(new.get_layer("hidden").bias, model.get_layer("hidden").bias)
    assert measured(new, "hidden").variance == pytest.approx(1.0, rel=0.15)


def test_a_bias_beyond_the_target_is_reported():
    model = small_model(bias_initializer=keras.initializers.RandomNormal(stddev=3.0, seed=0))
    (finding,) = AutoInit().plan(model).findings
    assert finding.code == "bias_exceeds_target"
    assert "'hidden'" in finding.message


def test_where_no_signal_arrives_the_configured_initialiser_stays():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, name="first"),
            layers.Rescaling(0.0),
            layers.Dense(8, name="starved", kernel_initializer="he_normal"),
        ]
    )
    model_before = model.get_layer("starved").kernel.numpy()
    new = AutoInit().initialize_model(model)
    np.testing.assert_array_equal(new.get_layer("starved").kernel, model_before)
    assert type(new.get_layer("starved").kernel_initializer).__name__ == "HeNormal"
    assert [finding.code for finding in AutoInit().plan(model).findings] == ["keeps_initializer"]


def test_a_layer_that_is_used_on_its_own_output_is_drawn_for_its_last_use():
    inputs = keras.Input((16,))
    shared = layers.Dense(16, name="shared")
    once = shared(inputs)
    model = keras.Model(inputs, shared(layers.Rescaling(3.0)(once)))
    plan = AutoInit().plan(model)
    assert [item.path for item in plan.scales] == ["shared"]
    # 9·s⁴ = 1.
    assert plan.estimates()["shared"][1] == pytest.approx(1 / 3, rel=0.02)
    assert plan.estimates()["shared:2"][1] == pytest.approx(1.0, rel=0.02)
    assert [finding.code for finding in plan.findings] == ["shared_layer"]


def test_layers_with_low_rank_adapters_are_drawn_too():
    model = small_model()
    model.get_layer("hidden").enable_lora(2)
    new = AutoInit({"seed": 0}).initialize_model(model)
    assert measured(new, "hidden").variance == pytest.approx(1.0, rel=0.15)


def test_return_estimates_are_after_the_activation():
    _, estimates = AutoInit().initialize_model(small_model(), return_estimates=True)
    assert set(estimates) >= {"hidden", "logits"}
    # Of batches of 128 samples, whose energies scatter a little over the units.
    assert estimates["hidden"][0] == pytest.approx(1 / math.sqrt(2 * math.pi), rel=2e-3)
    assert estimates["hidden"][1] == pytest.approx(0.5 - 1 / (2 * math.pi), rel=2e-3)
    assert estimates["logits"] == pytest.approx((0.0, 1.0))


def test_estimates_of_nested_models_go_by_path_and_by_the_models_name():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="core")], name="inner")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs)))
    _, estimates = AutoInit().initialize_model(model, return_estimates=True)
    assert {"inner/core", "inner", "head"} <= set(estimates)


@pytest.mark.parametrize("form", ["config", "json", "decoded", "serialized", "functional config"])
def test_configurations_are_accepted_in_every_form(form):
    model = small_model()
    if form == "functional config":
        model = keras.Model(model.inputs, model.outputs)
    given = {
        "config": model.get_config,
        "functional config": model.get_config,
        "json": model.to_json,
        "decoded": lambda: json.loads(model.to_json()),
        "serialized": lambda: keras.saving.serialize_keras_object(model),
    }[form]()
    new = AutoInit({"seed": 0}).initialize_model(given)
    assert isinstance(new, keras.Model)
    assert new.get_layer("hidden").kernel.shape == (20, 300)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("{not json", ValueError, "JSON"),
        ({"name": "x"}, ValueError, "'layers'"),
        (7, TypeError, "keras.Model"),
    ],
)
def test_what_is_no_model_is_refused_in_a_sentence(given, error, says):
    with pytest.raises(error, match=says):
        AutoInit().initialize_model(given)


def test_a_subclassed_model_is_told_what_to_do():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    with pytest.raises(GraphError, match="Call it once on data"):
        AutoInit().initialize_model(Subclassed())


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"distrbution": "uniform"}, "distribution, constrain_weights"),
        ({"distribution": "cauchy"}, "truncated_normal, untruncated_normal, uniform, orthogonal"),
        ({"constrain_weights": "yes"}, "True or False"),
        ({"seed": 1.5}, "integer"),
        ({"recurrent_monte_carlo_samples": 0}, "at least 1"),
    ],
)
def test_unknown_options_are_errors_that_list_the_right_ones(config, says):
    with pytest.raises(ValueError, match=says):
        AutoInit(config)


@pytest.mark.parametrize(
    "arguments", [{"input_data_var": -1.0}, {"input_data_mean": math.nan}, {"signal_variance": 0.0}]
)
def test_impossible_moments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        AutoInit(**arguments)


def test_signal_variance_is_the_target():
    new = AutoInit({"seed": 0}, signal_variance=4.0).initialize_model(small_model())
    assert measured(new, "logits").variance == pytest.approx(4.0, rel=0.2)


def custom_model():
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(64),
            Doubling(name="twice"),
            layers.Dense(64, name="after"),
        ]
    )


def test_a_layer_without_a_rule_passes_through_with_the_papers_warning(caplog):
    with caplog.at_level(logging.WARNING):
        _, estimates = AutoInit().initialize_model(custom_model(), return_estimates=True)
    assert estimates["twice"] == pytest.approx((0.0, 1.0))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        (
            "root",
            "No LayerOutputDistributionEstimator found for layer Doubling. "
            "Using the default PassThroughOutputDistributionEstimator instead.",
        )
    ]


def test_what_follows_a_pass_through_is_tainted():
    plan = AutoInit().plan(custom_model())
    states = {
        call.path: (str(outcome.support), outcome.tainted)
        for call, outcome in zip(plan.graph.calls, plan.results, strict=True)
    }
    assert states["twice"] == ("pass_through", False)
    assert states["after"] == ("exact", True)
    assert [finding.code for finding in plan.findings] == ["unsupported_layer"]


def test_a_custom_estimator_takes_the_place_of_a_missing_rule(caplog):
    new, estimates = AutoInit(
        {"seed": 0}, custom_distribution_estimators={Doubling: DoublingEstimator}
    ).initialize_model(custom_model(), return_estimates=True, custom_objects={"Doubling": Doubling})
    assert estimates["twice"] == pytest.approx((0.0, 4.0))
    assert not caplog.records
    assert measured(new, "after").variance == pytest.approx(1.0, rel=0.2)


def test_a_custom_estimator_is_made_with_layer_config_and_target():
    seen = []

    class Recording(LayerOutputDistributionEstimator):
        def estimate(self, means_in, vars_in):
            seen.append(
                (self.layer.name, self.estimator_config["distribution"], self.signal_variance)
            )
            return super().estimate(means_in, vars_in)

    AutoInit(
        {"distribution": "uniform"},
        custom_distribution_estimators={Doubling: Recording},
        signal_variance=2.0,
    ).plan(custom_model())
    assert seen == [("twice", "uniform", 2.0)]


@pytest.mark.parametrize("estimators", [{"Doubling": DoublingEstimator}, {Doubling: Doubling}])
def test_wrong_estimators_are_type_errors(estimators):
    with pytest.raises(TypeError, match=r"LayerOutputDistributionEstimator|layer classes"):
        AutoInit(custom_distribution_estimators=estimators)


def test_constrained_kernels_start_and_stay_centred_at_their_scale():
    auto = AutoInit({"seed": 0, "constrain_weights": True}, input_data_mean=2.0)
    new = auto.initialize_model(small_model())
    # The centred kernel cancels the mean of 2: the scale follows from the variance of 1 alone.
    kernel = new.get_layer("hidden").kernel.numpy()
    np.testing.assert_allclose(kernel.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt((kernel**2).mean(0)), 1 / math.sqrt(20), rtol=1e-4)
    assert measured(new, "hidden", input_mean=2.0).variance == pytest.approx(1.0, rel=0.1)
    new.compile("sgd", "mse")
    data = np.random.default_rng(0).normal(size=(64, 20))
    new.fit(data, np.ones((64, 200)), epochs=2, verbose=0)
    kernel = new.get_layer("hidden").kernel.numpy()
    np.testing.assert_allclose(kernel.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt((kernel**2).mean(0)), 1 / math.sqrt(20), rtol=1e-4)


def test_a_constrained_model_loads_again(tmp_path):
    new = AutoInit({"seed": 0, "constrain_weights": True}).initialize_model(small_model())
    new.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    constraint = loaded.get_layer("hidden").kernel_constraint
    assert type(constraint).__name__ == "CenteredUnitNorm"
    assert loaded.get_layer("hidden").kernel.constraint is not None


def test_an_unconstrained_model_needs_nothing_of_ours_to_load(tmp_path):
    AutoInit({"seed": 0}).initialize_model(small_model()).save(tmp_path / "model.keras")
    text = (tmp_path / "model.keras").read_bytes()
    assert b"autoinit" not in text


def test_visualize_returns_the_figure_writes_it_and_changes_nothing(tmp_path):
    model = small_model()
    before = model.get_weights()
    path = tmp_path / "signal.html"
    figure = AutoInitVisualizer().visualize(model, plot_path=path, num_samples=50, ylim=(1e-3, 1e3))
    assert len(figure.data) >= 4
    assert tuple(figure.layout.yaxis.range) == (-3, 3)
    assert "plotly" in path.read_text(encoding="utf-8")[:5000].lower()
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)


def test_visualize_refuses_limits_that_no_log_axis_has():
    with pytest.raises(ValueError, match="ylim"):
        AutoInitVisualizer().visualize(small_model(), ylim=(-1.0, 1.0))


class Stubborn(layers.Dense):
    """As some of keras_hub's layers: it cannot be made again from its own configuration."""

    def get_config(self):
        return {**super().get_config(), "units_of_old": 3}

    def call(self, x):
        return self.activation(keras.ops.matmul(x, self.kernel) + self.bias)


class Backbone(keras.Model):
    """Of a class of its own: it can be made again as a whole."""

    def __init__(self, width=8, **options):
        x = keras.Input((8,))
        y = Stubborn(width, "relu", name="stubborn")(x)
        shared = layers.Dense(width, "relu", name="shared")
        super().__init__(x, layers.Dense(2, name="last")(shared(shared(y))), **options)
        self.width = width

    def get_config(self):
        return {"name": self.name, "width": self.width}


def test_a_model_whose_layers_cannot_be_made_again_is_made_as_a_whole():
    model = Backbone(16)
    model.get_layer("stubborn").trainable = False
    model.compile("adam", "mse")
    before = model.get_weights()
    new = AutoInit().initialize_model(model)
    assert type(new) is Backbone
    assert new.compiled
    assert new.get_layer("stubborn") is not model.get_layer("stubborn")
    assert [layer.trainable for layer in new.layers[1:]] == [False, True, True]
    assert len(new.weights) == len(model.weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert not np.array_equal(new.get_layer("last").kernel, model.get_layer("last").kernel)


def test_a_variant_of_it_has_the_layers_that_could_not_be_made_alone():
    model = Backbone(16)
    changed = variants.with_activation(model, "tanh")
    assert [layer.activation.__name__ for layer in changed.layers[1:]] == ["relu", "tanh", "linear"]
    assert len(changed.weights) == len(model.weights)
    assert changed.get_layer("stubborn") is not model.get_layer("stubborn")
    assert np.array_equal(changed.get_layer("stubborn").kernel, model.get_layer("stubborn").kernel)


def test_a_model_that_cannot_be_made_again_is_initialised_in_place_or_looked_at_as_it_is(capsys):
    stack = [Stubborn(16, "relu", name="stubborn"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8,)), *stack])
    before, config = model.get_weights(), model.get_config()
    with pytest.raises(GraphError, match=r"'stubborn' \(Stubborn\).*units_of_old.*in_place=True"):
        AutoInit().initialize_model(model)
    assert len(probe_model(model, num_samples=8)) > 3
    assert autoinit.check(model, settings={"samples": 8}).verdicts["autoinit"].verdict == "trains"
    assert AutoInitVisualizer().visualize(model, num_samples=8).data
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.get_config() == config
    assert AutoInit().initialize_model(model, in_place=True) is model
    assert not np.array_equal(model.get_weights()[0], before[0])
