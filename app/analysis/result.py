"""`result.json`: what an analysis found, as frozen models; the one place that reads and writes it.

Keys that are absent are those that nothing is known of, and stay absent; `null` stands for a figure
that is not finite. What came to the format later has a default, and what this version does not know
is passed over: older and newer files open. Nothing here imports Keras.
`python -m app.analysis.result` prints its JSON schema, `docs/result.schema.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from app.analysis.settings import AS_IT_IS

SCHEMA = 1
# The web process parses a result as a whole; those of 4,000 calls take 10 MB.
RESULT_LIMIT = 128 * 2**20
RESULT_VALUES = 10_000_000  # which may take 70 bytes each
MAKE_ANEW = "Make it anew with analyze MODEL --output FILE."
# How the prediction of a call was obtained.
SUPPORTS = {
    "exact": "in closed form or by quadrature",
    "sampled": "by Monte Carlo",
    "neutral": "it does not change the distribution",
    "approximate": "an assumption does not hold",
    "pass_through": "there is no rule: taken as unchanged",
}
_PARTS = ("model", "settings", "device", "series", "timings", "calls", "warnings")


class ResultError(ValueError):
    """A file holds no result that can be read: why, as the end of a sentence."""


def _as_text(value: object) -> object:
    """Names in files may hold lone surrogates, which no encoding has."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _or_empty(value: object) -> object:
    return "" if value is None else _as_text(value)


Text = Annotated[str, BeforeValidator(_as_text)]
MaybeText = Annotated[str, BeforeValidator(_or_empty)]
# What the program calls something itself: drawn into charts, headers and terminals as it is.
Label = Annotated[str, Field(pattern=r"^\w[\w .,+()-]{0,79}$")]
Figure = FiniteFloat | None
Exponent = Annotated[int, Field(ge=-1200, le=1200)]  # of two
Shape = tuple[int | tuple[int | None, ...] | None, ...]


