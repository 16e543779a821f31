"""Published checkpoints to files of ours and back: `python -m util.checkpoint convert IN OUT`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from config import NetworkConfig
from util.checkpoint import Checkpoint, read_checkpoint, save_weights, stored
from util.cli import parse_settings
from util.errors import UserError
from util.published import Shapes, generator_shapes, network_shapes, published_name
from util.recognise import misfits, network_of
from util.settings import from_plain, to_plain
from util.torch_file import SUFFIXES, write_published

PROGRAM = "python -m util.checkpoint convert"


@dataclass(frozen=True)
class Convert:
    """Weights from one kind of file to the other."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """What there is: .safetensors, or a published .pth, .pt or .tar."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """What it becomes, by the same endings; a .json goes beside a .safetensors."""
    half: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Store in half precision."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Overwrite what is there."""


def main(words: Sequence[str]) -> None:
    """Convert as the command line says, and say what it was.

    Raises:
        UserError: see `convert`; another command.
    """
    words = list(words)
    named = [word for word in words if not word.startswith("-")]
    if not {"-h", "--help"} & set(words):
        if named[:1] != ["convert"]:
            raise UserError(f"There is one command, convert: write {PROGRAM} IN OUT.")
        if len(named) < 3:
            raise UserError(f"There has to be a file to read and one to write: write {PROGRAM} IN OUT.")
    if "convert" in named[:1]:
        words.remove("convert")
    call = parse_settings(Convert, Convert(tyro.MISSING, tyro.MISSING), words, PROGRAM)
    checkpoint = convert(call.source, call.target, call.half, call.force)
    sys.stdout.write(f"{checkpoint.about()}\nwritten to {call.target}\n")


def convert(source: Path, target: Path, half: bool = False, force: bool = False) -> Checkpoint:
    """Write the weights of a file in the format that another name asks for; returns what they are.

    Args:
        source: .safetensors or a published .pth, .pt, .tar.
        target: likewise; .safetensors gets its settings as .json beside it.
        half: store floating-point tensors in half precision.
        force: overwrite.

    Raises:
        UserError: the source cannot be read, the target exists, has another ending, or, as a published file, cannot
            hold this network.
    """
    if target.suffix not in (".safetensors", *SUFFIXES):
        raise UserError(f"{target} has no known ending: write .safetensors, or .pth for a published checkpoint.")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target} would replace what it is made from: give OUT another name.")
    written = [target, target.with_suffix(".json")] if target.suffix == ".safetensors" else [target]
    if (there := next((path for path in written if path.exists()), None)) and not force:
        raise UserError(f"{there} exists: add --force to overwrite it, or give OUT another name.")
    checkpoint = read_checkpoint(source)
    if target.suffix == ".safetensors":
        save_weights(target, checkpoint.state, checkpoint.config, half, checkpoint.epoch)
    else:
        state = {name: _published_precision(tensor, half) for name, tensor in _published_state(checkpoint).items()}
        write_published(target, state, checkpoint.epoch, bare=checkpoint.generator is not None)
    return checkpoint


def _published_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors by published names, in the published order.

    Raises:
        UserError: nothing published has these tensors, or would take them for another network.
    """
    if size := checkpoint.generator:
        if size.correcting:
            raise UserError(
                f"{checkpoint.path} holds a correcting generator, for which there are no published names: keep it as "
                f".safetensors."
            )
        return _in_order(checkpoint, checkpoint.state, generator_shapes(size))
    config = from_plain(NetworkConfig, checkpoint.config, str(checkpoint.path))
    if config.model_head != "linear":
        raise UserError(
            f"{checkpoint.path} has the model head '{config.model_head}', for which there are no published names: keep "
            f"it as .safetensors."
        )
    try:
        state = {published_name(name): tensor for name, tensor in checkpoint.state.items()}
    except KeyError as error:
        raise UserError(f"{checkpoint.path} cannot become a published checkpoint: {error.args[0]}.") from None
    state = _in_order(checkpoint, state, network_shapes(config))
    _refuse_lost_settings(checkpoint.path, config, network_of({name: tuple(t.shape) for name, t in state.items()}))
    return state


def _in_order(checkpoint: Checkpoint, state: dict[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    if faults := misfits(shapes, {name: tuple(tensor.shape) for name, tensor in state.items()}):
        raise UserError(f"The weights {checkpoint.path} do not fit the settings in their header: they {faults}.")
    return {name: state[name] for name in shapes}


def _refuse_lost_settings(path: Path, config: NetworkConfig, published: NetworkConfig) -> None:
    """A published file keeps no settings: what its reader would take them for has to be what they are."""
    unseen = {"precision", "head_width"}
    if config.stages == 1:
        unseen |= {"second_widths", "fusion_width", "fusion_kernel"}
    own, other = to_plain(config), to_plain(published)
    lost = [f"{name} {other[name]}, not {own[name]}" for name in own if own[name] != other[name] and name not in unseen]
    if lost:
        raise UserError(
            f"{path} cannot become a published checkpoint, which always has {' and '.join(lost)}: keep it as "
            f".safetensors."
        )


def _published_precision(tensor: Tensor, half: bool) -> Tensor:
    """Single precision, which published code expects, or half."""
    tensor = stored(tensor, half)
    return tensor if half or not tensor.is_floating_point() else tensor.to(torch.float32)
