"""HDF5 files from anyone: what they may hold, and what they are refused for before it is read."""

import struct
import zlib

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from autoinit.errors import ModelFileError
from autoinit.model_files.budgets import Budgets
from autoinit.model_files.read.hdf5 import open_arrays, quoted, texts_of
from autoinit.model_files.read.hdf5_texts import TextsTooLongError, attribute_texts

KERNEL = np.arange(32, dtype=np.float32).reshape(8, 4)


def make(path, fill, **options):
    with h5py.File(path, "w", **options) as file:
        group = file.create_group("layers/dense/vars")
        group["1"] = np.ones(4, np.float32)
        fill(group)
    return path


def opened(path, budgets=None):
    return open_arrays(path, path.name, budgets or Budgets())


def refusal(path, budgets=None):
    with pytest.raises(ModelFileError) as caught, opened(path, budgets):
        pass
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    return caught.value.code, str(caught.value)


# What may be there


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 2)},
        {"chunks": (8, 4), "compression": "gzip"},
        {"chunks": (3, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": True, "maxshape": (None, None), "fletcher32": True},
    ],
    ids=str,
)
def test_plain_arrays_however_packed_are_read(tmp_path, options):
    def fill(group):
        group.create_dataset("0", data=KERNEL, **options)

    with opened(make(tmp_path / "file.h5", fill)) as file:
        assert set(file.arrays) == {"layers/dense/vars/0", "layers/dense/vars/1"}
        assert file.groups == {"", "layers", "layers/dense", "layers/dense/vars"}
        array = file.arrays["layers/dense/vars/0"]
        assert (array.shape, array.dtype, array.entries) == ((8, 4), np.float32, 32)
        np.testing.assert_array_equal(file.read(array), KERNEL)


@pytest.mark.parametrize(
    "value",
    [np.float64(1.5), np.zeros((0, 4)), np.array([True, False]), np.uint8(7), np.bytes_(b"word")],
    ids=repr,
)
def test_scalars_empty_arrays_booleans_and_words(tmp_path, value):
    with opened(
        make(tmp_path / "file.h5", lambda group: group.create_dataset("0", data=value))
    ) as f:
        np.testing.assert_array_equal(f.read(f.arrays["layers/dense/vars/0"]), value)


def compact(group):
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.COMPACT)
    space = h5s.create_simple(KERNEL.shape)
    h5d.create(group.id, b"0", h5t.NATIVE_FLOAT, space, properties).write(h5s.ALL, h5s.ALL, KERNEL)


def test_an_array_within_its_header(tmp_path):
    with opened(make(tmp_path / "file.h5", compact)) as file:
        np.testing.assert_array_equal(file.read(file.arrays["layers/dense/vars/0"]), KERNEL)


def test_a_dataset_without_a_shape_is_passed_over(tmp_path):
    path = make(tmp_path / "file.h5", lambda g: g.create_dataset("0", data=h5py.Empty("f4")))
    with opened(path) as file:
        assert list(file.arrays) == ["layers/dense/vars/1"]


def test_names_in_any_encoding(tmp_path):
    path = make(tmp_path / "file.h5", lambda g: g.__setitem__(b"\xff/\xc3\xa9", KERNEL))
    with opened(path) as file:
        (array,) = [array for array in file.arrays.values() if array.shape == (8, 4)]
        np.testing.assert_array_equal(file.read(array), KERNEL)


# What may not


def external_link(group):
    group["0"] = h5py.ExternalLink("/etc/passwd", "/kernel")


def soft_link(group):
    group["0"] = h5py.SoftLink("/layers/dense/vars/1")


def external_storage(group):
    group.create_dataset("0", KERNEL.shape, "f4", external=[("/etc/passwd", 0, KERNEL.nbytes)])


def virtual(group):
    layout = h5py.VirtualLayout(KERNEL.shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "kernel", KERNEL.shape)
    group.create_virtual_dataset("0", layout)