class Part(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Moments(Part):
    """Mean and variance of a call's output over draws: the geometric mean for variances."""

    mean: Figure = None
    variance: Figure = None
    variance_draws: tuple[Figure, ...] | None = None


class Prediction(Moments):
    """What the rules predict for a call."""

    spread: Figure = None
    correlation_slope: Figure = None
    sample_correlation: Figure = None
    position_correlation: Figure = None


class VarianceSpread(Part):
    """What the variances of several draws come to; `low` and `high` are percentiles, 10 and 90."""

    median: Figure = None
    low: Figure = None
    high: Figure = None
    mean: Figure = None
    standard_error: Figure = None


class Measurement(Moments):
    """What was measured at a call.

    `standard_error` is that of the variance for other inputs, relative to it.
    """

    minimum: Figure = None
    maximum: Figure = None
    zero_fraction: Figure = None
    finite_fraction: Figure = None
    sample_correlation: Figure = None
    position_correlation: Figure = None
    kurtosis: Figure = None
    dead_fraction: Figure = None
    saturated_fraction: Figure = None
    channel_variances: tuple[Figure, ...] | None = None
    variance_spread: VarianceSpread | None = None
    standard_error: Figure = None

    @property
    def largest(self) -> float | None:
        """The largest absolute value."""
        ends = [abs(end) for end in (self.minimum, self.maximum) if end is not None]
        return max(ends, default=None)


class GradientMoments(Moments):
    """What flows back to a call's output; `square_norm` is that of one sample's, on average."""

    minimum: Figure = None
    maximum: Figure = None
    zero_fraction: Figure = None
    finite_fraction: Figure = None
    square_norm: Figure = None


class CallFigures(Part):
    """The figures of one call with one series' weights.

    `update_ratio` is the root mean square of the gradient of its kernel, of one sample, beside that
    of the kernel, with the first draw's weights.
    """

    predicted: Prediction | None = None
    measured: Measurement | None = None
    gradient: GradientMoments | None = None
    update_ratio: Figure = None
    outside_band: bool | None = None
    predicted_by: dict[Label, Prediction] = {}


class Initializer(Part):
    """One of `keras.initializers`: its class, and the arguments that are not as usual."""

    class_name: str
    arguments: dict[str, FiniteFloat] = {}


class Kernel(Part):
    """A kernel that AutoInit sets, with its deviation in each series.

    `argument` is the layer's that takes the initializer, such as `kernel_initializer`.
    """

    variable: Text
    argument: str = ""
    initializer: Initializer | None = None
    shape: Shape
    fan_in: int
    effective_fan_in: Figure
    planned: Figure = None
    deviation: dict[str, Figure] = {}


_NOTHING = CallFigures()
_Part = TypeVar("_Part", bound=Part)


class Call(Part):
    """A call of the network. In the file each series' figures stand beside the other keys."""

    index: int
    path: Text
    layer: Text = ""
    class_name: Text = Field(validation_alias="class", serialization_alias="class")
    weighted: bool
    # Whether the variance aimed at is that of the output; False behind a soft cap, say.
    at_target: bool = True
    output_shape: Shape | None = None
    support: Label
    tainted: bool
    opaque: Text | None = None
    frozen: bool = False
    inputs: tuple[int, ...]
    kernels: tuple[Kernel, ...] = ()
    # Of its layer, told once where that is used again; and the class of the file's own initializer.
    parameters: int | None = None
    initializer: Text | None = None
    standard_error: Figure = None
    series: dict[str, CallFigures] = {}

    def of(self, series: str) -> CallFigures:
        """The figures with a series' weights; empty where there are none."""
        return self.series.get(series, _NOTHING)

    def measured(self, series: str) -> Measurement | None:
        """What was measured; None where nothing was."""
        return self.of(series).measured

    def predicted(self, series: str) -> Prediction | None:
        """What the rules predict; None where the series does not exist."""
        return self.of(series).predicted

    def gradient(self, series: str) -> GradientMoments | None:
        """What was measured of the gradient of the output; None where none was."""
        return self.of(series).gradient

    @property
    def is_measured(self) -> bool:
        """Whether there are measured figures in any series."""
        return any(figures.measured for figures in self.series.values())

    @property
    def has_rule(self) -> bool:
        """Whether it has one; of what is not run nobody knows."""
        return self.support != "pass_through" or bool(self.opaque)

    @model_validator(mode="before")
    @classmethod
    def _gather_series(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "series" in data:
            return data
        series = {
            key: value
            for key, value in data.items()
            if isinstance(value, dict) and not value.keys().isdisjoint(CallFigures.model_fields)
        }
        return data | {"series": series}

    @model_serializer(mode="wrap")
    def _spread_series(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        series: dict[str, Any] = data.pop("series", {})
        return data | series

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        found = handler.resolve_ref_schema(schema)
        found["additionalProperties"] = found["properties"].pop("series")["additionalProperties"]
        return schema


class UsedSettings(BaseModel):
    """The settings of the analysis; those that nothing here asks for are kept as they are.

    `samples` is how many were taken, the fewest of all series; `samples_asked` what was asked for,
    and `batch_size` how many went through together.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    samples: int = 128
    samples_asked: int | Literal["auto"] | None = None
    batch_size: int | None = None
    seed: int = 0
    seeds: int = 1
    signal_variance: FiniteFloat = Field(1.0, ge=0)
    distribution: str = "truncated_normal"
    scheme: str = "autoinit"
    constrain_weights: bool = False
    activation: str = AS_IT_IS
    normalization: str = AS_IT_IS
    offset: str = AS_IT_IS

    @property
    def by_name(self) -> dict[str, Any]:
        """As they stand in the file."""
        return self.model_dump(exclude_unset=True)


class InputFacts(Part):
    """An input of the model, and what it was taken to be: `taken` says where that comes from."""

    name: Text
    shape: Shape | None = None
    dtype: str = ""
    mean: Figure = None
    variance: Figure = None
    taken: str = ""


class ModelFacts(Part):
    """Which model it was."""

    name: Text
    format: Label
    keras_version: Text | None = None
    keras: int | None = None
    sha256: str = ""
    compiled: bool = False
    layers: int
    calls: int
    parameters: int
    inputs: tuple[InputFacts, ...] = ()


class DeviceFacts(Part):
    """Where the measurements ran."""

    kind: Label
    name: MaybeText = ""
    index: int = 0


class Phase(Part):
    """What a series' layers do to similar inputs."""

    slope: FiniteFloat
    phase: Literal["ordered", "critical", "chaotic"]
    calls: int = 0


class VariableGradient(GradientMoments):
    """The gradient with respect to a variable."""

    variable: Text
    entries: int | None = None


class Gradients(Part):
    """The gradients of a series' trainable variables."""

    batch_size: int | None = None
    checkpointed: bool = False
    variables: tuple[VariableGradient, ...] = ()


class Density(Part):
    """A histogram over the logarithm of the singular value, to the base of 10."""

    edges: tuple[Annotated[FiniteFloat, Field(ge=-400, le=308)], ...]
    shares: tuple[FiniteFloat, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _require_a_share_between_edges(self) -> Self:
        if len(self.edges) != len(self.shares) + 1:
            raise ValueError("a histogram has one more edge than shares")
        return self


class JacobianFacts(Part):
    """The singular values of a series' input–output Jacobian, at all inputs together."""

    obtained: Label
    inputs: int
    shape: Shape
    sources: tuple[Text, ...] = ()
    targets: tuple[Text, ...] = ()
    largest: Figure
    smallest: Figure
    mean_square: Figure
    standard_error: Figure = None
    condition_number: Figure
    rank_deficiency: int | None = None
    density: Density | None = None
    note: Text = ""


class FisherFacts(Part):
    """Largest eigenvalue and trace of the Fisher information of a series' trainable parameters.

    `standard_error` is that of the trace; `likelihoods` are what each output is taken to tell.
    """

    largest: Figure
    trace: Figure
    standard_error: Figure = None
    parameters: int
    samples: int
    likelihoods: tuple[Label, ...] = ()


class TensorsInFormat(Part):
    """What a format does to tensors of one kind.

    `overflow` and `underflow` are the largest shares of a tensor's entries that are beyond the
    format's largest number, and that become 0; `overflow_at` is the first such tensor, and
    `underflow_at` the first that loses 1 %. `error` is the median of ‖rounded − exact‖/‖exact‖.
    `scales` are the exponents, smallest and largest, of the powers of two that would fit each
    tensor into the format; `underflow_if_scaled` is what is lost then.
    """

    overflow: Figure = None
    overflow_at: Text = ""
    underflow: Figure = None
    underflow_at: Text = ""
    subnormal: Figure = None
    error: Figure = None
    scales: tuple[Exponent, Exponent] | None = None
    underflow_if_scaled: Figure = None


class FormatFacts(Part):
    """What a number format would do with a series' weights.

    `gradients` are those of signals and of variables, of a mean loss over `samples`;
    `scaled_gradients` the same with the loss multiplied by two to the power of `loss_scale`.
    """

    weights: TensorsInFormat
    signals: TensorsInFormat
    gradients: TensorsInFormat
    loss_scale: Exponent = 0
    scaled_gradients: TensorsInFormat
    samples: int


class RuleFacts(Part):
    """The rule of a class of layers; `says` is what it says that the layer does."""

    rule: Label
    says: Text = ""


class Finding(Part):
    """What a person should know: `autoinit.findings.Finding`, as it stands in the file.

    `others` are the further calls that one sentence is about, where many show the same.
    """

    code: Label
    path: MaybeText = ""
    class_name: MaybeText = Field("", validation_alias="class", serialization_alias="class")
    message: Text
    series: Label | None = None
    severity: Literal["fatal", "serious", "note"] | None = None
    remedy: Label | None = None
    advice: Text | None = None
    others: tuple[Text, ...] = ()


class VerdictFacts(Part):
    """What is concluded of the model with one series' weights.

    `causes` are codes of findings, the first one first; `trained` weights get a checkup; `foreseen`
    is what the rules alone say, while a job runs.
    """

    verdict: Literal["trains", "will struggle", "cannot train", "cannot tell"]
    reason: Text
    causes: tuple[Label, ...] = ()
    remedy: Label = "none_needed"
    advice: Text = ""
    trained: bool = False
    foreseen: bool = False


class DownloadFacts(Part):
    """A file of the re-initialised model that lies beside the result."""

    file: Text
    label: Label
    note: MaybeText = ""


class Preview(Part):
    """What a job under way knows: enough for a chart of its calls.

    `verdicts` are those on the series that are so far, `foreseen` before they are measured.
    """

    settings: UsedSettings
    series: tuple[Label, ...] = Field(min_length=1)
    calls: tuple[Call, ...]
    verdicts: dict[Label, VerdictFacts] = {}

    @model_validator(mode="after")
    def _require_an_order(self) -> Self:
        if any(source >= call.index or source < 0 for call in self.calls for source in call.inputs):
            raise ValueError("a call reads what comes after it")
        if any(call.index != place for place, call in enumerate(self.calls)):
            raise ValueError("calls are not in order")
        return self

    @property
    def target(self) -> float:
        """The variance that AutoInit aims at."""
        return self.settings.signal_variance or 1.0

    @property
    def weighted_calls(self) -> tuple[Call, ...]:
        """The calls whose kernels AutoInit sets."""
        return tuple(call for call in self.calls if call.weighted)

    @property
    def opaque_calls(self) -> tuple[Call, ...]:
        """The calls that were not run."""
        return tuple(call for call in self.calls if call.opaque)

    @property
    def other_model(self) -> str | None:
        """The signal model that was not chosen, where it made predictions too."""
        names = (
            name
            for call in self.calls
            for part in call.series.values()
            for name in part.predicted_by
        )
        return next(names, None)

    @property
    def chosen_series(self) -> str:
        """The series that is judged: AutoInit's, or the first."""
        return "autoinit" if "autoinit" in self.series else self.series[0]

    def with_calls(self, calls: tuple[Call, ...]) -> Self:
        """The same with these calls instead."""
        return self.model_copy(update={"calls": calls})


class Result(Preview):
    """The contents of a `result.json`."""

    schema_version: int = Field(SCHEMA, validation_alias="schema", serialization_alias="schema")
    model: ModelFacts
    device: DeviceFacts
    timings: dict[str, FiniteFloat]
    samples: dict[Label, int] = {}
    phases: dict[Label, Phase] = {}
    gradients: dict[Label, Gradients] = {}
    jacobian: dict[Label, JacobianFacts] = {}
    fisher: dict[Label, FisherFacts] = {}
    formats: dict[Label, dict[Label, FormatFacts]] = {}
    rules: dict[str, RuleFacts] = {}
    findings: tuple[Finding, ...] = Field(
        validation_alias="warnings", serialization_alias="warnings"
    )
    downloads: tuple[DownloadFacts, ...] | None = None
    # What parts that are not run may be treated as, to judge by their names: NAME=KERAS_NAME.
    offers: tuple[Text, ...] = ()

    def __repr__(self) -> str:
        """In a line: all figures of a network would fill a notebook."""
        words = ", ".join(f"{series} {each.verdict}" for series, each in self.verdicts.items())
        return f"<Result of {self.model.name!r}: {words}>"

    __str__ = __repr__

    @property
    def samples_taken(self) -> str:
        """How many samples were taken: 128, or 8 to 32 where series took different numbers."""
        numbers = self.samples.values() or [self.settings.samples]
        return " to ".join(map(str, sorted({min(numbers), max(numbers)})))

    @property
    def unmeasured_calls(self) -> tuple[Call, ...]:
        """The calls of which no series has measured figures: they could not be run."""
        return tuple(call for call in self.calls if not call.is_measured)

    @property
    def coverage(self) -> dict[str, int]:
        """How many calls there are of each support, those that occur only."""
        counts = Counter(call.support for call in self.calls)
        return {support: counts[support] for support in SUPPORTS if counts[support]}

    @property
    def tainted(self) -> int:
        """How many calls come after one without a rule."""
        return sum(call.tainted for call in self.calls)

    @property
    def own_series(self) -> str:
        """The weights that the file itself comes to: those in it, or its initializers'."""
        return "uploaded" if "uploaded" in self.series else "default"

    def outside(
        self, low: float, high: float, series: str = "autoinit"
    ) -> list[tuple[str, Measurement | None]]:
        """Path and figures of the weighted calls whose variance is not within the band.

        What was measured counts. A variance that is not finite, or that was not measured (None in
        place of the figures), is not within any band: a prediction alone vouches for nothing. Calls
        with frozen weights are left out, as AutoInit does not set them, and those whose kernel
        gives the variance to something inside the call.

        Args:
            low, high: the band.
            series: whose figures count.
        """
        found = [
            (call.path, call.measured(series))
            for call in self.weighted_calls
            if call.at_target and not call.frozen
        ]
        return [
            (path, figures)
            for path, figures in found
            if figures is None or figures.variance is None or not low <= figures.variance <= high
        ]


def json_text(part: Part) -> str:
    """As it stands in a file: what was never set is left out."""
    return part.model_dump_json(by_alias=True, exclude_unset=True)


def read_result(source: Path | bytes) -> Result:
    """What a worker has written, or `analyze --output`: a file, or what is in it.

    Raises:
        ResultError: it holds something else.
        OSError: it cannot be read.
    """
    data = _read(source)
    if not isinstance(data, dict) or "schema" not in data:
        raise ResultError(f"is JSON, but no result of an analysis. {MAKE_ANEW}")
    if data["schema"] != SCHEMA or isinstance(data["schema"], bool):
        raise ResultError(
            f"is of schema {data['schema']!r}, and this version reads schema {SCHEMA}. {MAKE_ANEW}"
        )
    if data.get("kind") == "inspection":
        raise ResultError("is what inspect says of a file; a result is what analyze writes.")
    for part in _PARTS:
        if not isinstance(data.get(part), list | dict):
            raise ResultError(f"is no whole result: its {part!r} is missing. {MAKE_ANEW}")
    return _validated(Result, data)


def read_preview(source: Path | bytes) -> Preview:
    """What a job under way has written so far; raises as `read_result` does."""
    return read_part(source, Preview)


def read_part(source: Path | bytes, kind: type[_Part]) -> _Part:
    """A file that holds a part as a whole; raises as `read_result` does."""
    return _validated(kind, _read(source))


def json_schema() -> str:
    """The JSON schema of `result.json`, as `docs/result.schema.json` has it."""
    return json.dumps(Result.model_json_schema(), indent=2) + "\n"


def _read(source: Path | bytes) -> Any:
    if isinstance(source, bytes):
        content = source
    else:
        with source.open("rb") as file:
            content = file.read(RESULT_LIMIT + 1)
    if len(content) > RESULT_LIMIT:
        raise ResultError(f"is larger than {RESULT_LIMIT:,} bytes, which no result is.")
    if sum(map(content.count, (b",", b"[", b"{"))) > RESULT_VALUES:
        raise ResultError(f"has more than {RESULT_VALUES:,} values, which no result has.")
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or "it nests too deeply or holds no plain numbers"
        raise ResultError(f"is no valid JSON ({reason}): is it cut short? {MAKE_ANEW}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _validated(kind: type[_Part], data: Any) -> _Part:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ResultError(f"is no whole result ({place}: {first['msg']}). {MAKE_ANEW}") from error


if __name__ == "__main__":
    print(json_schema(), end="")
