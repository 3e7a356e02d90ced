"""The rooms of the house are small enough to be looked over, and names mean one thing each.

`make lint` holds which room imports which.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import app

ROOT = Path(app.__file__).parents[1]
SOURCES = [path for top in ("app", "autoinit", "probes") for path in (ROOT / top).rglob("*.py")]
MOST = 15
# A file for each family of layers.
AS_MANY_AS_IT_TAKES = {ROOT / "autoinit" / "rules" / "layers"}
# A result's record of a thing is called like the thing, and a layer of tf_keras like that of Keras.
THE_SAME_TWICE = {
    "Call", "Finding", "Gradients", "Kernel", "Moments", "GaussianSampling", "Opaque",
}  # fmt: skip

# American in what code calls things; prose and what is published (`--scheme centred`) as it is.
BRITISH = re.compile(
    r"colour|centre|neighbour|behaviour|grey|learnt|analyse"
    r"|(normal|initial|summar|regular|linear|factor|random|quant|optim|serial)is(e|ing|ation)",
    re.IGNORECASE,
)


def test_no_folder_holds_more_than_fifteen_modules_of_its_own():
    modules = defaultdict(set)
    for path in SOURCES:
        if path.parent not in AS_MANY_AS_IT_TAKES and path.name != "__init__.py":
            modules[path.parent].add(path.stem)
    assert len(modules) > 30
    assert not {folder: names for folder, names in modules.items() if len(names) > MOST}


def test_no_two_public_classes_have_one_name():
    found = defaultdict(set)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].add(str(path.relative_to(ROOT)))
    several = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert several.keys() == THE_SAME_TWICE, several


def test_names_are_spelled_as_in_america():
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
            found |= {(name, path.name) for name in names if name and BRITISH.search(name)}
    assert not found