def sparse(group):
    group.create_dataset("0", (2**24, 8), "f4")


def sparse_and_packed(group):
    group.create_dataset("0", (2**24, 8), "f4", chunks=(2**12, 8), compression="gzip")


def huge(group):
    group.create_dataset("0", (2**40, 2**10), "f4", chunks=(2**10, 2**10))


def huge_chunk(group):
    group.create_dataset("0", KERNEL.shape, "f4", maxshape=(None, None), chunks=(2**13, 2**13))


def bomb(group):
    """A chunk of 128 bytes that unpacks to a megabyte: HDF5 would take whatever comes out."""
    dataset = group.create_dataset("0", KERNEL.shape, "f4", chunks=(8, 4), compression="gzip")
    dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**20)))


def cut_short(group):
    dataset = group.create_dataset("0", KERNEL.shape, "f4", chunks=(8, 4), compression="gzip")
    dataset.id.write_direct_chunk((0, 0), zlib.compress(KERNEL.tobytes())[:-6])


def long_chunk(group):
    dataset = group.create_dataset("0", KERNEL.shape, "f4", chunks=(8, 4), fletcher32=True)
    dataset.id.write_direct_chunk((0, 0), bytes(5000))


def cycle(group):
    group["again"] = group


def parent(group):
    group["root"] = group.file["/"]


def two_names(group):
    group["0"] = group["1"]


def unknown_filter(group):
    group.create_dataset(
        "0", KERNEL.shape, "f4", chunks=(8, 4), compression=32001, allow_unknown_filter=True
    )


def filter_twice(group):
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(KERNEL.shape)
    properties.set_deflate(1)
    properties.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (1,))
    h5d.create(group.id, b"0", h5t.NATIVE_FLOAT, h5s.create_simple(KERNEL.shape), properties)


def named_type(group):
    group["0"] = np.dtype("f4")


def odd_bits(group):
    kind = h5t.NATIVE_INT32.copy()
    kind.set_precision(24)
    h5d.create(group.id, b"0", kind, h5s.create_simple(KERNEL.shape))


def of_type(dtype):
    return lambda group: group.create_dataset("0", KERNEL.shape, dtype)


@pytest.mark.parametrize(
    "fill",
    [
        external_link,
        soft_link,
        external_storage,
        virtual,
        sparse,
        sparse_and_packed,
        huge,
        huge_chunk,
        bomb,
        cut_short,
        long_chunk,
        cycle,
        parent,
        two_names,
        unknown_filter,
        filter_twice,
        named_type,
        odd_bits,
        pytest.param(of_type([("a", "f4")]), id="compound"),
        pytest.param(of_type(h5py.vlen_dtype(np.float32)), id="variable length"),
        pytest.param(of_type(h5py.string_dtype()), id="strings"),
        pytest.param(of_type(h5py.ref_dtype), id="references"),
        pytest.param(of_type(h5py.regionref_dtype), id="regions"),
        pytest.param(of_type(np.complex64), id="complex"),
        pytest.param(of_type(np.dtype("V8")), id="opaque"),
        pytest.param(of_type(np.dtype((np.float32, (3,)))), id="arrays"),
    ],
)
def test_what_keras_does_not_write_is_refused(tmp_path, fill):
    code, message = refusal(make(tmp_path / "file.h5", fill))
    assert code == "unsafe_weights"
    assert "'file.h5'" in message


def test_the_refusal_says_which_object(tmp_path):
    _, message = refusal(make(tmp_path / "file.h5", external_storage))
    assert "'layers/dense/vars/0'" in message


def test_as_many_objects_as_a_model_may_have(tmp_path):
    def fill(group):
        for index in range(60):
            group.create_group(f"g{index}")

    path = make(tmp_path / "file.h5", fill)
    code, message = refusal(path, Budgets(layers=12))
    assert code == "over_budget"
    assert "12 layers" in message
    assert "AUTOINIT_MAX_LAYERS" in message
    with opened(path, Budgets(layers=13)) as file:
        assert len(file.groups) == 64


