"""Published checkpoint files (.pth), read without running anything that they hold, and written."""

import io
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from util.errors import UserError
from util.files import write_whole
from util.reading import open_plain, read_plain, readable
from util.recognise import listed

SUFFIXES = (".pth", ".pt", ".tar")
MOST_BYTES = 1 << 32
"""Of a file that is no archive."""
MAGIC = (b"PK\x03\x04", b"\x80")
"""How the files of torch begin: a zip archive, or before version 1.6 a pickle."""


def read_published(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """The state dict of a published checkpoint, on the CPU, and its epoch where it says one.

    The file holds {"model": state dict, "optimizer", "epoch"} or a state dict alone. The prefix "module." that data
    parallel training puts before every name is taken off.

    Raises:
        UserError: the file is empty, torn, of another kind, or holds anything but tensors and plain values.
    """
    content = _read(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no state dict: give a published checkpoint or a .safetensors file.")
    if isinstance(content.get("weights"), Mapping) and "model" not in content:
        raise UserError(
            f"{path} is the training state of a run, for --resume: for weights give the .safetensors file beside it."
        )
    state, epoch = content, None
    if isinstance(content.get("model"), Mapping):
        state, epoch = content["model"], content.get("epoch")
    others = [str(name) for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if others or not state:
        held = f"holds {listed(others)}, which are no tensors" if others else "holds an empty state dict"
        raise UserError(f"{path} {held}: give a published checkpoint or a .safetensors file.")
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): value for name, value in state.items()}, epoch if type(epoch) is int else None


def write_published(path: Path, state: Mapping[str, Tensor], epoch: int | None = None, bare: bool = False) -> None:
    """Write a state dict as published: with its epoch under "model", or bare, as the generator's are.

    Raises:
        UserError: the folder cannot be written to.
    """
    content: dict[str, Any] = dict(state) if bare else {"model": dict(state)}
    if epoch is not None and not bare:
        content["epoch"] = epoch
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def for_torch(path: Path, remedy: str) -> Path | io.BytesIO:
    """What torch is to read of a file: an archive by its path, anything else from memory.

    In memory nothing can be asked for that is not there; a file's reader asks for all that a length lies about.

    Raises:
        UserError: it is no plain file, or an archive that is damaged or unpacks to more than it is.
    """
    with open_plain(path, remedy) as file:
        if file.read(4) == MAGIC[0]:
            if not _stored(file):
                raise UserError(f"{path} is truncated or no checkpoint (its archive is damaged or packed): {remedy}.")
            return path
    return io.BytesIO(read_plain(path, remedy, MOST_BYTES))


def _stored(file: BinaryIO) -> bool:
    """Whether a zip archive holds its files as they are, as torch writes them, and so unpacks to no more than it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error):
        return False  # RuntimeError: it wants a later version of the format, or a password
    size = sum(member.file_size for member in members)
    return size <= os.fstat(file.fileno()).st_size and not any(member.compress_type for member in members)


def _read(path: Path) -> Any:
    """What the file holds; torch's reader of weights alone refuses every object but tensors and plain values."""
    source = for_torch(path, "fetch it anew")
    if isinstance(source, io.BytesIO):
        if not source.getbuffer():
            raise UserError(f"{path} is empty: fetch it anew.")
        if bytes(source.getbuffer()[:1]) != MAGIC[1]:
            raise UserError(f"{path} is no checkpoint, nor any other file of torch: fetch it anew.")
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file makes the reader stumble anywhere
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} asks for {refused[1]}, which no checkpoint needs; nothing of it was run: take a file that "
                f"holds weights alone."
            ) from None
        reason = "torch cannot read it" if isinstance(error, EOFError) or "\n" in str(error) else str(error)
        told = readable(reason.split(". ")[0])
        raise UserError(f"{path} is truncated or no checkpoint ({told}): fetch it anew.") from error
