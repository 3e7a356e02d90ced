"""A figure that notebooks show whatever else is installed beside them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import plotly.graph_objects as go
import plotly.io

# Plotly's own ways that leave no HTML in the notebook: `nbconvert --to html` would lose the figure.
_WITHOUT_HTML = {"plotly_mimetype", "jupyterlab", "nteract", "vscode"}


class NotebookFigure(go.Figure):
    """A `plotly.graph_objects.Figure` that needs nothing but a kernel to be shown.

    Plotly's own figure is shown as Plotly is set to, which asks for `nbformat`. Kernels run without
    that, and the one of an editor or of another environment often does.
    """

    def _ipython_display_(self) -> None:
        """What IPython calls for the last value of a cell."""
        if not set(plotly.io.renderers.default.split("+")) <= _WITHOUT_HTML:
            with contextlib.suppress(ValueError):
                super()._ipython_display_()
                return
        from IPython.display import display

        display(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, Any]:
        """As data for notebooks that draw such figures themselves, and as HTML for all others."""
        return {
            "application/vnd.plotly.v1+json": json.loads(self.to_json()),
            "text/html": self.to_html(full_html=False, include_plotlyjs="cdn"),
        }
