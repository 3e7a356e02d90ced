"""The rooms of the house are small enough to be looked over, and one name means one thing.

`make lint` holds which room imports which.
"""

import ast
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
