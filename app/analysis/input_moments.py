"""Mean and variance per input, as people type them; nothing here imports Keras."""

from __future__ import annotations

from app.errors import WrongSettingError

EXAMPLE = "left: 0, 1; right: 0.5, 0.25"


def parse_moments(text: str) -> dict[str, list[float]] | None:
    """Mean and variance by the input's name; None for an empty text.

    Args:
        text: such as `left: 0, 1; right: 0.5, 0.25`.

    Raises:
        ValueError: for what is not of this form, and for an input named twice.
    """
    moments: dict[str, list[float]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, _, pair = part.rpartition(":")
        name = name.strip()
        try:
            mean, variance = map(float, pair.split(","))
        except ValueError:
            name = ""
        if not name:
            raise WrongSettingError(
                f"Expected name: mean, variance for each input, such as {EXAMPLE}; "
                f"received {part[:100]!r}."
            )
        if name in moments:
            raise WrongSettingError(f"Input {name[:100]!r} is named twice.")
        moments[name] = [mean, variance]
    return moments or None


def moments_text(moments: dict[str, list[float]] | None) -> str:
    """What `parse_moments` reads as these moments; nothing where no text would be."""
    named = (moments or {}).items()
    text = "; ".join(f"{name}: {mean!r}, {variance!r}" for name, (mean, variance) in named)
    try:
        return text if parse_moments(text) == moments else ""
    except WrongSettingError:
        return ""


def parse_moment(text: str) -> tuple[str | None, float]:
    """One number, for all inputs (`0.5`, name None) or for one of them (`left=0.5`).

    Raises:
        ValueError: for what is not of this form.
    """
    name, sign, number = text.rpartition("=")
    if sign and not name:
        raise ValueError(f"no input is named in {text!r}")
    return name if sign else None, float(number)


def joined_moments(
    means: list[tuple[str | None, float]], variances: list[tuple[str | None, float]]
) -> tuple[float | None, float | None, dict[str, list[float]] | None]:
    """Mean and variance of all inputs, None where not given, and of those that are named.

    Of an input of which one of the two is named, the other is that of all, or else 0 or 1.

    Args:
        means, variances: as `parse_moment` gives them; the last of a name counts.
    """
    by_name = dict(means), dict(variances)
    mean, variance = by_name[0].pop(None, None), by_name[1].pop(None, None)
    usual = 0.0 if mean is None else mean, 1.0 if variance is None else variance
    names = dict.fromkeys(name for each in by_name for name in each if name is not None)
    moments = {
        name: [by_name[0].get(name, usual[0]), by_name[1].get(name, usual[1])] for name in names
    }
    return mean, variance, moments or None
