"""Texts of variable length in the attributes of an HDF5 file, read past the HDF5 library.

The library reads all texts of an attribute at once, though thousands of them may be one and the
same long one, and it never comes back from some damaged heaps. What it reads is simple enough: an
attribute says where in which heap each of its texts stands. After the HDF5 File Format
Specification 3.0, IV.A and III.E.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

# Reads a number of bytes from a place in the file.
Read = Callable[[int, int], bytes]

_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_SHARED_MESSAGE, _SHARED_TYPE = 0x02, 0x01
_VARIABLE_LENGTH = 9
_HEADER_BYTES, _HEAP_BYTES = 2**26, 2**30
# A length, and where the text stands: the address of a heap and a number in it.
_ELEMENT = struct.Struct("<IQI")
_HEAP = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<H6xQ")


class TextsTooLongError(ValueError):
    """The texts have more bytes than they may."""


def attribute_texts(read: Read, address: int, attribute: bytes, most: int) -> list[bytes]:
    """The texts of an attribute.

    Args:
        read: the file.
        address: of the header of the object that has the attribute.
        attribute: its name.
        most: bytes that all of them may have together.

    Raises:
        TextsTooLongError: they have more.
        ValueError: they stand where this does not look for them, or are damaged.
    """
    try:
        elements = list(_ELEMENT.iter_unpack(_values(read, address, attribute)))
    except (struct.error, IndexError) as error:
        raise ValueError("a header that is cut short") from error
    if sum(length for length, _, _ in elements) > most:
        raise TextsTooLongError("texts without end")
    heaps: dict[int, dict[int, bytes]] = {}
    texts = []
    for length, heap, number in elements:
        if length and heap not in heaps:
            heaps[heap] = dict(_objects(read, heap))
        text = heaps[heap].get(number, b"") if length else b""
        if len(text) != length:
            raise ValueError("a text that is not there")
        texts.append(text.partition(b"\0")[0])
    return texts


def _values(read: Read, address: int, attribute: bytes) -> bytes:
    """What an attribute's message holds besides its description."""
    for kind, flags, data in _messages(read, address):
        if kind != _ATTRIBUTE or flags & _SHARED_MESSAGE:
            continue
        version, shared = data[0], data[1] & _SHARED_TYPE
        sizes = struct.unpack_from("<HHH", data, 2)
        start = 9 if version == 3 else 8
        if data[start : start + sizes[0]].rstrip(b"\0") != attribute:
            continue
        if version == 1:
            sizes = tuple(-(-size // 8) * 8 for size in sizes)
            shared = 0
        name, description, shape = sizes
        if version not in (1, 2, 3) or shared or data[start + name] & 0x0F != _VARIABLE_LENGTH:
            break
        values = data[start + name + description + shape :]
        # Messages are padded to whole multiples of eight bytes, elements have sixteen.
        return values[: len(values) // _ELEMENT.size * _ELEMENT.size]
    raise ValueError("an attribute that is not in the header")


def _messages(read: Read, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and content of the messages in an object's header, of the old kind or the new."""
    start = read(address, 64).ljust(64, b"\0")
    new = start.startswith(b"OHDR")
    if new:
        flags = start[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(address + at + width, int.from_bytes(start[at : at + width], "little"))]
        form, head = struct.Struct("<BHB"), 6 if flags & 0x04 else 4
    elif start[0] == 1:
        blocks = [(address + 16, struct.unpack_from("<I", start, 8)[0])]
        form, head = struct.Struct("<HHB"), 8
    else:
        raise ValueError("an unknown kind of header")
    left = _HEADER_BYTES
    while blocks:
        place, size = blocks.pop(0)
        block = _block(read, place, size, left)
        left -= size + 1
        at = 0
        while at + head <= len(block):
            kind, size, flags = form.unpack_from(block, at)
            data = block[at + head : at + head + size]
            at += head + size
            if kind == _CONTINUATION:
                place, length = struct.unpack("<QQ", data[:16])
                # In the new kind, a signature stands before the messages and a checksum after.
                blocks.append((place + 4, length - 8) if new else (place, length))
            yield kind, flags, data


def _objects(read: Read, address: int) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the objects in a heap."""
    signature, version, size = _HEAP.unpack(_block(read, address, _HEAP.size, _HEAP.size))
    if (signature, version) != (b"GCOL", 1):
        raise ValueError("no heap")
    heap = _block(read, address, size, _HEAP_BYTES)
    at = _HEAP.size
    while at + _OBJECT.size <= len(heap):
        number, length = _OBJECT.unpack_from(heap, at)
        # Number 0 is the room that is left, its own head included.
        end = at + (length if number == 0 else _OBJECT.size + -(-length // 8) * 8)
        if not at < end <= len(heap):
            raise ValueError("a heap that goes nowhere")
        if number:
            yield number, heap[at + _OBJECT.size : at + _OBJECT.size + length]
        at = end


def _block(read: Read, place: int, size: int, most: int) -> bytes:
    if not (0 <= place < 2**63 and 0 <= size <= most):
        raise ValueError("a block without end")
    block = read(place, size)
    if len(block) < size:
        raise ValueError("a block that is cut short")
    return block
