"""Thousands of mutated files: each is opened or refused with a code, whatever it is.

A short run, the same every time; `make fuzz` looks for longer, and elsewhere each time.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import mutations
from tests.hostile.intake import Intake

EXAMPLES = 20
# Explaining a failure runs the example again and again, which says nothing here.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
UNACCEPTABLE = ("failed", "crashed", "hung", "out_of_memory")

STRATEGIES: dict[str, st.SearchStrategy[bytes]] = {
    "bytes": mutations.mutated_bytes(),
    "weights": mutations.mutated_weights(),
    "members": mutations.mutated_members(),
    "hdf5": mutations.mutated_hdf5(),
    "models": mutations.mutated_models(),
    "whole": mutations.mutated_whole_models(),
}


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    with Intake(tmp_path_factory.mktemp("temporary")) as intake:
        yield intake


@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_mutated_file_is_opened_or_refused(
    kind: str, intake: Intake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.mktemp("mutated") / "model.bin"

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=STRATEGIES[kind])
    def look(content: bytes) -> None:
        path.write_bytes(content)
        answer = intake.ask(path, "model.bin")
        assert answer.outcome not in UNACCEPTABLE, answer.message

    look()
