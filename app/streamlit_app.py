"""The dashboard: `streamlit run app/streamlit_app.py`. Keras runs in the worker, never here."""

import streamlit as st

from app import page_sections
from app.escaping import markdown_text
from app.jobs import JobHandle, JobSpec, Settings, find, submit, warm_up
from app.sidebar import sidebar

ACTIVE = ("queued", "running")
POLLING_SECONDS = 0.5
# On a small screen the sidebar lies over the page that the visitor now waits for.
CLOSE_SIDEBAR_IF_IT_COVERS = """<script>
if (window.innerWidth < 768)
  document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
</script>"""
SAMPLES_TO_TRY = {
    "ResNet-56 without batch normalisation": "resnet-56-nobn",
    "All-CNN-C": "all-cnn-c",
}


def main() -> None:
    """Draws the page in the state that its address asks for."""
    st.set_page_config(page_title="AutoInit", page_icon=":material/balance:", layout="wide")
    warm_up()
    spec = sidebar()
    if spec is not None:
        start(spec)
    key = st.query_params.get("job")
    if key is None:
        show_welcome()
    else:
        show_job(key)


def start(spec: JobSpec) -> None:
    """Submits the job and puts its key into the address, where a refresh finds it again."""
    try:
        handle = submit(spec)
    except OSError as error:
        st.error(
            f"The analysis could not be started: {markdown_text(error)} Upload the file again."
        )
        return
    st.query_params["job"] = handle.key
    st.session_state.just_started = True
    st.rerun()


def show_welcome() -> None:
    """The first visit: what this is, what to bring, what to try."""
    with st.container(width=760):
        st.title("How does your network start?", anchor=False)
        st.markdown(
            "AutoInit reads a Keras model, works out mean and variance of the signal at every "
            "layer, and draws new weights that keep the variance at 1. Upload a **.keras**, "
            "**.h5** or **.json** file in the sidebar (**»** on a small screen) and press "
            "**Analyse**: noise is fed through the network with its default weights and with "
            "AutoInit's, and both are charted layer by layer. Then download the re-initialised "
            "model; your file stays as it is."
        )
        st.markdown("No model at hand? Try a network of the paper:")
        with st.container(horizontal=True):
            for label, name in SAMPLES_TO_TRY.items():
                if st.button(label, icon=":material/play_arrow:", key=f"try-{name}"):
                    start(JobSpec(f"sample:{name}", name, Settings()))
        st.caption(
            "Bingham and Miikkulainen, AutoInit: Analytic Signal-Preserving Weight Initialization "
            "for Neural Networks, 2021."
        )


def show_job(key: str) -> None:
    """A job in whichever state it is."""
    if st.session_state.pop("just_started", False):
        st.html(CLOSE_SIDEBAR_IF_IT_COVERS, unsafe_allow_javascript=True)
    handle = find(key)
    if handle is None:
        st.warning(
            "There is no result at this address: results are kept for a day after they were last "
            "looked at. Choose a model in the sidebar and press Analyse.",
            icon=":material/link_off:",
        )
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
        st.header(markdown_text(handle.spec.name, 120), anchor=False)


@st.fragment(run_every=POLLING_SECONDS)
def watch(key: str) -> None:
    """The progress of a job, drawn anew twice a second until the job ends."""
    handle = find(key)
    if handle is None or handle.status not in ACTIVE:
        st.rerun()
    fraction, stage = handle.progress
    st.progress(min(max(fraction, 0.0), 1.0), text=markdown_text(stage))
    if st.button("Cancel", icon=":material/stop_circle:"):
        handle.cancel()
        st.rerun()
    st.caption("You may close this page: the address above leads back to the analysis.")


def show_end(handle: JobHandle) -> None:
    """A job without a result: one sentence on what happened and what to do."""
    if handle.status == "cancelled":
        st.info("Cancelled. Press Analyse to start again.", icon=":material/cancel:")
        return
    _, message = handle.error or ("unknown", "The analysis failed.")
    icon = ":material/block:" if handle.status == "refused" else ":material/error:"
    st.error(markdown_text(message, 1000), icon=icon)
    if handle.status == "refused":
        st.caption("Choose another file in the sidebar, or try a sample.")
    else:
        st.caption("Press Analyse to try again; fewer samples need less memory and time.")


def show_result(handle: JobHandle) -> None:
    """The finished job."""
    try:
        result = load_result(handle.key, handle)
    except (OSError, ValueError):
        st.error("The result cannot be read any more. Press Analyse to compute it again.")
        return
    page_sections.show_title(result)
    page_sections.show_headline(result)
    page_sections.show_findings(result)
    page_sections.show_variance(result)
    page_sections.show_downloads(result, handle.folder)
    page_sections.show_mean(result)
    page_sections.show_table(result)
    page_sections.show_details(result)


@st.cache_resource(max_entries=8, show_spinner=False)
def load_result(key: str, _handle: JobHandle) -> page_sections.Result:
    """The result, parsed once; nothing on the page changes it."""
    return _handle.result()


if __name__ == "__main__":
    main()
