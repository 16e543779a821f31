"""The state that lets a training run go on: optimiser, step, generators and weights, in one file."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from util.errors import UserError
from util.files import write_whole
from util.torch_file import for_torch


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a run needs to go on (optimiser, step, generators): tensors, numbers, strings, lists, dictionaries.

    Raises:
        UserError: the folder cannot be written to.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_training_state(path: Path) -> dict[str, Any]:
    """The state of `save_training_state`, on the CPU. Runs no code that the file may hold.

    Raises:
        UserError: the file is absent, torn, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, so there is nothing to resume: start the run without --resume.")
    source = for_torch(path, "start a new run with --load-model")
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn pickle makes the reader stumble anywhere
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} is truncated or no training state ({reason[0]}): start a new run with --load-model."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no training state: start a new run with --load-model.")
    return state
