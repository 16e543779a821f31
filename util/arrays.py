"""Arrays in .npy and .npz files of strangers. What a header promises is held against what is there before memory is
asked for; objects are never rebuilt; an archive that unpacks to far more than it holds is refused.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from util.errors import UserError
from util.reading import open_plain, readable

MOST_UNPACKED = 1 << 30
"""Bytes of the arrays taken from an archive, unless its reader expects more."""
BOMB_BYTES, BOMB_FACTOR = 1 << 26, 100
"""An array beyond so many bytes that is so many times larger than it is packed: nothing measured packs so well."""
KINDS = "biufU"
"""Kinds of numpy's types that are read: truth, whole numbers, floats, text."""
CHUNK = 1 << 20


def read_npy(path: Path, remedy: str, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file, in this machine's byte order.

    Args:
        path: the file.
        remedy: the end of the error's sentence.
        mapped: map it from the file, for reading, in the byte order of the file.

    Raises:
        UserError: it is missing or no plain file; its header is damaged, asks for objects, or promises another number
            of bytes than there are.
    """
    with open_plain(path, remedy) as file:
        try:
            shape, fortran, dtype = _header(file, os.fstat(file.fileno()).st_size)  # type: ignore[arg-type]
            count, order = math.prod(shape), "F" if fortran else "C"
            if mapped and count:
                return np.memmap(file, dtype, "r", file.tell(), shape, order)
            return (
                np.fromfile(file, dtype, count).astype(dtype.newbyteorder("="), copy=False).reshape(shape, order=order)
            )
        except Exception as error:  # a damaged header makes numpy raise nearly anything
            raise UserError(f"{path} is no readable array ({_told(error)}): {remedy}.") from error


def read_npz(
    path: Path,
    remedy: str,
    wanted: Collection[str] | Callable[[dict[str, np.ndarray]], Collection[str]] | None = None,
    most: int = MOST_UNPACKED,
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name, in this machine's byte order.

    Args:
        path: the file.
        remedy: the end of the error's sentence.
        wanted: names of those to read, where they are there; or what chooses them, given for each name an array of its
            shape and type that takes no memory; None: all.
        most: bytes that those arrays may take.

    Raises:
        UserError: it is missing, no plain file, no archive, or damaged; it has two arrays of a name; a header is
            damaged, asks for objects, or promises another number of bytes than there are; it unpacks to too much.
    """
    with open_plain(path, remedy) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                names = [member.filename.removesuffix(".npy") for member in members]
                if len(set(names)) < len(names):
                    raise ValueError("two arrays of a name")
                of_name = dict(zip(names, members, strict=True))
                if wanted is None:
                    chosen = names
                elif callable(wanted):
                    chosen = wanted({name: _outline(archive, member) for name, member in of_name.items()})
                else:
                    chosen = [name for name in wanted if name in of_name]
                _check_size([of_name[name] for name in chosen], path, remedy, most)
                return {name: _member(archive, of_name[name]) for name in chosen}
        except UserError:
            raise
        except Exception as error:  # a damaged archive makes zipfile and numpy raise nearly anything
            raise UserError(f"{path} cannot be read, it is no readable array ({_told(error)}): {remedy}.") from error


def _check_size(members: list[zipfile.ZipInfo], path: Path, remedy: str, most: int) -> None:
    for member in members:
        if member.file_size > max(BOMB_BYTES, BOMB_FACTOR * member.compress_size):
            raise UserError(
                f"{path} packs {member.file_size:,} bytes into {member.compress_size:,}, which no measured array does, "
                f"and is not unpacked: {remedy}."
            )
    if (total := sum(member.file_size for member in members)) > most:
        raise UserError(f"{path} unpacks to {total:,} bytes, {most:,} at most are read: {remedy}.")


def _header(file: io.IOBase, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type, by a header that `size` bytes (itself included) hold true to."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format holds no plain array")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)  # type: ignore[arg-type]
    if dtype.kind not in KINDS or dtype.hasobject:
        raise ValueError(f"it holds {dtype.kind if dtype.kind != 'O' else 'objects'}, no numbers or text")
    if any(type(edge) is not int or edge < 0 for edge in shape):
        raise ValueError("its shape is no shape")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"its header promises {readable(shape)} of {dtype} and {size - file.tell():,} bytes follow")
    return shape, fortran, dtype


def _outline(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of the member's shape and type, all of it one zero."""
    with archive.open(member) as stored:
        shape, _, dtype = _header(stored, member.file_size)  # type: ignore[arg-type]
    return np.broadcast_to(np.zeros((), dtype), shape)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stored:
        shape, fortran, dtype = _header(stored, member.file_size)  # type: ignore[arg-type]
        content = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        view, at = memoryview(content), 0  # type: ignore[arg-type]
        while part := stored.read(CHUNK):  # to the end, where the checksum is held against the content
            if at + len(part) > len(view):
                raise ValueError("longer than it says")
            view[at : at + len(part)] = part
            at += len(part)
        if at < len(view):
            raise EOFError("shorter than it says")
    values = content.view(dtype) if dtype.itemsize else np.zeros(math.prod(shape), dtype)
    return _native(values).reshape(shape, order="F" if fortran else "C")


def _native(values: np.ndarray) -> np.ndarray:
    """The same in this machine's byte order."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _told(error: BaseException) -> str:
    return readable(str(error).split("\n")[0] or type(error).__name__)
