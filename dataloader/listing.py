"""Frames of one split of a data set: listed, with what the data set's own files say about each, and not yet read.

A data set's module turns its folder layout into a `Listing`; everything behind it (hand locator, cache, crops, batches)
is the same for all of them (dataloader/prepare.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dataloader.locate import Intrinsics
from render.hand_layer import HandParams
from render.parameter_files import read_parameter_files
from util.errors import UserError
from util.joints import JOINT_SETS, JointSet
from util.reading import inside

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are one past the last."""


@dataclass(frozen=True)
class Listing:
    """n frames of one split. Everything is in the camera frame of images as `read` returns them: right hands, y down.

    Data sets that are stored mirrored, or with y up, are turned by their own module before they get here.
    """

    data_set: str
    """Its name, as in `DataConfig.name`."""
    split: str
    """train or test."""
    root: Path
    """Folder of the data set."""
    files: tuple[str, ...]
    """Image of each frame, relative to the root, with slashes."""
    read: Callable[[Path], np.ndarray]
    """Image file -> depth (h, w), mm, 0 = no reading; a function of a module, so that other processes can call it."""
    camera: Intrinsics
    """fx, fy, cx, cy of the images as read."""
    cubes_mm: np.ndarray
    """(n, 3) edges of each frame's cube."""
    centres_mm: np.ndarray | None = None
    """(n, 3) centre of each cube; NaN, or None for all, where the hand has to be located."""
    mirrored_width: int = 0
    """Width of images that `read` flips left to right, 0 when it does not; leads back to the files' own u."""
    boxes: np.ndarray | None = None
    """(n, 4) int64 `Box` in which the hand is looked for; None = around the centre, or everywhere without one."""
    joint_set: str = "mano21"
    """Name of the joint set of the labels."""
    joints_mm: np.ndarray | None = None
    """(n, joints, 3) labels."""
    groups: tuple[str, ...] = ()
    """Subject or sequence of each frame, for scores by part; empty when there is one."""
    labelled: bool = False
    """Whether frames are scored one by one against a benchmark: none may then be left out silently."""
    parameters: Path | None = None
    """Hand-parameter files, as `render.parameter_files.read_parameter_files` takes them."""
    parameter_rows: np.ndarray | None = None
    """(n,) line of each frame in those files; None = line by line."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> number of frames that the data set's own files leave out."""
    notices: tuple[str, ...] = ()
    """What a user should know: files that are absent and what is done instead, one sentence each."""
    follow_links: bool = False
    """Whether links may lead to images outside the root."""
    rules: tuple[Path, ...] = ()
    """Source files that decide how an image is read; prepared frames are made anew when they change."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def joints(self) -> JointSet:
        """Joint set of the labels."""
        return JOINT_SETS[self.joint_set]

    def path(self, index: int) -> Path:
        """Image file of a frame."""
        return self.root / self.files[index]

    def depth(self, index: int) -> np.ndarray:
        """Image of a frame, as `read` gives it.

        Raises:
            UserError: it is missing or damaged, or a link leads out of the root.
        """
        path = self.path(index)
        if not (self.follow_links or inside(self.root, path)):
            raise UserError(
                f"{path} lies outside {self.root}, by a link: put the files themselves there, or add "
                "--data.follow-links."
            )
        return self.read(path)

    def part(self, indices: Sequence[int]) -> "Listing":
        """Frames `indices` alone, in the given order."""
        chosen = np.array(indices, np.int64)
        arrays = {name: getattr(self, name) for name in ("centres_mm", "boxes", "joints_mm", "parameter_rows")}
        return replace(
            self,
            files=tuple(self.files[index] for index in indices),
            cubes_mm=self.cubes_mm[chosen],
            groups=tuple(self.groups[index] for index in indices) if self.groups else (),
            **{name: None if array is None else array[chosen] for name, array in arrays.items()},
        )

    def read_parameters(self) -> HandParams | None:
        """Hand parameters of every frame, in the data set's published files; None where it has none.

        Raises:
            UserError: a file is damaged, or has too few lines.
        """
        if self.parameters is None:
            return None
        params = read_parameter_files(self.parameters)
        rows = np.arange(len(self)) if self.parameter_rows is None else self.parameter_rows
        lines = len(params.pose)
        if len(rows) and lines <= rows.max():
            raise UserError(
                f"{self.parameters}-pose.txt has {lines} lines and the {self.split} split needs "
                f"{rows.max() + 1}: take the files of this split."
            )
        return params[rows]
