"""The examples in the docstrings of what is public run, and say what they print."""

import doctest
import importlib
import inspect

import pytest

import autoinit
import probes

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
