"""What the passes over a graph make once and use again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Workspace:
    """What the passes over one graph make once and use again; it is let go with the graph.

    Attributes:
        compiled: passes of recurrent calls, by what they were compiled for, beside the call: the
            identities in the key are its own.
        copies: of layers, by their identity; None for one that cannot be copied.
        sampled: by call and what was asked, the latest results by the digest of what arrived.
        related: whether operands that meet were made of the same channels, by the
            form of the calls before.
        written_out: the normalization or softmax that such calls come to, likewise, or None.
    """

    compiled: dict[Hashable, tuple[Any, Any]] = field(default_factory=dict)
    copies: dict[int, Any] = field(default_factory=dict)
    sampled: dict[Hashable, dict[Hashable, Any]] = field(default_factory=dict)
    related: dict[Hashable, bool] = field(default_factory=dict)
    written_out: dict[Hashable, Any] = field(default_factory=dict)
