"""Trials of small models in this process: what is trained in which order, and what it comes to."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from app.analysis.job_spec import JobSpec
from app.analysis.settings import Settings
from app.analysis.trials.grid import losses_of, optimizer_of, rates_around
from app.analysis.trials.result import read_trials
from app.analysis.trials.settings import TrialSettings
from app.jobs.trying import run
from autoinit.errors import ModelFileError
from autoinit.reading import read_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1000, 6)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + 2 * (X[:, 2] > 0)


def deep(initializer, depth=10):
    """A chain that vanishes or not, as its initializer says."""
    stack = [
        layers.Dense(24, "relu", kernel_initializer=initializer(), name=f"hidden{place}")
        for place in range(depth)
    ]
    return keras.Sequential([keras.Input((6,)), *stack, layers.Dense(4, "softmax", name="head")])


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A vanishing chain as a file, and data."""
    folder = tmp_path_factory.mktemp("brought")
    keras.utils.set_random_seed(0)
    model = deep(lambda: keras.initializers.RandomNormal(stddev=0.02))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
    model.save(folder / "deep.keras")
    np.savez(folder / "train.npz", x=X, y=Y)
    return folder


def tried(spec, folder, progress=lambda fraction, stage: None):
    folder.mkdir()
    run(spec, folder, progress)
    return read_trials(folder / "result.json")


def spec_of(brought, **trial):
    given = {"data": str(brought / "train.npz"), "data_name": "train.npz", "steps": 40, **trial}
    path = brought / "deep.keras"
    return JobSpec(str(path), path.name, Settings(device="cpu"), TrialSettings(**given))


@pytest.fixture(scope="module")
def trial(brought, tmp_path_factory):
    previews, folder = [], tmp_path_factory.mktemp("trial") / "job"

    def watching(fraction, stage):
        if (folder / "preview.json").exists():
            previews.append(json.loads((folder / "preview.json").read_text()))

    return tried(spec_of(brought), folder, watching), previews, folder


def test_the_initialisation_that_learns_is_recommended(trial):
    found, _, folder = trial
    assert found.measure == "accuracy"
    assert found.optimizer == "SGD, as the model was compiled"
    assert found.data == "The data in 'train.npz'."
    assert found.answer.scheme in ("autoinit", "centred")
    own = next(each for each in found.answer.standings if each.scheme == "default")
    assert not own.learns
    assert found.answer.standings[0].draws >= 2
    assert [each.file for each in found.downloads]
    assert not list(folder.glob("preview.*"))


def test_the_analysis_has_said_so_before(trial):
    found, _, _ = trial
    assert found.expected["default"].verdict == "cannot train"
    assert found.expected["autoinit"].verdict == "trains"
    assert "trial_disagrees" not in {each.code for each in found.findings}


def test_survivors_go_on_and_others_stop_after_a_quarter(trial):
    found, _, _ = trial
    assert found.rates == rates_around(0.05)
    for scheme in found.schemes:
        first = [found.of(scheme, rate) for rate in found.rates]
        assert all(first)
        assert sum(each.outcome == "finished" for each in first) <= 3
        assert all(each.steps == 10 for each in first if each.outcome == "stopped")
        assert all(each.steps == 40 for each in first if each.outcome == "finished")


def test_the_grid_can_be_watched_while_it_fills(trial):
    _, previews, _ = trial
    counts = [len(each["trainings"]) for each in previews]
    assert counts == sorted(counts)
    assert counts[0] < 5 < counts[-1]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table(brought, tmp_path):
    spec = spec_of(brought, schemes=("default", "centred"), rates=(0.05, 0.1), steps=10)
    one, again = (tried(spec, tmp_path / name) for name in ("one", "again"))
    assert len(one.trainings) >= 4
    assert again.trainings == one.trainings
    assert again.answer == one.answer


def test_a_rate_too_bold_for_other_weights_is_tried_beside_the_next_smaller_one(
    brought, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "app.analysis.trials.grid.bolder_than",
        lambda trial, scheme, rate, draw: trial.rates[0] if rate > trial.rates[0] else None,
    )
    spec = spec_of(brought, schemes=("he", "centred"), rates=(1e-9, 0.05), steps=20)
    found = tried(spec, tmp_path / "job")
    for scheme in found.schemes:
        both = [found.of(scheme, rate, draw) for rate in found.rates for draw in (0, 1)]
        assert [each.outcome for each in both] == ["finished"] * 4
    # From the same weights, in the same order of samples: next to nothing was changed.
    assert found.of("he", 1e-9, 0).losses[0] != found.of("he", 1e-9, 1).losses[0]
    assert found.of("he", 0.05, 1).losses[0] == found.of("he", 1e-9, 1).losses[0]


def test_the_best_model_is_a_fresh_start(trial, brought):
    found, _, folder = trial
    model = keras.models.load_model(folder / found.downloads[0].file, compile=False)
    own = keras.models.load_model(brought / "deep.keras", compile=False)
    kernels = [each.get_layer("hidden3").kernel.numpy() for each in (model, own)]
    assert kernels[0].std() > 5 * kernels[1].std()
    assert read_model(model)


