"""What is built: each architecture once, small, without weights that anybody trained.

What differs in a width alone, in what stands on top or in the size of its images is the same
architecture here; what differs in depth, in kinds of blocks or in how they are put together is not.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import keras

from benchmarks.menagerie import hub
from benchmarks.menagerie.shrinking import shrunk

PACKAGES = "keras_hub", "zeromodels", "keras.applications", "kimm"
_SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
# ConvNeXt's Large and XLarge are Base with more channels.
_SAME = {"ConvNeXtLarge", "ConvNeXtXLarge"}
# The first of kimm's names of an architecture; what follows it is a multiplier of its channels.
_KIMM_SAME = (
    "GhostNetV2W1[36]0", "GhostNetV3W(050|1[36]0)", "GhostNetW(050|130)", "LCNet(035|050|075|150)",
    "MobileNetV2W(050|110|120|140)", "MobileNetV3W0.*", "MobileViTV2W(075|1..|200)",
    "ConvNeXt(Large|XLarge)",
)  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """One of them: the package it comes from, its family there, its name, and what builds it."""

    package: str
    family: str
    name: str
    build: Callable[[], Any]

    @property
    def key(self) -> str:
        """What its row is known by."""
        return f"{self.package}:{self.name}"


def catalogue() -> Iterator[Architecture]:
    """All architectures of the packages that are installed."""
    makers = _of_hub, _of_zeromodels, _of_applications, _of_kimm
    for package, found in zip(PACKAGES, makers, strict=True):
        if find_spec(package):
            yield from found()


def _of_applications() -> Iterator[Architecture]:
    for name, build in vars(keras.applications).items():
        if inspect.isfunction(build) and name not in _SAME:
            size = _SIZES.get(name, 32)
            family = build.__module__.rpartition(".")[2]
            yield Architecture(
                "keras.applications", family, name, _image_network(build, size, classes=10)
            )


def _image_network(build: Callable[..., Any], size: int, **further: Any) -> Callable[[], Any]:
    return lambda: build(weights=None, input_shape=(size, size, 3), **further)


def _of_hub() -> Iterator[Architecture]:
    for name, (family, build) in hub.architectures().items():
        yield Architecture("keras_hub", family, name, build)


def _of_zeromodels() -> Iterator[Architecture]:
    models = importlib.import_module("zeromodels.models")
    for family, module in inspect.getmembers(models, inspect.ismodule):
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and name.endswith("Model") and issubclass(kind, keras.Model):
                yield Architecture("zeromodels", family, name, _small_model(kind))


def _small_model(kind: Any) -> Callable[[], Any]:
    def build() -> Any:
        if kind.config_class is not None:
            return kind(**shrunk(kind.config_class().constructor_kwargs()))
        known = inspect.signature(kind.__init__).parameters.values()
        given = {each.name: each.default for each in known if each.default is not each.empty}
        return kind(**shrunk(given))

    return build


def _of_kimm() -> Iterator[Architecture]:
    import re

    models = importlib.import_module("kimm.models")
    for name, build in inspect.getmembers(models, inspect.isclass):
        if name != "BaseModel" and not any(re.fullmatch(same, name) for same in _KIMM_SAME):
            family = build.__module__.rpartition(".")[2]
            yield Architecture("kimm", family, name, _image_network(build, 32, classes=10))
