"""One file knows what is private of Keras and tf_keras: when these change, it changes."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoinit.graph import keras_internals

ROOT = Path(keras_internals.__file__).parents[2]
ALLOWED = Path(keras_internals.__file__)
SOURCES = [
    path for top in ("app", "autoinit", "probes") for path in sorted((ROOT / top).rglob("*.py"))
]
# What model files may name is data: such modules are compared with, and never imported.
DATA = {
    "autoinit/model_files/check/class_lookup.py",
    "autoinit/model_files/check/vocabulary.py",
    "autoinit/model_files/read/version_detection.py",
}
PRIVATE_MODULE = re.compile(r"((tf_)?keras\.src|tensorflow\.python)(\.|$)")
PRIVATE_NAME = re.compile(r"_(?!_)\w+")
NAMEDTUPLE = {"_asdict", "_fields", "_replace"}
BY_NAME = {"delattr", "getattr", "hasattr", "setattr"}


def private_modules(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if PRIVATE_MODULE.match(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if PRIVATE_MODULE.match(name))


def named_modules(tree: ast.AST) -> list[str]:
    """Texts that are the name of a private module."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and PRIVATE_MODULE.match(text)]


def defined(tree: ast.AST) -> set[str]:
    """Names of the functions and classes in a file."""
    return {getattr(node, "name", None) or "" for node in ast.walk(tree)}


def private_attributes(tree: ast.AST) -> Iterator[str]:
    """Attributes with an underscore, of other things than `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os", "argparse")
        ):
            name = node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in BY_NAME
            and isinstance(node.args[1], ast.Constant)
        ):
            name = str(node.args[1].value)
        else:
            continue
        if PRIVATE_NAME.fullmatch(name) and name not in NAMEDTUPLE:
            yield name


@pytest.fixture(scope="module")
def names_of_keras() -> frozenset[str]:
    """Every name with an underscore that stands somewhere in the code of either Keras."""
    found: set[str] = set()
    for package in ("keras", "tf_keras"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            for path in (Path(spec.origin).parent / "src").rglob("*.py"):
                found.update(re.findall(r"\b_[a-z]\w*", path.read_text("utf-8")))
    return frozenset(found)


def test_no_other_file_names_what_is_private_of_keras(names_of_keras):
    trees = {path: ast.parse(path.read_text("utf-8")) for path in SOURCES if path != ALLOWED}
    ours: dict[Path, set[str]] = {}
    for path, tree in trees.items():
        ours.setdefault(path.parent, set()).update(defined(tree))
    found = []
    for path, tree in trees.items():
        place = path.relative_to(ROOT).as_posix()
        found += [f"{place} imports {name}" for name in private_modules(tree)]
        if place not in DATA:
            found += [f"{place} names {name}" for name in named_modules(tree)]
        attributes = set(private_attributes(tree)) & names_of_keras - ours[path.parent]
        found += [f"{place} uses {name}" for name in sorted(attributes)]
    assert not found, "move it into autoinit/graph/keras_internals.py:\n" + "\n".join(found)


@pytest.mark.parametrize("place", sorted(DATA))
def test_what_files_may_name_is_not_imported(place):
    tree = ast.parse((ROOT / place).read_text("utf-8"))
    assert named_modules(tree)  # else it is on the list for nothing
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"importlib", "__import__"}


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src.ops.node import Node",
        "import tf_keras.src.engine",
        "from tensorflow.python.util import tf_export",
        "from keras import src",
    ],
)
def test_an_import_is_seen(code):
    assert list(private_modules(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["tensor._keras_history.operation", "getattr(x, '_keras_mask', None)", "f(x)._functional"],
)
def test_an_attribute_is_seen(code, names_of_keras):
    assert set(private_attributes(ast.parse(code))) & names_of_keras


@pytest.mark.parametrize("name", sorted(keras_internals.__dict__["_KERAS2"]))
def test_what_is_imported_when_asked_for_is_there(name):
    assert getattr(keras_internals, name) is not None
