"""What a file that is no Keras model seems to be, and what its owner can do: data only."""

from __future__ import annotations

import re
from collections.abc import Collection

# Enough of a file's beginning to tell what it is.
START_BYTES = 4096

SAVE_WHOLE = "Save the whole model with model.save('model.keras')."
_TORCH = "Rebuild the network in Keras and save it with model.save('model.keras')."
_FROM_TENSORFLOW = (
    "Load it in Python where it was made, and save it with model.save('model.keras')."
)

# How the first bytes look, what such a file is, and what to do. The first that fits counts.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM....\x00\x00\x00\x00", "an image", SAVE_WHOLE),
    (rb"%PDF", "a PDF document", SAVE_WHOLE),
    (rb"\x93NUMPY", "a NumPy array", SAVE_WHOLE),
    (
        rb"version https://git-lfs",
        "a Git LFS pointer, which stands for the real file",
        "Fetch the file itself with 'git lfs pull'.",
    ),
    (
        rb"\s*(?i:<!doctype html|<html|<head|<\?xml)",
        "a web page, not the file behind it",
        "Download the file itself.",
    ),
    (rb"\x80[\x02-\x05](?s:.){0,14}\x8a\x0al\xfc\x9cF\xf9", "a PyTorch checkpoint", _TORCH),
    (rb"\x80[\x02-\x05]", "a Python pickle, which can run code and is never opened", SAVE_WHOLE),
    (
        rb"(?s:.{4})TFL3",
        "a TensorFlow Lite model, which holds no Keras layers",
        "Use the Keras model that it was converted from.",
    ),
    (rb"(?s:.{8})\{\"", "a safetensors file, which holds weights only", SAVE_WHOLE),
    (rb"GGUF", "a GGUF file, which holds weights of a language model", _TORCH),
    (
        rb"\x08[\x01-\x20](?:\x12|\x1a|\x3a)",
        "an ONNX model or a TensorFlow graph, which holds no Keras layers",
        "Use the Keras model that it was converted from.",
    ),
    (
        rb"\x1f\x8b|BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!",
        "a compressed file",
        "Unpack it and give the model file in it.",
    ),
    (rb"(?s:.{257})ustar", "a tar archive", "Unpack it and give the model file in it."),
    (rb"PK\x07\x08", "part of a split zip archive", SAVE_WHOLE),
    (
        rb"\s*(?:backend|class_name|config|keras_version):\s",
        "a model written as YAML",
        "Write it with model.to_json().",
    ),
    (
        rb"\s*(?:#!|import |from \w+ import |\"\"\")",
        "a Python program",
        "Run it, and save its model with model.save('model.keras').",
    ),
)

# The same for what is in a zip archive without a configuration at its top.
_CONTENTS: tuple[tuple[str, str, str], ...] = (
    (r"(?:.*/)?saved_model\.pb(?:txt)?", "a TensorFlow SavedModel", _FROM_TENSORFLOW),
    (r"(?:[^/]+/)?data\.pkl", "a PyTorch checkpoint", _TORCH),
    (
        r".*/metadata\.json",
        "a .keras archive that was unpacked and packed again with its folder",
        "Pack the folder's contents, not the folder.",
    ),
    (
        r".*\.(?:keras|h5|hdf5)",
        "a zip archive around a model file",
        "Unpack it and give the model file in it.",
    ),
    (r".*\.npy", "a NumPy archive", SAVE_WHOLE),
    (r".*group\d+-shard.*", "a TensorFlow.js model", "Use the Keras model that it was made from."),
    (r"word/.*|xl/.*|ppt/.*|META-INF/.*", "a document or program", SAVE_WHOLE),
)

_START_PATTERNS = [(re.compile(p), what, advice) for p, what, advice in _BEGINNINGS]
_NAME_PATTERNS = [(re.compile(p, re.DOTALL), what, advice) for p, what, advice in _CONTENTS]


def seems_to_be(start: bytes) -> tuple[str, str]:
    """What a file is by its first bytes, and what to do about it; empty where nothing fits."""
    for pattern, what, advice in _START_PATTERNS:
        if pattern.match(start):
            return what, advice
    return "", SAVE_WHOLE


def archive_seems_to_be(names: Collection[str]) -> tuple[str, str]:
    """What an archive is by the names of its members, and what to do about it."""
    for pattern, what, advice in _NAME_PATTERNS:
        if any(map(pattern.fullmatch, names)):
            return what, advice
    return "", SAVE_WHOLE
