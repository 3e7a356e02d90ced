"""What a hijacked worker may write in place of a result: refused, or shown like any other."""

import contextlib
import copy
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings

from app.analysis.result import ResultError, read_result
from app.charts import variance_chart
from app.cli.terminal import summary
from app.export.report import report_html
from app.export.tables import csv_text
from tests.fuzz.mutations import mutated_bytes

VALUES = [
    None, True, 0, -1, 1, 10**6, 10**40, 1e300, -1e-300, "", "x" * 300, "<b>", "\x1b[2J", "a\nb",
    [], {}, [[]], {"default": {}}, [None],
]  # fmt: skip
SEEDS = 100


def places(value, path=()):
    """Every place in JSON: its path."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutated(result, seed):
    choice = random.Random(seed)
    changed = copy.deepcopy(result)
    for _ in range(choice.randint(1, 3)):
        *way, last = choice.choice(list(places(changed)))
        holder = changed
        for key in way:
            holder = holder[key]
        holder[last] = copy.deepcopy(choice.choice(VALUES))
    return json.dumps(changed).encode()


@pytest.mark.parametrize("kind", ["result", "cut_result"])
def test_what_is_accepted_can_be_shown(kind, request):
    result = request.getfixturevalue(kind)
    accepted = 0
    for seed in range(SEEDS):
        try:
            found = read_result(mutated(result, seed))
        except ResultError:
            continue
        accepted += 1
        shown = summary(found) + csv_text(found)
        assert "\x1b" not in shown, seed
        if seed % 20 == 0:
            assert "\x1b" not in report_html(found), seed
            assert "<b>" not in variance_chart(found).to_json(), seed
    assert accepted > SEEDS // 10


def test_bytes_that_are_nearly_a_result(result):
    """Flipped, cut or spliced as model files are: read, or refused."""
    whole = json.dumps(result).encode()

    @settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=mutated_bytes(lambda: [whole]))
    def look(content):
        with contextlib.suppress(ResultError):
            read_result(content)

    look()
