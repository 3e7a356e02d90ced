"""What a hijacked worker may write in place of a result: refused, or shown like any other."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.results import mutated, mutated_results, shown

SEEDS = 100


@pytest.mark.parametrize("kind", ["result", "cut_result"])
def test_what_is_accepted_can_be_shown(kind, request):
    result = request.getfixturevalue(kind)
    answers = [shown(mutated(result, seed), pictures=seed % 20 == 0) for seed in range(SEEDS)]
    assert "failed" not in {each.outcome for each in answers}, answers
    assert sum(each.outcome == "shown" for each in answers) > SEEDS // 10


def test_bytes_that_are_nearly_a_result(result, cut_result):
    """Flipped, cut or spliced as model files are: read, or refused."""

    @settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=mutated_results([result, cut_result]))
    def look(content):
        answer = shown(content, pictures=False)
        assert answer.outcome != "failed", answer.message

    look()
