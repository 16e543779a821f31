"""The state that lets a training run go on: optimiser, step, generators and weights, in one file with a checksum.

The file is torch's own (a zip archive), with the checksum of its other bytes as the archive's comment, so that every
reader of such archives still reads it. A checksum tells damage, not malice: who can write the file can write the sum.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from util.errors import UserError
from util.files import write_whole
from util.torch_file import for_torch

END = b"PK\x05\x06"
"""How the last record of a zip archive begins; it is END_BYTES long, and its last two say how long a comment is."""
END_BYTES = 22
LABEL = b"sha256:"
COMMENT_BYTES = len(LABEL) + 64


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a run needs to go on (optimiser, step, generators): tensors, numbers, strings, lists, dictionaries.

    Raises:
        UserError: the folder cannot be written to.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, sealed(buffer.getvalue()))


def load_training_state(path: Path) -> dict[str, Any]:
    """The state of `save_training_state`, on the CPU. Runs no code that the file may hold.

    A file of an earlier version, without a checksum, is read as well.

    Raises:
        UserError: the file is absent, torn, changed, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, so there is nothing to resume: start the run without --resume.")
    source = for_torch(path, "start a new run with --load-model")
    try:
        content = source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()
        if not is_whole(content):
            raise ValueError("its checksum does not hold")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a torn pickle makes the reader stumble anywhere
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} is truncated or no training state ({reason[0]}): start a new run with --load-model."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no training state: start a new run with --load-model.")
    return state


def sealed(archive: bytes) -> bytes:
    """A zip archive without a comment -> the same with its checksum as its comment."""
    if archive[-END_BYTES:][:4] != END or archive[-2:] != bytes(2):
        raise ValueError("no zip archive without a comment")
    body = archive[:-2] + COMMENT_BYTES.to_bytes(2, "little")
    return body + LABEL + hashlib.sha256(body).hexdigest().encode()


def is_whole(content: bytes) -> bool:
    """Whether an archive is as it was sealed; one that never was counts as whole, its reader has to see to it."""
    body, comment = content[:-COMMENT_BYTES], content[-COMMENT_BYTES:]
    if comment.startswith(LABEL):
        return hashlib.sha256(body).hexdigest().encode() == comment[len(LABEL) :]
    return content[-END_BYTES:][:4] == END and content[-2:] == bytes(2)
