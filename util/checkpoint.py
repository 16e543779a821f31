"""Weights in safetensors files that know their own settings, and the state that lets a training run go on.

The settings a network was built with are in the header of its weight file, where nothing can part the two, and once
more in a JSON file of the same name for people to read.
"""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from util.errors import UserError
from util.files import write_json, write_whole

HALF_MAX = 65504.0
"""The largest number half precision holds: a tensor beyond it stays as it is."""

NAMES_SHOWN = 4


def save_weights(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], half: bool = False) -> None:
    """Write a state dict and the plain settings its network was built from.

    Args:
        path: the file, `*.safetensors`; the settings go beside it into `*.json` as well.
        state: tensors by name, on any device and in any memory format.
        config: what JSON can hold (`util.settings.to_plain`).
        half: store floating-point tensors in half precision, as for a checkpoint that is given away.

    Raises:
        UserError: the folder cannot be written to.
    """
    tensors = {name: _stored(tensor, half) for name, tensor in state.items()}
    header = {"config": json.dumps(config, sort_keys=True)}
    write_whole(path, safetensors.torch.save(tensors, metadata=header))
    write_json(path.with_suffix(".json"), dict(config))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU, in the precision they were stored in) and the settings of `save_weights`.

    Raises:
        UserError: the file is absent, torn, no safetensors file, or has no settings in its header.
    """
    if not path.is_file():
        raise UserError(
            f"The weights {path} do not exist: give --load-model a .safetensors file that a run has written."
        )
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"The weights {path} are truncated or no safetensors file ({error}): fetch them anew."
        ) from error
    try:
        config = json.loads(header["config"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"The weights {path} do not say which network they are of: take a file that a run has written."
        ) from error
    return state, config


def fill_module(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Put a state dict into a module, all of it or nothing; precision and device are the module's.

    Args:
        module: the network, built from the settings of the same file.
        state: tensors by name.
        source: where they came from, for the error message.

    Raises:
        UserError: names are missing or unknown, or shapes differ; the sentence lists them.
    """
    wanted = module.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & state.keys())
        if state[name].shape != wanted[name].shape
    ]
    faults = [f"lack {_listed(missing)}"] * bool(missing)
    faults += [f"hold the unknown {_listed(unknown)}"] * bool(unknown)
    faults += [f"hold other shapes: {_listed(shapes)}"] * bool(shapes)
    if faults:
        raise UserError(f"The weights {source} are of another network: they {'; they '.join(faults)}.")
    module.load_state_dict(dict(state))


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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn pickle makes the reader stumble anywhere
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} is truncated or no training state ({reason[0]}): start a new run with --load-model."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no training state: start a new run with --load-model.")
    return state


def _stored(tensor: Tensor, half: bool) -> Tensor:
    # A clone, since names may share memory (safetensors refuses that), in the plain memory order.
    tensor = tensor.detach().cpu().contiguous().clone()
    if half and tensor.is_floating_point() and bool((tensor.abs() <= HALF_MAX).all()):
        return tensor.half()
    return tensor


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
