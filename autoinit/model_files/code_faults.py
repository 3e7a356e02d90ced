"""What went wrong in code that came with a model, for whoever wrote it: what, where, what to do.

Python's own words, the names of its errors and its tracebacks, stay out of it.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoinit.graph.paths import shortened
from autoinit.model_files.read.hdf5 import quoted

_LINE_LENGTH = 120
# Of what a program does besides defining the model.
_APART = "keep classes in a file of their own"
# What Python says of arguments that do not fit, and what that comes to.
_ARGUMENTS = (
    (
        r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'"
        r"|Unrecognized keyword arguments passed to (\w+): \{'(\w+)'",
        "the constructor of '{}' takes no '{}', which the file records: let it take **kwargs, and "
        "hand them to super().__init__",
    ),
    (
        r"(\w+)\.__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.*)",
        "the constructor of '{}' needs {}, which the file does not record: return all that it "
        "takes from get_config, and save the model again",
    ),
    (r"(?:\w+\.)?(\w+)\(\) got an unexpected keyword argument '(\w+)'", "{} takes no '{}'"),
    (
        r"(?:\w+\.)?(\w+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.*)",
        "{} needs {}",
    ),
)
# Words of Python's in what others say to people.
_NOT_FOR_PEOPLE = re.compile(r"<|0x|Error|Exception|Traceback|object at|__\w+__|\bclass '")


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
    reason = next(filter(None, map(_reason, chain)), "")
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


def _reason(error: BaseException) -> str:
    """Why it stops, where that can be said without Python's own words."""
    name = getattr(error, "name", None)
    if isinstance(error, ImportError) and name:
        return f"'{name}' is imported, which is not installed here, nor beside the file"
    if isinstance(error, SyntaxError):
        return "what is written is not valid"
    if isinstance(error, NameError) and name:
        return f"the name '{name}' is used, which nothing there defines"
    if isinstance(error, AttributeError) and name:
        return f"'.{name}' is asked for, which is not there"
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str | int):
        return f"{error.args[0]!r} is looked up, which is not there"
    if isinstance(error, OSError) and error.filename:
        opened = quoted(shortened(str(error.filename), _LINE_LENGTH))
        return f"{opened} is opened, which is not there for it: {_APART}"
    if isinstance(error, SystemExit):
        return f"the program is ended: {_APART}"
    text = " ".join(str(error).split())
    if text.startswith("bad marshal data"):
        return "what was compiled by another version of Python cannot be read"
    if "ymbolic" in text:  # a tensor's type, or what cannot be done with it
        return "values are asked for that are known only when data flow: let keras.ops decide"
    for pattern, meaning in _ARGUMENTS if isinstance(error, TypeError | ValueError) else ():
        if found := re.match(pattern, text):
            return meaning.format(*filter(None, found.groups()))
    if isinstance(error, ValueError):
        said = re.split(r"(?<=[.!?]) ", text)[0].rstrip(".")
        if said and not _NOT_FOR_PEOPLE.search(said):
            return f"the shapes or values do not fit: {shortened(said, 200)}"
    return ""