def test_groups_nested_deeply_and_named_at_length(tmp_path):
    def fill(group):
        for _ in range(1500):
            group = group.create_group("g" * 60)

    assert refusal(make(tmp_path / "file.h5", fill), Budgets())[0] == "unsafe_weights"


def test_arrays_that_unpack_to_more_than_a_file_may_have(tmp_path):
    def fill(group):
        for index in range(2, 12):
            group.create_dataset(str(index), data=np.zeros(2**20), compression="gzip")

    path = make(tmp_path / "file.h5", fill)
    assert path.stat().st_size < 2**20
    code, message = refusal(path, Budgets(file_bytes=2**26))
    assert code == "over_budget"
    assert "AUTOINIT_MAX_FILE_BYTES" in message


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_files_that_are_cut_short(tmp_path, share):
    path = make(tmp_path / "file.h5", lambda group: group.create_dataset("0", data=KERNEL))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path)[0] in ("broken_file", "unsafe_weights")


# Names in attributes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([b"a", b"bcd"], ["a", "bcd"]),
        (np.array([b"a", b"bcd"]), ["a", "bcd"]),
        ([], []),
        (np.array(["é"], h5py.string_dtype()), ["é"]),
        (h5py.Empty("S1"), []),
    ],
    ids=str,
)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_lists_of_names(tmp_path, value, expected, libver):
    path = tmp_path / "file.h5"
    make(path, lambda group: group.attrs.__setitem__("names", value), libver=libver)
    with opened(path) as file:
        assert file.names("layers/dense/vars", "names") == expected
        assert file.names("layers/dense/vars", "others") is None
        assert file.names("nowhere", "names") is None


def test_lists_in_pieces_and_single_texts(tmp_path):
    def fill(group):
        for index in range(3):
            group.attrs[f"names{index}"] = [f"name {index}".encode()]
        group.attrs["version"] = "2.15.0"

    with opened(make(tmp_path / "file.h5", fill)) as file:
        assert file.names("layers/dense/vars", "names") == ["name 0", "name 1", "name 2"]
        assert file.text("layers/dense/vars", "version") == "2.15.0"
        assert file.text("layers/dense/vars", "backend") == ""


@pytest.mark.parametrize(
    "value", [7, np.zeros(3), np.zeros(2, [("a", "f4")]), [[b"a"], [b"b"]]], ids=str
)
def test_attributes_that_are_no_names(tmp_path, value):
    path = make(tmp_path / "file.h5", lambda group: group.attrs.__setitem__("names", value))
    with opened(path) as file, pytest.raises(ModelFileError) as caught:
        file.names("layers/dense/vars", "names")
    assert caught.value.code == "unsafe_weights"


def test_names_that_are_all_the_same_long_one(tmp_path):
    """A megabyte, three thousand times over: HDF5 would read three gigabytes at once."""
    size = 2**20 + 12345
    names = [b"x" * size, *(f"name {index}".encode() for index in range(3000))]
    path = make(tmp_path / "file.h5", lambda group: group.attrs.__setitem__("names", names))
    content = path.read_bytes()
    # An element: its length, and the address and the number of its value.
    long = content.find(size.to_bytes(4, "little"))
    element = content[long : long + 16]
    path.write_bytes(content[:long] + element * 3001 + content[long + 16 * 3001 :])
    with opened(path) as file, pytest.raises(ModelFileError, match="without end") as caught:
        file.names("layers/dense/vars", "names")
    assert caught.value.code == "unsafe_weights"


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_texts_of_any_length_in_headers_of_either_kind(tmp_path, libver, userblock):
    texts = [b"a", b"", "é".encode() * 7, b"long " * 5000, b"name"]

    def fill(group):
        group.attrs["number"] = 7.0
        group.attrs["others"] = [b"other"] * 3
        group.attrs["texts"] = texts
        group.attrs["one"] = "alone"
        for index in range(4):
            group.attrs[f"more{index}"] = "x" * index

    path = make(tmp_path / "file.h5", fill, libver=libver, userblock_size=userblock)
    with h5py.File(path) as file:
        group = file["layers/dense/vars"]
        assert texts_of(group.id, "texts", 10**6) == texts
        assert texts_of(group.id, "one", 5) == [b"alone"]
        assert texts_of(group.id, "nothing", 5) is None
        with pytest.raises(TextsTooLongError):
            texts_of(group.id, "texts", 25_000)


