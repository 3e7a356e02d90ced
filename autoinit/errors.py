"""The exceptions of the library: each is one sentence that says what, where and what to do next."""

from __future__ import annotations


class AutoInitError(Exception):
    """Base class of the errors that this library raises about its input."""


class GraphError(AutoInitError, ValueError):
    """A model has no graph of layer calls that could be read."""


class UnsupportedLayerError(AutoInitError, ValueError):
    """A layer has no rule, and none was to be done without."""


class ModelFileError(AutoInitError):
    """A model file is refused.

    Args:
        code: a short identifier that programs can test for, such as `not_a_model_file`.
        message: one sentence for a person: what is wrong, where, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
