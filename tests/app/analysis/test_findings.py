"""The table of findings: a battery that every entry passes, and nothing that is not in it."""

import ast
import pkgutil
from pathlib import Path

import keras
import pytest

import app
from app.analysis.diagnosis import families
from app.analysis.diagnosis.documentation import PAGE, page
from app.analysis.diagnosis.findings import once_each
from app.analysis.diagnosis.kinds import Severity
from app.analysis.diagnosis.table import FAMILIES, KINDS
from app.analysis.result import Finding
from autoinit.propagation import input_signals, plan
from autoinit.reading import read_model

ROOT = Path(app.__file__).parents[1]
# What makes a finding of the code that is its first argument; `find` is that of places in a file's
# configuration.
MAKERS = ("Finding", "left_out", "_attempt")
CHECKS = ROOT / "autoinit" / "model_files" / "check"


def sources():
    for package in ("app", "autoinit", "probes"):
        yield from (ROOT / package).rglob("*.py")


def used_codes():
    """Codes of findings in the sources: first arguments of what makes one."""
    for source in sources():
        makers = (*MAKERS, "find") if source.is_relative_to(CHECKS) else MAKERS
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in makers and isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value, source


def test_every_code_that_is_used_is_in_the_table():
    used = list(used_codes())
    assert not {(code, str(path)) for code, path in used if code not in KINDS}
    assert {"opaque_layer", "shared_layer", "no_jacobian", "frozen_kept"} <= {
        code for code, _ in used
    }


def test_every_family_in_the_folder_is_in_the_table():
    names = {f"{families.__name__}.{each.name}" for each in pkgutil.iter_modules(families.__path__)}
    assert names == {family.__name__ for family in FAMILIES}


def test_codes_and_titles_are_unique():
    kinds = [kind for family in FAMILIES for kind in family.KINDS]
    assert len(kinds) == len(KINDS) == len({kind.title for kind in kinds})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_entry_is_whole(kind):
    assert kind.code.isidentifier()
    assert kind.code == kind.code.lower()
    assert kind.severity in Severity
    assert kind.title[0].isupper()
    assert not kind.title.endswith(".")
    for sentence in (kind.cause, kind.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert f"\n### {kind.anchor.partition('#')[2]}\n" in PAGE.read_text(encoding="utf-8")
    if isinstance(kind.test, str):
        module = ROOT / f"{kind.test.replace('.', '/')}.py"
        assert f'"{kind.code}"' in module.read_text(encoding="utf-8")


def test_the_page_is_that_of_the_table():
    assert PAGE.read_text(encoding="utf-8") == page()


def told(code, *paths, **more):
    return [
        Finding(code=code, path=p, class_name="Dense", message=f"At {p!r}.", **more) for p in paths
    ]


def test_what_many_calls_show_is_told_once_with_the_first_few():
    many = told("opaque_layer", *"abcdefg")
    (found,) = once_each(many)
    assert found.message == "At 'a'. So it is with 6 more: 'b', 'c', 'd' and 3 more."
    assert (found.path, found.others) == ("a", tuple("bcdefg"))
    apart = [
        *told("opaque_layer", "a", "b"),
        *told("deep_model", ""),
        *told("dead", *"abcd", severity="serious", series="default"),
        *told("few", "a", "b", series="default"),
        *told("few", "a", "b", series="uploaded"),
    ]
    assert sorted(map(repr, once_each(apart))) == sorted(map(repr, apart))


def test_a_shared_layer_is_told_once_with_how_often_it_is_used():
    x = keras.Input((8,))
    tower = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8, name="d"), keras.layers.Dense(8, name="e")],
        name="tower",
    )
    y = keras.layers.Concatenate()([tower(x), tower(keras.ops.flip(x, -1)), tower(-x)])
    graph = read_model(keras.Model(x, keras.layers.Dense(2)(y)))
    found = [
        Finding.model_validate(f.as_dict()) for f in plan(graph, input_signals(graph)).findings
    ]
    assert sum(f.code == "shared_layer" for f in found) > 3
    (shared,) = [f for f in once_each(found) if f.code == "shared_layer"]
    assert shared.message.startswith(
        "2 layers of 'tower' are used 3 times: the weights are drawn once, for the first use "
        "('tower/d', 'tower/e')."
    )
