"""Hostile weights: what an HDF5 file can hold besides arrays of numbers."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.hostile.parts import (
    ANALYSED,
    FEATURES,
    UNITS,
    Row,
    chain,
    dense_arrays,
    h5_file,
    hdf5,
    keras_file,
    weights2,
)

UNSAFE = ("unsafe_weights",)
MISMATCH = ("weights_mismatch",)
BROKEN = ("broken_file",)
KERNEL = (FEATURES, UNITS)

Fill = Callable[[h5py.Group, str, Path], None]


def keras3(kernel: Fill) -> Callable[[Path], bytes]:
    """A `.keras` file whose head's kernel is what `kernel` makes of it."""

    def make(marker: Path) -> bytes:
        def fill(file: h5py.File) -> None:
            variables = file.create_group("layers/dense/vars")
            variables["1"] = dense_arrays()[1]
            kernel(variables, "0", marker)

        return keras_file(chain(), hdf5(fill))

    return make


def keras2(kernel: Fill) -> Callable[[Path], bytes]:
    """The same as a legacy HDF5 model."""

    def make(marker: Path) -> bytes:
        def fill(file: h5py.File) -> None:
            weights2(file)
            group = file["model_weights/head/head"]
            del group["kernel:0"]
            kernel(group, "kernel:0", marker)

        return h5_file(chain(keras=2), fill)

    return make


def external_link(group: h5py.Group, name: str, marker: Path) -> None:
    other = marker.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["kernel"] = dense_arrays()[0]
    group[name] = h5py.ExternalLink(str(other), "/kernel")


def soft_link(group: h5py.Group, name: str, _: Path) -> None:
    group.file["elsewhere"] = dense_arrays()[0]
    group[name] = h5py.SoftLink("/elsewhere")


def external_storage(group: h5py.Group, name: str, _: Path) -> None:
    size = KERNEL[0] * KERNEL[1] * 4
    group.create_dataset(name, KERNEL, "float32", external=[("/etc/passwd", 0, size)])


