"""What calls are called: names from the outermost model inwards, cut to a length that can be shown.

Names come from files, where they may be a megabyte long; a path has one name for each level.
"""

from __future__ import annotations

_NAME_LIMIT, _PATH_LIMIT = 200, 1000


def shortened(text: str, limit: int = _NAME_LIMIT) -> str:
    """A text with its middle left out where it is too long."""
    if len(text) <= limit:
        return text
    head = limit // 3
    return f"{text[:head]}…{text[len(text) - (limit - head - 1) :]}"


def joined(prefix: str, name: str) -> str:
    """The path of a layer in the model of some path; the outermost model's is empty."""
    name = shortened(name)
    return shortened(f"{prefix}/{name}", _PATH_LIMIT) if prefix else name
