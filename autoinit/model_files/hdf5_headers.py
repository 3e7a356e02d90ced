"""How long the texts in an object's attributes are, told by its header before they are read.

HDF5 reads all texts of an attribute at once, and thousands of them may be one and the same long
one: a small file could fill the memory. Their lengths stand in the header. It is parsed as the HDF5
File Format Specification 3.0 says in IV.A.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

# What reads a number of bytes from a place in the file.
Reader = Callable[[int, int], bytes]

_CONTINUATION, _ATTRIBUTE, _ATTRIBUTES_ELSEWHERE = 0x10, 0x0C, 0x15
_SHARED_MESSAGE, _SHARED_TYPE = 0x02, 0x01
_VARIABLE_LENGTH = 9
_NOWHERE = b"\xff" * 8
_HEADER_BYTES = 2**26


def text_bytes(read: Reader, address: int) -> int | None:
    """The length of all variable-length values in an object's attributes.

    Args:
        read: the file.
        address: of the object's header.

    Returns:
        None where the header does not tell, or tells it in a way that is not understood.
    """
    try:
        return sum(_lengths(kind, flags, data) for kind, flags, data in _messages(read, address))
    except (ValueError, struct.error, IndexError):
        return None


def _messages(read: Reader, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and content of a header's messages."""
    start = read(address, 64)
    new = start.startswith(b"OHDR")
    if new:
        flags = start[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        size = int.from_bytes(start[at : at + (1 << (flags & 3))], "little")
        blocks = [(address + at + (1 << (flags & 3)), size)]
        form, extra = "<BHB", 2 if flags & 0x04 else 0
    elif start[0] == 1:
        blocks = [(address + 16, struct.unpack_from("<I", start, 8)[0])]
        form, extra = "<HHB", 3
    else:
        raise ValueError("an unknown kind of header")
    head = struct.calcsize(form) + extra
    left = _HEADER_BYTES
    while blocks:
        place, size = blocks.pop()
        left -= size + 1
        if size < 0 or left < 0:
            raise ValueError("a header without end")
        block = read(place, size)
        at = 0
        while at + head <= len(block):
            kind, size, flags = struct.unpack_from(form, block, at)
            data = block[at + head : at + head + size]
            at += head + size
            if kind == _CONTINUATION:
                place, length = struct.unpack_from("<QQ", data)
                # In the newer kind, a signature stands before the messages and a checksum after.
                blocks.append((place + 4, length - 8) if new else (place, length))
            yield kind, flags, data


def _lengths(kind: int, flags: int, data: bytes) -> int:
    """What the values in an attribute's message add up to; nothing for other messages."""
    if kind == _ATTRIBUTES_ELSEWHERE:
        heap = data[4:12] if data[1] & 1 else data[2:10]
        if heap != _NOWHERE:
            raise ValueError("attributes that are not in the header")
    if kind != _ATTRIBUTE:
        return 0
    version = data[0]
    if (
        version not in (1, 2, 3)
        or flags & _SHARED_MESSAGE
        or (version > 1 and data[1] & _SHARED_TYPE)
    ):
        raise ValueError("an attribute that is not in the header")
    sizes = struct.unpack_from("<HHH", data, 2)
    if version == 1:
        sizes = tuple(-(-size // 8) * 8 for size in sizes)
    name, kind_of_value, shape = sizes
    at = (9 if version == 3 else 8) + name
    if data[at] & 0x0F != _VARIABLE_LENGTH:
        return 0
    values = data[at + kind_of_value + shape :]
    # Each is a length, and where the value lies: an address and a number.
    return sum(
        length for length, _, _ in struct.iter_unpack("<IQI", values[: len(values) // 16 * 16])
    )
