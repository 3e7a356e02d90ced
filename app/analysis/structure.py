"""The structure of a network as its calls' paths tell it: blocks, and a call's neighbours.

A path has parts, divided by `/` where models are nested and by `_` within names:
`encoder/block2_conv1` has the parts encoder, block2, conv1. Calls that follow one another and begin
with the same parts are a block.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from app.analysis.result import Call, Result

DEEPEST = 4  # parts that are looked at
# From what says least of a prediction to what says most.
_WEAKEST_FIRST = ("pass_through", "approximate", "sampled", "exact", "neutral")


def block(path: str, depth: int) -> str:
    """The first parts of a path; the whole of it where it has no more."""
    ends = [found.start() for found in re.finditer(r"[/_]", path)]
    return path[: ends[depth - 1]] if depth <= len(ends) else path


def levels(calls: Sequence[Call]) -> dict[int, int]:
    """Depths at which there are fewer blocks than calls, with their number; 0 is calls.

    The coarsest comes last. Depths that divide the network alike count once.
    """
    found = {0: len(calls)}
    for depth in range(DEEPEST, 0, -1):
        count = sum(1 for _ in groupby(block(call.path, depth) for call in calls))
        if 1 < count < min(found.values()):
            found[depth] = count
    return found


def collapsed(result: Result, depth: int, opened: Collection[str] = ()) -> Result:
    """The same result with one call for each block: the last one's figures stand for it.

    A block is weighted where one of its calls is, and as well supported as its weakest call.

    Args:
        result: of the job.
        depth: of the blocks, as `levels` has them.
        opened: blocks that stay as they are.
    """
    if not depth:
        return result
    calls: list[Call] = []
    homes: dict[int, int] = {}

    def name_of(call: Call) -> str:
        name = block(call.path, depth)
        return call.path if name in opened else name

    for name, members in groupby(result.calls, name_of):
        parts = list(members)
        place = len(calls)
        homes |= {part.index: place for part in parts}
        calls.append(_merged(name, parts, place))
    linked = []
    for place, call in enumerate(calls):
        inside = {homes[index] for index in call.inputs if index in homes}
        linked.append(call.model_copy(update={"inputs": tuple(sorted(inside - {place}))}))
    return result.with_calls(tuple(linked))


def _merged(name: str, parts: Sequence[Call], place: int) -> Call:
    last = parts[-1]
    if len(parts) == 1:
        return last.model_copy(update={"index": place})
    return last.model_copy(
        update={
            "index": place,
            "path": name,
            "class_name": f"{len(parts)} layers, to {last.class_name}",
            "weighted": any(part.weighted for part in parts),
            "frozen": any(part.frozen for part in parts),
            "support": min((part.support for part in parts), key=_WEAKEST_FIRST.index),
            "tainted": any(part.tainted for part in parts),
            "opaque": next((part.opaque for part in parts if part.opaque), None),
            "inputs": tuple(index for part in parts for index in part.inputs),
        }
    )


def readers(calls: Sequence[Call]) -> dict[int, list[int]]:
    """For each call, by its index, the calls that read it."""
    found: dict[int, list[int]] = {call.index: [] for call in calls}
    for call in calls:
        for index in call.inputs:
            found.setdefault(index, []).append(call.index)
    return found


def neighborhood(calls: Sequence[Call], chosen: int, most: int = 24) -> list[int]:
    """The calls nearest to one, by their indices, in order of execution.

    Args:
        calls: of a result.
        chosen: index of the call in the middle.
        most: how many, at most.
    """
    by_index = {call.index: call for call in calls}
    read_by = readers(calls)
    found = {chosen}
    queue = deque([chosen])
    while queue:
        index = queue.popleft()
        for other in (*by_index[index].inputs, *read_by[index]):
            if other in by_index and other not in found and len(found) < most:
                found.add(other)
                queue.append(other)
    return sorted(found)


def layers_of(calls: Iterable[Call]) -> dict[int, tuple[int, int]]:
    """Column and lane of each call in a drawing from left to right, by its index.

    The column is the longest way from a call that reads none of the others; such a call stands just
    before the first that reads it.
    """
    calls = list(calls)
    read_by = readers(calls)
    columns: dict[int, int] = {}
    for call in calls:
        before = [columns[index] for index in call.inputs if index in columns]
        columns[call.index] = max(before, default=-1) + 1
    places: dict[int, tuple[int, int]] = {}
    filled: dict[int, int] = {}
    for call in calls:
        column = columns[call.index]
        reading = [columns[index] for index in read_by[call.index] if index in columns]
        if reading and not any(index in columns for index in call.inputs):
            column = min(reading) - 1  # what reads nothing of these stands before its reader
        lane = filled.get(column, 0)
        filled[column] = lane + 1
        places[call.index] = (column, lane)
    return places
