"""Chart, table and details of a finished job, each of which follows what is chosen in another."""

from collections.abc import Callable, Collection
from pathlib import Path

import streamlit as st

from app.analysis.cards import COUNTED
from app.analysis.headline import series_name
from app.analysis.result import Result
from app.analysis.structure import block, collapsed, levels
from app.charts.network import LAYER, network_dot
from app.dashboard.result.call import show_call
from app.dashboard.result.charts import (
    Again,
    choose_calls,
    choose_view,
    is_expert,
    offer_every_figure,
    show_chart,
)
from app.dashboard.result.table import show_table
from app.text.escaping import plain_text
from app.text.formatting import plural

CALL = "call"  # of the session: path of the call whose details are shown
# Path of the call that was jumped to last. Its mark outlives its details: a chart that changes lets
# go of what is chosen in it.
MARK = "marked_call"
JUMP = "jump_to_call"  # whether to scroll there
IN_TABLE, CHOSEN = "chosen_in_table", "chosen_call"
UNFOLDED = "unfolded"
MOST_MARKED = 50
FEW_BOXES, MOST_BOXES = 40, 250  # beyond the first, blocks are folded
GRAPH_HEIGHT = 620  # pixels
ZOOMS = (25, 50, 100, 200)
# Brings what was asked for into sight: the details lie below the table.
TO_DETAILS = """<script>
document.querySelector('.st-key-call-details')?.scrollIntoView({behavior: 'smooth'});
</script>"""


@st.fragment
def show_exploration(
    result: Result, folder: Path, again: Again | None, findings: Callable[[], None]
) -> None:
    """The part of the page that answers to choices. A fragment: the rest stays as it is.

    Args:
        result: of the job.
        folder: where it lies.
        again: starts the analysis with other settings.
        findings: draws them, below the chart; a finding leads to the details of its layer.
    """
    with st.container(horizontal=True, vertical_alignment="center", key="looks"):
        view = choose_view()
        depth = choose_depth(result) if is_expert() else 0
        offer_every_figure()
    follow_the_address(result)
    shown = collapsed(result, depth)
    marked = st.session_state.get(IN_TABLE, [])
    jumped = _places(shown, CALL)
    chart = st.container()
    stretch = choose_calls(shown)
    with chart:
        in_chart = show_chart(shown, again, view, stretch, [*marked, *_places(shown, MARK)])
    details = st.container()
    findings()
    with st.expander("Layer by layer", icon=":material/table:", expanded=is_expert()):
        in_graph = jumped if LAYER in st.query_params else []
        in_table = show_table(shown, stretch, in_chart or in_graph)[:MOST_MARKED]
    if in_table != marked:
        st.session_state[IN_TABLE] = in_table
        st.rerun(scope="fragment")
    chosen = in_table[-1:] or (in_chart if len(in_chart) == 1 else [])
    if chosen != st.session_state.get(CHOSEN, []):
        # What was chosen last is what is shown.
        st.session_state[CHOSEN] = chosen
        st.session_state.pop(CALL, None)
    marked_in_graph = {shown.calls[i].path for i in (jumped or chosen)}
    show_network(result, view.name == "gradient", marked_in_graph)
    with details:
        show_chosen(shown, folder, chosen)


def _places(shown: Result, key: str) -> list[int]:
    """Where the call is whose path the session has."""
    return [n for n, call in enumerate(shown.calls) if call.path == st.session_state.get(key)]


def show_chosen(shown: Result, folder: Path, chosen: list[int]) -> None:
    """The details of what was chosen, or how to choose."""
    jumped = next((c for c in shown.calls if c.path == st.session_state.get(CALL)), None)
    if jumped is not None:
        show_call(shown, jumped, folder)
        if st.session_state.pop(JUMP, False):
            st.html(TO_DETAILS, unsafe_allow_javascript=True)
    elif chosen and chosen[0] < len(shown.calls):
        show_call(shown, shown.calls[chosen[0]], folder)
    else:
        st.caption("Choose a layer in the chart or in the table for its details.")


