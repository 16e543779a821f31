"""Weights in files that say what they are of: ours (.safetensors) and published ones (.pth), read into one type.

The settings a network was built with are in the header of its .safetensors file, where nothing can part the two, and
once more in a JSON file of the same name for people to read. A published file holds tensors alone; what they are of is
read off their names and shapes. `python -m util.checkpoint convert IN OUT` turns one kind into the other.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from config import NetworkConfig
from util.errors import UserError
from util.files import write_json, write_whole
from util.published import GeneratorSize, generator_shapes, network_shapes, our_name
from util.reading import is_plain, open_plain, readable
from util.recognise import MOST_BLOCKS, MOST_FILTERS, generator_of, kind_of, listed, misfits, network_of
from util.settings import from_plain, to_plain
from util.torch_file import SUFFIXES, read_published

HALF_MAX = 65504.0
"""The largest number half precision holds: a tensor beyond it stays as it is."""
GENERATOR = "generator"
"""The one key of the settings of an image-translation generator; a network's are those of NetworkConfig."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and all that their file says about them."""

    path: Path
    """The file."""
    state: dict[str, Tensor]
    """Tensors by our names, on the CPU, in the precision they were stored in."""
    config: dict[str, Any]
    """Plain settings: a network's `to_plain(NetworkConfig)`, or {"generator": {"filters": 64, "blocks": 9}}."""
    published: bool = False
    """Whether it is a published file, not one of ours."""
    epoch: int | None = None
    """Epochs it was trained for, where that is known."""

    @property
    def generator(self) -> GeneratorSize | None:
        """The size of an image-translation generator, None for a hand pose network."""
        if GENERATOR not in self.config:
            return None
        try:
            words = dict(self.config[GENERATOR])
            correcting = bool(words.pop("correcting", False))
            size = GeneratorSize(**{key: int(value) for key, value in words.items()}, correcting=correcting)
            if not (0 < size.filters <= MOST_FILTERS and 0 < size.blocks <= MOST_BLOCKS):
                raise ValueError("no generator is so large")
            return size
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise UserError(f"The weights {self.path} have a damaged header: fetch or convert them anew.") from None

    def about(self) -> str:
        """One line: file, kind, architecture, stages, hand unit, epoch.

        Raises:
            UserError: the settings are not those of a network.
        """
        words = ["published checkpoint" if self.published else "checkpoint"]
        if size := self.generator:
            kind = "correcting " if size.correcting else ""
            words += [f"{kind}image-translation generator, {size.blocks} residual blocks, {size.filters} filters"]
        else:
            network = from_plain(NetworkConfig, self.config, str(self.path))
            unit = "half the cube" if network.unit_mm is None else f"{network.unit_mm:g} mm"
            words += [network.backbone, "2 stages" if network.stages == 2 else "1 stage", f"hand unit {unit}"]
        if self.epoch is not None:
            words += [f"epoch {self.epoch}"]
        return f"{self.path}: {', '.join(words)}"


def read_checkpoint(path: Path) -> Checkpoint:
    """A network's or a generator's weights from a file of either kind.

    Args:
        path: .pth, .pt or .tar for a published file, anything else for one of `save_weights`.

    Raises:
        UserError: the file is absent, torn, of another kind, would run something, or has no settings in its header;
            the tensors of a published file are not all there, or not of the shapes they should have.
    """
    if not is_plain(path):
        raise UserError(
            f"The weights {path} do not exist: give --load-model a .safetensors file that a run has written, or a "
            f"published .pth."
        )
    checkpoint = _read_published(path) if path.suffix.lower() in SUFFIXES else _read_ours(path)
    for name, tensor in checkpoint.state.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"The weights {path} are not finite in {readable(name)}: fetch them anew.")
    return checkpoint


def read_network(path: Path) -> Checkpoint:
    """`read_checkpoint` where it is a hand pose network's; raises UserError where it is a generator's."""
    checkpoint = read_checkpoint(path)
    if checkpoint.generator:
        raise UserError(
            f"{path} holds an image-translation generator, which sees no hand pose: give the weights of a hand pose "
            f"network."
        )
    return checkpoint


