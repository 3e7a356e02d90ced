"""JSON within limits, and JSON changed in place."""

import copy
import dataclasses
import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.json_text import parse, splice

WHAT = "The configuration"


def refused(text, budgets=None):
    start = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        parse(text, WHAT, budgets or Budgets())
    assert time.process_time() - start < 5
    assert str(caught.value).startswith(WHAT)
    assert len(str(caught.value)) < 300
    return caught.value.code


@pytest.mark.parametrize(
    "text", ['{"a": [1, -2.5e3, null, true, "x"]}', '"[[[{{{,,,"', r'{"\"[": "\\"}', " [ ] ", "7"]
)
def test_valid_json_is_parsed_as_python_does(text):
    assert parse(text, WHAT, Budgets(json_depth=2, json_nodes=9)) == json.loads(text)


def test_numbers_that_are_not_finite_are_read_as_keras_writes_them():
    first, second, third = parse("[NaN, -Infinity, 1e999]", WHAT, Budgets())
    assert math.isnan(first)
    assert (second, third) == (-math.inf, math.inf)


def test_of_a_repeated_key_the_last_counts():
    assert parse('{"a": 1, "a": {"b": 2}}', WHAT, Budgets()) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 200_000 + "]" * 200_000, "over_budget"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "over_budget"),
        ("[" * 8_000_000, "over_budget"),
        ("[" + "0," * 7_000_000 + "0]", "over_budget"),
        ("[" + "{}," * 3_000_000 + "{}]", "over_budget"),
        ('"' + "x" * 2**24 + '"', "over_budget"),
        ('"' + '\\"' * 8_000_000, "broken_file"),
        ('"' * 999_999, "broken_file"),
        ("]" * 16_000_000, "broken_file"),
        ("", "broken_file"),
        ('{"a": ', "broken_file"),
        ('{"a": 1} trailing', "broken_file"),
        ('{"a": "\x00"}', "broken_file"),
        ("nul", "broken_file"),
        ("9" * 5000, "bad_configuration"),
        ("[-" + "1" * 100_000 + "]", "bad_configuration"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_what_is_too_large_too_deep_or_no_json_is_refused_soon(text, code):
    assert refused(text) == code


def test_limits_are_exact():
    limits = Budgets(json_depth=3, json_nodes=6, config_bytes=20)
    assert parse("[[[1, 2]]]", WHAT, limits) == [[[1, 2]]]
    assert refused("[[[[1]]]]", limits) == "over_budget"
    assert refused("[1, 2, 3, 4, 5, 6]", limits) == "over_budget"
    assert refused(" " * 19 + "[]", limits) == "over_budget"
    assert parse(" " * 18 + "[]", WHAT, limits) == []


def changed(value, replacements):
    """What `splice` should make of a parsed value."""
    root = [copy.deepcopy(value)]
    for path, new in replacements.items():
        inner = root
        *steps, last = (0, *path)
        for step in steps:
            inner = inner[step]
        inner[last] = new
    return root[0]


MODEL = {
    "class_name": "Sequential",
    "config": {
        "name": 'a "quoted" name, with [brackets] and {braces}: \\',
        "layers": [
            {"kernel_initializer": {"class_name": "Zeros", "config": {}}, "units": 3},
            {"kernel_initializer": None, "é\u202e": [1, [2, [3.5]], {}], "": -1e-7},
        ],
    },
}
PATHS = [
    ("config", "layers", 0, "kernel_initializer"),
    ("config", "layers", 1, "kernel_initializer"),
    ("config", "layers", 1, "é\u202e", 1, 1, 0),
    ("config", "layers", 1, ""),
    ("config", "name"),
]


@pytest.mark.parametrize(
    "style",
    [
        {},
        {"indent": 4},
        {"separators": (",", ":")},
        {"ensure_ascii": False, "indent": "\t"},
        {"separators": ("\n ,\r", "\t:  ")},
    ],
    ids=["default", "indented", "compact", "unescaped", "odd"],
)
def test_values_are_replaced_and_nothing_else(style):
    text = json.dumps(MODEL, **style)
    assert splice(text, {}) == text
    for count in range(1, len(PATHS) + 1):
        new = {path: {"new": [index]} for index, path in enumerate(PATHS[:count])}
        after = splice(text, new)
        assert json.loads(after) == changed(MODEL, new)
    start = text.index("Zeros")
    one = splice(text, {(*PATHS[0], "class_name"): "Ones"})
    assert one == text[: start - 1] + '"Ones"' + text[start + len("Zeros") + 1 :]


def test_a_repeated_key_is_replaced_where_it_counts():
    text = '{"a": {"b": 1, "b": 2}, "c": [1], "a": {"b" : 3}}'
    assert splice(text, {("a", "b"): 4}) == text.replace("3", "4")
    # The last "a" holds no "b": what an earlier one held is not there any more.
    with pytest.raises(KeyError):
        splice('{"a": {"b": 1}, "a": {}}', {("a", "b"): 4})
    with pytest.raises(KeyError):
        splice('{"a": {"b": 1}, "a": 5}', {("a", "b"): 4})


def test_escaped_keys_are_the_keys_that_they_stand_for():
    assert splice(r'{"\u0061\"": 1}', {('a"',): 2}) == r'{"\u0061\"": 2}'


def test_wrong_paths_are_errors():
    for path in [("x",), (1,), ("a", 1), ("a", "0"), ("a", 0, "b")]:
        with pytest.raises(KeyError):
            splice('{"a": [0]}', {path: 1})
    with pytest.raises(ValueError, match="as a whole"):
        splice('{"a": [0]}', {("a",): 1, ("a", 0): 2})


def test_depth_is_no_matter():
    text = "[" * 50_000 + "1" + "]" * 50_000
    assert splice(text, {(0,): 2}) == "[2]"
    assert splice(text, {(0,) * 50_000: 2}) == text.replace("1", "2")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def paths_of(value):
    """Every path into a value."""
    paths, waiting = [()], [((), value)]
    while waiting:
        path, inner = waiting.pop()
        steps = inner.items() if isinstance(inner, dict) else ()
        steps = enumerate(inner) if isinstance(inner, list) else steps
        for step, below in steps:
            paths.append((*path, step))
            waiting.append(((*path, step), below))
    return paths


@settings(max_examples=150, deadline=None)
@given(value=VALUES, ascii=st.booleans(), indent=st.none() | st.integers(0, 3), data=st.data())
def test_any_value_survives_parsing_and_any_place_can_be_replaced(value, ascii, indent, data):
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    assert parse(text, WHAT, Budgets()) == value
    path = data.draw(st.sampled_from(paths_of(value)))
    new = data.draw(VALUES)
    assert json.loads(splice(text, {path: new})) == changed(value, {path: new})


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet='{}[]",:\\ 019aeE+-.ntu\n'))
def test_any_text_is_parsed_as_python_does_or_refused(text):
    limits = dataclasses.replace(Budgets(), json_depth=4, json_nodes=10)
    outcome = "parsed"
    try:
        value = parse(text, WHAT, limits)
    except ModelFileError as error:
        outcome = error.code
    assert outcome in ("parsed", "broken_file", "over_budget", "bad_configuration")
    if outcome == "parsed":
        assert json.loads(text) == value
