"""The page in each of its states: a welcome, a job under way, its end, its result."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from app import jobs
from app.analysis.diagnosis.verdict import Word
from app.analysis.headline import SIGNS, TONES, full_name
from app.analysis.result import Result
from app.analysis.side_by_side import beside
from app.charts.small import before_after_chart, sparkline
from app.dashboard import gallery, uploads
from app.dashboard.batch import MODELS, list_models, show_models
from app.dashboard.preview import show_preview, show_progress
from app.dashboard.result import sections as page_sections
from app.dashboard.result.charts import Again
from app.dashboard.result.compare import (
    as_it_is,
    kept_keys,
    offer_to_go_back,
    offer_what_if,
    show_comparison,
)
from app.dashboard.result.explore import show_exploration
from app.dashboard.runs import RUN, list_trainings, show_trainings
from app.dashboard.sidebar import Chosen, asked_for, choose_upload, sidebar
from app.dashboard.trials import show_trials
from app.dashboard.visitors import GONE_ON, address, remember, show_runs, visitor
from app.errors import WrongSettingError
from app.jobs import AlreadyRunningError, JobHandle, JobSpec, Settings
from app.text.escaping import markdown_text

ACTIVE = ("queued", "running")
# Drawn here, because Streamlit has its own icons fetched from another site.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M1 12h5l4-9 4 18 4-9h5" '
    'fill="none" stroke="#0072B2" stroke-width="2.5" stroke-linejoin="round"/></svg>'
)
POLLING_SECONDS = 0.5
# What the visitor has gone on to begins at the top; on a small screen the sidebar lies over it.
TO_THE_TOP = """<script>
document.querySelector('[data-testid=stMain]')?.scrollTo(0, 0);
if (window.innerWidth < 768)
  document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
</script>"""
_STYLE, _SCRIPT = (
    Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".css", ".js")
)


def draw() -> None:
    """Draws the page in the state that its address asks for."""
    st.set_page_config(page_title="AutoInit", page_icon=ICON, layout="wide")
    st.html(f"<style>{_STYLE}</style><script>{_SCRIPT}</script>", unsafe_allow_javascript=True)
    jobs.warm_up()
    key = st.query_params.get("job")
    handle = None if key is None else jobs.find(key)
    shows_job = handle is not None and handle.status in (*ACTIVE, "done")
    spec, chosen = sidebar(spec_on_page(handle), shows_job or "finding" in st.query_params)
    with st.sidebar:
        list_models()
        list_trainings()
        show_runs(key)
    if spec is not None:
        start(spec)
    if st.session_state.pop(GONE_ON, False):
        st.html(TO_THE_TOP, unsafe_allow_javascript=True)
    if "postponed" in st.session_state:
        offer_to_replace(*st.session_state.postponed)
    if RUN in st.query_params and key is None:
        show_trainings()
    elif MODELS in st.query_params and key is None:
        show_models(start)
    elif "finding" in st.query_params:
        page_sections.show_kind(st.query_params["finding"])
    elif key is None:
        show_welcome(chosen)
    else:
        show_job(key, handle)
        if not shows_job:
            offer_upload("Another model file", chosen)


def spec_on_page(handle: JobHandle | None) -> JobSpec | None:
    """What the job on the page analyses, as far as it is known or its result tells."""
    if handle is None or handle.spec is not None or handle.status != "done":
        return None if handle is None else handle.spec
    with contextlib.suppress(OSError, ValueError):
        result = load_result(handle.key, handle)
        return uploads.spec_of(result, asked_for(handle.key, handle)[1])
    return None


def offer_upload(label: str, chosen: Chosen) -> None:
    """The place for a model file in the middle of the page: what comes is analysed at once."""
    upload = choose_upload(label)
    if upload is None:
        return
    try:
        start(JobSpec(str(upload.path), upload.name, chosen()))
    except WrongSettingError as error:
        st.error(f"{markdown_text(error)} Correct the setting, and choose the file again.")


def start(spec: JobSpec) -> None:
    """Submits the job and puts its key into the address, where a refresh finds it again."""
    st.session_state.pop("postponed", None)
    st.session_state.pop("left", None)
    try:
        handle = jobs.submit(spec, owner=visitor(), address=address())
    except AlreadyRunningError as error:
        st.session_state.postponed = (spec, error.job)
        st.rerun()
    except OSError as error:
        reason = markdown_text(error.strerror or error)
        st.error(f"The analysis could not be started: {reason}. Upload the file again.")
        return
    show(handle)


def show(handle: JobHandle) -> None:
    """Goes to a job's address."""
    if handle.spec is not None:
        remember(handle.key, full_name(handle.spec.name, handle.spec.settings))
    st.query_params["job"] = handle.key
    st.session_state[GONE_ON] = True
    st.rerun()


