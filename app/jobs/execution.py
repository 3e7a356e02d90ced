"""A whole job, in the worker: open the model, compare, save what people take home."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import itertools
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from app.analysis.comparison import compare
from app.analysis.comparison.found import Comparison
from app.analysis.comparison.input_data import read_input_data
from app.analysis.comparison.progress import OnProgress
from app.analysis.devices import device_kind
from app.analysis.diagnosis.linter.lint import Linted, lint_model
from app.analysis.job_spec import CUSTOM_OBJECTS_VARIABLE, JobSpec, sha256
from app.analysis.reporting import ModelSource, histograms_of, manifest, preview_of, result_of
from app.analysis.result import json_text
from app.analysis.settings import AS_IT_IS, LARGEST_INPUT_SIZE, Settings
from app.errors import WrongSettingError
from app.jobs.folders import HISTOGRAMS, MANIFEST, PREVIEW, RESULT
from app.limits import Limits, memory_left
from app.text.formatting import plural
from autoinit import variants
from autoinit.errors import GraphError, ModelFileError
from autoinit.findings import Finding
from autoinit.graph.keras_internals import layers_in, nodes_in_order
from autoinit.graph.keras_models import inner_graph
from autoinit.graph.model_graph import ModelGraph
from autoinit.initializers.schemes import SCHEMES
from autoinit.model_files import (
    Budgets,
    Download,
    ModelFile,
    open_model_file,
    read_again,
    save_model,
    save_reinitialized,
    save_variant,
)
from autoinit.model_files.budgets import variable
from autoinit.model_files.read.bundles import parts_of
from autoinit.model_files.rebuilding import require_activations
from autoinit.reading import read_model
from autoinit.rules.registry import KernelScale
from autoinit.running.inputs import Data
from probes.batching import block_of
from probes.devices import find_device

# Sizes that are tried for open axes, of those that a model states.
_MOST_SIZES = 16
PARTS = 4  # of the memory: activations of one sample take one at most
# Weights of which each row stands for a position; relative ones do for a distance.
_POSITIONS = re.compile(r"(?<!relative_)pos(ition)?(al)?_emb", re.IGNORECASE)


def rehearse() -> None:
    """An analysis of next to nothing, while no job waits: the first takes a second longer.

    Where there is a GPU, nothing is run before a job says whether it wants it.
    """
    if device_kind("auto") != "cpu":
        return
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(2, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    with contextlib.suppress(Exception):  # what is wrong will be said of a job
        compare(model, Settings(samples=8), uploaded=True)
    keras.utils.clear_session()  # the names of later layers are counted from the beginning


def run(
    spec: JobSpec,
    folder: Path,
    progress: OnProgress,
    model: Any = None,
    saves: bool = True,
    brief: bool = False,
) -> None:
    """Analyse a model; leave `result.json` and the re-initialised model in `folder`.

    Args:
        spec: which model, which settings.
        folder: where results go; it exists.
        progress: told the share done and what is being done.
        model: to be worked on in place of a file, with the weights that it has.
        saves: whether to leave the re-initialised model.
        brief: whether nobody looks at it: what only pages show is left out.

    Raises:
        ModelFileError: for a file, sample or data that are refused.
        GraphError: for a model without a graph of layers.
        UnsupportedLayerError: for a layer without a rule, where the settings refuse it.
        ValueError: for settings that this machine cannot follow, such as a GPU that is not there.
    """
    start = time.perf_counter()
    progress(0.0, "Reading the model")
    found = opened(spec, model)
    file, settings, graph = found.file, found.settings, found.graph
    uploaded = model is not None if file is None else file.has_weights
    model = found.model
    # Of automatic samples, the first; more are taken as time allows.
    samples = settings.samples if settings.samples != "auto" else block_of(graph, "auto")
    require_activations(graph, samples, found.budgets)
    _require_batches(graph, settings)
    data = _input_data(settings, graph, found.budgets)
    loaded = time.perf_counter()

    def measuring(share: float, stage: str) -> None:
        """Of all the time that it takes, what is over: saving takes half as long as reading."""
        read, now = loaded - start, time.perf_counter()
        whole = 1.5 * read + (now - loaded) / share if share else math.inf
        progress(min((now - start) / whole, 0.99), stage)

    def keep_preview(found: Comparison) -> None:
        if not brief:
            replace(folder / PREVIEW, json_text(preview_of(found, settings)))

    comparison = compare(
        model,
        settings,
        linted=found.linted,
        uploaded=uploaded,
        progress=measuring,
        data=data,
        preview=keep_preview,
        brief=brief,
    )
    downloads: tuple[Download, ...] = ()
    doubts: tuple[Finding, ...] = ()
    if saves:
        measuring(1.0, "Saving the re-initialised model")
        downloads, doubts = take_home(
            found, folder, comparison.scales, settings.scheme, partial(measuring, 1.0)
        )
    # What the comparison says of a part says more, such as where its shape comes from.
    codes = {finding.code for finding in comparison.findings} if not found.changed else set()
    own = [each for each in (file.findings if file else ()) if each.code not in codes]
    findings = [*own, *comparison.findings, *doubts]
    findings = [*findings, *found.changed]
    timings = {"load": round(loaded - start, 4), **comparison.timings}
    timings["total"] = round(time.perf_counter() - start, 4)
    result = result_of(comparison, model, ModelSource.of(file), spec, findings, timings, downloads)
    if not brief:
        write(folder / HISTOGRAMS, _plain(histograms_of(comparison)))
        write(folder / MANIFEST, _plain(manifest(comparison, model, result)))
    write(folder / RESULT, json_text(result))
    (folder / PREVIEW).unlink(missing_ok=True)
    progress(1.0, "Done")


def _require_batches(graph: ModelGraph, settings: Settings) -> None:
    """See to it that what normalizes over a batch gets more than one vector."""
    if settings.samples != 1 or settings.mode != "training":
        return
    for call in graph.calls:
        normalizes = isinstance(call.layer, keras.layers.BatchNormalization)
        if normalizes and call.layer.trainable and not call.inputs[0].positions:
            raise WrongSettingError(
                f"{call.path!r} normalizes over the batch, which leaves nothing of one sample: "
                "take at least two (--samples 2), or look at inference (--mode inference)."
            )


def take_home(
    found: Opened,
    folder: Path,
    scales: Sequence[KernelScale],
    scheme: str,
    stage: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[Download, ...], tuple[Finding, ...]]:
    """The files of a model that a scheme has drawn, each read again; and what is to be told.

    Args:
        found: what was opened; its model has the weights.
        folder: where the files go.
        scales: how its kernels were drawn.
        scheme: a key of `SCHEMES`.
        stage: told what is being done.
    """
    file, only = found.file, SCHEMES[scheme].kernels_only
    left_out: tuple[Finding, ...] = ()
    if file is None:
        downloads: tuple[Download, ...] = (save_model(found.model, folder),)
    elif found.changed:
        downloads, left_out = save_variant(file, found.model, folder)
    else:
        downloads, left_out = save_reinitialized(file, scales, folder, found.budgets, only)
    # Where there is room for the model once more, and for what loading it takes.
    if 8 * found.model.count_params() < memory_left(Limits.from_environment().memory_bytes):
        stage("Reading it again")
        downloads, doubts = read_again(
            downloads,
            folder,
            found.model,
            None if found.changed else file,
            scales,
            found.custom_objects,
            only,
        )
        left_out = (*left_out, *doubts)
    return downloads, left_out


def _variant(model: Any, settings: Settings) -> tuple[Any, tuple[Finding, ...]]:
    """The model with what the settings change of it, and what that was."""
    found = []
    if settings.activation != AS_IT_IS:
        count = plural(len(variants.hidden_activations(model)), "hidden layer")
        model = variants.with_activation(model, settings.activation)
        found.append(f"{settings.activation} is the activation of {count}")
    if settings.normalization != AS_IT_IS:
        count = plural(len(variants.bare_kernels(model)), "kernel")
        model = variants.with_normalization(model, settings.normalization)
        found.append(f"a {settings.normalization} normalization follows {count}")
    if settings.offset != AS_IT_IS:
        count = plural(len(variants.hidden_activations(model)), "hidden layer")
        model = variants.with_offset(model, settings.offset)
        found.append(f"the mean of a normal input is taken from the activation of {count}")
    message = f"What if: {', and '.join(found)}. Weights are kept where they fit."
    return model, (Finding("what_if", "", "", message),)


@dataclass(frozen=True, eq=False)
class Opened:
    """What a job begins with.

    Attributes:
        file: None for a sample.
        model: that was in it, or what the settings change it into.
        settings: with a size in place of open ones.
        graph: of the model.
        linted: what it shows by itself.
        budgets: the limits.
        custom_objects: that the operator allows, by name.
        changed: what was changed of it.
    """

    file: ModelFile | None
    model: Any
    settings: Settings
    graph: ModelGraph
    linted: Linted
    budgets: Budgets
    custom_objects: dict[str, Any]
    changed: tuple[Finding, ...] = ()


def _budgets() -> Budgets:
    """The limits for a file; unless it is set, a part of the memory for one sample at most."""
    found = Budgets.from_environment()
    if variable("live_bytes") in os.environ:
        return found
    part = Limits.from_environment().memory_bytes // PARTS
    return dataclasses.replace(found, live_bytes=min(found.live_bytes, part))


def opened(spec: JobSpec, model: Any = None) -> Opened:
    """The model of a job, with sizes in place of open ones; raises as `run` does.

    Args:
        spec: of the job.
        model: in place of a file.
    """
    # Before anything runs there: memory growth is set while the device is still untouched.
    find_device(spec.settings.device)
    budgets = _budgets()
    custom = _custom_objects(spec.settings.custom_objects)
    is_file = model is None and not spec.is_sample
    file = _opened_file(spec, custom, budgets) if is_file else None
    if model is None:
        model = _sample(spec) if file is None else file.model
    changed: tuple[Finding, ...] = ()
    if spec.settings.is_variant:
        model, changed = _variant(model, spec.settings)
    settings = spec.settings.replace(input_size=_sufficient_size(model, spec.settings.input_size))
    graph = read_model(model, settings.input_size, training=settings.mode == "training")
    record = None if file is None else file.record
    linted = (
        lint_model(model, compiled=None if record is None else record.compile_settings)
        if record is None or changed
        else lint_model(model, record.config, record.keras, record.compile_settings)
    )
    return Opened(file, model, settings, graph, linted, budgets, custom, changed)


def _opened_file(spec: JobSpec, custom: dict[str, Any], budgets: Budgets) -> ModelFile:
    """The model of a file, or of several in one archive."""
    folder = Path(tempfile.mkdtemp())
    unpacked = contextlib.ExitStack()
    unpacked.callback(shutil.rmtree, folder, ignore_errors=True)
    with unpacked:
        parts = parts_of(Path(spec.model), spec.name, budgets, folder)
        file = open_model_file(
            parts.model,
            custom,
            parts.name,
            budgets,
            spec.settings.treat_as,
            parts.weights,
            spec.settings.trust,
            parts.code,
        )
        if any(folder.iterdir()):  # is read from later on
            weakref.finalize(file.record, unpacked.pop_all().close)
    if parts.model == Path(spec.model):
        return file
    return dataclasses.replace(file, sha256=sha256(spec.model))


def _plain(data: dict[str, Any]) -> str:
    return json.dumps(data, allow_nan=False)


def write(path: Path, text: str) -> None:
    """A file of the result, in UTF-8."""
    path.write_text(text, encoding="utf-8")


def replace(path: Path, text: str) -> None:
    """Whoever reads meanwhile gets the old file or the new one."""
    new = path.with_suffix(".new")
    write(new, text)
    new.replace(path)


def _sufficient_size(model: Any, size: int) -> int:
    """The size for unknown dimensions that all layers take: the given one, one stated, or doubles.

    Where no size will do it stays as it is, and reading the graph says what is wrong.
    """
    inputs = getattr(model, "inputs", None) or ()
    if not any(None in tuple(tensor.shape)[1:] for tensor in inputs):
        return size
    larger = (size << place for place in range(1, LARGEST_INPUT_SIZE.bit_length()))
    positions = [each for each in _positions(model) if each < size]
    sizes = itertools.chain(positions, (size,), _stated_sizes(model), larger)
    for each in itertools.takewhile(lambda each: each <= LARGEST_INPUT_SIZE, sizes):
        with contextlib.suppress(GraphError):
            read_model(model, each)
            return each
    return size


def _positions(model: Any) -> list[int]:
    """How many positions a model's embeddings of these have, more of which cannot be run."""
    return [
        int(weight.shape[0])
        for layer in layers_in(model)
        for weight in layer.weights
        if _POSITIONS.search(weight.path) and len(weight.shape) == 2
    ]


