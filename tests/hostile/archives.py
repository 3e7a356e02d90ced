"""Hostile and broken containers: zip archives, and what is no model file at all."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.hostile.parts import (
    ANALYSED,
    Row,
    chain,
    h5_file,
    hdf5,
    json_file,
    keras_file,
    metadata,
    weights3,
    zipped,
)

UNSAFE = ("unsafe_archive",)
NOT_A_MODEL = ("not_a_model_file",)
BROKEN = ("broken_file",)
NO_CONFIG = ("no_model_config",)
DAMAGED_FOLDER = (*NOT_A_MODEL, *BROKEN)
OVER = ("over_budget",)
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")


def good_keras() -> bytes:
    return keras_file(chain())


def good_h5() -> bytes:
    return h5_file(chain(keras=2))


def config_of_300_mb(_: Path) -> bytes:
    """About 300 KB on disk: valid JSON, most of which is spaces."""
    return keras_file(json.dumps(chain()) + " " * 300_000_000, compression=zipfile.ZIP_DEFLATED)


def weights_of_300_mb(_: Path) -> bytes:
    return zipped(
        [
            ("metadata.json", metadata("3.15.1")),
            ("config.json", json.dumps(chain())),
            ("model.weights.h5", weights3() + bytes(300_000_000)),
        ]
    )


def asset_of_200_mb(_: Path) -> bytes:
    extra = [("assets/layers/vocabulary.txt", bytes(200_000_000))]
    return keras_file(chain(), extra=extra, compression=zipfile.ZIP_DEFLATED)


def many_members(_: Path) -> bytes:
    return keras_file(chain(), extra=[(f"assets/{index}", b"") for index in range(5000)])


def named(member: str) -> Callable[[Path], bytes]:
    """An archive with one more member, whose name leads elsewhere."""
    return lambda _: keras_file(chain(), extra=[(member, b"payload")])


def twice(member: str, content: bytes) -> Callable[[Path], bytes]:
    """An archive in which a member comes twice: readers differ in which they take."""

    def make(_: Path) -> bytes:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return keras_file(chain(), extra=[(member, content)])

    return make


def symbolic_link(_: Path) -> bytes:
    link = zipfile.ZipInfo("assets/vocabulary.txt")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    return keras_file(chain(), extra=[(link, "/etc/passwd")])


def config_is_a_link(_: Path) -> bytes:
    link = zipfile.ZipInfo("config.json")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    return zipped([("metadata.json", metadata("3.15.1")), (link, "/etc/passwd")])


def encrypted(_: Path) -> bytes:
    """The flag of encryption on every member."""
    data = bytearray(good_keras())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(signature, start + 4)
    return bytes(data)


def wrong_checksum(_: Path) -> bytes:
    """A byte of the configuration changed after it was stored."""
    return good_keras().replace(b'"units": 4', b'"units": 5', 1)


def overlapping_members(_: Path) -> bytes:
    """Many names for one stretch of data, as in the zip bombs that need no recursion."""
    buffer = io.BytesIO(good_keras())
    with zipfile.ZipFile(buffer, "a") as archive:
        weights = archive.getinfo("model.weights.h5")
        for index in range(200):
            copy = zipfile.ZipInfo(f"assets/{index}")
            for name in ("CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(copy, name, getattr(weights, name))
            archive.filelist.append(copy)
            archive._didModify = True  # else the directory is not written anew
    return buffer.getvalue()


def damaged_asset(_: Path) -> bytes:
    """Nothing reads the asset, until the archive is copied."""
    data = keras_file(chain(), extra=[("assets/words.txt", "a long list of words")])
    return data.replace(b"a long list of words", b"a list of long words", 1)


def assets_of_2_gb(_: Path) -> bytes:
    """Each of them small enough."""
    piece = bytes(50_000_000)
    extra = [(f"assets/{index}", piece) for index in range(6)]
    data = keras_file(chain(), extra=extra, compression=zipfile.ZIP_DEFLATED)
    # The directory says 400 MB of each: it must be held to what it says.
    return data.replace(struct.pack("<I", len(piece)), struct.pack("<I", 400_000_000))


def understated_size(_: Path) -> bytes:
    """A member that unpacks to far more than the archive's directory says."""
    text = (json.dumps(chain()) + " " * 50_000_000).encode()
    data = bytearray(keras_file(text.decode(), compression=zipfile.ZIP_DEFLATED))
    large = struct.pack("<I", len(text))
    while (start := data.find(large)) >= 0:
        data[start : start + 4] = struct.pack("<I", 1000)
    return bytes(data)


