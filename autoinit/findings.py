"""What a person should know about an analysis: findings, and how each call was covered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing to tell.

    Attributes:
        code: a short identifier that programs can test for.
        path: the call that it is about, or an empty string.
        class_name: class of its layer.
        message: one sentence for a person.
    """

    code: str
    path: str
    class_name: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """As it stands in a result file."""
        return {
            "code": self.code,
            "path": self.path,
            "class": self.class_name,
            "message": self.message,
        }
