"""What a grid of trainings says: which initialisation, at which rate, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean, variance
from typing import NamedTuple

from app.analysis.trials.result import Answer, Standing, Training, TrialResult
from app.analysis.trials.settings import DEFAULT, WORDS
from app.text.formatting import number, percentage

# Standard errors of a difference within which two are alike, or one is no better than chance.
_ERRORS = 2.0
# Of a share of a loss nobody knows the error beforehand; learning takes at least this much away.
_LEAST_GAIN = 0.05
# Further weights that gain less than this share of what the first gained: the rate was too bold.
_KEPT_SHARE = 0.5


def answer(trial: TrialResult) -> Answer:
    """What the trainings that are over come to; nothing before the first one is."""
    standings = sorted(
        (found for scheme in trial.schemes if (found := standing(trial, scheme)) is not None),
        key=lambda each: -each.score,
    )
    if not standings:
        return Answer()
    learning = [each for each in standings if each.learns]
    if not learning:
        return Answer(standings=tuple(standings), sentence=_nothing(trial, standings))
    best = learning[0]
    alike = [each for each in learning if _are_alike(each, best)]
    # Without need nobody changes a model, or more of it; that draws differ widely is no reason to.
    equal = [
        each
        for each in alike
        if best.score - each.score <= _ERRORS * math.hypot(each.sampling, best.sampling)
    ]
    by_name = {each.scheme: each for each in equal}
    chosen = by_name.get(DEFAULT, by_name.get("autoinit", best))
    return Answer(
        scheme=chosen.scheme,
        rate=chosen.rate,
        alike=tuple(each.scheme for each in alike),
        standings=tuple(standings),
        sentence=_sentence(trial, chosen, alike, standings),
    )


def standing(trial: TrialResult, scheme: str) -> Standing | None:
    """An initialisation at its rate: the middle one of those that do as well as the best.

    Returns:
        None before one of its trainings is over.
    """
    known = [(rate, found) for rate in trial.rates if (found := _score(trial, scheme, rate))]
    if not known:
        return None
    # The rate that was best of one draw was tried with another; a lucky one shows there.
    rate, found = max(known, key=lambda each: (each[1].draws, each[1].score, -each[0]))
    near = _neighbors(trial, scheme, trial.rates.index(rate), found)
    if found.draws == 1:
        # Of rates that do as well the middle one: the largest may be too large for other weights.
        scores = dict(known)
        rate = trial.rates[near[(len(near) - 1) // 2]]
        found = scores[rate]
    tried = [each for each in trial.rates if trial.of(scheme, each) is not None]
    ends = {tried[0]: "smallest", tried[-1]: "largest"} if len(tried) > 1 else {}
    return Standing(
        scheme=scheme,
        rate=rate,
        stable=_stable(trial, scheme, tried),
        low=trial.rates[near.start],
        high=trial.rates[near.stop - 1],
        **found._asdict(),
        learns=found.score - trial.chance > max(_ERRORS * found.sampling, _least_gain(trial)),
        at_end=ends.get(rate, ""),
    )


def _stable(trial: TrialResult, scheme: str, tried: Sequence[float]) -> float | None:
    """The largest rate below which nothing diverged; None where the smallest did."""
    outcomes = ((rate, trial.of(scheme, rate)) for rate in tried)
    stable = takewhile(lambda each: each[1] and each[1].outcome != "diverged", outcomes)
    return max((rate for rate, _ in stable), default=None)


def bolder_than(trial: TrialResult, scheme: str, rate: float, draw: int) -> float | None:
    """The next smaller rate that was tried, where a further draw comes to little at this one.

    Returns:
        None where the draw does about as well as the first, or no smaller rate was tried.
    """
    first, found = trial.of(scheme, rate), trial.of(scheme, rate, draw)
    if first is None or first.score is None or found is None:
        return None
    gained = (trial.chance if found.score is None else found.score) - trial.chance
    smaller = [each for each in trial.rates if each < rate and trial.of(scheme, each)]
    kept = gained >= _KEPT_SHARE * (first.score - trial.chance)
    return None if kept or not smaller else smaller[-1]


def _least_gain(trial: TrialResult) -> float:
    return _LEAST_GAIN if trial.measure == "loss" else 0.0


class _Score(NamedTuple):
    score: float
    error: float
    sampling: float
    draws: int


def _score(trial: TrialResult, scheme: str, rate: float) -> _Score | None:
    """The mean over draws; None where none took all steps.

    A further draw that diverges counts as one that learns nothing.
    """
    draws = [
        each
        for each in trial.trainings
        if (each.scheme, each.rate) == (scheme, rate) and each.outcome in ("finished", "diverged")
    ]
    if not any(each.outcome == "finished" for each in draws):
        return None
    scores = [trial.chance if each.score is None else each.score for each in draws]
    within = fmean((each.error or 0.0) ** 2 for each in draws)
    between = variance(scores) if len(scores) > 1 else 0.0
    error, sampling = (math.sqrt(each / len(scores)) for each in (max(within, between), within))
    return _Score(fmean(scores), error, sampling, len(scores))


def _neighbors(trial: TrialResult, scheme: str, place: int, best: _Score) -> range:
    """Places of the rates around the best one that do as well."""

    def does_as_well(at: int) -> bool:
        found = _score(trial, scheme, trial.rates[at])
        return found is not None and (
            best.score - found.score <= _ERRORS * math.hypot(best.sampling, found.sampling)
        )

    low = high = place
    while low > 0 and does_as_well(low - 1):
        low -= 1
    while high + 1 < len(trial.rates) and does_as_well(high + 1):
        high += 1
    return range(low, high + 1)


def _are_alike(one: Standing, best: Standing) -> bool:
    return best.score - one.score <= _ERRORS * math.hypot(one.error, best.error)


def _sentence(
    trial: TrialResult, chosen: Standing, alike: Sequence[Standing], standings: Sequence[Standing]
) -> str:
    """What to do, why, and what else would do."""
    others = [each for each in alike if each.scheme != chosen.scheme]
    start = (
        "Keep the model's own initializers, with"
        if chosen.scheme == DEFAULT
        else f"Take {WORDS[chosen.scheme]}, with"
    )
    parts = [f"{start} a rate of {_rates(chosen)}: {_told(trial, chosen)}."]
    if others:
        names = ", ".join(
            f"{WORDS[each.scheme]} at {each.rate:g} ({score_text(trial, each.score)})"
            for each in others
        )
        parts.append(f"As good, within two standard errors: {names}.")
    worse = [each for each in standings if each not in alike]
    if worse:
        names = "; ".join(
            f"{WORDS[each.scheme]} {score_text(trial, each.score)}"
            + ("" if each.learns else ", no better than chance")
            for each in worse
        )
        parts.append(f"At their best rates: {names}.")
    if chosen.stable is not None and not chosen.at_end:
        parts.append(f"Its trainings are stable up to a rate of {chosen.stable:g}.")
    if chosen.at_end:
        parts.append(f"That is the {chosen.at_end} rate tried: a further one may do better.")
    if chosen.draws < 2 and len(trial.schemes) > 1:
        parts.append("Of one draw only, which may have been a lucky one.")
    return " ".join(parts)


def _rates(found: Standing) -> str:
    if found.low == found.high:
        return f"{found.rate:g}"
    return f"{found.rate:g} ({found.low:g} to {found.high:g} do as well)"


def _told(trial: TrialResult, found: Standing) -> str:
    draws = "" if found.draws < 2 else f", mean of {found.draws} draws"
    if trial.measure == "accuracy":
        return (
            f"{score_text(trial, found.score)} of unseen samples right after {trial.steps} steps"
            + draws
        )
    return (
        f"{score_text(trial, found.score)} of what the best constant loses is gained after "
        f"{trial.steps} steps{draws}"
    )


def _nothing(trial: TrialResult, standings: Sequence[Standing]) -> str:
    best, chance = (score_text(trial, each) for each in (standings[0].score, trial.chance))
    return (
        f"None of {len(trial.trainings)} trainings learnt anything in {trial.steps} steps: the "
        f"best has {best}, and {chance} needs no training. Longer ones "
        "may; or something else than the initialisation is in the way."
    )


def score_text(trial: TrialResult, score: float | None) -> str:
    """A score as people write it."""
    if score is None:
        return "none"
    return percentage(score) if trial.measure == "accuracy" or score >= 0 else number(score)


def cell_text(trial: TrialResult, training: Training | None) -> str:
    """What became of a training, in a few words."""
    if training is None:
        return "not tried"
    if training.outcome == "diverged":
        return f"diverged after {training.steps} steps"
    if training.outcome == "stopped":
        return f"{score_text(trial, training.score)} after {training.steps} steps"
    return score_text(trial, training.score)
