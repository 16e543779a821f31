"""Frames kept in memory at the sensor's resolution, cut generously around the hand, and served as batches of crops.

Crops are resampled from the sensor's own pixels each time, so that an augmented crop is as sharp as a plain one. All
patches lie one behind another in one array; a batch is a single gather from it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from torch import Tensor

from dataloader.augment import Augmentation, Change
from dataloader.camera import Camera
from dataloader.crop import empty_crop, published_grid
from dataloader.sample import HandSample
from util.errors import UserError

UNIT_MM = 0.1
"""Depth step of a stored pixel; 65,535 of them reach 6.5 m, further counts as no reading."""
ROOM = 1.75
"""Side of a patch over the cube's: a square turned by 45 degrees, 1.2 times the cube, shifted a little."""


PER_FRAME = (
    *("starts", "shapes", "origins", "cameras", "centres_mm", "cubes_mm", "names"),
    *("joints_mm", "vertices_mm"),
)
"""Arrays of a store with one entry a frame."""


@dataclass(frozen=True)
class StoredFrame:
    """One frame's patch and what is known about it; build it with `cut_patch`."""

    patch: np.ndarray
    """(h, w) uint16, UNIT_MM a unit, 0 = no reading."""
    origin: tuple[int, int]
    """Sensor pixel (u, v) of the patch's first pixel."""
    camera: tuple[float, float, float, float]
    """fx, fy, cx, cy in pixels."""
    centre_mm: tuple[float, float, float]
    """Centre of the crop's cube, camera frame."""
    cube_mm: tuple[float, float, float]
    """Edge lengths of the cube."""
    name: str = ""
    """Which frame this is, for reports."""
    observed: np.ndarray | None = None
    """(h, w) bool, pixels on the hand itself."""
    joints_mm: np.ndarray | None = None
    """(21, 3) keypoints, camera frame, where known."""
    vertices_mm: np.ndarray | None = None
    """(779, 3) surface, camera frame, where known."""


def cut_patch(
    depth_mm: np.ndarray,
    camera: tuple[float, float, float, float],
    centre_mm: tuple[float, float, float],
    cube_mm: tuple[float, float, float],
    name: str = "",
    observed: np.ndarray | None = None,
    joints_mm: np.ndarray | None = None,
    vertices_mm: np.ndarray | None = None,
) -> StoredFrame:
    """Keep what a crop of this frame can show, augmented or not: (h, w) depth in mm, 0 = no reading -> patch.

    Depth that no cube around this centre reaches is dropped, then empty borders are. `observed` is (h, w) as well.
    """
    fx, fy, cx, cy = camera
    x, y, z = centre_mm
    height, width = depth_mm.shape
    reach = [ROOM * focal * cube / (2 * z) for focal, cube in zip((fx, fy), cube_mm, strict=False)]
    u, v = fx * x / z + cx, fy * y / z + cy
    left, right = (min(max(floor(u + side * reach[0]), 0), width) for side in (-1, 1))
    top, bottom = (min(max(floor(v + side * reach[1]), 0), height) for side in (-1, 1))
    part = depth_mm[top:bottom, left:right]
    kept = (part > 0) & (part <= min(z + ROOM * cube_mm[2] / 2, 65535 * UNIT_MM))
    # numpy has no quick bounding box; an empty part has none at all
    column, row, columns, rows = cv2.boundingRect(kept.view(np.uint8)) if kept.size else (0, 0, 0, 0)
    tight = np.s_[row : row + rows, column : column + columns]
    patch = np.where(kept[tight], np.rint(part[tight].astype(np.float32) / UNIT_MM), 0).astype(np.uint16)
    seen = None if observed is None else observed[top:bottom, left:right][tight]
    origin = (left + column, top + row)
    return StoredFrame(patch, origin, camera, centre_mm, cube_mm, name, seen, joints_mm, vertices_mm)


