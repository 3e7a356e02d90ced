"""What went wrong in code that came with a model, for whoever wrote it: what, where, what to do.

Python's own words, the names of its errors and its tracebacks, stay out of it.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoinit.errors import plain_reason
from autoinit.graph.paths import shortened
from autoinit.model_files.read.hdf5 import quoted

_LINE_LENGTH = 120


class LayerCodeError(RuntimeError):
    """The code in a layer's configuration fails.

    Args:
        layer: that holds it.
    """

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


def fault(error: BaseException, code: Sequence[Path]) -> str:
    """The rest of a sentence that says that code could not be run.

    Args:
        error: that was raised while code that came with a model was run.
        code: its files; a Lambda has none.
    """
    chain = [*_chain(error)]
    place = next(filter(None, (_place(each, code) for each in chain)), "")
    reason = next(filter(None, map(plain_reason, chain)), "")
    if place:
        return f"it stops at {place}" + (f", where {reason}" if reason else "")
    return reason or "load the model in Python to see why"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error's causes, the first of them first: others are wrapped around it."""
    found = [error]
    while (inner := found[-1].__cause__ or found[-1].__context__) is not None:
        if any(inner is each for each in found):
            break
        found.append(inner)
    return reversed(found)


def _place(error: BaseException, code: Sequence[Path]) -> str:
    """The innermost line of the code that an error went through, or the layer that has it."""
    if isinstance(error, LayerCodeError):
        return f"the code in layer {quoted(error.layer)}"
    files = {str(path): path.name for path in code}
    if isinstance(error, SyntaxError) and error.filename in files:
        return f"line {error.lineno} of '{files[error.filename]}'"
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        name = files.get(frame.f_code.co_filename)
        if name is not None:
            text = linecache.getline(frame.f_code.co_filename, line).strip()
            shown = "" if text.startswith("raise ") else f" ({shortened(text, _LINE_LENGTH)})"
            return f"line {line} of '{name}'{shown}"
    return ""
