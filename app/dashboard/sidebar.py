"""The page's sidebar: which model, which settings, and the button that starts the analysis."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.typing import UploadedFile

from app import jobs
from app.analysis.input_moments import EXAMPLE, moments_text, parse_moments
from app.analysis.settings import (
    DEVICES,
    DISTRIBUTIONS,
    INPUT_SOURCES,
    MODES,
    SAMPLE_PREFIX,
    SIGNAL_MODELS,
    UNSUPPORTED,
    JobSpec,
    Settings,
)
from app.dashboard import uploads
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import size
from sample_models import MODELS

UPLOAD, SAMPLE = "Upload a file", "Try a sample"
FIRST_SAMPLE = "resnet-56-nobn"
# Settings that are no fields here: the operator's, and data that came with another visit.
NOT_CHOSEN = {"custom_objects", "input_data", "input_data_name", "input_source"}
UNSUPPORTED_LABELS = {
    "sample": "Estimate by sampling",
    "pass_through": "Pass through (the paper)",
    "error": "Refuse the model",
}
SOURCE_LABELS = {"data": "The data", "noise": "Noise like it"}
DATA_HELP = (
    "A .npy array with one sample per row, a .npz with an array for each input, named like it, or "
    "a .csv with a sample per line."
)
INPUTS_TOLD = 4


def sidebar() -> JobSpec | None:
    """Draws the sidebar; the job to start if the button was pressed and all is well."""
    with st.sidebar:
        st.header("AutoInit", anchor=False)
        source = st.segmented_control(
            "Model", (UPLOAD, SAMPLE), default=UPLOAD, required=True, key="source", width="stretch"
        )
        upload = choose_upload() if source == UPLOAD else None
        sample = choose_sample() if source == SAMPLE else None
        data = choose_data()
        with st.form("settings", border=False):
            options = sample_options(sample) if sample else {}
            fields = settings_fields()
            pressed = st.form_submit_button(
                "Analyse", type="primary", width="stretch", icon=":material/play_arrow:"
            )
        if not pressed:
            return None
        try:
            settings = settings_of(fields, data)
        except ValueError as error:
            st.error(markdown_text(error))
            return None
        if sample:
            return sample_job(sample, options, settings)
        if upload is None:
            st.warning("Choose a model file first, or try a sample.")
            return None
        return JobSpec(str(upload.path), upload.name, settings)


def sample_job(name: str, options: Mapping[str, Any], settings: Settings) -> JobSpec:
    """The job that analyses a sample; options at their defaults are left out of its name."""
    arguments = MODELS[name].arguments
    changed = {key: value for key, value in options.items() if value != arguments[key].default}
    spec = f"{name}?{urlencode(changed)}" if changed else name
    return JobSpec(SAMPLE_PREFIX + spec, spec, settings)


def settings_of(fields: Mapping[str, Any], data: tuple[uploads.Upload, str] | None) -> Settings:
    """The settings, with the moments per input taken from their text.

    Args:
        fields: as `settings_fields` gives them.
        data: an uploaded file of data, and what is fed of it.

    Raises:
        ValueError: names the field that is wrong, and what was expected.
    """
    taken = dict(fields)
    taken["input_moments"] = parse_moments(taken.pop("input_moments", ""))
    if data is not None:
        upload, taken["input_source"] = data
        taken |= {"input_data": str(upload.path), "input_data_name": upload.name}
    return Settings(**taken)


def choose_upload() -> uploads.Upload | None:
    """The uploaded model, moved from memory to disk at once."""
    return moved_to_disk(
        "upload",
        "Keras model",
        uploads.SUFFIXES,
        "A whole model as Keras saves it: .keras, .h5 or .hdf5; or its architecture alone, the "
        "JSON text of model.to_json().",
        "Choose another file",
    )


def choose_data() -> tuple[uploads.Upload, str] | None:
    """Uploaded data for the inputs, and whether they or noise like them is fed.

    It stands outside of the form of settings, in which files would wait for the button.
    """
    with st.expander("Real data", icon=":material/dataset:"):
        upload = moved_to_disk(
            "data", "Samples of the inputs", uploads.DATA_SUFFIXES, DATA_HELP, "Remove the data"
        )
        if upload is None:
            return None
        source = st.segmented_control(
            "Feed",
            INPUT_SOURCES,
            format_func=SOURCE_LABELS.__getitem__,
            default=INPUT_SOURCES[0],
            required=True,
            key="input-source",
            width="stretch",
            help="Mean and variance of every input are the data's. What is fed through the "
            "network are samples of the data, or Gaussian noise of the same mean and variance.",
        )
    return upload, source


def moved_to_disk(
    place: str, label: str, suffixes: Sequence[str], explanation: str, other: str
) -> uploads.Upload | None:
    """An uploaded file, moved from memory to disk at once; where there is none, the uploader.

    Args:
        place: of it in the session's state.
        label, explanation: of the uploader.
        suffixes: that the file may have.
        other: label of the button that lets go of the file.
    """
    upload: uploads.Upload | None = st.session_state.get(place)
    if upload is not None and not uploads.keep(upload):
        upload = st.session_state[place] = None
    if upload is None:
        generation = st.session_state.setdefault(f"{place}-number", 0)
        file = st.file_uploader(
            label,
            type=[suffix.removeprefix(".") for suffix in suffixes],
            key=f"{place}-{generation}",
            help=explanation,
        )
        if file is None:
            return None
        try:
            st.session_state[place] = uploads.store(file, file.name, suffixes)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error  # Without the server's own paths.
            st.error(f"The file could not be stored: {markdown_text(reason)}")
            return None
        let_go(file)
        # A new uploader is an empty one.
        st.session_state[f"{place}-number"] = generation + 1
        st.rerun()
    with st.container(border=True, key=f"{place}-file"):
        st.markdown(f":material/draft: **{markdown_text(upload.name, 60)}**  \n{size(upload.size)}")
        if st.button(other, width="stretch"):
            st.session_state[place] = None
            st.rerun()
    return upload


def let_go(file: UploadedFile) -> None:
    """Frees an upload's memory, which Streamlit holds until the visitor leaves."""
    context = get_script_run_ctx()
    manager = context.uploaded_file_mgr if context is not None else None
    if context is not None and isinstance(manager, MemoryUploadedFileManager):
        manager.remove_file(context.session_id, file.file_id)


