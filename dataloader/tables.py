"""Text files of data sets: rows of numbers, with or without a name in front."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from util.errors import UserError
from util.reading import read_text

NEAREST_MM = 1.0
"""No hand's centre is nearer to the camera."""
LARGEST = 1e6
"""No place or size, in pixels, metres or millimetres, is larger: a kilometre."""


def read_lines(path: Path, remedy: str) -> list[tuple[int, str]]:
    """(line number from 1, text) of each line that is not blank.

    Args:
        path: the text file.
        remedy: what to do about a missing or damaged file, the end of the error's sentence.

    Raises:
        UserError: the file is missing or no text.
    """
    text = read_text(path, remedy)
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def numbers(
    words: list[str], columns: int, where: str, remedy: str, more: bool = False, unread: int = 0
) -> list[float]:
    """`columns` finite numbers (at least so many with `more`); `where` names file and line in the error.

    The first `unread` may have any size: they are no lengths.

    Raises:
        UserError: a word is no finite number, is larger than `LARGEST`, or there are too few or too many.
    """
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        raise UserError(f"{where} holds something else than numbers: {remedy}.") from error
    if len(row) < columns or (len(row) > columns and not more):
        raise UserError(f"{where} has {len(row)} numbers, not {columns}: {remedy}.")
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where} holds a number that is not finite: {remedy}.")
    if max(map(abs, row[unread:columns]), default=0) > LARGEST:
        raise UserError(f"{where} holds a number beyond {LARGEST:,.0f}, which is no length: {remedy}.")
    return row


def read_table(path: Path, columns: int, remedy: str, more: bool = False, unread: int = 0) -> np.ndarray:
    """(rows, columns) float64 of a file with nothing but numbers; with `more`, further columns are cut off.

    The first `unread` columns may hold numbers of any size.

    Raises:
        UserError: the file is missing or a row of it is damaged; the sentence names the line.
    """
    lines = read_lines(path, remedy)
    rows = [numbers(line.split(), columns, f"{path} line {n}", remedy, more, unread) for n, line in lines]
    return np.array([row[:columns] for row in rows], np.float64).reshape(-1, columns)


def read_named_table(path: Path, columns: int, remedy: str) -> tuple[list[str], np.ndarray]:
    """Names, and (rows, columns) float64, of a file with `name number number ...` in each line.

    Raises:
        UserError: the file is missing or a row of it is damaged; the sentence names the line.
    """
    names, rows = [], []
    for n, line in read_lines(path, remedy):
        name, *words = line.split()
        names.append(name)
        rows.append(numbers(words, columns, f"{path} line {n}", remedy))
    return names, np.array(rows, np.float64).reshape(-1, columns)


def read_centres(path: Path, frames: int, remedy: str, chosen: Sequence[int] | None = None) -> np.ndarray:
    """(frames, 3) hand centres, mm, in the file's own frame; NaN for lines that say `invalid`.

    With `chosen`, indices of frames, only theirs are read, (len(chosen), 3): few may be wanted of a large data set.

    Raises:
        UserError: the file is missing or damaged, has another number of lines than there are frames, or a centre
            that is not before the camera.
    """
    lines = read_lines(path, remedy)
    if len(lines) != frames:
        raise UserError(f"{path} has {len(lines)} lines for {frames} frames: {remedy}.")
    rows = [
        [np.nan] * 3 if "invalid" in line else numbers(line.split(), 3, f"{path} line {n}", remedy)
        for n, line in (lines if chosen is None else [lines[i] for i in chosen])
    ]
    centres_mm = np.array(rows, np.float64).reshape(-1, 3)
    if (centres_mm[:, 2] < NEAREST_MM).any():
        raise UserError(f"{path} has a centre that is not before the camera: {remedy}.")
    return centres_mm