def unknown_compression(_: Path) -> bytes:
    data = bytearray(good_keras())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = data.find(signature)
        while start >= 0:
            data[start + offset] = 97
            start = data.find(signature, start + 4)
    return bytes(data)


def zip64_with_absurd_sizes(_: Path) -> bytes:
    data = bytearray(good_keras())
    start = data.find(b"PK\x01\x02")
    while start >= 0:
        data[start + 20 : start + 28] = b"\xfe\xff\xff\xff" * 2
        start = data.find(b"PK\x01\x02", start + 4)
    return bytes(data)


def comment_of_directory_ends(_: Path) -> bytes:
    """The longest comment, in which every place looks like the end of the directory."""
    return good_keras()[:-2] + b"\xff\xff" + b"PK\x05\x06" * 16383 + b"abc"


def cut(make: Callable[[], bytes], share: float) -> Callable[[Path], bytes]:
    def cut_short(_: Path) -> bytes:
        data = make()
        return data[: int(len(data) * share)]

    return cut_short


def constant(data: bytes) -> Callable[[Path], bytes]:
    return lambda _: data


class _Touches:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


def a_pickle(marker: Path) -> bytes:
    return pickle.dumps(_Touches(marker))


def a_torch_checkpoint(marker: Path) -> bytes:
    return zipped([("archive/data.pkl", a_pickle(marker)), ("archive/version", b"3\n")])