def read_generator(path: Path) -> Checkpoint:
    """`read_checkpoint` where it is an image-translation generator's; raises UserError where it is a network's."""
    checkpoint = read_checkpoint(path)
    if not checkpoint.generator:
        raise UserError(
            f"{path} holds a hand pose network, which translates no images: give the weights of an image-translation "
            f"generator."
        )
    return checkpoint


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A network's tensors (our names, on the CPU, in the precision they were stored in) and plain settings.

    Raises:
        UserError: see `read_network`.
    """
    checkpoint = read_network(path)
    return checkpoint.state, checkpoint.config


def save_weights(
    path: Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    half: bool = False,
    epoch: int | None = None,
) -> None:
    """Write a state dict and the plain settings its network was built from.

    Args:
        path: the file, `*.safetensors`; the settings go beside it into `*.json` as well.
        state: tensors by name, on any device and in any memory format.
        config: what JSON can hold (`util.settings.to_plain`).
        half: store floating-point tensors in half precision, as for a checkpoint that is given away.
        epoch: kept in the header where it is known.

    Raises:
        UserError: the folder cannot be written to.
    """
    header = {"config": json.dumps(config, sort_keys=True)}
    if epoch is not None:
        header["epoch"] = str(epoch)
    tensors = {name: stored(tensor, half) for name, tensor in state.items()}
    write_whole(path, safetensors.torch.save(tensors, metadata=header))
    write_json(path.with_suffix(".json"), dict(config))


def check_fits(build: Callable[[], nn.Module], state: Mapping[str, Tensor], source: Path | str) -> None:
    """Whether a state dict is that of a module, before the module is built: settings can ask for any amount of memory.

    Raises:
        UserError: no module can be built with its settings, or names or shapes differ; the sentence lists them.
    """
    try:
        with torch.device("meta"):
            module = build()
    except (RuntimeError, ValueError, TypeError, ArithmeticError, IndexError) as error:
        told = readable(error)
        raise UserError(
            f"The weights {source} are of no network that can be built ({told}): fetch them anew."
        ) from error
    _check_shapes(module, state, source)


def fill_module(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Put a state dict into a module, all of it or nothing; precision and device are the module's.

    Args:
        module: the network, built from the settings of the same file.
        state: tensors by name.
        source: where they came from, for the error message.

    Raises:
        UserError: names are missing or unknown, or shapes differ; the sentence lists them.
    """
    _check_shapes(module, state, source)
    module.load_state_dict(dict(state))


def _check_shapes(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if faults := misfits(wanted, {name: tuple(tensor.shape) for name, tensor in state.items()}):
        raise UserError(f"The weights {source} are of another network: they {faults}.")


def stored(tensor: Tensor, half: bool = False) -> Tensor:
    """A tensor as files hold it: on the CPU, in plain memory order, sharing memory with no other."""
    tensor = tensor.detach().cpu().contiguous().clone()
    if half and tensor.is_floating_point() and bool((tensor.abs() <= HALF_MAX).all()):
        return tensor.half()
    return tensor


def _read_ours(path: Path) -> Checkpoint:
    open_plain(path, "fetch it anew").close()
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise UserError(
            f"The weights {path} are truncated or no safetensors file ({readable(error)}): fetch them anew."
        ) from error
    try:
        config, epoch = json.loads(header["config"]), header.get("epoch")
        return Checkpoint(path, state, dict(config), epoch=None if epoch is None else int(epoch))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"The weights {path} do not say which network they are of: take a file that a run has written."
        ) from error


def _read_published(path: Path) -> Checkpoint:
    state, epoch = read_published(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    kind = kind_of(shapes)
    if kind is None:
        raise UserError(
            f"{path} holds {listed(list(shapes)[:3])} and so on, neither a published hand pose network nor an "
            f"image-translation generator: give a published checkpoint or a .safetensors file."
        )
    if kind == "generator":
        size = generator_of(shapes)
        config, wanted = {GENERATOR: size._asdict()}, generator_shapes(size)
    else:
        network = network_of(shapes)
        config, wanted = to_plain(network), network_shapes(network)
    checkpoint = Checkpoint(path, state, config, True, epoch)
    if faults := misfits(wanted, shapes):
        what = checkpoint.about().removeprefix(f"{path}: ")
        raise UserError(f"The weights {path} look like a {what}, but they {faults}: fetch them anew.")
    if kind == "network":
        checkpoint = replace(checkpoint, state={our_name(name): tensor for name, tensor in state.items()})
    return checkpoint


if __name__ == "__main__":
    from util.cli import run_entry
    from util.convert import main

    sys.exit(run_entry(main))
