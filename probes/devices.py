"""Which device a probe runs on."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import keras

CHOICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Device:
    """A device to compute on.

    Attributes:
        kind: `cpu` or `gpu`.
        name: what it is called by its maker, as far as the framework knows.
    """

    kind: str
    name: str


def find_device(choice: str = "auto") -> Device:
    """The device that a choice stands for.

    Raises:
        ValueError: for an unknown choice, or for `gpu` where there is none.
    """
    if choice not in CHOICES:
        raise ValueError(f"device must be one of {', '.join(CHOICES)}. Received: {choice!r}")
    name = _gpu_name() if choice != "cpu" else None
    if name is not None:
        return Device("gpu", name)
    if choice == "gpu":
        raise ValueError(
            f"No GPU is visible to {keras.backend.backend()}: choose device='auto' or 'cpu'."
        )
    return Device("cpu", _cpu_name())


@contextlib.contextmanager
def placed_on(device: Device) -> Iterator[None]:
    """Run on a device inside the block."""
    with keras.device(f"{device.kind}:0"):
        yield


def _gpu_name() -> str | None:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return None
        for gpu in gpus:
            # Grow as needed; once the runtime has started the setting can only be kept.
            with contextlib.suppress(RuntimeError):
                tf.config.experimental.set_memory_growth(gpu, True)
        details = tf.config.experimental.get_device_details(gpus[0])
        return str(details.get("device_name", "GPU"))
    if backend == "jax":
        import jax

        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        return str(gpus[0].device_kind) if gpus else None
    if backend == "torch":
        import torch

        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    return None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as information:
            for line in information:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
