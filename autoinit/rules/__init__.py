"""The rules. A file in a folder here is found by being there: importing this does it."""

from importlib import import_module
from pkgutil import iter_modules

from autoinit.rules import layers, operations, preprocessing
from autoinit.rules.registry import RULES

for _folder in (layers, operations, preprocessing):
    for _found in iter_modules(_folder.__path__, f"{_folder.__name__}."):
        import_module(_found.name)

__all__ = ["RULES"]
