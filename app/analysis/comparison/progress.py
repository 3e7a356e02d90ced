"""How far a comparison is, from steps of known size and the time that went by."""

from __future__ import annotations

import time
from collections.abc import Callable

OnProgress = Callable[[float, str], None]


class Steps:
    """How far a comparison is. Its parts, a draw of a series each, take about the same time.

    How far the first one is follows from its steps, of about a pass forward each; how far a later
    one is, from the time that the earlier ones took.
    """

    def __init__(self, progress: OnProgress, parts: int, size: int) -> None:
        self._progress, self._parts, self._size = progress, parts, size
        self._begun: list[float] = []
        self._done = 0

    def begin(self) -> None:
        """Begins a part."""
        self._begun.append(time.perf_counter())

    def next(self, stage: str, size: int = 1) -> Callable[[float], None]:
        """Begins a step; what it gives is told the share of it that is done."""
        start = self._done
        self._done += size

        def told(share: float) -> None:
            first, latest = self._begun[0], self._begun[-1]
            earlier = len(self._begun) - 1
            of_part = (start + share * size) / self._size
            if earlier:
                of_part = (time.perf_counter() - latest) / (latest - first) * earlier
            self._progress((earlier + min(of_part, 1.0)) / self._parts, stage)

        return told
