"""The notebooks of docs/notebooks run from beginning to end, and do what their text says."""

import contextlib
import io
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


def run(name):
    """All cells, one after the other: the names that they leave, what they printed, the last."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    cells = ["".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == "code"]
    assert not any(each.get("outputs") for each in notebook["cells"]), "outputs are not kept"
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in cells[:-1]:
            exec(compile(cell, name, "exec"), names)
        try:
            last = eval(compile(cells[-1], name, "eval"), names)
        except SyntaxError:
            last = exec(compile(cells[-1], name, "exec"), names)
    return names, printed.getvalue(), last


@pytest.mark.slow
def test_a_network_that_learns_nothing_learns_with_autoinit():
    names, _, figure = run("will-it-train")
    assert names["result"].verdicts["uploaded"].verdict == "cannot train"
    assert names["after"] < 0.6 < 0.68 < names["before"]
    assert "init_vs_activation" in names["result"].verdicts["uploaded"].causes
    assert "Plotly.newPlot(" in figure._repr_html_()


def test_a_rate_that_is_too_large_is_told_and_formats_are():
    names, printed, _ = run("beside-training")
    assert len(names["history"].history["loss"]) == 1  # stopped in its first epoch
    assert "float16" in printed
    assert "updates_too_large" in printed or "loss_not_finite" in printed


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_opens_anywhere(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
