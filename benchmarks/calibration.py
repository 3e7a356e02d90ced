"""Calibration in one pass: `python -m benchmarks.calibration [NAME ...]`.

For each network the share of calls with a kernel whose measured variance lies between 0.8 and 1.25,
on inputs that calibration has not seen, with AutoInit's weights and with calibrated ones; and what
the pass costs in passes of the same samples run eagerly, in processor time of one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from autoinit import AutoInit
from autoinit.graph.shapes import last_uses
from autoinit.initializers.calibration import SAMPLES, Fed, calibrate
from autoinit.reading import read_model
from autoinit.running.inputs import draw_inputs
from probes import probe_model
from sample_models.catalogue import build


def _application(name: str, size: int) -> Callable[[], Any]:
    return lambda: getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "VGG19": _application("VGG19", 32),
    "resnet-56-nobn": lambda: build("resnet-56-nobn"),
    "MobileNetV3Small": _application("MobileNetV3Small", 64),
    "ConvNeXtTiny": _application("ConvNeXtTiny", 32),
    "EfficientNetB0": _application("EfficientNetB0", 64),
    "EfficientNetV2B0": _application("EfficientNetV2B0", 64),
    "transformer-encoder": lambda: build("transformer-encoder"),
    "lstm-text": lambda: build("lstm-text"),
}


def share_at_target(model: Any, weighted: list[str], seed: int) -> tuple[float, list[str]]:
    """Share of calls whose variance lies in the band, and the paths of the others."""
    probe = probe_model(model, 32, seed=seed)
    known = [path for path in weighted if probe[path] is not None]
    off = [path for path in known if not 0.8 <= probe[path].variance <= 1.25]
    told = [f"{path} {probe[path].variance:.2f}" for path in off]
    return 1 - len(off) / max(len(known), 1), told


def _plain_pass(model: Any, samples: int) -> None:
    graph, alive = read_model(model), dict[int, Any]()
    inputs = draw_inputs(graph, samples, 5)
    for call, finished in zip(graph.calls, last_uses(graph), strict=True):
        if call.is_input:
            (value,) = call.outputs
            outputs = [keras.ops.convert_to_tensor(inputs[value.index], dtype=value.dtype)]
        else:
            outputs = call.run([alive[value.index] for value in call.inputs], True, samples)
        alive.update(zip((value.index for value in call.outputs), outputs, strict=True))
        for index in finished:
            del alive[index]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(names: list[str]) -> None:
    print("network | AutoInit | calibrated | passes | what is off")
    for name in names or NETWORKS:
        keras.utils.set_random_seed(0)
        model = NETWORKS[name]()
        plan = AutoInit({"seed": 0}).plan(model)
        calls = zip(plan.graph.calls, plan.results, strict=True)
        weighted = [call.path for call, result in calls if result.weighted and result.at_target]
        AutoInit({"seed": 0}).initialize_model(model, in_place=True)
        before, _ = share_at_target(model, weighted, 9)
        _plain_pass(model, SAMPLES)
        plain = _seconds(partial(_plain_pass, model, SAMPLES))
        fed = Fed(samples=SAMPLES)
        taken = _seconds(partial(calibrate, plan.graph, plan.scales, 1.0, fed))
        after, off = share_at_target(model, weighted, 9)
        print(
            f"{name} | {before:.0%} | {after:.0%} | {taken / plain:.2f} | {', '.join(off[:6])}",
            flush=True,
        )
        keras.utils.clear_session()


if __name__ == "__main__":
    main(sys.argv[1:])
