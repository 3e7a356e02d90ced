"""`AutoInitVisualizer`: signal propagation with default and with AutoInit weights, as a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from autoinit.errors import SettingsError
from autoinit.initializers.autoinit import Estimators
from autoinit.initializers.cloning import as_model, working_copy
from autoinit.rules import RULES
from autoinit.rules.estimators import as_rules


class AutoInitVisualizer:
    """Compare default and AutoInit weights of a model, layer by layer.

    Args:
        custom_distribution_estimators: layer class → subclass of
            `LayerOutputDistributionEstimator`, as for `AutoInit`.

    Example:
        >>> import keras
        >>> from autoinit import AutoInitVisualizer
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="out")])
        >>> figure = AutoInitVisualizer().visualize(model, num_samples=16)  # a notebook shows it
        >>> figure.layout.yaxis.type
        'log'
    """

    def __init__(self, custom_distribution_estimators: Estimators | None = None) -> None:
        self.registry = RULES.overridden(as_rules(custom_distribution_estimators))

    def visualize(
        self,
        model: Any,
        custom_objects: dict[str, Any] | None = None,
        plot_path: str | Path | None = None,
        num_samples: int = 100,
        ylim: tuple[float, float] | None = None,
        signal_variance: float = 1.0,
    ) -> Any:
        """An interactive figure of each call's variance, measured and predicted.

        The model passed in is left as it was.

        Args:
            model: a `keras.Model`, a configuration dictionary or a JSON string.
            custom_objects: classes that a configuration needs, by name.
            plot_path: where to write the figure, too: `.html`, or an image format of Kaleido where
                that is installed. Nothing is written without it.
            num_samples: samples of Gaussian noise to feed through the model.
            ylim: lowest and highest variance shown.
            signal_variance: variance that AutoInit aims at.

        Returns:
            A `plotly.graph_objects.Figure`, which a notebook shows.

        Raises:
            GraphError: for a model without a graph of layers.
            ValueError: for limits that are not positive and increasing.
        """
        # With `check`, the one place in this package that reaches up to what analyses.
        from app.analysis.comparison import compare
        from app.analysis.job_spec import JobSpec
        from app.analysis.reporting import ModelSource, result_of
        from app.analysis.settings import Settings
        from app.charts import variance_chart
        from app.charts.notebook import NotebookFigure

        if ylim is not None and not 0 < ylim[0] < ylim[1]:
            raise SettingsError(
                f"ylim must be two positive, increasing variances. Received: {ylim!r}"
            )
        source = as_model(model, custom_objects)
        settings = Settings(samples=num_samples, signal_variance=signal_variance)
        with working_copy(source, self.registry, custom_objects) as copied:
            found = compare(copied, settings, uploaded=False, registry=self.registry)
            spec = JobSpec("", str(source.name), settings)
            result = result_of(found, copied, ModelSource(), spec, found.findings, found.timings)
        figure = NotebookFigure(variance_chart(result))
        if ylim is not None:
            figure.update_layout(yaxis_range=[math.log10(limit) for limit in ylim])
        if plot_path is not None:
            _write(figure, Path(plot_path))
        return figure


def _write(figure: Any, path: Path) -> None:
    if path.suffix.lower() in (".html", ".htm"):
        figure.write_html(path, include_plotlyjs=True)
    else:
        figure.write_image(path)
