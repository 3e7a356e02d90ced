"""The settings of an analysis, one table: `Settings`.

An entry says name, type, bounds, default, label, help and group; all else follows from that, as
`app.analysis.options` has it. `docs/settings.schema.json` is what `python -m app.analysis.settings`
prints.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from app.analysis.options import Option, OptionsTable, schema

LARGEST_INPUT_SIZE = 65_536
LARGEST_SAMPLES = 65_536
MOMENTS_BYTES = 16_384  # as JSON; a job crosses to the worker on one line
# Bounds that single precision can hold, squares included.
LARGEST_MEAN = 1e15
SMALLEST_VARIANCE, LARGEST_VARIANCE = 1e-30, 1e30

FILES, INPUT, INITIALIZATION, MEASUREMENT = "Files", "Input", "Initialisation", "Measurement"
WHAT_IF = "What if"
AS_IT_IS = "as_it_is"
UNSUPPORTED_WORDS = {
    "sample": "Estimate by sampling",
    "pass_through": "Pass through (the paper)",
    "error": "Refuse the model",
}
CODES = "codes of findings, such as gradient_vanishes"
# The schemes of `autoinit.initializers.schemes`, which imports Keras; a test compares them.
SchemeName = Literal[
    "own", "glorot", "he", "lecun", "orthogonal", "delta_orthogonal", "autoinit",
    "autoinit_orthogonal", "backward", "calibrated", "centred", "zero_residual",
]  # fmt: skip
SCHEME_WORDS = {
    "own": "Its own, drawn anew",
    "glorot": "Glorot",
    "he": "He",
    "lecun": "LeCun",
    "orthogonal": "Orthogonal",
    "delta_orthogonal": "Delta-orthogonal",
    "autoinit": "AutoInit",
    "autoinit_orthogonal": "AutoInit, orthogonal",
    "backward": "Backward",
    "calibrated": "Calibrated",
    "centred": "Centred",
    "zero_residual": "Zero residual",
}
# Those of `autoinit.variants`, likewise.
Activation = Literal[
    "as_it_is", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "softsign",
    "softplus", "sigmoid",
]  # fmt: skip
NORMALIZATION_WORDS = {"batch": "Batch normalization", "layer": "Layer normalization"}
OFFSET_WORDS = {"gaussian_mean": "Minus its mean (AutoInit++)"}
# Those of `probes.formats`, likewise.
FORMAT_WORDS = {
    "float16": "Half (float16)",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "8 bits, e4m3",
    "float8_e5m2": "8 bits, e5m2",
}
FORMATS = f"names of formats: {', '.join(FORMAT_WORDS)}"
A_MODULE = "the dotted name of a module, such as package.layers"
PAIRS = "NAME=KERAS_NAME, such as FixedDropout=Dropout, several with commas"
PAIR_LIMIT = 500
SCHEMES = f"names of initialisations: {', '.join(get_args(SchemeName))}"
MOMENTS = (
    "by an input's name its mean and variance, two numbers as input_mean and input_variance take "
    "them"
)


def _require_moments(pair: list[float]) -> list[float]:
    if len(pair) != 2 or not are_moments(*pair):
        raise ValueError(MOMENTS)
    return pair


def are_moments(mean: float, variance: float) -> bool:
    """Whether an input may be given these."""
    return abs(mean) <= LARGEST_MEAN and SMALLEST_VARIANCE <= variance <= LARGEST_VARIANCE


def _require_few(moments: dict[str, list[float]] | None) -> dict[str, list[float]] | None:
    if len(json.dumps(moments)) > MOMENTS_BYTES:
        raise ValueError("of fewer inputs")
    return moments or None


def _require_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not all(code.isidentifier() for code in codes):
        raise ValueError(CODES)
    return codes


def _require_schemes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that stand for something that is not shown anyway."""
    if not set(names) <= {"default", "uploaded", *get_args(SchemeName)}:
        raise ValueError(SCHEMES)
    shown = ("default", "uploaded", "autoinit")
    return tuple(dict.fromkeys(name for name in names if name not in shown))