@dataclass(frozen=True)
class FrameStore:
    """Packed frames; n frames, p pixels in all. Subsets share the pixels of the store they come from."""

    pixels: np.ndarray
    """(p,) uint16, all patches row by row, UNIT_MM a unit."""
    observed_bits: np.ndarray | None
    """(p / 8,) uint8, `np.packbits` of the observed-hand masks, where a rule fixed them."""
    starts: np.ndarray
    """(n,) int64, first pixel of each patch."""
    shapes: np.ndarray
    """(n, 2) int64, height and width of each patch."""
    origins: np.ndarray
    """(n, 2) int64, sensor pixel (u, v) of each patch's first pixel."""
    cameras: np.ndarray
    """(n, 4) float32, fx fy cx cy."""
    centres_mm: np.ndarray
    """(n, 3) float32, centre of each cube."""
    cubes_mm: np.ndarray
    """(n, 3) float32, edges of each cube."""
    names: np.ndarray
    """(n,) str, name of each frame."""
    joints_mm: np.ndarray | None = None
    """(n, 21, 3) float32 labels, camera frame."""
    vertices_mm: np.ndarray | None = None
    """(n, 779, 3) float32 labels, camera frame."""
    size: int = 128
    """Side of the crops served."""
    dropped: tuple[tuple[str, int], ...] = ()
    """(reason, number) of frames that the loader left out."""

    @staticmethod
    def from_frames(
        frames: Sequence[StoredFrame], size: int = 128, dropped: tuple[tuple[str, int], ...] = ()
    ) -> "FrameStore":
        """Pack frames; masks and labels are kept when every frame has them."""
        areas = np.array([frame.patch.size for frame in frames], np.int64)
        ends = np.cumsum(areas)
        pixels = np.zeros(max(int(areas.sum()), 1), np.uint16)
        masked = bool(frames) and all(frame.observed is not None for frame in frames)
        mask = np.zeros(pixels.size if masked else 0, bool)
        for frame, end, area in zip(frames, ends, areas, strict=True):
            pixels[end - area : end] = frame.patch.ravel()
            if frame.observed is not None and masked:
                mask[end - area : end] = frame.observed.ravel()
        joints = [frame.joints_mm for frame in frames if frame.joints_mm is not None]
        vertices = [frame.vertices_mm for frame in frames if frame.vertices_mm is not None]
        return FrameStore(
            pixels,
            np.packbits(mask) if masked else None,
            ends - areas,
            np.array([frame.patch.shape for frame in frames], np.int64).reshape(-1, 2),
            np.array([frame.origin for frame in frames], np.int64).reshape(-1, 2),
            np.array([frame.camera for frame in frames], np.float32).reshape(-1, 4),
            np.array([frame.centre_mm for frame in frames], np.float32).reshape(-1, 3),
            np.array([frame.cube_mm for frame in frames], np.float32).reshape(-1, 3),
            np.array([frame.name for frame in frames], np.str_),
            np.stack(joints).astype(np.float32) if joints and len(joints) == len(frames) else None,
            np.stack(vertices).astype(np.float32) if vertices and len(vertices) == len(frames) else None,
            size,
            dropped,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "FrameStore":
        """The chosen frames, in the given order; pixels are shared, not copied."""
        chosen = np.asarray(indices, np.int64)
        parts = {name: getattr(self, name) for name in PER_FRAME}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})

    def batch(
        self,
        indices: Sequence[int] | np.ndarray | Tensor,
        generator: torch.Generator | None = None,
        augment: Augmentation | None = None,
    ) -> HandSample:
        """Crops of the chosen frames, augmented when `augment` is given (it then needs the generator).

        `observed` comes with plain crops only: it is for scoring. Labels turn with the crop; parameters are not kept.

        Raises:
            ValueError: `augment` without `generator`.
        """
        chosen = np.asarray(indices, np.int64)
        if augment is not None and generator is None:
            raise ValueError("augmentation needs a generator")
        change = Change.none(len(chosen))
        if augment is not None and generator is not None:
            change = augment.draw(len(chosen), generator)
        numbers = torch.from_numpy(self.cameras[chosen])
        camera = Camera(numbers[:, :2], numbers[:, 2:])
        cube_mm = torch.from_numpy(self.cubes_mm[chosen]) * change.cube_factor[:, None]
        window = empty_crop(camera, change.centre(torch.from_numpy(self.centres_mm[chosen])), cube_mm, self.size)
        if augment is None:
            grid = published_grid(camera, window.centre_mm, cube_mm, self.size)
        else:
            turned = change.image_from_turned(camera.to(torch.float64))
            grid = turned @ torch.linalg.inv(window.crop_from_image.double())
        places, inside = self._places(chosen, grid)
        depth_mm = np.where(inside, np.take(self.pixels, places, mode="clip"), 0) * np.float32(UNIT_MM)
        crop = window.with_depth_mm(torch.from_numpy(depth_mm))
        observed = None
        if self.observed_bits is not None and augment is None:
            bits = np.take(self.observed_bits, places >> 3, mode="clip") >> (7 - (places & 7)).astype(np.uint8)
            observed = torch.from_numpy((bits & 1).astype(bool) & inside)[:, None] & crop.foreground
        labels = [
            None if known is None else change.turned(torch.from_numpy(known[chosen]))
            for known in (self.joints_mm, self.vertices_mm)
        ]
        return HandSample(crop, labels[0], labels[1], None, observed, tuple(str(name) for name in self.names[chosen]))

    def _places(self, chosen: np.ndarray, image_from_crop: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Index into `pixels` of each crop sample (n, s, s), and whether it falls on the patch at all."""
        matrix = image_from_crop.numpy().copy()
        matrix[:, :2, 2] -= self.origins[chosen]
        # a sample that falls exactly on a pixel's edge belongs to the pixel behind it, whatever rounding made of it
        matrix[:, :2, 2] += 1e-3
        linear = matrix[..., None, None].astype(np.float32)
        steps = np.arange(self.size, dtype=np.float32)
        u, v = (
            np.floor((linear[:, k, 1] * steps[:, None] + linear[:, k, 2]) + linear[:, k, 0] * steps).astype(np.int32)
            for k in (0, 1)
        )
        height, width = (self.shapes[chosen, k].astype(np.int32)[:, None, None] for k in (0, 1))
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        return np.where(inside, v * width + u + self.starts[chosen][:, None, None], 0), inside

    def save(self, path: Path) -> None:
        """Write everything to one file, at once or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray] = {n: value for n, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays |= {
            "size": np.array(self.size),
            "reasons": np.array([reason for reason, _ in self.dropped], np.str_),
            "numbers": np.array([number for _, number in self.dropped], np.int64),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> "FrameStore":
        """Read a file that `save` wrote.

        Raises:
            UserError: the file is damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            size = int(arrays.pop("size"))
            reasons, numbers = arrays.pop("reasons"), arrays.pop("numbers")
            arrays.setdefault("observed_bits", None)
            dropped = tuple((str(reason), int(number)) for reason, number in zip(reasons, numbers, strict=True))
            return FrameStore(**arrays, size=size, dropped=dropped)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise UserError(f"{path} is no store of prepared frames: delete it and it is made anew.") from error
