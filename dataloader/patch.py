"""The part of a depth frame that its crops can show, in 16 bits a pixel and at the sensor's resolution."""

from dataclasses import dataclass
from math import floor, log2

import cv2
import numpy as np

from dataloader.locate import Intrinsics

ROOM = 1.75
"""Side of a patch over the cube's: a square turned by 45 degrees, 1.2 times the cube, shifted a little."""
LEVELS = 65534
"""Depths that a stored pixel can tell apart; 0 is none of them."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class StoredFrame:
    """One frame's patch and what is known about it; build it with `cut_patch`."""

    patch: np.ndarray
    """(h, w) uint16: depth = base_mm + unit_mm (value - 1), 0 = no reading."""
    base_mm: float
    """Depth of value 1, a whole number of millimetres; what is nearer counts as this near."""
    unit_mm: float
    """Depth step, a power of two: whole millimetres, and halves, quarters, ... of them, are kept exactly."""
    origin: tuple[int, int]
    """Sensor pixel (u, v) of the patch's first pixel."""
    camera: Intrinsics
    """fx, fy, cx, cy in pixels."""
    centre_mm: Vector
    """Centre of the crop's cube, camera frame."""
    cube_mm: Vector
    """Edge lengths of the cube."""
    name: str = ""
    """Which frame this is, for reports."""
    observed: np.ndarray | None = None
    """(h, w) bool, pixels on the hand itself."""
    joints_mm: np.ndarray | None = None
    """(joints, 3) labels, camera frame, where known."""
    vertices_mm: np.ndarray | None = None
    """(779, 3) surface, camera frame, where known."""


def cut_patch(
    depth_mm: np.ndarray,
    camera: Intrinsics,
    centre_mm: Vector,
    cube_mm: Vector,
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
    deep = ROOM * cube_mm[2]
    kept = (part > 0) & (part <= z + deep / 2)
    # numpy has no quick bounding box; an empty part has none at all
    column, row, columns, rows = cv2.boundingRect(kept.view(np.uint8)) if kept.size else (0, 0, 0, 0)
    tight = np.s_[row : row + rows, column : column + columns]
    base, unit = float(floor(z - deep / 2)), 2.0 ** floor(log2(LEVELS / (deep + 2)))
    steps = np.rint((part[tight].astype(np.float32) - np.float32(base)) * np.float32(unit)).clip(0, LEVELS) + 1
    patch = np.where(kept[tight], steps, 0).astype(np.uint16)
    seen = None if observed is None else observed[top:bottom, left:right][tight]
    origin = (left + column, top + row)
    return StoredFrame(patch, base, 1 / unit, origin, camera, centre_mm, cube_mm, name, seen, joints_mm, vertices_mm)
