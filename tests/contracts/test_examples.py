"""The examples of docstrings and pages run; those of docstrings say what they print."""

import doctest
import importlib.util
import inspect
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import autoinit
import probes
from app.cli.main import commands

# What has an example, beside all that the packages name as public.
FURTHER = {
    "autoinit.batch": ("analyze",),
    "autoinit.callbacks": ("SignalMonitor",),
    "autoinit.manifest": ("differing",),
    "autoinit.model_files.opening": ("open_model_file",),
    "sample_models": ("build",),
}
# What is only handed out, and made by nobody outside.
RESULTS = {
    "Probe",
    "Gradients",
    "Moments",
    "Spread",
    "CompiledPasses",
    "FisherInformation",
    "FormatEffects",
}


def public():
    """(name, object) of each."""
    for package in (autoinit, probes):
        named = {name: getattr(package, name) for name in package.__all__}
        yield from ((name, each) for name, each in named.items() if not inspect.ismodule(each))
    for module, names in FURTHER.items():
        home = importlib.import_module(module)
        yield from ((name, getattr(home, name)) for name in names)


PUBLIC = dict(public())


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_run(name):
    found = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    examples = [each for each in found if each.examples]
    assert examples or name in RESULTS, f"{name} has no example"
    for example in examples:
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
        assert not result.failed, f"the example of {name} does not print what it says"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - RESULTS))
def test_arguments_are_explained(name):
    parameters = inspect.signature(PUBLIC[name]).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    explained = inspect.getdoc(PUBLIC[name])
    missing = [each for each in named if each not in explained]
    assert not missing, f"the docstring of {name} does not say what {missing} are"


ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
}
SNIPPETS = {
    page: re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for page, text in PAGES.items()
}
COMMANDS = {
    line.partition("#")[0].strip()
    for text in PAGES.values()
    for line in re.findall(r"^(?:autoinit|python -m app) (.*)", text, re.MULTILINE)
}


@keras.saving.register_keras_serializable("pages")
class Doubling(keras.layers.Layer):
    """A reader's own layer."""

    def call(self, x):
        return 2 * x


def build(depth=2, activation="relu"):
    hidden = [keras.layers.Dense(8, activation, name=f"hidden{n}") for n in range(depth)]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class HyperModel:
    """Keras Tuner's, as far as a page asks for it."""

    def fit(self, hp, model, *data, **how):
        return model.fit(*data, **how)


class RandomSearch:
    """The same: one trial, of the smallest of all models."""

    def __init__(self, hypermodel, objective, max_trials):
        self._hypermodel = hypermodel

    def search(self, *data, **how):
        hp = SimpleNamespace(
            Int=lambda name, low, high: low, Choice=lambda name, choices: choices[0]
        )
        self._hypermodel.fit(hp, self._hypermodel.build(hp), *data, **how)


def installed(name, **stand_in):
    """What pages use and few have: itself, or what stands for it."""
    there = importlib.util.find_spec(name) is not None
    return importlib.import_module(name) if there else SimpleNamespace(**stand_in)


def of_the_reader():
    """What snippets take as given."""
    draw = np.random.default_rng(0)
    inputs = keras.Input((8, 8, 1))
    h = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv1")(inputs)
    h = Doubling()(keras.layers.Flatten()(h))
    h = keras.layers.Add()([h, keras.layers.Dense(36)(h)])
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(h))
    model.compile(keras.optimizers.SGD(0.001), "sparse_categorical_crossentropy")
    model.save("model.keras")
    return {
        "model": model,
        "x_train": draw.standard_normal((64, 8, 8, 1)).astype("float32"),
        "y_train": draw.integers(10, size=64),
        "x": draw.standard_normal((64, 4)),
        "y": draw.integers(2, size=64),
        "Doubling": Doubling,
        "build": build,
        "optuna": installed("optuna", TrialPruned=RuntimeError),
        "keras_tuner": installed("keras_tuner", HyperModel=HyperModel, RandomSearch=RandomSearch),
        # Two of each; in threads, as processes would import all of this anew.
        "range": lambda low, high: range(low, low + 2),
    }


# Keras Tuner's.
@pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page == "docs/batch.md" else [])
        for page in sorted(PAGES)
        if SNIPPETS[page]
    ],
)
def test_snippets_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "concurrent.futures.ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(1)
    )
    keras.utils.set_random_seed(0)
    names = {}
    # What is read on a page is written further down.
    for snippet in sorted(SNIPPETS[page], key=lambda snippet: "read_parquet" in snippet):
        names |= of_the_reader()
        exec(compile(snippet, page, "exec"), names)
    if "objective" in names:
        trial = SimpleNamespace(
            number=0,
            suggest_int=lambda name, low, high: low,
            suggest_categorical=lambda name, choices: choices[0],
        )
        assert 0.0 <= names["objective"](trial) <= 1.0


def test_no_python_of_a_page_is_left_out():
    text = "\n".join(PAGES.values())
    assert len(re.findall(r"```[^\w\n]*py|~~~", text)) == sum(map(len, SNIPPETS.values())) > 10


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_commands_of_the_pages_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.parquet").touch()
    name, *arguments = shlex.split(line)
    commands.commands[name].make_context(name, arguments)
