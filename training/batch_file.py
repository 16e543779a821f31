"""Batches of crops in a file of their own (.safetensors): what a step learned from, to be looked at and tried again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from dataloader.camera import Camera
from dataloader.crop import HandCrop
from dataloader.sample import HandSample
from render.hand_layer import HandParams
from util.checkpoint import stored
from util.errors import UserError
from util.files import write_whole

LABELS = ("joints_mm", "vertices_mm", "observed")


@dataclass(frozen=True)
class BatchFile:
    """What `write_batch` wrote."""

    samples: dict[str, HandSample]
    """Crops by where they come from: rendered, real."""
    about: dict[str, str]
    """The step, and which of its terms were not finite."""


def columns(samples: Mapping[str, HandSample]) -> dict[str, Tensor]:
    """All tensors of samples, {sample}/{name}."""
    found: dict[str, Tensor] = {}
    for sample, each in samples.items():
        crop = each.crop
        named = {
            "depth": crop.depth,
            "focal_px": crop.camera.focal,
            "principal_px": crop.camera.principal,
            "centre_mm": crop.centre_mm,
            "cube_mm": crop.cube_mm,
            "crop_from_image": crop.crop_from_image,
            "params": None if each.params is None else each.params.vector(),
            **{name: getattr(each, name) for name in LABELS},
        }
        found |= {f"{sample}/{name}": value.detach() for name, value in named.items() if value is not None}
    return found


def write_batch(
    path: Path,
    tensors: Mapping[str, Tensor],
    frames: Mapping[str, tuple[str, ...]],
    joint_sets: Mapping[str, str],
    about: Mapping[str, str],
) -> None:
    """Write `columns` of samples, the names of their frames and the joint sets of their labels.

    Raises:
        UserError: the folder cannot be written to.
    """
    header = {
        "frames": json.dumps(dict(frames)),
        "joint_sets": json.dumps(dict(joint_sets)),
        "about": json.dumps(dict(about)),
    }
    write_whole(path, safetensors.torch.save({name: stored(tensor) for name, tensor in tensors.items()}, header))


def read_batch(path: Path) -> BatchFile:
    """The samples of `write_batch`, on the CPU.

    Raises:
        UserError: the file is absent, torn or holds something else.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
        frames, joint_sets, about = (dict(json.loads(header[key])) for key in ("frames", "joint_sets", "about"))
        samples = {
            name: _sample(tensors, name, tuple(frames[name]), str(joint_set)) for name, joint_set in joint_sets.items()
        }
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no batch of crops ({error}): take one that a run has written.") from error
    return BatchFile(samples, {str(key): str(value) for key, value in about.items()})


def _sample(tensors: Mapping[str, Tensor], name: str, frames: tuple[str, ...], joint_set: str) -> HandSample:
    of = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
    camera = Camera(of["focal_px"], of["principal_px"])
    crop = HandCrop(of["depth"], camera, of["centre_mm"], of["cube_mm"], of["crop_from_image"])
    params = HandParams.from_vector(of["params"]) if "params" in of else None
    joints_mm, vertices_mm, observed = (of.get(label) for label in LABELS)
    return HandSample(crop, joints_mm, vertices_mm, params, observed, frames, joint_set)
