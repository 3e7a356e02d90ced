"""What becomes of a signal, and the verdicts on it, in words; and what series are called."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from app.analysis.diagnosis.verdict import Word
from app.analysis.result import Call, Moments, Preview, Result, UsedSettings
from app.analysis.settings import AS_IT_IS, Settings
from app.text.formatting import number, plural

MODEL_NAMES = {"independent": "the paper's model", "correlated": "the correlated model"}
SERIES_NAMES = {
    "default": "Default", "autoinit": "AutoInit", "uploaded": "Uploaded", "own": "Own, redrawn",
    "he": "He", "lecun": "LeCun", "autoinit_orthogonal": "AutoInit, orthogonal",
    "as_it_is_autoinit": "As it is, AutoInit",
}  # fmt: skip

# A signal that changes by more on its way explodes or vanishes: the factor that the paper's
# figure 3 takes as the limit of what is stable.
STABLE_FACTOR = 100.0
_LEAST_CHANGE = 10.0  # a signal that was large or small from the start does neither
_LARGEST_EXPONENT = 700.0  # of a float


def series_name(series: str) -> str:
    """What the page calls a series."""
    return SERIES_NAMES.get(series, series.replace("_", " ").capitalize())


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a figure, and a finite one."""
    return value is not None and math.isfinite(value)


def model_name(model: str) -> str:
    """What the page calls a signal model."""
    return MODEL_NAMES.get(model, f"the {model} model")


def out_of_range(moments: Moments | None) -> str | None:
    """Why a variance cannot be drawn on a log axis: "overflow", "underflow", or None if it can."""
    if moments is None:
        return None
    if not is_number(moments.variance):
        return "overflow"
    return "underflow" if moments.variance <= 0 else None


def describe_variance(figures: Moments | None) -> str:
    """Three digits, or why there are none."""
    if figures is None:
        return "not measured"
    return "not finite" if figures.variance is None else number(figures.variance)


@dataclass(frozen=True)
class Stretch:
    """A stretch of calls.

    Attributes:
        start, end: the calls.
        steps: weighted calls from one to the other.
        first, last: the figure there.
    """

    start: Call
    end: Call
    steps: int
    first: float
    last: float

    @property
    def factor(self) -> float:
        """By which the figure grows, or falls: at least 1."""
        return math.exp(min(abs(math.log(self.last) - math.log(self.first)), _LARGEST_EXPONENT))

    @property
    def rate(self) -> float:
        """The same for each step."""
        return float(self.factor ** (1 / max(self.steps, 1)))


def largest_change(figures: Sequence[tuple[Call, float]], sign: int) -> Stretch | None:
    """The stretch over which positive figures grow most (sign 1), or fall most (sign -1)."""
    best, found, lowest = 0.0, None, 0
    heights = [sign * math.log(figure) for _, figure in figures]
    for place, height in enumerate(heights):
        if height < heights[lowest]:
            lowest = place
        if height - heights[lowest] > best:
            best, found = height - heights[lowest], (lowest, place)
    if found is None:
        return None
    (first, low), (last, high) = figures[found[0]], figures[found[1]]
    return Stretch(first, last, found[1] - found[0], low, high)


def signal_stretch(
    variances: Sequence[tuple[Call, float]], target: float, sign: int
) -> Stretch | None:
    """Where the signal explodes (1) or vanishes (-1), if it does, in the order of execution.

    Args:
        variances: above 0, of weighted calls. What underflows to 0 has no logarithm: the last
            figure above it is the end of the stretch.
        target: the variance that AutoInit aims at.
        sign: which of the two.
    """
    figures = [figure for _, figure in variances]
    beyond = (
        max(figures, default=target) > target * STABLE_FACTOR
        if sign > 0
        else min(figures, default=target) < target / STABLE_FACTOR
    )
    found = largest_change(variances, sign) if beyond else None
    return found if found is not None and found.factor >= _LEAST_CHANGE else None


@dataclass(frozen=True)
class SeriesSummary:
    """The measured variance of the weighted calls of one series, and of the network's last call.

    The verdict is one of stable, explodes, vanishes, overflows, underflows and not measured, or
    two of them: "vanishes, explodes". Where some of the weighted calls were not measured, the
    others are at best "stable so far".
    """

    series: str
    verdict: str
    smallest: float | None
    largest: float | None
    final: float | None  # None as well where the last call was not measured
    weighted: int  # calls
    unmeasured: int  # of them
    overflowed: int  # calls, weighted or not
    underflowed: int