def delimited(field: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds a text or another message."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size % 128 + 128])
        size //= 128
    return bytes([field * 8 + 2]) + length + bytes([size]) + content


def keras_metadata(config: object) -> bytes:
    root = json.dumps({"name": "model", "model_config": config}).encode()
    return delimited(1, delimited(3, b"root") + delimited(5, root))


def a_saved_model(metadata: bytes) -> Callable[[Path], bytes]:
    """A SavedModel with an empty graph and an empty checkpoint, and what is to be Keras's."""
    keras = [("keras_metadata.pb", metadata)] if metadata else []
    others = [("saved_model.pb", b"\x08\x01\x12\x00"), ("variables/variables.index", b"")]
    return lambda _: zipped([*others, *keras])


def no_weights(_: Path) -> bytes:
    return zipped([("metadata.json", metadata("3.15.1")), ("config.json", json.dumps(chain()))])


def no_metadata(_: Path) -> bytes:
    return zipped([("config.json", json.dumps(chain())), ("model.weights.h5", weights3())])


def config_as(content: str | bytes) -> Callable[[Path], bytes]:
    members = [("metadata.json", metadata("3.15.1")), ("config.json", content)]
    return lambda _: zipped([*members, ("model.weights.h5", weights3())])


def metadata_as(content: str | bytes) -> Callable[[Path], bytes]:
    members = [("metadata.json", content), ("config.json", json.dumps(chain()))]
    return lambda _: zipped([*members, ("model.weights.h5", weights3())])


def weights_as(content: bytes) -> Callable[[Path], bytes]:
    return lambda _: keras_file(chain(), content)


ROWS = [
    Row("config-of-300-mb.keras", config_of_300_mb, OVER),
    Row("weights-of-300-mb.keras", weights_of_300_mb, (ANALYSED,)),
    Row("asset-of-200-mb.keras", asset_of_200_mb, (ANALYSED,)),
    Row("many-members.keras", many_members, OVER),
    Row("parent-member.keras", named("../../evil"), UNSAFE),
    Row("absolute-member.keras", named("/tmp/evil"), UNSAFE),
    Row("backslash-member.keras", named("..\\..\\evil"), UNSAFE),
    Row("drive-member.keras", named("C:\\evil"), UNSAFE),
    Row("two-configs.keras", twice("config.json", b"{}"), UNSAFE),
    Row("two-weights.keras", twice("model.weights.h5", weights3()), UNSAFE),
    Row("two-metadata.keras", twice("metadata.json", b"{}"), UNSAFE),
    Row("symbolic-link.keras", symbolic_link, UNSAFE),
    Row("config-is-a-link.keras", config_is_a_link, UNSAFE),
    Row("encrypted.keras", encrypted, UNSAFE),
    Row("wrong-checksum.keras", wrong_checksum, BROKEN),
    Row("overlapping-members.keras", overlapping_members, UNSAFE),
    Row("damaged-asset.keras", damaged_asset, (ANALYSED, *BROKEN)),
    Row("assets-of-2-gb.keras", assets_of_2_gb, OVER),
    Row("understated-size.keras", understated_size, BROKEN),
    Row("unknown-compression.keras", unknown_compression, UNSAFE),
    Row("absurd-sizes.keras", zip64_with_absurd_sizes, OVER),
    Row("no-config.keras", lambda _: zipped([("x", b"")]), NO_CONFIG),
    Row("no-weights.keras", no_weights, (ANALYSED,)),
    Row("no-metadata.keras", no_metadata, (ANALYSED,)),
    Row("metadata-is-a-list.keras", metadata_as("[]"), (ANALYSED,)),
    Row("metadata-version-is-a-dict.keras", metadata_as('{"keras_version": {}}'), (ANALYSED,)),
    Row("metadata-is-deep.keras", metadata_as("[" * 100_000 + "]" * 100_000), OVER),
    Row("metadata-is-binary.keras", metadata_as(b"\xff\xfe\x00"), BROKEN),
    Row("config-in-utf-16.keras", config_as(json.dumps(chain()).encode("utf-16")), (ANALYSED,)),
    Row("config-is-empty.keras", config_as(""), BROKEN),
    Row("config-is-a-number.keras", config_as("42"), NO_CONFIG),
    Row("config-is-null.keras", config_as("null"), NO_CONFIG),
    Row("config-is-binary.keras", config_as(bytes(range(256))), BROKEN),
    Row("weights-are-empty.keras", weights_as(b""), BROKEN),
    Row("weights-are-a-picture.keras", weights_as(PNG), BROKEN),
    Row("weights-are-cut.keras", weights_as(weights3()[:900]), BROKEN),
    Row("self-extracting.keras", lambda _: b"MZ" + bytes(500) + good_keras(), NOT_A_MODEL),
    Row("data-after.keras", lambda _: good_keras() + b"\x00" * 30_000, (ANALYSED,)),
    Row("comment.keras", comment_of_directory_ends, BROKEN),
    Row("empty-archive.keras", lambda _: zipped([]), NO_CONFIG),
    Row("empty.keras", constant(b""), ("empty_file",)),
    Row("empty.h5", constant(b""), ("empty_file",)),
    Row("empty.json", constant(b""), ("empty_file",)),
    Row("one-byte.h5", constant(b"\x89"), NOT_A_MODEL),
    Row("picture.keras", constant(PNG), NOT_A_MODEL),
    Row("text.h5", constant(b"the weights are in the other file\n"), NOT_A_MODEL),
    Row("page.json", constant(b"<!DOCTYPE html><title>404</title>"), NOT_A_MODEL),
    Row("pickle.h5", a_pickle, NOT_A_MODEL),
    Row("torch.keras", a_torch_checkpoint, NOT_A_MODEL),
    # The library's own door takes one file; the analysis unpacks.
    Row("saved-model.keras", a_saved_model(b""), (*NOT_A_MODEL, *NO_CONFIG)),
    Row("saved-model-damaged.zip", a_saved_model(b"\x0a\xff\xff\xff\xff\x0f"), DAMAGED_FOLDER),
    Row("saved-model-empty.zip", a_saved_model(keras_metadata(chain(keras=2))), DAMAGED_FOLDER),
    Row("onnx.keras", constant(b"\x08\x09\x12\x07pytorch\x1a\x031.0:\x80\x01"), NOT_A_MODEL),
    Row("lite.h5", constant(b"\x1c\x00\x00\x00TFL3" + bytes(200)), NOT_A_MODEL),
    Row("gzip.keras", constant(b"\x1f\x8b\x08\x00" + zlib.compress(bytes(99))), NOT_A_MODEL),
    Row("executable.h5", constant(b"\x7fELF\x02\x01\x01" + bytes(99)), NOT_A_MODEL),
    Row("other-hdf5.h5", lambda _: hdf5(lambda file: file.create_group("a")), NO_CONFIG),
    *(
        Row(f"cut-at-{share}.{kind}", cut(make, share), BROKEN)
        for kind, make in (("keras", good_keras), ("h5", good_h5))
        for share in (0.001, 0.02, 0.3, 0.6, 0.9, 0.99)
    ),
    Row("cut-at-0.5.json", lambda _: json_file(chain())[:400], BROKEN),
    Row("keras-renamed.h5", lambda _: good_keras(), (ANALYSED,)),
    Row("h5-renamed.keras", lambda _: good_h5(), (ANALYSED,)),
    Row("json-renamed.h5", lambda _: json_file(chain()), (ANALYSED,)),
    Row("not-utf-8.keras", lambda _: good_keras(), (ANALYSED,), on_disk=b"m\xf6d\xebl\xff.keras"),
    Row("new\nline.keras", lambda _: good_keras(), (ANALYSED,), on_disk=b"new\nline.keras"),
]
