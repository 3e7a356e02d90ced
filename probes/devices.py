"""Which device a probe runs on."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from autoinit.errors import SettingsError

CHOICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Device:
    """A device to compute on.

    Attributes:
        kind: `cpu` or `gpu`.
        name: what it is called by its maker, as far as the framework knows.
        index: among those of its kind.
    """

    kind: str
    name: str
    index: int = 0


def devices_of(choice: str = "auto") -> tuple[Device, ...]:
    """All devices of the kind that a choice stands for: every GPU, or the one CPU.

    Raises:
        ValueError: for an unknown choice, or for `gpu` where there is none.
    """
    if choice not in CHOICES:
        raise SettingsError(f"device must be one of {', '.join(CHOICES)}. Received: {choice!r}")
    names = _gpu_names() if choice != "cpu" else []
    if names:
        return tuple(Device("gpu", name, index) for index, name in enumerate(names))
    if choice == "gpu":
        raise SettingsError(
            f"No GPU is visible to {keras.backend.backend()}: choose device='auto' or 'cpu'."
        )
    return (Device("cpu", _cpu_name()),)


def find_device(choice: str = "auto") -> Device:
    """The first of the devices that a choice stands for; raises as `devices_of` does."""
    return devices_of(choice)[0]


@contextlib.contextmanager
def placed_on(device: Device) -> Iterator[None]:
    """Run on a device, in full single precision, inside the block."""
    with keras.device(f"{device.kind}:{device.index}"), full_precision():
        yield


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Single precision is that inside the block.

    GPUs would round what goes into products to TF32's 10 bits, by up to a part in 2,000. Of
    TensorFlow and PyTorch it is a setting of the process: threads that come and go want a block
    around them all.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    if backend == "torch":
        import torch

        switches = [torch.backends.cuda.matmul, torch.backends.cudnn]
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = False
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.allow_tf32 = value
        return
    if backend == "tensorflow":
        import tensorflow as tf

        allowed = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(allowed)
        return
    yield


def gpu_memory(index: int) -> int | None:
    """Bytes that a GPU could still give this process; None where nothing tells."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        told = gpus[index].memory_stats() or {}
        if "bytes_limit" not in told:
            return None
        return int(told["bytes_limit"] - told.get("bytes_in_use", 0))
    if backend == "torch":
        import torch

        return int(torch.cuda.mem_get_info(index)[0])
    if backend == "tensorflow":
        import tensorflow as tf

        told = _free_by_driver(index)
        if told is None:
            return None
        # TensorFlow keeps what it once had: at least the difference is its own to use again.
        used = tf.config.experimental.get_memory_info(f"GPU:{index}")
        return told + int(used["peak"] - used["current"])
    return None


def _free_by_driver(index: int) -> int | None:
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    name = visible[index] if index < len(visible) and visible[index] else str(index)
    command = [
        "nvidia-smi",
        f"--id={name}",
        "--query-gpu=memory.free",
        "--format=csv,noheader,nounits",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _gpu_names() -> list[str]:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            # Grow as needed; once the runtime has started the setting can only be kept.
            with contextlib.suppress(RuntimeError):
                tf.config.experimental.set_memory_growth(gpu, True)
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return [str(each.get("device_name", "GPU")) for each in details]
    if backend == "jax":
        import jax

        return [str(device.device_kind) for device in jax.devices() if device.platform == "gpu"]
    if backend == "torch":
        import torch

        return [str(torch.cuda.get_device_name(n)) for n in range(torch.cuda.device_count())]
    return []


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as information:
            for line in information:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
