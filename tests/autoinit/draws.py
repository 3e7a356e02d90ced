"""What a network really does with planned weights, draw by draw."""

import numpy as np

from autoinit.initializers.drawing import apply_plans, draw_configured_weights
from probes import probe_model


def measured_variances(graph, plans, draws, samples):
    """Variances of every call in training mode: (draws, calls)."""
    table = []
    for seed in range(draws):
        draw_configured_weights(graph, seed)
        apply_plans(plans, "truncated_normal", seed)
        probe = probe_model(graph, samples, seed)
        table.append([moments.variance for moments in probe.moments])
    return np.array(table)