def offer_to_replace(spec: JobSpec, running: JobHandle) -> None:
    """A visitor's second job: one at a time, and it is theirs to say which."""
    new, old = (markdown_text(job.name, 60) for job in (spec, running.spec) if job is not None)
    with st.container(border=True, key="postponed"):
        st.markdown(
            f"**{old}** is still being analysed, and each visitor has one analysis at a time."
        )
        with st.container(horizontal=True):
            if st.button(
                "Cancel it and start the new one",
                icon=":material/swap_horiz:",
                help=f"Analyse {new}",
            ):
                running.cancel(visitor())
                start(spec)
            if st.button("Keep it", icon=":material/hourglass_top:"):
                del st.session_state.postponed
                show(running)


def show_welcome(chosen: Chosen) -> None:
    """The first visit: what this is, what it looks like, where to bring a model, what to try."""
    shown = gallery.pictures()
    st.title("Will your network train?", anchor=False)
    st.markdown(
        "Signals that vanish or explode on their way through the layers keep a network from "
        "learning, and that shows before training begins: bring a Keras model, and be told where "
        "it fails and what to do."
    )
    upload, picture = st.columns(2, gap="large")
    with upload:
        offer_upload("Your model: .keras, .h5 or .json, dropped anywhere", chosen)
        st.caption(
            "It is analysed at once, and stays as it is. To take home: the same model with "
            "AutoInit's weights, which keep the signal's variance at 1."
        )
    with picture:
        first = shown[0]
        st.caption(f"{first.label}, measured: signal by layer, before and after AutoInit")
        st.plotly_chart(
            before_after_chart(first.variances, first.layers, BEFORE_AFTER),
            key="before-after",
            config={"displayModeBar": False},
            alt=f"{first.label}: {words_of(first)}.",
        )
    st.markdown("**No model at hand?** Try one of these, which were measured before:")
    with st.container(horizontal=True, key="samples"):
        for each in shown:
            with st.container(border=True, width=172, key=f"sample-{each.sample}"):
                st.image(
                    sparkline(each.variances),
                    width="stretch",
                    alt=f"{each.label}: {words_of(each)}",
                )
                st.caption(words_of(each))
                if st.button(
                    each.label,
                    type="tertiary",
                    icon=":material/play_arrow:",
                    key=f"try-{each.sample}",
                ):
                    start(JobSpec(f"sample:{each.sample}", each.sample, Settings()))
    st.caption(
        "Bingham and Miikkulainen, AutoInit: Analytic Signal-Preserving Weight Initialization "
        "for Neural Networks, 2021."
    )


BEFORE_AFTER = {"default": "Before: its own initializers", "autoinit": "After: AutoInit"}


def words_of(picture: gallery.Picture) -> str:
    """Both verdicts."""
    signs = {series: SIGNS[TONES[Word(word)]] for series, word in picture.verdicts.items()}
    own, ours = picture.verdicts["default"], picture.verdicts["autoinit"]
    return f"{signs['default']} {own}, {signs['autoinit']} {ours} with AutoInit"


def show_job(key: str, handle: JobHandle | None) -> None:
    """A job in whichever state it is."""
    if handle is None and jobs.has_begun(key):
        st.warning(
            "This analysis is lost: it ended without a result, or the server was started again "
            "before its end. Press Analyse, or bring the model again.",
            icon=":material/link_off:",
        )
    elif handle is None:
        st.warning(
            "There is no result at this address: results are kept for a day after they were last "
            "looked at, or until others need the space. Bring the model again.",
            icon=":material/link_off:",
        )
    elif handle.status in ACTIVE and st.session_state.get("left") == key:
        show_name(handle)
        show_cancelled()
    elif handle.status in ACTIVE:
        show_name(handle)
        watch(key)
    elif handle.status == "done":
        show_result(handle)
    else:
        show_name(handle)
        show_end(handle)


