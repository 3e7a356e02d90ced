"""What a hijacked worker may write in place of a result, and all that is made of one."""

from __future__ import annotations

import copy
import json
import random
import traceback
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from app.analysis.result import ResultError, read_result
from app.charts import variance_chart
from app.cli.terminal import summary
from app.export.report import report_html
from app.export.tables import csv_text
from tests.fuzz.mutations import mutated_bytes
from tests.hostile.intake import Answer

VALUES = [
    None, True, 0, -1, 1, 10**6, 10**40, 1e300, -1e-300, "", "x" * 300, "<b>", "\x1b[2J", "a\nb",
    [], {}, [[]], {"default": {}}, [None],
]  # fmt: skip


def mutated(result: dict[str, Any], seed: int) -> bytes:
    """One to three of its values replaced."""
    choice = random.Random(seed)
    changed = copy.deepcopy(result)
    for _ in range(choice.randint(1, 3)):
        *way, last = choice.choice(list(_places(changed)))
        holder: Any = changed
        for key in way:
            holder = holder[key]
        holder[last] = copy.deepcopy(choice.choice(VALUES))
    return json.dumps(changed).encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def mutated_results(results: list[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Values replaced, or bytes flipped, cut and spliced as those of model files are."""
    values = st.builds(mutated, st.sampled_from(results), st.integers(0, 2**32))
    return values | mutated_bytes(lambda: [json.dumps(each).encode() for each in results])


def shown(content: bytes, pictures: bool = True) -> Answer:
    """Read, and shown as terminal, table, report and chart show it.

    Args:
        content: of a `result.json`.
        pictures: report and chart, too, which take longer.
    """
    try:
        found = read_result(content)
    except ResultError:
        return Answer("refused")
    except Exception:
        return Answer("failed", traceback.format_exc())
    try:
        text = summary(found) + csv_text(found) + (report_html(found) if pictures else "")
        assert "\x1b" not in text, "an escape sequence"
        assert not pictures or "<b>" not in variance_chart(found).to_json(), "markup"
    except Exception:
        return Answer("failed", traceback.format_exc())
    return Answer("shown")
