"""The limits: their defaults, their variables, and what a refusal says."""

import dataclasses
import math

import pytest

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets, variable

FIELDS = {field.name: field for field in dataclasses.fields(Budgets)}


def test_every_limit_has_its_variable():
    for name, field in FIELDS.items():
        changed = Budgets.from_environment({variable(name): "7", "AUTOINIT_MAX_NOTHING": "x"})
        assert changed == dataclasses.replace(Budgets(), **{name: 7})
        assert type(getattr(changed, name)) is type(field.default)
    assert Budgets.from_environment({}) == Budgets()
    assert variable("json_depth") == "AUTOINIT_MAX_JSON_DEPTH"


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "nan", "inf", "1e400", "9" * 5000])
def test_wrong_values_are_named(text):
    with pytest.raises(ValueError, match="AUTOINIT_MAX_LAYERS") as caught:
        Budgets.from_environment({"AUTOINIT_MAX_LAYERS": text})
    assert repr(text)[:90] in str(caught.value)
    assert len(str(caught.value)) < 250


def test_counts_are_whole():
    with pytest.raises(ValueError, match="whole number"):
        Budgets.from_environment({"AUTOINIT_MAX_LAYERS": "1.5"})


@pytest.mark.parametrize(
    ("budget", "limit", "figure", "said"),
    [
        ("layers", 10, 12_345, "12,345 layers, and the limit is 10 layers"),
        ("file_bytes", 2**30, 3 * 2**29, "1.5 GiB, and the limit is 1 GiB"),
        ("config_bytes", 100, math.inf, "more than the limit of 100 bytes"),
        ("calls", 50_000, 2**10_000, "more than 10^3010 calls of layers, and the limit is 50,000"),
        ("activation_bytes", 2**40, 1e300, "more than 10^300 bytes, and the limit is 1 TiB"),
    ],
)
def test_a_refusal_names_the_figure_the_limit_and_the_variable(budget, limit, figure, said):
    budgets = dataclasses.replace(Budgets(), **{budget: limit})
    budgets.require(budget, limit, "The model")
    with pytest.raises(ModelFileError) as caught:
        budgets.require(budget, figure, "The model")
    assert caught.value.code == "over_budget"
    assert str(caught.value).startswith(f"The model would take {said}")
    assert variable(budget) in str(caught.value)