def show_name(handle: JobHandle) -> None:
    """What is being analysed; a job that was found on disk does not know."""
    if handle.spec is not None:
        name = full_name(handle.spec.name, handle.spec.settings)
        st.header(markdown_text(name, 120), anchor=False)


@st.fragment(run_every=POLLING_SECONDS)
def watch(key: str) -> None:
    """The progress of a job, drawn anew twice a second until the job ends."""
    handle = jobs.find(key)
    if handle is None or handle.status not in ACTIVE:
        st.rerun()
    show_progress(handle)
    # Whoever was only given the address may look.
    if handle.is_owned_by(visitor()) and st.button("Cancel", icon=":material/stop_circle:"):
        st.session_state.left = key
        handle.cancel(visitor())
        st.rerun()
    st.caption("You may close this page: the address above leads back to the analysis.")
    preview = handle.preview()
    if preview is not None:
        show_preview(*preview)


def show_end(handle: JobHandle) -> None:
    """A job without a result: one sentence on what happened and what to do."""
    if handle.status == "cancelled":
        show_cancelled()
        return
    code, message = handle.error or ("unknown", "The analysis failed.")
    icon = ":material/block:" if handle.status == "refused" else ":material/error:"
    st.error(markdown_text(message, 1000), icon=icon)
    if code == "unsupported_layer":
        st.caption(
            "What becomes of layers without a rule is a setting in the sidebar, under "
            "Initialisation."
        )
    elif handle.status == "refused":
        st.caption("Choose another file, or try a sample.")
    else:
        st.caption("Press Analyse to try again; fewer samples need less memory and time.")
    if handle.spec is not None and handle.spec.settings.is_variant and kept_keys():
        offer_to_go_back(kept_keys()[-1])


def show_cancelled() -> None:
    """The end that the visitor chose, even if others wait for the same job and it goes on."""
    st.info("Cancelled. Press Analyse to start again.", icon=":material/cancel:")


def show_result(handle: JobHandle) -> None:
    """The finished job."""
    try:
        result = load_result(handle.key, handle)
    except (OSError, ValueError):
        st.error("The result cannot be read any more. Press Analyse to compute it again.")
        return
    again = again_with(handle)
    first = as_it_is(handle.key, result, result_of)
    both = result if first is None else joined(handle.key, first[0], result, first[1])
    page_sections.show_title(result)
    page_sections.show_verdicts(handle.key, result, handle.folder, first, both)
    findings = partial(page_sections.show_findings, result, again)
    show_exploration(both, handle.folder, again, findings)
    page_sections.show_figures(result)
    page_sections.show_formats(result)
    page_sections.show_input(result, again)
    if again is not None:
        offer_what_if(handle.key, result, again)
    show_trials(spec_on_page(handle))
    page_sections.show_downloads(result, handle.folder)
    show_comparison(handle.key, result, result_of)
    page_sections.show_details(result)


def again_with(handle: JobHandle) -> Again | None:
    """How to start the same analysis with other settings, where the page still knows of what."""
    spec = spec_on_page(handle)
    if spec is None:
        return None

    def again(changes: Mapping[str, Any]) -> None:
        trust = uploads.TRUSTS and bool(st.session_state.get("trust"))
        start(replace(spec, settings=spec.settings.replace(**{"trust": trust, **changes})))

    return again


def result_of(key: str) -> Result | None:
    """The result of another job, as long as it is kept."""
    handle = jobs.find(key)
    if handle is None or handle.status != "done":
        return None
    try:
        return load_result(handle.key, handle)
    except (OSError, ValueError):
        return None


@st.cache_resource(max_entries=8, show_spinner=False)
def joined(key: str, first_key: str, _result: Result, _first: Result) -> Result:
    """A what-if with the series of the model as it is, put together once."""
    return beside(_result, _first)


@st.cache_resource(max_entries=8, show_spinner=False)
def load_result(key: str, _handle: JobHandle) -> Result:
    """The result, parsed once; nothing on the page changes it."""
    return _handle.result()