@pytest.mark.slow
def test_time_that_is_over_leaves_cells_waiting(brought, tmp_path, monkeypatch):
    monkeypatch.setattr("app.analysis.trials.grid.time.perf_counter", iter(range(10**6)).__next__)
    found = tried(spec_of(brought, budget=20.0, steps=100), tmp_path / "short")
    codes = {each.code for each in found.findings}
    assert "trial_time_over" in codes
    assert "trial_shortened" in codes
    assert any(found.of(scheme, rate) is None for scheme in found.schemes for rate in found.rates)


def test_rates_beyond_the_grid_are_tried_where_its_end_is_the_best(tmp_path):
    large = [keras.initializers.RandomNormal(stddev=2.0, seed=seed) for seed in (1, 2)]
    stack = [layers.Dense(300, kernel_initializer=each) for each in large]
    model = keras.Sequential([keras.Input((6,)), *stack, layers.Dense(4, "softmax")])
    model.save(tmp_path / "large.keras")
    np.savez(tmp_path / "train.npz", x=X, y=Y)
    settings = TrialSettings(schemes=("default",), steps=20, data=str(tmp_path / "train.npz"))
    spec = JobSpec(str(tmp_path / "large.keras"), "large", Settings(device="cpu"), settings)
    found = tried(spec, tmp_path / "job")
    assert found.rates[0] < rates_around(0.03)[0]
    assert found.answer.standings[0].learns
    assert "trial_time_over" not in {each.code for each in found.findings}


def test_data_that_do_not_fit_are_refused(brought, tmp_path):
    np.savez(tmp_path / "bad.npz", x=X, y=Y + 5)
    with pytest.raises(ModelFileError, match="from 0 to 3"):
        tried(spec_of(brought, data=str(tmp_path / "bad.npz")), tmp_path / "bad")
    np.savez(tmp_path / "lacks.npz", x=X)
    with pytest.raises(ModelFileError, match="lacks"):
        tried(spec_of(brought, data=str(tmp_path / "lacks.npz")), tmp_path / "lacks")


def test_frozen_layers_keep_what_came_with_the_file(brought, tmp_path):
    model = keras.models.load_model(brought / "deep.keras", compile=False)
    model.get_layer("hidden0").trainable = False
    path = tmp_path / "frozen.keras"
    model.save(path)
    settings = TrialSettings(schemes=("he",), rates=(0.01,), steps=10)
    spec = JobSpec(str(path), path.name, Settings(device="cpu"), settings)
    kept = []

    def watching(fraction, stage):
        kept.append(stage)

    found = tried(spec, tmp_path / "job", watching)
    assert found.trainings[0].outcome == "finished"
    assert any(stage.startswith("Training He") for stage in kept)


def test_a_what_if_is_trained_and_taken_home_as_it_is(brought, tmp_path):
    settings = Settings(device="cpu", activation="elu")
    trial = TrialSettings(
        schemes=("autoinit",), rates=(0.05,), steps=40, data=str(brought / "train.npz")
    )
    spec = JobSpec(str(brought / "deep.keras"), "deep.keras", settings, trial)
    found = tried(spec, tmp_path / "job")
    assert found.answer.scheme == "autoinit"
    model = keras.models.load_model(tmp_path / "job" / found.downloads[0].file, compile=False)
    assert model.get_layer("hidden3").activation is keras.activations.elu


def test_optimizers():
    model = deep(keras.initializers.HeNormal)
    auto = TrialSettings()
    found, name, rate = optimizer_of(model, None, auto)
    assert (type(found).__name__, name, rate) == ("SGD", "SGD with momentum 0.9", 0.03)
    compiled = {"optimizer": {"class_name": "AdamW", "config": {"learning_rate": 0.002}}}
    found, name, rate = optimizer_of(model, compiled, auto)
    assert (type(found).__name__, rate) == ("AdamW", pytest.approx(0.002))
    assert optimizer_of(model, compiled, TrialSettings(optimizer="adam"))[1] == "Adam"


def test_losses_of_several_outputs_stand_in_their_order():
    x = keras.Input((3,))
    model = keras.Model(x, [layers.Dense(1, name="a")(x), layers.Dense(2, name="b")(x)])
    assert losses_of(model) is None
    model.compile(loss={"b": "mae", "a": "mse"})
    assert losses_of(model) == ["mse", "mae"]


def test_the_best_of_a_regression(tmp_path):
    x = keras.Input((6,))
    out = layers.Dense(1)(layers.Dense(16, "relu")(x))
    keras.Model(x, out).save(tmp_path / "small.keras")
    np.savez(tmp_path / "train.npz", x=X, y=X[:, 0] - X[:, 1])
    settings = TrialSettings(
        schemes=("default", "autoinit"),
        rates=(0.01, 0.03),
        steps=60,
        data=str(tmp_path / "train.npz"),
    )
    path = tmp_path / "small.keras"
    found = tried(JobSpec(str(path), "small", Settings(device="cpu"), settings), tmp_path / "job")
    assert found.measure == "loss"
    assert found.answer.scheme == "default"
    assert "Keep the model's own initializers" in found.answer.sentence


def test_a_settings_error_is_a_sentence():
    with pytest.raises(ValueError, match="schemes must be names of initialisations"):
        TrialSettings(schemes=("magic",))
    with pytest.raises(ValueError, match="rates must be positive numbers"):
        TrialSettings(rates=("0",))
    assert TrialSettings(rates=("0.1", "0.01")).rates == (0.01, 0.1)
    assert Path(TrialSettings(data="/x/y.npz").shown_name).name == "y.npz"