def virtual(group: h5py.Group, name: str, _: Path) -> None:
    layout = h5py.VirtualLayout(KERNEL, "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "kernel", KERNEL)
    group.create_virtual_dataset(name, layout)


def declares_512_mb(group: h5py.Group, name: str, _: Path) -> None:
    """A dataset without data takes no room in the file: its fill value stands for all of it."""
    group.create_dataset(name, (8, 16 * 2**20), "float32", chunks=(8, 2**17), compression="gzip")


def declares_petabytes(group: h5py.Group, name: str, _: Path) -> None:
    group.create_dataset(name, (2**40, 2**10), "float32", chunks=(2**10, 2**10))


def huge_chunk(group: h5py.Group, name: str, _: Path) -> None:
    """The right shape, in a chunk of 1 GiB that must be unpacked to read it."""
    group.create_dataset(
        name, KERNEL, "float32", maxshape=(None, None), chunks=(2**14, 2**14), compression="gzip"
    )


def filled_chunk(group: h5py.Group, name: str, _: Path) -> None:
    """The same, with a chunk that is really there: half a gigabyte of zeros in half a megabyte."""
    dataset = group.create_dataset(
        name, KERNEL, "float32", maxshape=(None, None), chunks=(2**14, 2**13), compression="gzip"
    )
    dataset[...] = dense_arrays()[0]


def hard_link_cycle(group: h5py.Group, name: str, _: Path) -> None:
    group[name] = dense_arrays()[0]
    group["again"] = group
    group["root"] = group.file["/"]


def group_instead(group: h5py.Group, name: str, _: Path) -> None:
    group.create_group(name)


def of_dtype(dtype: Any) -> Fill:
    def fill(group: h5py.Group, name: str, _: Path) -> None:
        group.create_dataset(name, KERNEL, dtype)

    return fill


def named_dtype(group: h5py.Group, name: str, _: Path) -> None:
    group[name] = np.dtype("float32")


def of_shape(*shape: int) -> Fill:
    def fill(group: h5py.Group, name: str, _: Path) -> None:
        group[name] = np.zeros(shape, "float32")

    return fill


def missing(*_: Any) -> None:
    """No kernel at all."""


def holding(value: float) -> Fill:
    def fill(group: h5py.Group, name: str, _: Path) -> None:
        array = dense_arrays()[0]
        array[2, 1] = value
        group[name] = array

    return fill


def scattered(group: h5py.Group, name: str, _: Path) -> None:
    """A filter pipeline that needs a plug-in which nobody has."""
    group.create_dataset(
        name, KERNEL, "float32", chunks=KERNEL, compression=32001, allow_unknown_filter=True
    )


def many_groups(group: h5py.Group, name: str, _: Path) -> None:
    group[name] = dense_arrays()[0]
    for index in range(10_000):
        group.create_group(f"g{index}")


def deep_groups(group: h5py.Group, name: str, _: Path) -> None:
    group[name] = dense_arrays()[0]
    for _index in range(3000):
        group = group.create_group("g")


# Legacy files: the attributes that the reader goes by


def weight_names(*names: Any) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        def fill(file: h5py.File) -> None:
            weights2(file)
            file["model_weights/head"].attrs["weight_names"] = list(names)

        return h5_file(chain(keras=2), fill)

    return make


def layer_names(value: Any) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        def fill(file: h5py.File) -> None:
            weights2(file)
            if value is None:
                del file["model_weights"].attrs["layer_names"]
            else:
                file["model_weights"].attrs["layer_names"] = value

        return h5_file(chain(keras=2), fill)

    return make


def many_attributes(_: Path) -> bytes:
    """`layer_names` in numbered pieces, as Keras splits long ones: more of them than layers."""

    def fill(file: h5py.File) -> None:
        weights2(file)
        group = file["model_weights"]
        del group.attrs["layer_names"]
        for index in range(2000):
            group.attrs[f"layer_names{index}"] = [b"x" * 1000] * 50

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        file.attrs["keras_version"] = b"2.15.0"
        file.attrs["model_config"] = h5_config()
        fill(file)
    return buffer.getvalue()


def h5_config() -> bytes:
    import json

    return json.dumps(chain(keras=2)).encode()


def attribute_of(value: Any, dtype: Any = None, name: str = "model_config") -> Callable:
    """A legacy file with an attribute of another type."""

    def make(_: Path) -> bytes:
        def fill(file: h5py.File) -> None:
            weights2(file)
            del file.attrs[name]
            file.attrs.create(name, value, dtype=dtype)

        return h5_file(chain(keras=2), fill)

    return make


def reference_attribute(_: Path) -> bytes:
    def fill(file: h5py.File) -> None:
        weights2(file)
        del file.attrs["model_config"]
        file.attrs["model_config"] = file["model_weights"].ref

    return h5_file(chain(keras=2), fill)


def no_weights_group(_: Path) -> bytes:
    return h5_file(chain(keras=2), lambda file: None)


def weights_group_is_a_dataset(_: Path) -> bytes:
    return h5_file(chain(keras=2), lambda file: file.create_dataset("model_weights", data=[1.0]))


def weights_group_is_elsewhere(marker: Path) -> bytes:
    other = marker.with_name("other.h5")
    with h5py.File(other, "w") as file:
        weights2(file)

    def fill(file: h5py.File) -> None:
        file["model_weights"] = h5py.ExternalLink(str(other), "/model_weights")

    return h5_file(chain(keras=2), fill)


def lying_superblock(_: Path) -> bytes:
    """The end of the file is declared to be far behind its real end."""
    data = bytearray(h5_file(chain(keras=2)))
    end = struct.pack("<Q", len(data))
    where = data.find(end)
    data[where : where + 8] = struct.pack("<Q", 2**60)
    return bytes(data)


BOTH: list[tuple[str, Fill, tuple[str, ...], tuple[str, ...]]] = [
    ("external-link", external_link, UNSAFE, ()),
    ("soft-link", soft_link, UNSAFE, ()),
    ("external-storage", external_storage, UNSAFE, ()),
    ("virtual", virtual, UNSAFE, ()),
    ("declares-512-mb", declares_512_mb, UNSAFE, ()),
    ("declares-petabytes", declares_petabytes, UNSAFE, ()),
    ("huge-chunk", huge_chunk, UNSAFE, ()),
    ("filled-chunk", filled_chunk, UNSAFE, ()),
    ("hard-link-cycle", hard_link_cycle, UNSAFE, ()),
    ("group-instead", group_instead, MISMATCH, ()),
    ("compound", of_dtype([("a", "f4"), ("b", "i8")]), UNSAFE, ()),
    ("variable-length", of_dtype(h5py.vlen_dtype(np.float32)), UNSAFE, ()),
    ("strings", of_dtype(h5py.string_dtype()), UNSAFE, ()),
    ("references", of_dtype(h5py.ref_dtype), UNSAFE, ()),
    ("complex", of_dtype(np.complex64), UNSAFE, ()),
    ("opaque", of_dtype(np.dtype("V8")), UNSAFE, ()),
    ("named-dtype", named_dtype, UNSAFE, ()),
    ("integers", of_dtype(np.int64), MISMATCH, ()),
    ("booleans", of_dtype(bool), MISMATCH, ()),
    ("text", of_dtype("S4"), MISMATCH, ()),
    ("other-shape", of_shape(4, 8), MISMATCH, ()),
    ("other-rank", of_shape(32), MISMATCH, ()),
    ("empty-kernel", of_shape(0, 4), MISMATCH, ()),
    ("missing", missing, MISMATCH, ()),
    ("unknown-filter", scattered, UNSAFE, ()),
    ("many-groups", many_groups, (ANALYSED,), ()),
    ("deep-groups", deep_groups, (ANALYSED,), ()),
    ("nan", holding(float("nan")), (ANALYSED,), ("weights_not_finite",)),
    ("infinite", holding(float("inf")), (ANALYSED,), ("weights_not_finite",)),
]

BAD_ATTRIBUTE = ("bad_configuration",)

ROWS = [
    *(Row(f"{name}.keras", keras3(fill), out, found) for name, fill, out, found in BOTH),
    *(Row(f"{name}.h5", keras2(fill), out, found) for name, fill, out, found in BOTH),
    Row("weight-names-leave-the-layer.h5", weight_names(b"../../etc/passwd", b"/model_weights"),
        MISMATCH),
    Row("weight-names-are-missing.h5", weight_names(b"nowhere", b"head/bias:0"), MISMATCH),
    Row("weight-names-are-numbers.h5", weight_names(1, 2), UNSAFE),
    Row("weight-names-are-not-utf-8.h5", weight_names(b"\xff\xfe", b"\xfd"), MISMATCH),
    Row("layer-names-are-missing.h5", layer_names(None), MISMATCH),
    Row("layer-names-are-a-number.h5", layer_names(7), UNSAFE),
    Row("layer-names-lead-out.h5", layer_names([b"..", b"/"]), MISMATCH),
    Row("many-attributes.h5", many_attributes, ("unsafe_weights", "broken_file")),
    Row("config-is-a-number.h5", attribute_of(7), BAD_ATTRIBUTE),
    Row("config-is-an-array.h5", attribute_of([b"{", b"}"]), BAD_ATTRIBUTE),
    Row("config-is-numbers.h5", attribute_of(np.zeros(1000)), BAD_ATTRIBUTE),
    Row("config-is-not-utf-8.h5", attribute_of(b"\xff\xfe{}"), BROKEN),
    Row("config-is-compound.h5", attribute_of(np.zeros(2, [("a", "f4")])), BAD_ATTRIBUTE),
    Row("config-is-empty.h5", attribute_of(h5py.Empty("S1")), BAD_ATTRIBUTE),
    Row("config-is-a-reference.h5", reference_attribute, BAD_ATTRIBUTE),
    Row("version-is-an-array.h5", attribute_of(np.zeros(5), name="keras_version"), BAD_ATTRIBUTE),
    Row("no-weights-group.h5", no_weights_group, (ANALYSED,)),
    Row("weights-group-is-a-dataset.h5", weights_group_is_a_dataset, MISMATCH),
    Row("weights-group-is-elsewhere.h5", weights_group_is_elsewhere, UNSAFE),
    Row("lying-superblock.h5", lying_superblock, BROKEN),
]  # fmt: skip
