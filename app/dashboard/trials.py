"""The part of a result's page that trains: which initialisation, at which rate."""

from dataclasses import replace
from pathlib import Path

import streamlit as st

from app import jobs
from app.analysis.options import table
from app.analysis.result import read_part
from app.analysis.trials.result import TrialResult
from app.analysis.trials.settings import DEFAULT, WORDS, TrialSettings
from app.charts.trials import curves_chart, grid_chart
from app.dashboard import uploads
from app.dashboard.preview import show_progress
from app.dashboard.result.charts import is_expert
from app.dashboard.sidebar import moved_to_disk, settings_field
from app.dashboard.visitors import address, visitor
from app.errors import WrongSettingError
from app.export.downloads import downloads
from app.jobs import AlreadyRunningError, JobHandle, JobSpec
from app.jobs.folders import RESULT
from app.text.escaping import html_text, markdown_text, plain_text
from app.text.formatting import size

ACTIVE = ("queued", "running")
POLLING_SECONDS = 0.5
TRIAL = "trial"  # of the address: the key of a trial's job
DATA, KEPT = "trial_data", "trial_kept"  # of the session
IN_SIGHT = ("schemes", "optimizer")
DATA_SUFFIXES = (".npz",)
LEGEND = (
    "Each cell is one training. ×: it diverged. Hatched: no better than chance. "
    "~: stopped after a quarter of the steps, as others did better. A thick edge: the best rate "
    "of an initialisation, which was tried from other weights, too."
)


def show_trials(spec: JobSpec | None) -> None:
    """Trains the model of the page, or shows what came of it.

    Args:
        spec: what the page analyses; None where its file is gone.
    """
    key = st.query_params.get(TRIAL)
    handle = None if key is None else jobs.find(key)
    opened = st.expander(
        "Try it: which initialisation, at which learning rate?",
        icon=":material/model_training:",
        expanded=handle is not None,
        key="trials",
        on_change="rerun",
    )
    if not opened.open:
        return
    with opened:
        if handle is None or handle.status not in ACTIVE:
            choose(spec)
        if handle is None:
            return
        if handle.status in ACTIVE:
            watch(handle.key)
        elif handle.status == "done":
            show_done(handle)
        else:
            show_end(handle)


def show_end(handle: JobHandle) -> None:
    """Why there is no result, and what was known by then."""
    if handle.error is not None:
        st.error(markdown_text(handle.error[1], 1000), icon=":material/error:")
    known: TrialResult | None = st.session_state.get(KEPT, {}).get(handle.key)
    if known is not None:
        st.info("Stopped: this is what was known by then.", icon=":material/stop_circle:")
        show_grid(known)


def choose(spec: JobSpec | None) -> None:
    """What is tried, and the button."""
    st.caption(
        "Trains the network for some steps from several initialisations, at several learning "
        "rates, and says which to take. It takes a minute or three. Your own data judge better "
        "than the handwritten digits that are learnt without them."
    )
    if spec is None:
        st.caption("The file is not kept any more: bring it again to train it.")
        return
    upload: uploads.Upload | None = st.session_state.get(DATA)
    if upload is not None and uploads.keep(upload.path):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/draft: **{markdown_text(upload.name, 60)}**, {size(upload.size)}"
            )
            if st.button("Remove", type="tertiary", key="remove-trial-data"):
                del st.session_state[DATA]
                st.rerun()
    else:
        upload = moved_to_disk(
            DATA,
            "Data to learn: a .npz file with arrays x and y (optional)",
            DATA_SUFFIXES,
            table(TrialSettings)["data"].help,
        )
        if upload is not None:
            st.session_state[DATA] = upload
            st.rerun()
    with st.form("trial", border=False):
        begin = (spec.trial or TrialSettings()).model_dump()
        fields = {
            entry.name: settings_field(entry, begin[entry.name], ())
            for entry in table(TrialSettings).values()
            if entry.option.in_form and (entry.name in IN_SIGHT or is_expert())
        }
        if st.form_submit_button("Train it", type="primary", icon=":material/play_arrow:"):
            data = {} if upload is None else {"data": str(upload.path), "data_name": upload.name}
            try:
                begin_trial(replace(spec, trial=TrialSettings(**fields, **data)))
            except WrongSettingError as error:
                st.error(markdown_text(error))