def series_summary(result: Result, series: str) -> SeriesSummary:
    """Smallest, largest and final measured variance, and a verdict in a word."""
    found = [(call, call.measured(series)) for call in result.calls]
    states = [out_of_range(moments) for _, moments in found]
    weighted = [
        (call, moments, state)
        for (call, moments), state in zip(found, states, strict=True)
        if call.weighted
    ]
    variances = [
        moments.variance
        for call, moments, state in weighted
        if call.at_target and moments and moments.variance is not None and state is None
    ]
    unmeasured = sum(moments is None for _, moments, _ in weighted)
    overflowed, underflowed = states.count("overflow"), states.count("underflow")
    # A constant branch has variance 0 for good reasons; a weighted call has none.
    dead = sum(state == "underflow" for *_, state in weighted)
    smallest, largest = min(variances, default=None), max(variances, default=None)
    last = found[-1][1] if found else None
    return SeriesSummary(
        series=series,
        verdict=verdict(smallest, largest, result.target, overflowed, dead, unmeasured),
        smallest=smallest,
        largest=largest,
        final=None if last is None else last.variance,
        weighted=len(weighted),
        unmeasured=unmeasured,
        overflowed=overflowed,
        underflowed=underflowed,
    )


def verdict_parts(result: Result, series: str) -> tuple[str, str | None, str]:
    """What becomes of a series' signal, in words: what it does, from which call on, how fast.

    Returns:
        Such as ("explodes from", path, "on, ×1.9 for each layer with a kernel"); a path or None.
    """
    variances = [
        (call, figures.variance)
        for call in result.weighted_calls
        if call.at_target and (figures := call.measured(series)) and figures.variance
    ]
    for sign, verb in ((1, "explodes"), (-1, "vanishes")):
        found = signal_stretch(variances, result.target, sign)
        if found is not None:
            rate = factor(found.rate**sign)
            return f"{verb} from", found.start.path, f"on, ×{rate} for each layer with a kernel"
    word = series_summary(result, series).verdict
    is_state = word.startswith(("stable", "not"))
    return (f"is {word}" if is_state else word), None, ""


def verdict(
    smallest: float | None,
    largest: float | None,
    target: float,
    overflowed: int,
    underflowed: int,
    unmeasured: int = 0,
) -> str:
    """One word, or two: what happens to the signal on its way through the weighted calls."""
    words = []
    if underflowed:
        words.append("underflows")
    elif smallest is not None and smallest < target / STABLE_FACTOR:
        words.append("vanishes")
    if overflowed:
        words.append("overflows")
    elif largest is not None and largest > target * STABLE_FACTOR:
        words.append("explodes")
    if not words:
        if largest is None:
            return "not measured"
        return "stable so far" if unmeasured else "stable"
    return ", ".join(words)


def power(exponent: float) -> float:
    """10 to the exponent, infinite where that is no float."""
    return 10.0**exponent if exponent < 308 else math.inf


def changed(settings: UsedSettings | Settings) -> list[str]:
    """What is changed of the model before it is analysed, in a few words each."""
    activation, normalization = settings.activation, settings.normalization
    return [
        *([activation] if activation != AS_IT_IS else []),
        *([f"{normalization} normalization"] if normalization != AS_IT_IS else []),
        *(["offsets"] if settings.offset != AS_IT_IS else []),
    ]


def full_name(name: str, settings: UsedSettings | Settings) -> str:
    """A model's name, with what is changed of it."""
    return ", ".join([name, *changed(settings)])


def facts(result: Result) -> list[str]:
    """What kind of model it is, in a few words each; from a file, so escape them."""
    model = result.model
    version = model.keras_version or model.keras
    return [
        model.format,
        *([f"Keras {version}"] if version else []),
        plural(model.layers, "layer")
        + (
            f" ({model.calls:,} with activations and repeats)" if model.calls > model.layers else ""
        ),
        plural(model.parameters, "parameter"),
    ]


@dataclass(frozen=True)
class VerdictCard:
    """The verdict on one series in words; reason and advice name layers: escape them.

    Attributes:
        series: whose weights.
        tone: good, warning, bad or unknown.
        word: such as "Cannot train".
        reason: the one cause, in a sentence.
        advice: the one remedy; empty where there is nothing to do.
        trained: whether the weights were trained.
    """

    series: str
    tone: str
    word: str
    reason: str
    advice: str = ""
    trained: bool = False

    @property
    def sign(self) -> str:
        """What tells the tone without its colour."""
        return SIGNS[self.tone]


