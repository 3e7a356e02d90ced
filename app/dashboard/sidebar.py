"""The page's sidebar: which model, which settings, and the button that starts the analysis."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app import jobs
from app.analysis.input_moments import moments_text, parse_moments
from app.analysis.job_spec import SAMPLE_PREFIX, JobSpec
from app.analysis.options import Setting, from_query, table
from app.analysis.settings import INITIALIZATION, INPUT, MEASUREMENT, WHAT_IF, Settings
from app.dashboard import uploads
from app.errors import WrongSettingError
from app.text.escaping import markdown_text, plain_text
from app.text.formatting import size
from sample_models import MODELS

UPLOAD, SAMPLE = "Upload a file", "Try a sample"
FIRST_SAMPLE = "resnet-56-nobn"
# The groups of settings, each folded into an expander of its own.
GROUPS = {
    INPUT: ":material/input:",
    INITIALIZATION: ":material/balance:",
    WHAT_IF: ":material/alt_route:",
    MEASUREMENT: ":material/speed:",
}
INPUTS_NAMED = 4
DATA = "data"  # of the session: the file of data that is chosen
# Gives the settings that the form has; raises ValueError.
Chosen = Callable[[], Settings]


def sidebar(on_page: JobSpec | None, has_uploader: bool) -> tuple[JobSpec | None, Chosen]:
    """Draws the sidebar.

    Args:
        on_page: what the page shows; the button does it again with the settings that are chosen.
        has_uploader: whether the place for another file is here, and not in the middle of the page.

    Returns:
        The job to start if the button was pressed, or a file came, and all is well; and what gives
        the settings for a file that comes elsewhere.
    """
    with st.sidebar:
        st.header("AutoInit", anchor=False)
        source = st.segmented_control(
            "Model", (UPLOAD, SAMPLE), default=UPLOAD, required=True, key="source", width="stretch"
        )
        if source == UPLOAD and on_page is not None:
            icon = "science" if on_page.is_sample else "draft"
            st.markdown(f":material/{icon}: **{markdown_text(on_page.name, 60)}**")
        sample = choose_sample() if source == SAMPLE else None
        upload = choose_upload("Another file, dropped anywhere") if has_uploader else None
        if source == UPLOAD and on_page is None and not has_uploader:
            st.caption("Drop a model file anywhere on the page: it is analysed at once.")
        data = choose_data(on_page)
        # In a form nothing is drawn anew before the button; without a job there is little to draw,
        # and what is set counts for the file that comes next.
        in_form = on_page is not None
        with st.form("settings", border=False) if in_form else st.container(key="settings"):
            options = sample_options(sample) if sample else {}
            fields = settings_fields() | trust_field()
            button = st.form_submit_button if in_form else st.button
            pressed = button(
                "Analyse", type="primary", width="stretch", icon=":material/play_arrow:"
            )

        def chosen() -> Settings:
            return settings_of(fields, data)

        if not pressed and upload is None:
            return None, chosen
        try:
            settings = chosen()
        except WrongSettingError as error:
            st.error(markdown_text(error))
            return None, chosen
        if upload is not None:
            return JobSpec(str(upload.path), upload.name, as_it_is(settings)), chosen
        if sample:
            return sample_job(sample, options, settings), chosen
        if on_page is None:
            st.warning("Choose a model file first, or try a sample.")
            return None, chosen
        return replace(on_page, settings=settings), chosen


def as_it_is(settings: Settings) -> Settings:
    """The settings for another model: what was changed of the last one is not changed of it."""
    asked = (each for each in table(Settings).values() if each.option.group == WHAT_IF)
    return settings.replace(**{entry.name: entry.default for entry in asked})


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


def choose_upload(label: str) -> uploads.Upload | None:
    """A model that has just come, moved from memory to disk at once."""
    what = (
        "A .keras, .h5 or .json file that Keras wrote; model.json and its weights (.h5, .bin) "
        "together; a SavedModel as a .zip. It is only read, and stays as it is."
    )
    with st.container(key="drop"):
        return moved_to_disk("model", label, uploads.SUFFIXES, what)


def choose_data(on_page: JobSpec | None) -> tuple[uploads.Upload, str] | None:
    """A file of data to feed instead of noise, and what is fed of it; at first that of the page."""
    options = table(Settings)
    data, feed = options["input_data"], options["input_source"]
    if on_page is not None and st.session_state.get("data_of") != on_page:
        st.session_state.data_of = on_page
        st.session_state[DATA] = uploads.data_of(on_page.settings)
    with st.expander("Real data", icon=":material/dataset:"):
        upload: uploads.Upload | None = st.session_state.get(DATA)
        if upload is None or not uploads.keep(upload.path):
            upload = moved_to_disk(DATA, data.option.label, uploads.DATA_SUFFIXES, data.help)
            if upload is None:
                st.session_state[DATA] = None
                return None
            st.session_state[DATA] = upload
            st.rerun()
        with st.container(border=True, key="data-file"):
            name = markdown_text(upload.name, 60)
            st.markdown(f":material/draft: **{name}**  \n{size(upload.size)}")
            if st.button("Remove the data", width="stretch"):
                st.session_state[DATA] = None
                st.rerun()
        source = st.segmented_control(
            feed.option.label,
            feed.choices,
            format_func=feed.words,
            default=on_page.settings.input_source if on_page is not None else feed.default,
            required=True,
            key="input-source",
            width="stretch",
            help=feed.help,
        )
    return upload, source


def moved_to_disk(
    place: str, label: str, suffixes: Sequence[str], explanation: str
) -> uploads.Upload | None:
    """An uploader; the file that has just come, which is on disk.

    Args:
        place: of its number in the session's state.
        label, explanation: of the uploader.
        suffixes: that the file may have; of a model there may be several parts.
    """
    generation = st.session_state.setdefault(f"{place}-number", 0)
    chosen = st.file_uploader(
        label,
        type=[suffix.removeprefix(".") for suffix in suffixes],
        accept_multiple_files=suffixes is uploads.SUFFIXES,
        key=f"{place}-{generation}",
        help=explanation,
    )
    files = chosen if isinstance(chosen, list) else [chosen] if chosen is not None else []
    refused = f"{place}-refused"
    if not files:
        if refused in st.session_state:
            st.error(st.session_state[refused], icon=":material/block:")
        return None
    # A new uploader is an empty one: what is chosen next does not join what was refused.
    st.session_state[f"{place}-number"] = generation + 1
    st.session_state.pop(refused, None)
    try:
        stored = [uploads.received(file, file.name, suffixes) for file in files]
        return uploads.together(stored)
    except WrongSettingError as error:
        st.session_state[refused] = markdown_text(error, 1000)
    except OSError as error:
        reason = error.strerror or error  # Without the server's own paths.
        st.session_state[refused] = f"The file could not be stored: {markdown_text(reason)}"
    st.rerun()


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


def settings_fields(options: type[Settings] = Settings) -> dict[str, Any]:
    """The settings' fields, by the names that `Settings` gives them.

    They begin as those of the job on the page, which may be a colleague's, or as the address says.

    Args:
        options: the table that says what there is to set.
    """
    names, last = last_job(options)
    fields: dict[str, Any] = {}
    for group, icon in GROUPS.items():
        with st.expander(group, icon=icon):
            for entry in table(options).values():
                is_shown = entry.kind is not dict or len(names) > 1
                if entry.option.group == group and entry.option.in_form and is_shown:
                    fields[entry.name] = settings_field(entry, getattr(last, entry.name), names)
    return fields


def trust_field() -> dict[str, Any]:
    """Whether the code that came with the model is run, where the server lets one ask."""
    if not uploads.TRUSTS:
        return {}
    entry = table(Settings)["trust"]
    return {"trust": st.checkbox(entry.option.label, key="trust", help=entry.help)}


def settings_field(entry: Setting, value: Any, names: Sequence[str]) -> Any:
    """One setting's field; what is chosen or typed there.

    Args:
        entry: of the table.
        value: that the field begins with.
        names: of the model's inputs, which moments are asked for.
    """
    label, text = entry.option.label, entry.help
    if entry.choices:
        begin = entry.choices.index(value)
        return st.selectbox(label, entry.choices, begin, format_func=entry.words, help=text)
    if entry.word:
        return number_or_word(entry, value)
    if entry.kind is bool:
        return st.checkbox(label, value, help=text)
    if entry.kind is tuple and not entry.option.members:
        typed = st.text_input(label, ", ".join(value), placeholder=entry.expected, help=text)
        return tuple(filter(None, map(str.strip, typed.split(","))))
    if entry.kind is tuple:
        members, words = entry.option.members, entry.words
        return tuple(st.multiselect(label, members, list(value), format_func=words, help=text))
    if entry.kind is int:
        return st.number_input(
            label, entry.low, entry.high, value=value, placeholder="as is usual", help=text
        )
    if entry.kind is float:  # without bounds: a sentence says more of a wrong one
        return st.number_input(label, value=value, format="%g", placeholder="auto", help=text)
    if entry.kind is dict:
        listed = "; ".join(f"{plain_text(name, 40)}: 0, 1" for name in names[:INPUTS_NAMED])
        return st.text_input(label, moments_text(value), placeholder=listed, help=text)
    return st.text_input(label, value or "", help=text) or None


def number_or_word(entry: Setting, value: Any) -> Any:
    """A choice of a word and the usual numbers; any other number may be typed."""
    shown = [entry.words(entry.word), *map(str, entry.option.usual)]
    begin = entry.words(value) if value == entry.word else str(value)
    options = shown if begin in shown else [*shown, begin]
    chosen = st.selectbox(
        entry.option.label, options, options.index(begin), accept_new_options=True, help=entry.help
    )
    if chosen in (None, shown[0]):
        return entry.word
    # What is no number is told by the table, in a sentence.
    return int(chosen) if chosen.strip().isdecimal() else chosen


def last_job(options: type[Settings] = Settings) -> tuple[tuple[str, ...], Settings]:
    """The inputs of the model whose result is on the page, and the settings of its job."""
    key = st.query_params.get("job")
    handle = None if key is None else jobs.find(key)
    if handle is not None and handle.status == "done":
        # The page itself says where there is no such result any more.
        with contextlib.suppress(OSError, ValueError):
            return asked_for(handle.key, handle)
    if handle is not None and handle.spec is not None:
        return (), handle.spec.settings
    return (), from_query(st.query_params.to_dict(), options)


@st.cache_resource(max_entries=64, show_spinner=False)
def asked_for(key: str, _handle: jobs.JobHandle) -> tuple[tuple[str, ...], Settings]:
    """A result's inputs and the settings that can be chosen here, for which it is read once."""
    result = _handle.result()
    names = tuple(each.name for each in result.model.inputs)
    chosen = {name for name, entry in table(Settings).items() if entry.option.in_form}
    if result.settings.by_name.get("input_auto"):
        chosen -= {"input_mean", "input_variance", "input_moments"}
    used = result.settings.by_name
    used |= {"samples": used.get("samples_asked", result.settings.samples)}
    return names, Settings(**{name: value for name, value in used.items() if name in chosen})
