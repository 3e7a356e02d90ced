"""The exceptions of the library: each is one sentence that says what, where and what to do next."""

from __future__ import annotations

import re
from typing import Any

# To end a sentence with, where neither the model nor a setting is to blame.
OUR_FAULT = (
    "This is a fault of AutoInit's, not of the model or of a setting: please report it with this "
    "sentence, the version (autoinit --version), and the model file if you may share it."
)

# Of what a program does besides defining the model.
_APART = "keep classes in a file of their own"
_LENGTH = 200
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


class AutoInitError(Exception):
    """Base class of the errors that this library raises about its input."""


class GraphError(AutoInitError, ValueError):
    """A model has no graph of layer calls that could be read."""


class UnsupportedLayerError(AutoInitError, ValueError):
    """A layer has no rule, and none was to be done without."""


class SettingsError(AutoInitError, ValueError):
    """An argument, or data, are not what they may be, or do not fit the model."""

    code = "bad_settings"


class NotMeasuredError(AutoInitError, ValueError):
    """What was to be measured is not there, or cannot be measured of this model."""


class EstimatorError(AutoInitError):
    """An estimator that a user has given a layer class failed."""


class RuleError(RuntimeError):
    """A rule of the library's own failed: no fault of the model, and none of its settings.

    Args:
        path, class_name: of the call whose signal was to be predicted.
        error: that was raised.
    """

    def __init__(self, path: str, class_name: str, error: BaseException) -> None:
        told = ": ".join(filter(None, (type(error).__name__, said_by_keras(error)[:200])))
        super().__init__(
            f"What layer {path!r} ({class_name}) gives could not be predicted ({told}). {OUR_FAULT}"
        )


class ModelFileError(AutoInitError):
    """A model file is refused.

    Args:
        code: a short identifier that programs can test for, such as `not_a_model_file`.
        message: one sentence for a person: what is wrong, where, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CannotTrainError(AutoInitError):
    """A model cannot train from the weights that it has, and `check` was to be strict.

    Args:
        message: the verdicts.
        result: of the analysis.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


def said_by_keras(error: BaseException) -> str:
    """An error's text in one line, without colours, arguments and names of kernels."""
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\}", "", " ".join(str(error).split()))
    text = re.split(r" Arguments received by | Received: config=| \[Op:", text)[0]
    text = re.sub(r"Exception encountered when calling (\w+)\.call\(\)\.", r"\1:", text)
    return " ".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text).split())


def keras2_advice(model: Any) -> str | None:
    """What to do with a model of Keras 2, which only goes by way of its file; None for others."""
    modules = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    if "tf_keras" not in modules:
        return None
    return (
        f"Model {getattr(model, 'name', None)!r} is one of tf_keras (Keras 2), and a model of "
        "Keras 3 is needed: save it as a .keras file, and take the model that "
        "autoinit.model_files.open_model_file(path).model makes of that."
    )


def plain_reason(error: BaseException) -> str:
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
        return f"{str(error.filename)[-_LENGTH:]!r} is opened, which is not there for it: {_APART}"
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
            return f"the shapes or values do not fit: {said[:_LENGTH]}"
    return ""