def begin_trial(spec: JobSpec) -> None:
    """Submits the job, and puts its key into the address beside that of the analysis."""
    try:
        handle = jobs.submit(spec, owner=visitor(), address=address())
    except AlreadyRunningError:
        st.warning("Another job of yours is still running: wait for its end, or cancel it.")
        return
    except OSError as error:
        reason = markdown_text(error.strerror or error)
        st.error(f"The trial could not be started: {reason}. Bring the file again.")
        return
    st.query_params[TRIAL] = handle.key
    st.rerun()


@st.fragment(run_every=POLLING_SECONDS)
def watch(key: str) -> None:
    """The grid as it fills, drawn anew twice a second until the job ends."""
    handle = jobs.find(key)
    if handle is None or handle.status not in ACTIVE:
        st.rerun()
    show_progress(handle)
    preview = handle.preview()
    known = None if preview is None else read_trial(str(preview[0]), preview[1])
    if known is not None:  # whatever ends the trial
        st.session_state[KEPT] = {key: known}
    if handle.is_owned_by(visitor()) and st.button(
        "Stop, and keep what is there", icon=":material/stop_circle:"
    ):
        handle.cancel(visitor())
        st.rerun()
    if known is not None:
        show_grid(known)


@st.cache_resource(max_entries=8, show_spinner=False)
def read_trial(path: str, written: int) -> TrialResult | None:
    """What a trial knows so far, read once each time that it writes; None if it has ended."""
    try:
        return read_part(Path(path), TrialResult)
    except (OSError, ValueError):
        return None


def show_done(handle: JobHandle) -> None:
    """The answer, the grid, and the model to take home."""
    try:
        found = handle.trials()
    except (OSError, ValueError):
        st.error("The trial's result cannot be read any more. Press the button to do it again.")
        return
    show_grid(found)
    with st.container(horizontal=True, vertical_alignment="center"):
        best = found.answer.scheme
        for place, each in enumerate(downloads(found, handle.folder)):
            st.download_button(
                f"The model with {WORDS[best]}, {each.suffix}" if best else each.label,
                each.path.read_bytes,
                f"{Path(found.name).stem}-{best}{each.suffix}",
                type="primary" if not place else "secondary",
                icon=":material/download:",
                on_click="ignore",
                help=each.note or None,
                key=f"trial-{each.suffix}",
            )
        if best == DEFAULT:
            st.caption("The model as it is does as well: there is nothing to take home.")
        st.download_button(
            "All trainings, JSON",
            (handle.folder / RESULT).read_bytes,
            f"{Path(found.name).stem}-trial.json",
            icon=":material/data_object:",
            on_click="ignore",
            type="tertiary",
        )


def show_grid(found: TrialResult) -> None:
    """The answer so far, the cells and their losses."""
    answer = found.answer
    if answer.sentence:
        tone = "good" if answer.scheme is not None else "warning"
        st.html(
            f'<div class="answer {tone}"><div class="advice">→ {html_text(answer.sentence, 1500)}'
            "</div></div>"
        )
    st.caption(
        f"{plain_text(found.optimizer)}, {found.steps} steps of {found.batch} samples. "
        + markdown_text(found.data, 300)
        + (
            " Percent of unseen samples right."
            if found.measure == "accuracy"
            else " Percent of the best constant's loss that is gained."
        )
    )
    st.plotly_chart(
        grid_chart(found),
        key="trial-grid",
        config={"displayModeBar": False},
        alt=f"Scores by initialisation and learning rate. {answer.sentence}",
    )
    st.caption(LEGEND)
    if any(len(each.losses) > 1 for each in found.trainings):
        st.plotly_chart(
            curves_chart(found),
            key="trial-curves",
            config={"displayModeBar": False},
            alt="Loss of each step, of each initialisation at its best rate.",
        )
    said = [
        f"- **{WORDS[scheme]}**: {each.verdict}. {markdown_text(each.reason, 400)}"
        for scheme, each in found.expected.items()
    ]
    if said:
        st.markdown("Before a step was trained, the analysis said:\n" + "\n".join(said))
    for each in found.findings:
        st.info(markdown_text(each.message, 600), icon=":material/info:")
