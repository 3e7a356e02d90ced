"""Transformers of `keras_hub`, built from their configuration, tiny and without weights.

For each: how its calls were predicted, how many of them within 10 % of the mean over draws, and how
long reading and the analytic pass take. `python -m benchmarks.transformers`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

DRAWS, SAMPLES = 5, 64


def backbones() -> Mapping[str, Callable[[], Any]]:
    """Makers of small backbones, by architecture.

    Raises:
        ImportError: where keras_hub is not installed.
    """
    from keras_hub import models

    sizes = {"num_layers": 2, "hidden_dim": 64, "intermediate_dim": 128}
    words = {**sizes, "vocabulary_size": 500}
    grouped = {"num_query_heads": 4, "num_key_value_heads": 2}
    return {
        "BERT": lambda: models.BertBackbone(**words, num_heads=4, max_sequence_length=32),
        "GPT-2": lambda: models.GPT2Backbone(**words, num_heads=4, max_sequence_length=32),
        "ViT": lambda: models.ViTBackbone(
            image_shape=(32, 32, 3),
            patch_size=8,
            num_layers=2,
            num_heads=4,
            hidden_dim=64,
            mlp_dim=128,
        ),
        "T5": lambda: models.T5Backbone(
            **words, num_heads=4, key_value_dim=16, activation="relu", use_gated_activation=True
        ),
        "Whisper": lambda: models.WhisperBackbone(
            **words, num_heads=4, max_encoder_sequence_length=64, max_decoder_sequence_length=32
        ),
        "Gemma": lambda: models.GemmaBackbone(**words, **grouped, head_dim=16),
        "Llama": lambda: models.LlamaBackbone(**words, **grouped),
    }


def ratios(model: Any, series: str, draws: int = DRAWS) -> tuple[Any, Any, float]:
    """Measured over predicted variances of a model's calls.

    Args:
        model: its weights are drawn anew.
        series: `default` or `autoinit`.
        draws: of weights and inputs, over which measured variances are averaged geometrically.

    Returns:
        The graph, the ratios (NaN for calls that are no signals, masks and constants), and the
        seconds that the last analytic pass took.
    """
    from autoinit.initializers.drawing import apply_plans, draw_configured_weights
    from autoinit.propagation import Options, input_signals, plan, predict
    from autoinit.reading import read_model
    from probes import probe_model

    graph = read_model(model)
    signals, options = input_signals(graph), Options(batch=SAMPLES)
    rows, seconds = [], 0.0
    for seed in range(draws):
        draw_configured_weights(graph, seed)
        start = time.perf_counter()
        interpret = plan if series == "autoinit" else predict
        result = interpret(graph, signals, options)
        seconds = time.perf_counter() - start
        apply_plans(result.scales, "truncated_normal", seed)
        probe = probe_model(graph, SAMPLES, seed)
        rows.append(
            [
                moments.variance / outcome.signals[0].expected_variance
                if moments
                and moments.variance > 0
                and outcome.signals[0].expected_variance > 0
                and call.outputs[0].dtype.startswith("float")
                and not call.is_input
                else np.nan
                for call, outcome, moments in zip(
                    graph.calls, result.results, probe.moments, strict=True
                )
            ]
        )
    return graph, np.exp(np.log(np.array(rows)).mean(0)), seconds


def main() -> None:
    """Print the table."""
    try:
        makers = backbones()
    except ImportError as error:
        print(f"Transformers: left out, keras_hub cannot be imported ({error}).")
        return
    print(f"\nTransformers of keras_hub, {DRAWS} draws, {SAMPLES} samples: share of calls within")
    print("10 %, and 90th percentile of the ratio, default / AutoInit")
    print("| architecture | calls | close | 90th percentile | read | analytic |")
    print("|---|---|---|---|---|---|")
    for name, make in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that keras_hub builds late
            model = make()
            start = time.perf_counter()
            from autoinit.reading import read_model

            read_model(model)
            reading = time.perf_counter() - start
            found = [ratios(model, series) for series in ("default", "autoinit")]
        logs = [np.abs(np.log(r[np.isfinite(r)])) for _, r, _ in found]
        close = " / ".join(f"{np.mean(each < np.log(1.1)):.2f}" for each in logs)
        p90 = " / ".join(f"{np.exp(np.quantile(each, 0.9)):.2f}" for each in logs)
        print(
            f"| {name} | {len(logs[0])} | {close} | {p90} | {reading:.2f} s | {found[1][2]:.2f} s |"
        )


if __name__ == "__main__":
    main()