def choose_sample() -> str:
    """The name of a sample model."""
    name: str = st.selectbox(
        "Sample", list(MODELS), index=list(MODELS).index(FIRST_SAMPLE), key="sample"
    )
    st.caption(MODELS[name].description)
    return name


def sample_options(name: str) -> dict[str, Any]:
    """What the sample's builder takes, such as its activation."""
    arguments = MODELS[name].arguments
    if not arguments:
        return {}
    chosen: dict[str, Any] = {}
    with st.expander("Options of this sample", icon=":material/tune:"):
        for argument in arguments.values():
            label, key = argument.name.replace("_", " "), f"{name}-{argument.name}"
            if argument.choices:
                place = argument.choices.index(argument.default)
                chosen[argument.name] = st.selectbox(label, argument.choices, place, key=key)
            else:
                chosen[argument.name] = st.number_input(
                    label,
                    *(argument.kind(end) for end in (argument.interval.low, argument.interval.high))
                    if argument.interval
                    else (None, None),
                    value=argument.default,
                    key=key,
                )
    return chosen


def settings_fields() -> dict[str, Any]:
    """The settings' fields, by the names that `Settings` gives them.

    They begin as those of the job on the page, which may be a colleague's.
    """
    names, last = last_job()
    fields: dict[str, Any] = {}
    with st.expander("Input", icon=":material/input:"):
        fields["samples"] = st.number_input(
            "Samples",
            1,
            value=last.samples,
            help="How many Gaussian inputs are fed through the network. More are slower and "
            "steadier.",
        )
        fields["input_mean"] = st.number_input(
            "Input mean",
            value=last.input_mean,
            format="%g",
            help="The mean of the data that the network will be trained on, after scaling.",
        )
        fields["input_variance"] = st.number_input(
            "Input variance",
            value=last.input_variance,
            format="%g",
            help="The variance of that data; its standard deviation, squared.",
        )
        if len(names) > 1:
            listed = "; ".join(f"{plain_text(name, 40)}: 0, 1" for name in names[:INPUTS_TOLD])
            fields["input_moments"] = st.text_input(
                "Mean and variance per input",
                moments_text(last.input_moments),
                placeholder=listed,
                help="For inputs that have a mean and a variance of their own, such as "
                f"{EXAMPLE}. The others have those above.",
            )
        fields["input_size"] = st.number_input(
            "Size for unknown dimensions",
            1,
            value=last.input_size,
            help="Stands in for None in the input shape, such as an image's height or a "
            "sequence's length.",
        )
    with st.expander("Initialisation", icon=":material/balance:"):
        fields["signal_model"] = st.selectbox(
            "Signal model",
            SIGNAL_MODELS,
            SIGNAL_MODELS.index(last.signal_model),
            format_func=words,
            help="What predictions carry through the network: distributions and correlations, or "
            "the mean and variance of the paper. AutoInit scales weights by what is predicted.",
        )
        fields["unsupported"] = st.selectbox(
            "Layers without a rule",
            UNSUPPORTED,
            UNSUPPORTED.index(last.unsupported),
            format_func=UNSUPPORTED_LABELS.__getitem__,
            help="Layers are predicted by a rule each, or opened into parts that have one. Where "
            "neither can be done, its output is estimated by running the layer itself on random "
            "input (slower), or its signal is taken to pass through unchanged, the paper's "
            "fallback, or the model is refused.",
        )
        fields["distribution"] = st.selectbox(
            "Distribution",
            DISTRIBUTIONS,
            DISTRIBUTIONS.index(last.distribution),
            format_func=words,
            help="What AutoInit draws the weights from. The variance is the same for each.",
        )
        fields["signal_variance"] = st.number_input(
            "Signal variance",
            value=last.signal_variance,
            format="%g",
            help="The variance that AutoInit gives the output of every layer with a kernel.",
        )
        fields["constrain_weights"] = st.checkbox(
            "Constrain weights during training",
            last.constrain_weights,
            help="Keeps every kernel centred and at its scale while the network trains. A model "
            "saved so opens only after `import autoinit`.",
        )
        fields["keep_frozen"] = st.checkbox(
            "Keep frozen layers' weights",
            last.keep_frozen,
            help="Layers with trainable=False keep the weights that came with the file, and the "
            "others are drawn to go with them: for a pretrained body under a new head.",
        )
    with st.expander("Measurement", icon=":material/speed:"):
        fields["mode"] = st.selectbox(
            "Mode",
            MODES,
            MODES.index(last.mode),
            format_func=words,
            help="In training, dropout drops and batch normalisation uses the batch; in "
            "inference, neither.",
        )
        fields["seeds"] = st.number_input(
            "Draws",
            1,
            100,
            value=last.seeds,
            help="How many times weights and inputs are drawn; the figures are means over draws.",
        )
        fields["seed"] = st.number_input(
            "Seed", 0, value=last.seed, help="The same seed gives the same figures."
        )
        fields["gradients"] = st.checkbox(
            "Gradients",
            last.gradients,
            help="Also measures what flows back to every call and every kernel. A pass back takes "
            "several times as long as a pass forward.",
        )
        fields["jacobian"] = st.number_input(
            "Inputs for the Jacobian",
            0,
            16,
            value=last.jacobian,
            help="At how many random inputs to take the singular values of the input–output "
            "Jacobian; 0 leaves them out.",
        )
        fields["device"] = st.selectbox(
            "Device",
            DEVICES,
            DEVICES.index(last.device),
            format_func=lambda device: device if device == "auto" else device.upper(),
            help="auto takes a GPU where there is one.",
        )
    return fields


def last_job() -> tuple[tuple[str, ...], Settings]:
    """The inputs of the model whose result is on the page, and the settings of its job."""
    key = st.query_params.get("job")
    handle = None if key is None else jobs.find(key)
    if handle is not None and handle.status == "done":
        # The page itself says where there is no such result any more.
        with contextlib.suppress(OSError, ValueError):
            return asked_for(handle.key, handle)
    return (), Settings() if handle is None or handle.spec is None else handle.spec.settings


@st.cache_resource(max_entries=64, show_spinner=False)
def asked_for(key: str, _handle: jobs.JobHandle) -> tuple[tuple[str, ...], Settings]:
    """A result's inputs and the settings that can be chosen here, for which it is read once."""
    result = _handle.result()
    names = tuple(str(each["name"]) for each in result["model"].get("inputs", ()))
    known = {field.name for field in dataclasses.fields(Settings)} - NOT_CHOSEN
    return names, Settings(**{k: v for k, v in result["settings"].items() if k in known})


def words(value: str) -> str:
    """An option's name as people write it."""
    return value.replace("_", " ")
