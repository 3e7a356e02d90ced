"""`python -m tests.fuzz --minutes 10`: looks for files that are neither opened nor refused.

Model files, and the results that a hijacked worker may leave. Every kind of mutation takes its
turn with a new seed. What is found lies in a folder afterwards, one file for each place in the
code, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.app.conftest import make_result
from tests.fuzz.results import mutated_results, shown
from tests.fuzz.test_intake import STRATEGIES, UNACCEPTABLE
from tests.hostile.intake import Answer, Intake

EXAMPLES_PER_TURN = 100
RESULTS = "results"
KINDS = STRATEGIES | {
    RESULTS: mutated_results([make_result(), make_result(30, uploaded=True, opaque=12)])
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first turn")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--analyse", action="store_true", help="run the whole analysis on each")
    parser.add_argument("--findings", type=Path, default=None, help="folder for what is found")
    arguments = parser.parse_args()
    folder = arguments.findings or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    turn = time.time_ns() % 10**9 if arguments.seed is None else arguments.seed
    print(f"first seed {turn}; findings go to {folder}")
    outcomes: Counter[str] = Counter()
    found: dict[str, Answer] = {}
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as temporary, Intake(Path(temporary)) as intake:
        path = folder / "current.bin"

        def look(kind: str, content: bytes) -> None:
            if time.monotonic() > end:
                return
            path.write_bytes(content)
            if kind == RESULTS:
                answer = shown(content)
            else:
                answer = intake.ask(path, "model.bin", arguments.analyse)
            outcomes[answer.outcome] += 1
            if answer.outcome in UNACCEPTABLE and (place := place_of(answer)) not in found:
                found[place] = answer
                path.with_name(f"{len(found)}.bin").write_bytes(content)
                path.with_name(f"{len(found)}.txt").write_text(answer.message)
                print(f"{len(found)}.bin  {answer.outcome}  {place}", flush=True)

        while time.monotonic() < end:
            kind = arguments.kinds[turn % len(arguments.kinds)]
            run = settings(
                max_examples=EXAMPLES_PER_TURN,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(kind=st.just(kind), content=KINDS[kind])(look))
            seed(turn)(run)()
            turn += 1
        path.unlink(missing_ok=True)
    print(f"{sum(outcomes.values())} files: {dict(outcomes.most_common())}")
    sys.exit(bool(found))


def place_of(answer: Answer) -> str:
    """The last line of a traceback and the last place of ours in it."""
    last = (answer.message.strip().splitlines() or [""])[-1]
    places = re.findall(r'File "[^"]*?((?:autoinit|app|probes)/[^"]+)", line (\d+)', answer.message)
    where = ":".join(places[-1]) if places else ""
    return f"{where} {re.sub(r'[0-9]+', '#', last)[:120]}"


if __name__ == "__main__":
    main()
