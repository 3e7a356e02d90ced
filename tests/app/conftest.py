"""Results as finished jobs would leave them, made up so that no test of the page runs Keras."""

from collections.abc import Callable
from typing import Any

import pytest

Result = dict[str, Any]

BLOCK = [
    ("conv", "Conv2D", True, "exact"),
    ("conv/relu", "relu", False, "exact"),
    ("dropout", "Dropout", False, "exact"),
    ("flip", "RandomFlip", False, "neutral"),
    ("add", "Add", False, "approximate"),
]


def moments(mean: float | None, variance: float | None) -> Result:
    return {"mean": mean, "variance": variance}


def correlations(index: int) -> Result:
    """From inputs that have nothing in common to outputs that are all alike."""
    return {"sample_correlation": 1 - 0.5**index, "position_correlation": 0.6 * (1 - 0.5**index)}


def measurement(mean: float | None, variance: float | None, finite: float = 1.0) -> Result:
    spread = None if variance is None else 3 * variance**0.5
    return {
        **moments(mean, variance),
        "minimum": None if spread is None else -spread,
        "maximum": spread,
        "zero_fraction": 1.0 if variance == 0 else 0.25,
        "finite_fraction": finite,
    }


def make_result(
    calls: int = 10,
    *,
    growth: float = 1.3,
    uploaded: bool = False,
    seeds: int = 1,
    gradients: bool = False,
    jacobian: int = 0,
    unsupported: tuple[int, ...] = (),
    unmeasured: tuple[int, ...] = (),
    opaque: int | None = None,
    name: str = "made-up.keras",
    path: Callable[[int, str], str] = lambda block, layer: f"block{block}/{layer}",
) -> Result:
    """A chain of blocks whose default variance is multiplied by `growth` at every call.

    From the call `opaque` on, nothing could be run.
    """
    series = ["default", "autoinit", *(["uploaded"] if uploaded else [])]
    if opaque is not None:
        unmeasured = tuple(range(opaque, calls))
    rows = [
        call(i, growth, series, seeds, unsupported, unmeasured, path, gradients)
        for i in range(calls)
    ]
    if opaque is not None:
        rows[opaque] |= {
            "class": "Lambda",
            "weighted": False,
            "support": "pass_through",
            "opaque": "it holds code",
        }
        for row in rows[opaque + 1 :]:
            row["tainted"] = True
    warnings = [(index, "unsupported_layer", "no rule for {}") for index in unsupported]
    if opaque is not None:
        warnings.append((opaque, "opaque_layer", "Layer of class {} is not run: it holds code."))
    return {
        "schema": 1,
        "model": {
            "name": name,
            "format": "keras",
            "keras_version": "3.15.1",
            "layers": calls,
            "calls": calls,
            "parameters": 853_018,
            "sha256": "0" * 64,
            "inputs": [{"name": "image", "shape": [None, 32, 32, 3], "dtype": "float32"}],
            "compiled": True,
        },
        "settings": {
            "samples": 128,
            "seed": 0,
            "input_mean": 0.0,
            "input_variance": 1.0,
            "mode": "training",
            "distribution": "truncated_normal",
            "signal_model": "correlated",
            "unsupported": "sample",
            "signal_variance": 1.0,
            "device": "auto",
            "seeds": seeds,
            "gradients": gradients,
            "jacobian": jacobian,
            "constrain_weights": False,
            "keep_frozen": False,
            "custom_objects": None,
            "input_size": 32,
            "batch_size": 32,
        },
        "device": {"kind": "cpu", "name": "CPU"},
        "series": series,
        "timings": {"load": 0.8, "default": 2.5, "autoinit": 2.6, "total": 6.4},
        "calls": rows,
        "phases": {},
        "gradients": {name: variables(name) for name in series} if gradients else {},
        "jacobian": {name: spectrum(name, jacobian) for name in series} if jacobian else {},
        "warnings": [
            {
                "code": code,
                "path": rows[index]["path"],
                "class": rows[index]["class"],
                "message": message.format(rows[index]["class"]),
            }
            for index, code, message in warnings
        ],
    }


