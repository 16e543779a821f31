"""Text files of data sets: rows of numbers, with or without a name in front."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from util.errors import UserError


def read_lines(path: Path, remedy: str) -> list[tuple[int, str]]:
    """(line number from 1, text) of each line that is not blank.

    Args:
        path: the text file.
        remedy: what to do about a missing or damaged file, the end of the error's sentence.

    Raises:
        UserError: the file is missing or no text.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: {remedy}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): {remedy}.") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def numbers(words: list[str], columns: int, where: str, remedy: str, more: bool = False) -> list[float]:
    """`columns` finite numbers (at least so many with `more`); `where` names file and line in the error.

    Raises:
        UserError: a word is no finite number, or there are too few or too many.
    """
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        raise UserError(f"{where} holds something else than numbers: {remedy}.") from error
    if len(row) < columns or (len(row) > columns and not more):
        raise UserError(f"{where} has {len(row)} numbers, not {columns}: {remedy}.")
    if not all(map(math.isfinite, row)):
        raise UserError(f"{where} holds a number that is not finite: {remedy}.")
    return row


def read_table(path: Path, columns: int, remedy: str, more: bool = False) -> np.ndarray:
    """(rows, columns) float64 of a file with nothing but numbers; with `more`, further columns are cut off.

    Raises:
        UserError: the file is missing or a row of it is damaged; the sentence names the line.
    """
    rows = [numbers(line.split(), columns, f"{path} line {n}", remedy, more) for n, line in read_lines(path, remedy)]
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
        UserError: the file is missing or damaged, or has another number of lines than there are frames.
    """
    lines = read_lines(path, remedy)
    if len(lines) != frames:
        raise UserError(f"{path} has {len(lines)} lines for {frames} frames: {remedy}.")
    rows = [
        [np.nan] * 3 if "invalid" in line else numbers(line.split(), 3, f"{path} line {n}", remedy)
        for n, line in (lines if chosen is None else [lines[i] for i in chosen])
    ]
    return np.array(rows, np.float64).reshape(-1, 3)
