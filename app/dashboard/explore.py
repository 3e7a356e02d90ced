"""Chart, table and details of a finished job, each of which follows what is chosen in another."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app.analysis.headline import COUNTED
from app.analysis.result import Result
from app.analysis.structure import collapsed, levels
from app.dashboard.call import show_call
from app.dashboard.charts import Again, choose_calls, show_chart
from app.dashboard.table import show_table
from app.text.formatting import plural

CALL = "call"  # of the session: path of the call whose details are shown
JUMP = "jump_to_call"  # whether to scroll there
IN_TABLE, CHOSEN = "chosen_in_table", "chosen_call"
MOST_MARKED = 50
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
    st.subheader("Layer by layer", anchor=False)
    depth = choose_depth(result)
    shown = collapsed(result, depth)
    marked = st.session_state.get(IN_TABLE, [])
    chart = st.container()
    stretch = choose_calls(shown)
    with chart:
        in_chart = show_chart(shown, again, stretch, marked)
    findings()
    in_table = show_table(shown, stretch, in_chart)[:MOST_MARKED]
    if in_table != marked:
        st.session_state[IN_TABLE] = in_table
        st.rerun(scope="fragment")
    chosen = in_table[-1:] or (in_chart if len(in_chart) == 1 else [])
    if chosen != st.session_state.get(CHOSEN, []):
        # What was chosen last is what is shown.
        st.session_state[CHOSEN] = chosen
        st.session_state.pop(CALL, None)
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
    st.session_state[CALL] = path
    st.session_state[JUMP] = True


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
