"""Frames to annotate: all that a data set has, in the order of its own files, whether or not a hand can be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from dataloader.camera import Camera
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.sources import StoredFrames
from predicting.views import MIRROR

NOT_ASKED = "not asked for"
"""Why frames beyond --frames are without a hand."""


@dataclass(frozen=True)
class Source:
    """n frames of one part of a data set, which has label files of its own.

    Everything is in the camera of the images as the data set's loader reads them: right hands, x right, y down, mm. A
    folder's frames are as they are stored.
    """

    name: str
    """Of data set and part, as files are called: nyu-test, icvl-train, msra, shrec, dhg, frames."""
    root: Path
    files: tuple[str, ...]
    """Image of each frame, relative to the root, with slashes."""
    sequences: tuple[str, ...]
    """Recording of each frame, as the data set calls it."""
    subjects: tuple[str, ...]
    """Whose hand each shows, as far as the data set says."""
    joint_set: str
    """Of its own labels."""
    frames: Listing | StoredFrames
    """What reads the frames; a listing may leave some out."""
    listed: Int64[np.ndarray, " n"]
    """Row of each frame in `frames`, -1 for one that is left out."""
    why: str
    """Why frames are left out."""
    camera: Intrinsics | None = None
    """fx, fy, cx, cy, where all frames share one."""
    size: tuple[int, int] | None = None
    """Width and height of all images."""
    mirrored_width: int = 0
    """Width of images that are flipped left to right when read, else 0."""
    labels_mm: Float[np.ndarray, "n joints 3"] | None = None
    """The data set's own joints, NaN where it has none."""
    asked: Bool[np.ndarray, " n"] = field(default_factory=lambda: np.ones(0, bool))
    """Frames that are to be predicted."""

    def __len__(self) -> int:
        return len(self.files)

    @staticmethod
    def of_listing(
        name: str,
        listing: Listing,
        files: Sequence[str],
        sequences: Sequence[str],
        subjects: Sequence[str],
        size: tuple[int, int],
        why: str = "",
    ) -> "Source":
        """All of `files`, of which a listing has those whose hand's place is known, in the same order."""
        listed = np.full(len(files), -1, np.int64)
        row = 0
        for i, file in enumerate(files):
            if row < len(listing) and listing.files[row] == file:
                listed[i] = row
                row += 1
        if row != len(listing):
            raise ValueError("a listing has frames that the data set has not, or in another order")
        labels_mm = None
        if listing.joints_mm is not None:
            labels_mm = np.full((len(files), *listing.joints_mm.shape[1:]), np.nan)
            labels_mm[listed >= 0] = listing.joints_mm
        return Source(
            name=name,
            root=listing.root,
            files=tuple(files),
            sequences=tuple(sequences),
            subjects=tuple(subjects),
            joint_set=listing.joint_set,
            frames=listing,
            listed=listed,
            why=why,
            camera=listing.camera,
            size=size,
            mirrored_width=listing.mirrored_width,
            labels_mm=labels_mm,
            asked=np.ones(len(files), bool),
        )

    def first(self, most: int | None) -> "Source":
        """The same, with only the first frames of each recording to be predicted."""
        if most is None:
            return self
        seen: dict[str, int] = {}
        asked = np.zeros(len(self), bool)
        for i, sequence in enumerate(self.sequences):
            seen[sequence] = seen.get(sequence, 0) + 1
            asked[i] = seen[sequence] <= most
        return replace(self, asked=asked)

    def reason(self, row: int) -> str:
        """Why a frame is not read at all; empty for one that is."""
        if not self.asked[row]:
            return NOT_ASKED
        return "" if self.listed[row] >= 0 else self.why

    def as_stored(self, points_mm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points in the camera of the images as they are stored."""
        return points_mm * MIRROR if self.mirrored_width else points_mm

    def pixels(self, points_mm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """u v (pixels of the images as stored) and z (mm) of points in the camera of the images as read."""
        assert self.camera is not None
        camera = Camera.of(*self.camera, dtype=torch.float64)
        pixels = camera.project(torch.from_numpy(points_mm.astype(np.float64))).numpy()
        if self.mirrored_width:
            pixels[..., 0] = self.mirrored_width - pixels[..., 0]
        return pixels

    def rows_of(self) -> dict[str, list[int]]:
        """Rows of each recording, in order."""
        found: dict[str, list[int]] = {}
        for row, sequence in enumerate(self.sequences):
            found.setdefault(sequence, []).append(row)
        return found
