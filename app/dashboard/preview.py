"""What a job under way knows: a verdict and variances, predicted at first, and then measured."""

from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

from app.analysis.headline import early_cards
from app.analysis.result import RESULT_LIMIT, Preview, read_preview
from app.charts import variance_chart
from app.dashboard.result.sections import show_cards
from app.jobs import JobHandle
from app.jobs.folders import read_written
from app.text.escaping import markdown_text
from app.text.formatting import time_left


def show_progress(handle: JobHandle) -> None:
    """How far a job is, what is being done, and how long the rest will take."""
    fraction, stage = handle.progress
    text = ", ".join(filter(None, (stage, time_left(handle.seconds_left))))
    st.progress(min(max(fraction, 0.0), 1.0), text=markdown_text(text))


def show_preview(path: Path, written: int) -> None:
    """The verdicts so far, and the chart as far as it is known."""
    known = read_and_drawn(str(path), written)
    if known is None:
        return
    preview, figure = known
    st.subheader("So far", anchor=False)
    show_cards(early_cards(preview))
    st.plotly_chart(
        figure,
        key="preview",
        config={"displayModeBar": False},
        alt="Variance of each layer, as far as it is known.",
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def read_and_drawn(path: str, written: int) -> tuple[Preview, go.Figure] | None:
    """A preview and its chart, once each time that the job writes; None if the job has ended."""
    try:
        preview = read_preview(read_written(Path(path), RESULT_LIMIT))
    except (OSError, ValueError):
        return None
    return preview, variance_chart(preview)
