"""Trainings that `SignalMonitor` watches: their folders, followed while they grow.

`autoinit serve --runs DIR` names the folder of folders; without it there is nothing of this.
"""

import os
import time
from pathlib import Path

import streamlit as st

from app.analysis.result import ResultError
from app.analysis.runs.record import FIGURES, SNAPSHOTS, Run, read_run, runs_in
from app.charts.runs import heat_map, loss_chart, profile_chart
from app.dashboard.visitors import GONE_ON
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import duration, number, plural

VARIABLE = "AUTOINIT_RUNS"
RUN = "run"  # of the address: names of trainings
POLLING_SECONDS = 2.0
QUIET_SECONDS = 60.0  # after which a training is taken for ended
LISTED = 10
FIGURE = "run_figure"
BESIDE = 2  # trainings that lie side by side; more lie below each other


def trainings() -> dict[str, Path]:
    """The folders of trainings by name; none where the server was not told of any."""
    folder = os.environ.get(VARIABLE)
    return runs_in(Path(folder)) if folder else {}


def list_trainings() -> None:
    """In the sidebar, the latest first; nothing where there are none."""
    found = list(trainings())[:LISTED]
    if not found:
        return
    st.subheader("Trainings", anchor=False)
    for name in found:
        if st.button(
            markdown_text(name, 60),
            type="tertiary",
            key=f"run-{name}",
            icon=":material/monitoring:",
        ):
            st.query_params.clear()
            st.query_params[RUN] = name
            st.session_state[GONE_ON] = True
            st.rerun()


def show_trainings() -> None:
    """The trainings that the address names, beside each other."""
    folders = trainings()
    names = [name for name in st.query_params.get_all(RUN) if name in folders]
    st.title("Trainings", anchor=False)
    chosen = st.multiselect(
        "Shown",
        list(folders),
        default=names,
        key="runs_shown",
        placeholder="Choose trainings",
        help="Each is a folder of SignalMonitor(folder=…); several are drawn on one scale.",
    )
    st.query_params[RUN] = chosen
    if not chosen:
        st.info(
            "Choose a training, or begin one with "
            "`callbacks=[autoinit.callbacks.SignalMonitor(folder=…)]`."
        )
        return
    figure = st.segmented_control(
        "Figure",
        list(FIGURES),
        format_func=lambda name: FIGURES[name].label,
        default="variance",
        key=FIGURE,
        required=True,
    )
    st.caption(FIGURES[figure].help)
    live = any(is_growing(folders[name]) for name in chosen)
    st.fragment(show_figures, run_every=POLLING_SECONDS if live else None)(
        {name: folders[name] for name in chosen}, figure
    )


def is_growing(folder: Path) -> bool:
    """Whether something was written of late."""
    try:
        return time.time() - (folder / SNAPSHOTS).stat().st_mtime < QUIET_SECONDS
    except OSError:
        return False


def show_figures(folders: dict[str, Path], figure: str) -> None:
    """Findings, heat maps, one moment and the loss; drawn anew while a training goes on."""
    runs: dict[str, Run] = {}
    for name, folder in folders.items():
        try:
            runs[name] = read_run(folder)
        except (OSError, ResultError) as error:
            st.error(f"{markdown_text(name, 60)} {markdown_text(error, 300)}")
    runs = {name: run for name, run in runs.items() if run.snapshots}
    if not runs:
        st.info("Nothing has been measured yet.", icon=":material/hourglass_top:")
        return
    places = st.columns(len(runs)) if len(runs) <= BESIDE else [st.container() for _ in runs]
    maps = heat_map(list(runs.values()), figure)
    for place, (name, run), chart in zip(places, runs.items(), maps, strict=True):
        with place:
            show_head(name, run, is_growing(folders[name]))
            st.plotly_chart(
                chart,
                key=f"heat-{name}",
                config={"displayModeBar": False},
                alt=f"{FIGURES[figure].label} of {plural(len(run.head.layers), 'layer')} over "
                f"{plural(len(run.snapshots), 'measurement')}.",
            )
    st.caption("Grey: not measured, or no number. Colours end where 5 % of the cells lie beyond.")
    last = max(len(run.snapshots) for run in runs.values()) - 1
    share = 100
    if last > 0:
        share = st.slider(
            "Moment, in percent of the measurements so far",
            0,
            100,
            100,
            key="run_moment",
            help="The line below is of this moment, dotted the one before the first step.",
        )
    moments = {name: round(share / 100 * (len(run.snapshots) - 1)) for name, run in runs.items()}
    st.plotly_chart(
        profile_chart(runs, figure, moments),
        key="profile",
        config={"displayModeBar": False},
        alt=f"{FIGURES[figure].label} of all layers at that moment.",
    )
    st.caption("Loss")
    st.plotly_chart(
        loss_chart(runs), key="loss", config={"displayModeBar": False}, alt="The loss by step."
    )


def show_head(name: str, run: Run, growing: bool) -> None:
    """What it is, how far it is, and what was found."""
    head, latest = run.head, run.snapshots[-1]
    st.subheader(markdown_text(name, 80), anchor=False)
    state = "still training" if growing else "ended"
    rate = "" if head.rate is None else f", learning rate {head.rate:g}"
    cost = ""
    if latest.cost and latest.seconds:
        # No share: measurements before the first step are in the one and not in the other.
        took, since = duration(latest.cost), duration(latest.seconds)
        cost = f", which took {took}; {since} since the first step"
    st.caption(
        f"{markdown_text(head.name, 80)}, {markdown_text(head.optimizer, 40)}{rate}; "
        f"step {latest.step:,}, loss {number(latest.loss)}; {state}. Measured "
        f"{len(run.snapshots):,} times on {head.samples} samples of "
        f"{markdown_text(head.data, 40)}{cost}."
    )
    if head.verdict:
        with st.expander("The verdict before the first step"):
            st.code(plain_text("\n".join(head.verdict), 4000), language=None)
    for step, found in run.findings:
        st.warning(
            f"**Step {step:,}.** {markdown_text(found.message, 400)} "
            f"*{markdown_text(found.advice or '', 200)}*",
            icon=":material/warning:",
        )
    if not run.findings:
        st.success("Nothing went wrong in the layers that were watched.", icon=":material/check:")
