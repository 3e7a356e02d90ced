"""The settings of a trial, beside those of the analysis that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from app.analysis.options import Option, OptionsTable
from app.analysis.settings import SCHEME_WORDS, SchemeName

TRIAL = "Trial"
DEFAULT = "default"
WORDS = {DEFAULT: "Its own initializers", **SCHEME_WORDS}
NAMES = (DEFAULT, *(name for name in get_args(SchemeName) if name != "own"))
SCHEMES = f"names of initialisations, without spaces: {', '.join(NAMES)}"
RATES = "positive numbers up to 1,000, at most 12 of them, such as 0.001,0.01,0.1"
MOST_RATES, LARGEST_RATE = 12, 1000.0
OPTIMIZERS = {"auto": "The model's own, or SGD", "sgd": "SGD with momentum 0.9", "adam": "Adam"}


def _require_schemes(names: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(DEFAULT if name == "own" else name for name in names))
    if not names or not set(names) <= set(NAMES):
        raise ValueError(SCHEMES)
    return names


def _require_rates(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(rates) > MOST_RATES or not all(0.0 < rate <= LARGEST_RATE for rate in rates):
        raise ValueError(RATES)
    return tuple(sorted(set(rates)))


class TrialSettings(OptionsTable):
    """The settings of a trial; the defaults are the command line's.

    Raises:
        ValueError: names the setting, the values that it takes and the one received.
    """

    def __init__(self, **given: Any) -> None:  # by name only, for those who check types
        super().__init__(**given)

    schemes: Annotated[
        tuple[str, ...],
        Field(strict=False),
        AfterValidator(_require_schemes),
        Option(
            TRIAL, "Initialisations", metavar="NAMES", words=WORDS, members=NAMES, expected=SCHEMES
        ),
    ] = (DEFAULT, "autoinit", "centred")
    """The initialisations that are tried; default is what the model's own initializers draw."""

    optimizer: Annotated[
        Literal["auto", "sgd", "adam"], Option(TRIAL, "Optimizer", words=OPTIMIZERS)
    ] = "auto"
    """What trains: the optimizer that the model was compiled with, or SGD with momentum 0.9."""

    rates: Annotated[
        tuple[Annotated[float, Field(strict=False)], ...],
        Field(strict=False),
        AfterValidator(_require_rates),
        Option(TRIAL, "Learning rates", in_form=False, metavar="RATES", expected=RATES),
    ] = ()
    """The learning rates that are tried. Without them seven, half a power of ten apart, around the
    optimizer's own or what is usual for it."""

    steps: Annotated[int, Option(TRIAL, "Steps")] = Field(100, ge=10, le=10_000)
    """How long the better trainings go on; the others stop after a quarter of it."""

    batch: Annotated[int, Option(TRIAL, "Samples of a step", flag="--batch-size")] = Field(
        32, ge=1, le=4096
    )
    """How many samples each step sees."""

    budget: Annotated[float, Option(TRIAL, "Seconds")] = Field(180.0, ge=1.0, le=86_400.0)
    """How long all trainings together may take: where they would take longer, steps see fewer
    samples, and trainings are shorter; what is not tried by then is left out."""

    data: Annotated[str | None, Option(TRIAL, "Data to learn", in_form=False, metavar="FILE")] = (
        None
    )
    """A .npz file with arrays x and y, or one for each input and each output, named like them.
    Without it, the digits that come with scikit-learn are brought into the network's shapes."""

    data_name: Annotated[
        str | None, Option(TRIAL, "Name of the data", in_form=False, flag=None)
    ] = None
    """What to call the file of data."""

    @property
    def shown_name(self) -> str:
        """What to call the file of data: as its owner does, or else as it is called on disk."""
        return self.data_name or Path(self.data or "").name