def _stated_sizes(model: Any) -> list[int]:
    """Sizes that a model's tensors have, or that lead to these: its inputs' own first.

    A layer that makes 24 entries of open axes with 4 channels, as Reshape does, says 6.
    """
    graph = inner_graph(model)
    found = [size for tensor in model.inputs for size in tensor.shape[1:]]
    for node in () if graph is None else nodes_in_order(graph):
        shapes = [tuple(tensor.shape)[1:] for tensor in (*node.input_tensors, *node.outputs)]
        known = [math.prod(size or 1 for size in shape) for shape in shapes]
        if len(shapes) == 2 and shapes[0].count(None) == 1 and None not in shapes[1]:
            found += [known[1] // known[0]] if known[0] and known[1] % known[0] == 0 else []
        found += [size for shape in shapes for size in shape]
    stated = dict.fromkeys(size for size in found if size and size <= LARGEST_INPUT_SIZE)
    return list(stated)[:_MOST_SIZES]


def _input_data(settings: Settings, graph: ModelGraph, budgets: Budgets) -> Data | None:
    if settings.input_data is None:
        return None
    return read_input_data(
        Path(settings.input_data), settings.data_name, input_shapes(graph), budgets
    )


def input_shapes(graph: ModelGraph) -> dict[str, tuple[int, ...]]:
    """Of a sample of each input, by its name."""
    return {
        call.path: tuple(size or 1 for size in call.outputs[0].shape[1:]) for call in graph.inputs
    }


def _sample(spec: JobSpec) -> Any:
    from sample_models import build
    from sample_models.arguments import WrongArgumentError

    try:
        return build(spec.model.partition(":")[2])
    except WrongArgumentError as error:
        raise ModelFileError("unknown_sample", str(error)) from error


def _custom_objects(chosen: str | None) -> dict[str, Any]:
    """The classes and functions of the operator's modules, by name: all of `__all__`, if there.

    Args:
        chosen: the command line's module; without it those count that `AUTOINIT_CUSTOM_OBJECTS`
            names, separated by commas.
    """
    modules = chosen or os.environ.get(CUSTOM_OBJECTS_VARIABLE, "")
    found: dict[str, Any] = {}
    for module in filter(None, map(str.strip, modules.split(","))):
        if os.getcwd() not in sys.path:  # Where the operator's own modules may lie.
            sys.path.append(os.getcwd())
        try:
            imported = importlib.import_module(module)
            names = getattr(imported, "__all__", None) or _own_names(imported)
            found |= {name: getattr(imported, name) for name in names}
        except Exception as error:  # The module is code, which may raise anything.
            raise WrongSettingError(
                f"The custom objects' module {module!r} cannot be imported: "
                f"{type(error).__name__}: {error}."
            ) from error
    return found


def _own_names(module: ModuleType) -> Iterator[str]:
    """What a module or its package defines: files may name nothing else that it imports."""
    package = module.__name__.partition(".")[0]
    for name, member in vars(module).items():
        usable = inspect.isclass(member) or inspect.isfunction(member)
        origin = str(getattr(member, "__module__", "")).partition(".")[0]
        if usable and origin == package and not name.startswith("_"):
            yield name
