"""`AutoInit`, at its place in the published package."""

from autoinit.initializers.autoinit import AutoInit

__all__ = ["AutoInit"]
