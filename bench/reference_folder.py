"""A folder of reference numbers, and what it is to hold to them.

The folder is laid out like this, and each file is read by the group of checks that names it:

    MANO_RIGHT.pkl hand_layer.npz render.npz coordinates.npz offset_maps.npz losses.npz collision.npz smooth_l1.npz
    network.npz network_state_dict_keys.json transfer.npz transfer_state_dict_keys.json
    datasets/{nyu,icvl,msra}/   a few frames in each data set's own layout, and expected_test*.npz
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from util.errors import UserError


class Check(NamedTuple):
    """One number of the project against one of the folder."""

    name: str
    """FILE/ARRAY, or what else is measured about the file."""
    error: float
    """The worst error; NaN or infinite where there is nothing to compare."""
    tolerance: float
    """What it may be."""

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance; a NaN is not."""
        return self.error <= self.tolerance


class Group(NamedTuple):
    """Checks that share their work."""

    measure: Callable[[Path], dict[str, float]]
    """Folder -> worst error by the name of the check; raises UserError for what is missing or damaged in the folder."""
    tolerances: dict[str, float]
    """Name of each check -> tolerance."""

    def checks(self, folder: Path) -> list[Check]:
        """Measured against a folder, in the order of the tolerances."""
        errors = self.measure(folder)
        return [Check(name, errors[name], tolerance) for name, tolerance in self.tolerances.items()]


class Arrays(dict[str, Tensor]):
    """Arrays of one file by name."""

    def __init__(self, path: Path) -> None:
        """Raises UserError when the file is missing or damaged."""
        if not path.is_file():
            raise UserError(f"{path} does not exist: give the folder with all the reference files.")
        try:
            with np.load(path, allow_pickle=False) as file:
                super().__init__({name: torch.from_numpy(file[name]) for name in file.files})
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged or holds no arrays ({error}): take a fresh copy.") from error
        self.path = path

    def __missing__(self, name: str) -> Tensor:
        raise UserError(f"{self.path} has no array '{name}': take a fresh copy.")


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).abs().max())


def worst_relative(ours: Tensor, theirs: Tensor) -> float:
    """The same, of numbers above 1 as a share of them: float32 has 7 digits, and lengths in mm or pixels use 3."""
    scale = theirs.double().abs().clamp_min(1)
    return worst(ours.double() / scale, theirs.double() / scale) if ours.shape == theirs.shape else float("inf")


def worst_share(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference as a share of the array's largest number."""
    return worst(ours, theirs) / float(theirs.abs().max())


def different(ours: Tensor, theirs: Tensor) -> float:
    """How many entries differ; infinite where the shapes do."""
    return float((ours != theirs).sum()) if ours.shape == theirs.shape else float("inf")