SIGNS = {"good": "✔", "warning": "▲", "bad": "✖", "unknown": "?"}
TONES = {
    Word.TRAINS: "good",
    Word.STRUGGLES: "warning",
    Word.CANNOT: "bad",
    Word.UNKNOWN: "unknown",
}
CHECKUP = "Trained weights: a checkup"
STARTS_ANEW = "These weights were trained; the download starts anew."
_NO_CURE = "Change the model: AutoInit's weights have the same fault."


def verdict_cards(result: Result) -> list[VerdictCard]:
    """The verdict on each series, that on the file's own weights first."""
    found: list[VerdictCard] = []
    for series in sorted(result.series, key=lambda name: name != "uploaded"):
        card = verdict_card(result, series)
        same = next((c for c in found if (c.word, c.reason) == (card.word, card.reason)), None)
        if same is not None:
            reason = f"The same as with {same.series[0].lower()}{same.series[1:]}."
            card = replace(card, reason=reason, advice="")
        found.append(card)
    return found


def early_cards(preview: Preview) -> list[VerdictCard]:
    """The verdicts so far, those that the rules predict marked as that; a remedy comes later."""
    return [
        VerdictCard(
            f"{series_name(series)} weights{', predicted' if found.foreseen else ''}",
            TONES[Word(found.verdict)],
            found.verdict.capitalize(),
            found.reason,
            "",
            found.trained,
        )
        for series, found in preview.verdicts.items()
    ]


def verdict_card(result: Result, series: str) -> VerdictCard:
    """The verdict on one series; of a result without verdicts, what its variances come to."""
    name, found = f"{series_name(series)} weights", result.verdicts.get(series)
    if found is None:
        does, path, rate = verdict_parts(result, series)
        word = series_summary(result, series).verdict
        place = "" if path is None else f" {path!r} {rate}"
        return VerdictCard(name, _old_tone(word), word.capitalize(), f"The signal {does}{place}.")
    has_remedy = found.remedy not in ("none_needed", "keep_init")
    advice = cure(result, found.causes[0], [found.advice]) if has_remedy and found.causes else ""
    tone = TONES[Word(found.verdict)]
    return VerdictCard(name, tone, found.verdict.capitalize(), found.reason, advice, found.trained)


def _old_tone(word: str) -> str:
    if word.startswith(("stable", "not")):
        return "good" if word == "stable" else "unknown"
    return "bad" if "flows" in word else "warning"


def cure(result: Result, code: str, offered: Sequence[str]) -> str:
    """The first remedy that fits: none by AutoInit where its own series has the fault as well."""
    own = result.verdicts.get("autoinit")
    fails = any(f.series == "autoinit" and f.code == code for f in result.findings) or (
        own is not None and code in own.causes
    )
    fitting = [advice for advice in offered if not (fails and "AutoInit" in advice)]
    return next(iter(fitting), _NO_CURE)


def has_trained_weights(result: Result) -> bool:
    """Whether the file's weights were trained, which a new draw discards."""
    return any(found.trained for found in result.verdicts.values())


def factor(value: float) -> str:
    """Three digits, so that 1.00 is told from 1.04; 12.3, 4.9×10²⁰."""
    return f"{value:.2f}" if 0.01 <= value < 9.995 else number(value)


KINDS = {"sample_correlation": "Between samples", "position_correlation": "Between positions"}
_PHASES = {
    "ordered": "inputs that are nearly alike become more alike, and gradients vanish",
    "critical": "inputs that are nearly alike stay as alike as they are",
    "chaotic": "inputs that are nearly alike come apart, and gradients explode",
}


def has_correlations(result: Preview, kinds: Iterable[str] = tuple(KINDS)) -> bool:
    """Whether there are any figures; a result of one sample has none, nor has one position."""
    return any(
        is_number(getattr(figures, kind, None))
        for call in result.calls
        for series in result.series
        for figures in (call.measured(series), call.predicted(series))
        for kind in kinds
    )


def phases(result: Result) -> Iterator[str]:
    """For each series the phase that its layers are in, where one is known."""
    for series in result.series:
        found = result.phases.get(series)
        if found is not None:
            yield (
                f"{series_name(series)} weights: {found.phase} phase, {_PHASES[found.phase]} from "
                f"layer to layer (slope of the correlation at 1: {number(found.slope)})."
            )
