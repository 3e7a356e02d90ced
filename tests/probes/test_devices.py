"""Devices, their memory and their precision."""

import subprocess
from types import SimpleNamespace

import keras
import pytest

from probes import batching, devices
from probes.batching import free_memory
from probes.devices import Device, devices_of, find_device, full_precision, placed_on

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of TensorFlow's settings"
)
GPU = Device("gpu", "a GPU", 1)


def test_the_cpu_is_one_device():
    (cpu,) = devices_of("cpu")
    assert (cpu.kind, cpu.index) == ("cpu", 0)
    assert cpu == find_device("cpu")


def test_every_gpu_is_a_device(monkeypatch):
    monkeypatch.setattr(devices, "_gpu_names", lambda: ["one", "two"])
    assert devices_of("auto") == (Device("gpu", "one", 0), Device("gpu", "two", 1))
    assert devices_of("gpu")[1].name == "two"
    assert find_device("cpu").kind == "cpu"


def test_unknown_and_missing_devices_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="auto, cpu, gpu"):
        devices_of("tpu")
    monkeypatch.setattr(devices, "_gpu_names", lambda: [])
    with pytest.raises(ValueError, match="No GPU"):
        devices_of("gpu")


@on_tensorflow
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("block", [full_precision, lambda: placed_on(find_device("cpu"))])
def test_products_are_exact_inside_and_as_before_afterwards(allowed, block):
    import tensorflow as tf

    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    try:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
        with block():
            assert not enabled()
            with block():
                pass
            assert not enabled()
        assert enabled() == allowed
        with pytest.raises(RuntimeError, match="on purpose"), block():
            raise RuntimeError("on purpose")
        assert enabled() == allowed
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def test_a_cpus_memory_is_the_machines():
    assert free_memory(find_device("cpu")) == pytest.approx(free_memory(), rel=0.2)


def test_a_gpus_memory_is_its_own_where_it_tells(monkeypatch):
    monkeypatch.setattr(batching, "gpu_memory", {1: 123}.get)
    assert free_memory(GPU) == 123
    monkeypatch.setattr(batching, "gpu_memory", lambda index: None)
    assert free_memory(GPU) > 2**20


@on_tensorflow
def test_tensorflow_asks_the_driver_and_adds_what_it_keeps(monkeypatch):
    import tensorflow as tf

    asked = []

    def run(command, **settings):
        asked.append(command[1])
        return SimpleNamespace(stdout="1000\n")

    monkeypatch.setattr(subprocess, "run", run)
    used = {"GPU:1": {"current": 5, "peak": 30}}
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", used.__getitem__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.gpu_memory(1) == (1000 << 20) + 25
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    devices.gpu_memory(1)
    assert asked == ["--id=1", "--id=GPU-7"]


@on_tensorflow
def test_without_a_driver_nothing_is_told(monkeypatch):
    def missing(command, **settings):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", missing)
    assert devices.gpu_memory(0) is None
