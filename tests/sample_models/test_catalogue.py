import inspect
import re
import subprocess
import sys

import pytest

from sample_models import MODELS, build, parse


def test_importing_the_package_does_not_import_keras():
    code = (
        "import sys, sample_models\n"
        "arguments = [model.arguments for model in sample_models.MODELS.values()]\n"
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_has_the_networks_of_the_paper_and_of_practice():
    assert list(MODELS) == [
        "all-cnn-c",
        "resnet-56",
        "resnet-56-nobn",
        "resnet-164",
        "resnet-164-nobn",
        "resnet-812",
        "resnet-812-nobn",
        "deep-tanh-mlp",
        "vgg-like",
        "densenet-like",
        "multi-input",
        "lstm-text",
        "transformer-encoder",
        "custom-layer",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_has_a_one_line_description_and_a_documented_builder(name):
    entry = MODELS[name]
    assert entry.name == name
    assert entry.description
    assert "\n" not in entry.description
    assert inspect.getdoc(entry.function)
    parameters = inspect.signature(entry.function).parameters
    assert set(parameters) == set(entry.arguments) | set(entry.fixed)


@pytest.mark.parametrize("name", MODELS)
def test_every_default_is_a_value_that_its_argument_accepts(name):
    for argument in MODELS[name].arguments.values():
        assert argument.parse(str(argument.default)) == argument.default


def test_arguments_are_typed_by_the_signature():
    builder, arguments = parse("all-cnn-c?activation=elu&dropout=0.25")
    assert builder is MODELS["all-cnn-c"]
    assert arguments == {"activation": "elu", "dropout": 0.25}
    assert parse("deep-tanh-mlp?depth=3&width=8")[1] == {"depth": 3, "width": 8}
    assert parse("resnet-56")[1] == {}
    assert parse("resnet-56?")[1] == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "all-cnn",
            "There is no sample model 'all-cnn'. The sample models are: all-cnn-c, resnet-56, ",
        ),
        ("", "There is no sample model ''. The sample models are: all-cnn-c, "),
        (
            "all-cnn-c?rate=0.5",
            "all-cnn-c has no argument 'rate'. It takes: activation, dropout, width.",
        ),
        ("resnet-56?depth=164", "resnet-56 has no argument 'depth'. It takes none."),
        (
            "deep-tanh-mlp?depth=ten",
            "depth must be a whole number from 1 to 1000. Received: 'ten'.",
        ),
        ("deep-tanh-mlp?depth=2.5", "depth must be a whole number from 1 to 1000."),
        ("deep-tanh-mlp?depth=0", "depth must be a whole number from 1 to 1000. Received: '0'."),
        ("deep-tanh-mlp?depth", "depth must be a whole number from 1 to 1000. Received: ''."),
        ("all-cnn-c?dropout=1", "dropout must be a number from 0 to 0.9. Received: '1'."),
        ("all-cnn-c?dropout=nan", "dropout must be a number from 0 to 0.9. Received: 'nan'."),
        ("all-cnn-c?activation=step", "activation must be one of relu, elu, selu, "),
        ("all-cnn-c?dropout=0.1&dropout=0.2", "all-cnn-c was given dropout twice."),
    ],
)
def test_a_wrong_specification_is_refused_with_the_right_ones_listed(spec, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        build(spec)
