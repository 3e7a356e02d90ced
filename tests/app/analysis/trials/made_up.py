"""Trials of cells that are made up, for all tests that need one."""

from app.analysis.trials.answer import answer
from app.analysis.trials.result import Training, TrialResult

RATES = (0.001, 0.01, 0.1)


def made_up(scores, measure="accuracy", chance=0.1, steps=100, error=0.02, **changes):
    """A trial of scores by initialisation: one for each rate, or a list of draws; None diverged."""
    trainings = []
    for scheme, row in scores.items():
        for rate, cell in zip(RATES, row, strict=True):
            for draw, score in enumerate(cell if isinstance(cell, list) else [cell]):
                known = {"outcome": "diverged"}
                if score is not None:
                    known = {"outcome": "finished", "score": score, "error": error}
                trainings.append(Training(scheme=scheme, rate=rate, draw=draw, **known))
    return TrialResult(
        **{
            "name": "a",
            "settings": {},
            "data": "",
            "samples": 100,
            "optimizer": "SGD",
            "measure": measure,
            "chance": chance,
            "steps": steps,
            "batch": 32,
            "schemes": tuple(scores),
            "rates": RATES,
            "trainings": tuple(trainings),
            **changes,
        }
    )


def made_up_and_answered(scores, **changes):
    """The same, with its answer."""
    found = made_up(scores, **changes)
    return found.model_copy(update={"kind": "trial", "answer": answer(found)})
