"""What the library alone needs: Keras with NumPy and SciPy, h5py, psutil and threadpoolctl.

And what the wheel's build makes of the modules, whose names other people have, too.
"""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = runpy.run_path(str(ROOT / "setup.py"))

LIBRARY = """
import sys

HEAVY = {"streamlit", "plotly", "typer", "click", "pydantic", "pandas", "pyarrow", "sklearn",
         "tf_keras", "jinja2"}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import keras
import autoinit
from autoinit import probes, variants

# Keras brings rich along; the library does not ask for it.
assert not [name for name in sys.modules if name.startswith(("app.", "probes."))]
layers = [keras.layers.Dense(16, "relu", name="hidden"), keras.layers.Dense(2, "softmax")]
model = keras.Sequential([keras.Input((8,)), *layers])
fresh = autoinit.AutoInit({"seed": 0}).initialize_model(model)
for probe in (probes.probe_model, probes.probe_gradients):
    assert probe(fresh, 8)["hidden"].variance > 0.0
assert probes.probe_fisher(fresh, 4).largest > 0.0
assert probes.probe_formats(fresh, ["float16"], 4)["float16"].signals
assert probes.probe_jacobian(fresh, 1).pooled.largest > 0.0
variants.with_activation(fresh, "tanh")
"""


def test_the_library_runs_without_the_dashboards_packages():
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", [*SETUP["FOLDERS"], "autoinit"])
def test_every_import_is_by_the_name_in_the_wheel(package):
    imported = set()
    for file in (ROOT / package).rglob("*.py"):
        tree = ast.parse(SETUP["renamed"](file.read_text("utf-8"), package))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
    assert "keras" in imported
    assert not imported & set(SETUP["FOLDERS"])
