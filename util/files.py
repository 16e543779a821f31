"""Files that are either whole or absent, whatever interrupts their writing."""

import json
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.reading import read_text

PART = ".part"
"""What the name of a file ends in while it is written; it begins with a dot."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one and nothing between.

    The content goes to a temporary file in the same folder, reaches the disk, and then takes the name in one step.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror}): choose another folder.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private, other files of the folder are not
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): free some space or choose another.") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def rename(path: Path, to: Path) -> None:
    """Give a file another name in its folder, on the disk as well; what had the name is replaced.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        path.replace(to)
        _sync_folder(to.parent)
    except OSError as error:
        raise UserError(f"{to} cannot be written ({error.strerror}): make its folder writable.") from error


def remove_unfinished(folder: Path) -> None:
    """Remove what `write_whole` left in a folder and the folders in it when its process was killed.

    Nobody else may be writing there. What cannot be removed stays.
    """
    for file in (*folder.glob(f".*{PART}"), *folder.glob(f"*/.*{PART}")):
        with suppress(OSError):
            file.unlink()


def is_unfinished(path: Path) -> bool:
    """Whether this is a file that `write_whole` had not finished."""
    return path.name.startswith(".") and path.suffix == PART


def write_text(path: Path, text: str) -> None:
    """`write_whole` for text (UTF-8)."""
    write_whole(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_whole` for JSON; a number that is not finite becomes null, since JSON has no word for it."""
    write_text(path, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is absent or is no JSON.
    """
    text = read_text(path, "check the path, and mend or remove the file")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): mend or remove it.") from error


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself reach the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """The same with null (None) for each number that is not finite, since JSON has no word for it."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
