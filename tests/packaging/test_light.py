"""What the library alone needs: Keras with NumPy and SciPy, h5py, psutil and threadpoolctl."""

import subprocess
import sys

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