def _require_formats(names: tuple[str, ...]) -> tuple[str, ...]:
    if not set(names) <= set(FORMAT_WORDS):
        raise ValueError(FORMATS)
    return tuple(dict.fromkeys(names))


def _require_pairs(pairs: tuple[str, ...]) -> tuple[str, ...]:
    pairs = tuple(each.strip() for each in pairs if each.strip())
    if any(len(each) > PAIR_LIMIT or not all(each.rpartition("=")[::2]) for each in pairs):
        raise ValueError(PAIRS)
    return tuple(dict.fromkeys(pairs))


def _require_module(name: str | None) -> str | None:
    if name is not None and not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(A_MODULE)
    return name


Pair = Annotated[list[float], Field(strict=False), AfterValidator(_require_moments)]


class Settings(OptionsTable):
    """The settings of an analysis; the defaults are the command line's.

    Raises:
        ValueError: names the setting, the values that it takes and the one received.
    """

    def __init__(self, **given: Any) -> None:  # by name only, for those who check types
        super().__init__(**given)

    samples: Annotated[
        Annotated[int, Field(ge=1, le=LARGEST_SAMPLES)] | Literal["auto"],
        Option(INPUT, "Samples", words={"auto": "Automatic"}, usual=(8, 16, 32, 64, 128, 256)),
    ] = "auto"
    """How many inputs are fed through the network. More are slower and steadier; auto takes 8, or
    more where they take no longer, and twice as many until every variance is known to 2 %, 128 have
    been taken or the time is over."""

    batch: Annotated[int | None, Option(INPUT, "Samples together")] = Field(
        None, ge=1, le=LARGEST_SAMPLES
    )
    """How many inputs go through together, which is what batch normalisation sees: such as the
    batch one trains with. Without it, 8 where samples are auto, and all where they are a number."""

    budget: Annotated[float, Option(INPUT, "Seconds for automatic samples")] = Field(
        3.0, ge=0.0, le=86_400.0
    )
    """How long auto may go on for each series of weights and each draw; where some variances are
    known already, for the share of the others. A machine that is slower takes fewer samples; 0
    takes the first ones."""

    input_mean: Annotated[float | None, Option(INPUT, "Input mean", per_input=True)] = Field(
        None, ge=-LARGEST_MEAN, le=LARGEST_MEAN
    )
    """The mean of the data that the network is fed. Without mean and variance, what the first
    layers say they take: bytes for Rescaling(1/255), a Normalization's statistics; else mean 0 and
    variance 1."""

    input_variance: Annotated[
        float | None, Option(INPUT, "Input variance", flag="--input-var", per_input=True)
    ] = Field(None, ge=SMALLEST_VARIANCE, le=LARGEST_VARIANCE)
    """The variance of that data; its standard deviation, squared."""

    input_moments: Annotated[
        dict[str, Pair] | None,
        AfterValidator(_require_few),
        Option(INPUT, "Mean and variance per input", flag=None, expected=MOMENTS),
    ] = None
    """For inputs that have a mean and a variance of their own, such as left: 0, 1; right: 0.5,
    0.25. The others have what is said above."""

    input_data: Annotated[
        str | None, Option(INPUT, "Samples of the inputs", in_form=False, metavar="FILE")
    ] = None
    """Real data, of which samples are fed in place of noise, and which tell mean and variance: a
    .npy array with one sample per row, a .npz with an array for each input, named like it (x, where
    there is one), or a .csv with a sample per line. Calibrating goes by them, too."""

    input_data_name: Annotated[
        str | None, Option(INPUT, "Name of the data", in_form=False, flag=None)
    ] = None
    """What to call the file of data."""

    input_source: Annotated[
        Literal["data", "noise"],
        Option(
            INPUT,
            "Feed",
            in_form=False,
            flag="--input-noise",
            flag_value="noise",
            words={"data": "The data", "noise": "Noise like it"},
        ),
    ] = "data"
    """With real data, mean and variance of every input are the data's. What is fed through the
    network are samples of the data, or Gaussian noise of the same mean and variance."""

    input_size: Annotated[
        int, Option(INPUT, "Size for unknown dimensions", library="unknown_size")
    ] = Field(32, ge=1, le=LARGEST_INPUT_SIZE)
    """Stands in for None in the input shape, such as an image's height or a sequence's length."""

    scheme: Annotated[
        SchemeName, Option(INITIALIZATION, "Initialisation", words=SCHEME_WORDS, library="scheme")
    ] = "autoinit"
    """How the kernels of the model that is taken home are drawn. AutoInit is shown beside it."""

    schemes: Annotated[
        tuple[str, ...],
        Field(strict=False),
        AfterValidator(_require_schemes),
        Option(
            INITIALIZATION,
            "Compared with",
            metavar="NAMES",
            words=SCHEME_WORDS,
            members=tuple(name for name in get_args(SchemeName) if name != "autoinit"),
            expected=SCHEMES,
        ),
    ] = ()
    """Further initialisations that are measured beside these, such as he,calibrated."""

    signal_model: Annotated[
        Literal["correlated", "independent"],
        Option(INITIALIZATION, "Signal model", library="signal_model"),
    ] = "correlated"
    """What predictions carry through the network: distributions and correlations, or the mean and
    variance of the paper. AutoInit scales weights by what is predicted."""

    unsupported: Annotated[
        Literal["sample", "pass_through", "error"],
        Option(
            INITIALIZATION,
            "Layers without a rule",
            words=UNSUPPORTED_WORDS,
            library="unsupported",
            library_default="pass_through",
        ),
    ] = "sample"
    """Layers are predicted by a rule each, or opened into parts that have one. Where neither can be
    done, its output is estimated by running the layer itself on random input (slower), or its
    signal is taken to pass through unchanged, the paper's fallback, or the model is refused."""

    distribution: Annotated[
        Literal["truncated_normal", "untruncated_normal", "uniform", "orthogonal"],
        Option(INITIALIZATION, "Distribution", library="distribution"),
    ] = "truncated_normal"
    """What AutoInit draws the weights from. The variance is the same for each."""

    signal_variance: Annotated[float, Option(INITIALIZATION, "Signal variance")] = Field(
        1.0, ge=SMALLEST_VARIANCE, le=LARGEST_VARIANCE
    )
    """The variance that AutoInit gives the output of every layer with a kernel."""

    constrain_weights: Annotated[
        bool,
        Option(INITIALIZATION, "Constrain weights during training", library="constrain_weights"),
    ] = False
    """Keeps every kernel centred and at its scale while the network trains. A model saved so opens
    only after `import autoinit`."""

    keep_frozen: Annotated[
        bool, Option(INITIALIZATION, "Keep frozen layers' weights", library="keep_frozen")
    ] = False
    """Layers with trainable=False keep the weights that came with the file, and the others are
    drawn to go with them: for a pretrained body under a new head."""

    zero_kernels: Annotated[
        Literal["keep", "replace"],
        Option(
            INITIALIZATION,
            "Kernels of zeros",
            words={"keep": "Keep those on purpose", "replace": "Draw them, too"},
            library="zero_kernels",
        ),
    ] = "keep"
    """A kernel of zeros that gradients reach is there on purpose, as the last of a residual branch,
    of a low-rank adapter or of the network: AutoInit keeps it, or draws it like the others. One
    that no gradient reaches is always drawn."""

    # For the operator, never from a page: it names code that is run.
    custom_objects: Annotated[
        str | None,
        AfterValidator(_require_module),
        Option(FILES, "Custom objects", in_form=False, metavar="PACKAGE.MODULE", expected=A_MODULE),
    ] = None
    """A module that is imported first, for the layer classes that it registers."""

    treat_as: Annotated[
        tuple[str, ...],
        Field(strict=False),
        AfterValidator(_require_pairs),
        Option(INITIALIZATION, "Treat unknown parts as", metavar="NAME=KERAS_NAME", expected=PAIRS),
    ] = ()
    """Keras's own part for one that the file only names, such as pkg>hard_swish=hard_swish or
    FixedDropout=Dropout; by the name of a layer, too: z=GaussianSampling for a VAE's draw."""

    # As for custom objects; a page has it only where its server was started so.
    trust: Annotated[bool, Option(FILES, "Run its own code", in_form=False)] = False
    """Run the code that came with the model: the Lambdas in it, and layers and functions that it
    names in files of Python beside it. It runs in the same confined process as everything else."""

    activation: Annotated[Activation, Option(WHAT_IF, "Activation", flag=None)] = "as_it_is"
    """Another activation in the hidden layers, and in the model that is taken home. Outputs, gates,
    recurrent layers and attention keep theirs."""

    normalization: Annotated[
        Literal["as_it_is", "batch", "layer"],
        Option(WHAT_IF, "After each kernel", flag=None, words=NORMALIZATION_WORDS),
    ] = "as_it_is"
    """A normalization between each kernel and its activation, but for the last kernel and for those
    that have one already."""

    offset: Annotated[
        Literal["as_it_is", "gaussian_mean"],
        Option(WHAT_IF, "After each activation", flag=None, words=OFFSET_WORDS),
    ] = "as_it_is"
    """An offset behind each hidden activation, which takes away its mean for a normal input: what
    AutoInit++ adds to AutoInit. Inputs then stay apart for more layers."""

    mode: Annotated[Literal["training", "inference"], Option(MEASUREMENT, "Mode")] = "training"
    """In training, dropout drops and batch normalisation uses the batch; in inference, neither."""

    seeds: Annotated[int, Option(MEASUREMENT, "Draws")] = Field(1, ge=1, le=100)
    """How many times weights and inputs are drawn; the figures are means over draws."""

    seed: Annotated[int, Option(MEASUREMENT, "Seed")] = Field(0, ge=0, le=2**32 - 1)
    """Of weights and inputs. The same seed gives the same figures."""

    gradients: Annotated[bool, Option(MEASUREMENT, "Gradients")] = False
    """Also measures what flows back to every call and every kernel. A pass back takes several times
    as long as a pass forward."""

    jacobian: Annotated[int, Option(MEASUREMENT, "Inputs for the Jacobian")] = Field(0, ge=0, le=16)
    """At how many random inputs to take the singular values of the input-output Jacobian; 0 leaves
    them out."""

    fisher: Annotated[int, Option(MEASUREMENT, "Samples for the Fisher information")] = Field(
        0, ge=0, le=256
    )
    """Of how many samples to take the largest eigenvalue and the trace of the parameters' Fisher
    information; 0 leaves them out. That takes some fifty passes there and back."""

    formats: Annotated[
        tuple[str, ...],
        Field(strict=False),
        AfterValidator(_require_formats),
        Option(
            MEASUREMENT,
            "Number formats",
            metavar="NAMES",
            words=FORMAT_WORDS,
            members=tuple(FORMAT_WORDS),
            expected=FORMATS,
        ),
    ] = ()
    """What narrower number formats would do to weights, signals and gradients, such as
    float16,bfloat16. Each takes a pass there and back, or two, of 32 samples."""

    device: Annotated[
        Literal["auto", "cpu", "gpu"],
        Option(MEASUREMENT, "Device", words={"auto": "auto", "cpu": "CPU", "gpu": "GPU"}),
    ] = "auto"
    """Where to measure; auto takes a GPU where there is one."""

    disable: Annotated[
        tuple[str, ...],
        Field(strict=False),
        AfterValidator(_require_codes),
        Option(MEASUREMENT, "Findings left out", in_form=False, metavar="CODE", expected=CODES),
    ] = ()
    """A finding that is neither told nor part of the verdict, by its code in docs/findings.md."""

    @property
    def data_name(self) -> str:
        """What to call the file of data: as its owner does, or else as it is called on disk."""
        return self.input_data_name or Path(self.input_data or "").name

    @property
    def takes_expected_input(self) -> bool:
        """Whether the first layers say what the inputs are, since nobody else does."""
        return self.input_mean is None and self.input_variance is None

    @property
    def is_variant(self) -> bool:
        """Whether the model is changed before it is looked at."""
        return {self.activation, self.normalization, self.offset} != {AS_IT_IS}


if __name__ == "__main__":
    print(schema(Settings))