def test_attributes_that_are_not_in_the_header(tmp_path):
    """Keras writes no more than eight, and nothing that is kept elsewhere."""

    def fill(group):
        for index in range(20):
            group.attrs[f"names{index}"] = [b"a", b"b"]

    path = make(tmp_path / "file.h5", fill, libver="latest")
    with opened(path) as file, pytest.raises(ModelFileError) as caught:
        file.names("layers/dense/vars", "names")
    assert caught.value.code == "broken_file"


def spoilt(path, old, new, skip=0):
    content = path.read_bytes()
    place = content.find(old)
    assert place > 0
    place += skip
    path.write_bytes(content[:place] + new + content[place + len(new) :])
    return path


@pytest.mark.parametrize(
    ("skip", "new"),
    [
        (8, bytes(8)),  # a heap of no size
        (8, b"\xff" * 8),  # or of a great one
        (24, b"\xff" * 8),  # a text that is longer than the heap
        (16, bytes(16)),  # the room that is left, of no size: HDF5 itself never gets past it
        (4, b"\x07"),  # of another kind
        (0, b"GONE"),
    ],
)
def test_damaged_heaps_are_refused_and_not_waited_for(tmp_path, skip, new):
    path = make(tmp_path / "file.h5", lambda group: group.attrs.__setitem__("names", [b"a", b"b"]))
    spoilt(path, b"GCOL", new, skip)
    with opened(path) as file, pytest.raises(ModelFileError) as caught:
        file.names("layers/dense/vars", "names")
    assert caught.value.code == "broken_file"


def test_texts_that_are_elsewhere_or_longer_than_they_were(tmp_path):
    names = [b"x" * 777, b"b"]
    element = (777).to_bytes(4, "little")
    for new, skip in ((b"\x0b", 0), (b"\xff" * 8, 4), (b"\x63\0\0\0", 12)):
        path = make(tmp_path / "file.h5", lambda group: group.attrs.__setitem__("names", names))
        spoilt(path, element, new, skip)
        with opened(path) as file, pytest.raises(ModelFileError) as caught:
            file.names("layers/dense/vars", "names")
        assert caught.value.code == "broken_file"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x07" * 64,
        b"\x01" * 64,
        b"OHDR\x02\xff" + b"\xff" * 58,
        # A header that goes on where it began.
        struct.pack("<BxHII4x", 1, 1, 1, 24) + struct.pack("<HHB3xQQ", 0x10, 16, 0, 16, 24),
    ],
)
def test_headers_that_are_none(start, monkeypatch):
    monkeypatch.setattr("autoinit.model_files.read.hdf5_texts._HEADER_BYTES", 2**16)

    def read(at, size):
        return (start + bytes(64))[at : at + size]

    with pytest.raises(ValueError, match=r"header|block"):
        attribute_texts(read, 0, b"names", 100)


# Names as they are shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense", "'dense'"),
        ("a\nb\x00\u202e", r"'a\\nb\\x00\\u202e'"),
        ("\udcff", r"'\\udcff'"),
        ("x" * 200, "'" + "x" * 40 + "…" + "x" * 40 + "'"),
    ],
)
def test_names_are_shown_as_text(name, expected):
    assert quoted(name) == expected
