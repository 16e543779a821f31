"""One array of numbers out of a MATLAB file of format 5, by our own reader.

scipy's trusts the sizes that stand in the file, and a damaged one can take the whole process down. Here a size is held
against what is there before it is used, and only what NYU's labels are stored as is known: full, real arrays.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from util.errors import UserError
from util.reading import read_plain

FILE_HEADER = 128
COMPRESSED, MATRIX = 15, 14
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of the numbers of an element."""
NUMERIC = range(6, 16)
"""Classes of arrays that hold numbers; smaller ones are cells, structures, text and sparse arrays."""
COMPLEX = 0x800
HEAD = 1024
"""Bytes of an array's element in which its flags, shape and name stand, with room to spare."""
MOST_BYTES = 1 << 30
BOMB_BYTES, BOMB_FACTOR = 1 << 26, 100
"""An array beyond so many bytes that is so many times larger than it is packed is not unpacked."""


Order = Literal["<", ">"]
"""Little or big end first."""


class _Damaged(Exception):
    """What is in the file is not what the format says."""


def read_mat_array(path: Path, name: str, remedy: str) -> np.ndarray | None:
    """A numeric array of a MATLAB file in its stored type, in this machine's byte order; None where none is so named.

    Raises:
        UserError: the file is missing, of another format, or damaged; or the array is none of real numbers.
    """
    content = read_plain(path, remedy)
    kind = content[126:128]
    if content[:10] == b"MATLAB 7.3" or content[1:4] == b"HDF" or content[512:516] == b"\x89HDF":
        raise UserError(f"{path} is in MATLAB's format 7.3 and is read in the published one, 5: {remedy}.")
    if kind not in (b"IM", b"MI"):
        raise UserError(f"{path} cannot be read as a MATLAB file (it begins like none): {remedy}.")
    order: Order = "<" if kind == b"IM" else ">"
    try:
        for element in _elements(content, order):
            array = _array(element, name, order)
            if array is not None:
                return array
    except (_Damaged, struct.error, zlib.error) as error:
        raise UserError(f"{path} cannot be read as a MATLAB file ({error}): {remedy}.") from error
    return None


class _Element:
    """Bytes of a matrix element, packed or plain; unpacked as far as they are asked for."""

    def __init__(self, content: memoryview, packed: bool) -> None:
        self._content, self._packed = content, packed

    def first(self, size: int) -> bytes:
        """The first bytes, fewer where there are no more."""
        if not self._packed:
            return bytes(self._content[:size])
        if size > max(BOMB_BYTES, BOMB_FACTOR * len(self._content)):
            raise _Damaged(f"it packs {size:,} bytes into {len(self._content):,}")
        return zlib.decompressobj().decompress(self._content, size)

    def whole(self, size: int) -> bytes:
        """All bytes, which must be so many, with the checksum of packed ones."""
        if not self._packed:
            return self.first(size)
        if size > max(BOMB_BYTES, BOMB_FACTOR * len(self._content)):
            raise _Damaged(f"it packs {size:,} bytes into {len(self._content):,}")
        stream = zlib.decompressobj()
        found = stream.decompress(self._content, size + 1)
        if len(found) != size or not stream.eof:
            raise _Damaged("a packed array is shorter or longer than it says")
        return found


def _elements(content: bytes, order: Order) -> Iterator[_Element]:
    """The matrix elements of a file."""
    view, at = memoryview(content), FILE_HEADER
    while at + 8 <= len(view):
        kind, size = struct.unpack_from(f"{order}2I", view, at)
        if kind not in (COMPRESSED, MATRIX) or at + 8 + size > len(view):
            raise _Damaged("an element is of no known kind, or longer than the file")
        if kind == MATRIX:
            yield _Element(view[at : at + 8 + size], False)
        else:
            yield _Element(view[at + 8 : at + 8 + size], True)
        at += 8 + size


def _array(element: _Element, name: str, order: Order) -> np.ndarray | None:
    head = element.first(HEAD)
    kind, total = struct.unpack_from(f"{order}2I", head)
    if kind != MATRIX or total > MOST_BYTES:
        raise _Damaged("an element is no array, or too large")
    flags, at = _part(head, 8, order)
    edges, at = _part(head, at, order)
    letters, at = _part(head, at, order)
    if letters.dtype.itemsize != 1 or flags.dtype.str[1:] != "u4" or len(flags) != 2:
        raise _Damaged("an array's head is damaged")
    if letters.tobytes() != name.encode("ascii"):
        return None
    shape = tuple(int(edge) for edge in edges)
    if int(flags[0]) & 0xFF not in NUMERIC or int(flags[0]) & COMPLEX:
        raise _Damaged(f"{name} is no array of real numbers")
    if edges.dtype.str[1:] != "i4" or len(shape) < 2 or min(shape) < 0:
        raise _Damaged(f"{name} has no shape")
    values, _ = _part(element.whole(8 + total), at, order)
    if len(values) != math.prod(shape):
        raise _Damaged(f"{name} has {len(values):,} numbers for its shape {shape}")
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape, order="F")


def _part(content: bytes, at: int, order: Order) -> tuple[np.ndarray, int]:
    """Numbers of the data element at a place, and the place of the next one."""
    kind, size = struct.unpack_from(f"{order}2I", content, at)
    begin = at + 8
    if kind >> 16:  # up to four bytes stand beside their own size
        kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
        after = at + 8
    else:
        after = begin + -(-size // 8) * 8
    if kind not in STORED or begin + size > len(content) or (begin == at + 4 and size > 4):
        raise _Damaged("a part of an array is of no known type, or longer than it")
    dtype = np.dtype(STORED[kind]).newbyteorder(order)
    if size % dtype.itemsize:
        raise _Damaged("a part of an array ends within a number")
    return np.frombuffer(content, dtype, size // dtype.itemsize, begin), after
