"""Files from strangers: opened as plain files only, read up to a limit, and never beyond the folder they belong to."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from util.errors import UserError

MOST_BYTES = 1 << 30
"""Files that are read whole are no longer than this."""
LONGEST = 800
"""Characters of a file's own, or of a library's, that an error repeats."""
NAME_BYTES = 255
"""Longest name of a file or folder that file systems take."""


def open_plain(path: Path, remedy: str) -> BinaryIO:
    """A file open for reading. Never waits: a pipe without a writer is refused like anything else that is no file.

    Args:
        path: the file; a link to one will do.
        remedy: what to do about a missing or damaged file, the end of the error's sentence.

    Raises:
        UserError: it is missing, a folder, pipe, socket or device, or may not be read.
    """
    # a pipe would be waited for without end: nothing is, until it is known what this is
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing: {remedy}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{readable(path)} cannot be read ({reason}): {remedy}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} cannot be read (it is a folder, pipe or device, no file): {remedy}.")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, remedy: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: see `open_plain`; or it is longer than `most`.
    """
    try:
        with open_plain(path, remedy) as file:
            if (size := os.fstat(file.fileno()).st_size) > most:
                raise UserError(f"{path} has {size:,} bytes, too many for a file of this kind: {remedy}.")
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): {remedy}.") from error


def read_text(path: Path, remedy: str, most: int = MOST_BYTES) -> str:
    """A text file in UTF-8.

    Raises:
        UserError: see `read_plain`; or it is no text.
    """
    try:
        return read_plain(path, remedy, most).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as text ({error}): {remedy}.") from error


def is_plain(path: Path) -> bool:
    """Whether a path leads to a file that is there; never an error, whatever the path is."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises where a name is too long)


def checked_name(name: str, where: str, remedy: str) -> str:
    """A relative path that a file names, as it stands there: it cannot lead out of the folder it is relative to.

    Args:
        name: with slashes of either kind.
        where: the file, and the line of it, for the error.
        remedy: the end of the error's sentence.

    Raises:
        UserError: it is empty or absolute, goes up by `..`, or holds characters or lengths that no file name has.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or not parts[0] or ".." in parts or (len(parts[0]) > 1 and parts[0][1] == ":"):
        raise UserError(f"{where} names '{readable(name)}', which leads out of its folder: {remedy}.")
    if not name.isprintable() or max(len(part.encode("utf-8", "replace")) for part in parts) > NAME_BYTES:
        raise UserError(f"{where} names '{readable(name)}', which is no name of a file: {remedy}.")
    return name


def inside(root: Path, path: Path) -> bool:
    """Whether a path leads into a folder once every link in it is followed, and not out of it."""
    top, place = os.path.realpath(root), os.path.realpath(path)
    return place == top or place.startswith(top.rstrip(os.sep) + os.sep)


def check_inside(root: Path, paths: Iterable[Path], remedy: str) -> None:
    """Refuse links that lead out of a folder.

    Raises:
        UserError: a path, links followed, is not in the folder; the sentence names the first.
    """
    for path in paths:
        if not inside(root, path):
            raise UserError(f"{path} is a link that leads out of {root}: {remedy}.")


def readable(name: object) -> str:
    """A name for a sentence: short, on one line, without control characters."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}..."