def call(
    index: int,
    growth: float,
    series: list[str],
    seeds: int,
    unsupported: tuple[int, ...],
    unmeasured: tuple[int, ...],
    path: Callable[[int, str], str],
    gradients: bool,
) -> Result:
    block, place = divmod(index, len(BLOCK))
    layer, kind, weighted, support = BLOCK[place]
    if index in unsupported:
        kind, weighted, support = "Swirl", False, "pass_through"
    row: Result = {
        "index": index,
        "path": path(block, layer),
        "layer": path(block, layer.split("/")[0]),
        "class": kind,
        "weighted": weighted,
        "output_shape": [None, 32, 32, 16],
        "support": support,
        "tainted": any(index > start for start in unsupported),
        "inputs": [index - 1] if index else [],
        "opaque": None,
        "frozen": False,
    }
    wave = (1.0, 0.34, 0.45, 0.45, 1.4)[place]
    for which in series:
        logarithm = index * (growth - 1) if which == "default" else 0.0
        if which == "uploaded":
            logarithm = -0.01 * index
        measured = figure(logarithm + 0.02 * ((index * 7) % 5 - 2), wave)
        predicted = figure(logarithm, wave)
        mean = None if measured is None else 0.4 * measured**0.5 * (place != 0)
        row[which] = {
            "predicted": moments(mean, predicted) | correlations(index),
            "predicted_by": {
                "independent": moments(mean, None if predicted is None else predicted / 4)
            },
            "measured": None
            if index in unmeasured
            else measurement(mean, measured, 0.4 if measured is None else 1.0)
            | correlations(index),
        }
        if seeds > 1 and measured is not None and index not in unmeasured:
            row[which]["measured"]["variance_draws"] = [measured] * seeds
            row[which]["measured"]["variance_spread"] = {
                "median": measured,
                "low": 0.9 * measured,
                "high": 1.1 * measured,
                "mean": measured,
                "standard_error": 0.02 * measured,
            }
            row[which]["outside_band"] = index % 5 == 4
        if gradients and index not in unmeasured:
            row[which]["gradient"] = {
                "mean": 0.0,
                "variance": figure(-logarithm, 1.0),
                "minimum": -1.0,
                "maximum": 1.0,
                "zero_fraction": 0.1,
                "finite_fraction": 1.0,
                "square_norm": figure(-logarithm, 1024.0),
            }
    return row


def variables(series: str) -> Result:
    """The gradients of a series' variables."""
    figures = {"mean": 0.0, "variance": 2.0 if series == "default" else 1.0}
    return {
        "batch_size": 32,
        "checkpointed": False,
        "variables": [{"variable": "conv/kernel", "entries": 432} | figures],
    }


def spectrum(series: str, inputs: int) -> Result:
    """Singular values of a hundredth to one, and the default's of a millionth to one."""
    low = -6.0 if series == "default" else -2.0
    return {
        "obtained": "matrix",
        "inputs": inputs,
        "shape": [10, 3072],
        "sources": ["image"],
        "targets": ["head"],
        "largest": 1.0,
        "smallest": 10.0**low,
        "mean_square": 0.25,
        "standard_error": 0.0,
        "condition_number": 10.0**-low,
        "rank_deficiency": 0,
        "density": {"edges": [low, low / 2, 0.0], "shares": [0.25, 0.75]},
        "note": "",
    }


def figure(logarithm: float, wave: float) -> float | None:
    """wave × e^logarithm: null where float32 activations overflow, 0 where they underflow."""
    if logarithm > 2 * 88:
        return None
    return 0.0 if logarithm < -2 * 100 else wave * 2.718281828**logarithm


@pytest.fixture
def build_result() -> Callable[..., Result]:
    """The function that makes results up, for tests that need one of their own."""
    return make_result


@pytest.fixture
def result() -> Result:
    """Ten calls of a healthy network: measured, predicted, nothing out of range."""
    return make_result()


@pytest.fixture
def deep_result() -> Result:
    """140 calls, three series, one layer without a rule, one call that was not measured."""
    return make_result(140, uploaded=True, unsupported=(62,), unmeasured=(63,), seeds=3)


@pytest.fixture
def cut_result() -> Result:
    """30 calls, three series; from call 12, a Lambda layer, nothing could be run."""
    return make_result(30, uploaded=True, opaque=12)


@pytest.fixture
def deepest_result() -> Result:
    """4,000 calls: the default series overflows on the way."""
    return make_result(4000, growth=1.1)


@pytest.fixture
def vanishing_result() -> Result:
    """400 calls: the default series underflows to zero on the way."""
    return make_result(400, growth=0.3)