def jump_to(path: str) -> None:
    """Has the details of a call shown, and brought into sight."""
    st.session_state[CALL] = st.session_state[MARK] = path
    st.session_state[JUMP] = True


def follow_the_address(result: Result) -> None:
    """A click in the graph is a layer in the address: its details are shown, or a block unfolds."""
    asked = st.query_params.get(LAYER)
    if asked == st.session_state.get(LAYER):
        return
    st.session_state[LAYER] = asked
    if asked is None:
        for key in (CALL, MARK):
            st.session_state.pop(key, None)
    elif any(call.path == asked for call in result.calls):
        jump_to(asked)
    elif asked in blocks_of(result)[1]:
        st.session_state[UNFOLDED] = [*st.session_state.get(UNFOLDED, []), asked]
        del st.query_params[LAYER]


def choose_depth(result: Result) -> int:
    """Whether calls are shown, or blocks of them."""
    found = levels(result.calls)
    if len(found) == 1:
        return 0
    depth: int = st.segmented_control(
        "Detail",
        list(found),
        format_func=lambda depth: plural(found[depth], "block" if depth else "layer"),
        default=0,
        required=True,
        key="depth",
        label_visibility="collapsed",
        help=COUNTED,
    )
    return depth


def show_network(result: Result, gradient: bool, chosen: Collection[str]) -> None:
    """The network as a graph, drawn where it is asked for.

    Args:
        result: of the job.
        gradient: whether its colour is the gradient's variance, as in the chart.
        chosen: paths of the calls that are chosen in chart and table.
    """
    folder = st.expander(
        "The network as a graph", icon=":material/account_tree:", on_change="rerun", key="network"
    )
    if not folder.open:
        return
    with folder:
        series, drawn = choose_part(result)
        what = "the gradient's variance" if gradient else "variance"
        st.caption(
            f"Colour is {what} with {series_name(series)} weights: blue is small, red is large, "
            "grey was not measured; each box has its figure. A click shows a layer, or unfolds a "
            "block; what is chosen has a thick edge."
        )
        with st.container(height=GRAPH_HEIGHT, key="graph"):
            st.graphviz_chart(
                network_dot(drawn, series, gradient, chosen, st.query_params.to_dict()),
                alt=f"{plural(len(drawn.calls), 'box', 'boxes')} and what reads what; the table "
                "above has the same layers.",
            )


def blocks_of(result: Result) -> tuple[int, list[str]]:
    """The level at which the graph's blocks are folded, and their names; 0 where none are."""
    depth = list(levels(result.calls))[-1] if len(result.calls) > FEW_BOXES else 0
    return depth, list(dict.fromkeys(block(c.path, depth) for c in result.calls)) if depth else []


def choose_part(result: Result) -> tuple[str, Result]:
    """Whose weights are drawn, and which blocks are folded or searched for."""
    depth, blocks = blocks_of(result)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        series: str = st.segmented_control(
            "Weights",
            result.series,
            format_func=series_name,
            required=True,
            default=result.own_series,
            key="graph_series",
        )
        zoom = st.segmented_control(
            "Zoom", ZOOMS, format_func="{} %".format, default=100, required=True, key="zoom"
        )
        st.html(f"<style>.st-key-graph svg:has(g) {{ zoom: {zoom}%; }}</style>")
        opened = blocks and st.multiselect(
            "Unfold blocks",
            blocks,
            format_func=plain_text,
            placeholder="type to search",
            key=UNFOLDED,
        )
    drawn = collapsed(result, depth, opened)
    if len(drawn.calls) <= MOST_BOXES:
        return series, drawn
    first = next((n for n, call in enumerate(drawn.calls) if block(call.path, depth) in opened), 0)
    start = max(0, min(first - 5, len(drawn.calls) - MOST_BOXES))
    st.caption(f"{MOST_BOXES} of {len(drawn.calls):,} boxes are drawn, from what is unfolded on.")
    return series, drawn.with_calls(drawn.calls[start : start + MOST_BOXES])
