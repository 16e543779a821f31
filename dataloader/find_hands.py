"""Hands in a raw depth frame, best first: with bodies in view, nearer things, and the frame's borders.

The nearest hand-sized surface is looked for again and again, each time without what was found before, so that a face
or a cup nearer than the hand only takes one of the places (a large thing takes more of them, in pieces). Those of
no hand's size come last, and the arm that goes on where a hand was cut off is none; a piece of a board can pass: what
it is, is told by the hand that is fitted to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dataloader.blob import HAND_AREA_MM2, Box, box_of
from dataloader.locate import Intrinsics, LocatedHand, locate_hand

AREA_MM2 = (2500.0, 4500.0, 20_000.0, 30_000.0)
"""What hands show: never less than the first or more than the last, usually between the other two."""
REACH_MM = (70.0, 110.0, 230.0, 300.0)
"""Likewise the largest extent of it."""
PALM_MM = (10.0, 18.0, 52.0, 70.0)
"""Likewise the radius of the widest circle inside it: faces and boards are wider."""
IMPLAUSIBLE = 0.3
"""Candidates with a lower score come after all others; of the others the nearest surface comes first."""
BORDER_PX = 4
"""Fewer pixels of a hand on the frame's border are noise."""
SAME_THING_MM = 25.0
"""Neighbouring pixels of one surface differ by less."""
SAME_THING_PX = 8
"""So many pixels that go on where a plausible hand was cut off make something the arm behind it."""


@dataclass(frozen=True)
class HandCandidate:
    """A part of a frame that may be a hand."""

    centre_mm: tuple[float, float, float]
    """Mean of its points, camera frame."""
    observed: np.ndarray
    """(h, w) bool: its pixels, without forearm and background."""
    score: float
    """How much it looks like a hand, by its size and width alone: 0 to 1."""
    touches_border: bool
    """Whether the frame's border cuts it, so that part of the hand may lie outside."""


def find_hands(
    depth_mm: np.ndarray, camera: Intrinsics, cube_mm: float = 250.0, most: int = 3
) -> Iterator[HandCandidate]:
    """Look for hands in a whole frame, for each when it is asked for.

    Args:
        depth_mm: (h, w), 0 = no reading.
        camera: intrinsics of the frame.
        cube_mm: edge of the cube that each hand is looked for in.
        most: how many candidates are kept.

    Yields:
        Candidates, the nearest plausible one first; none where nothing of a hand's size is seen.
    """
    left = np.asarray(depth_mm, np.float32)
    fx, fy = camera[:2]
    others: list[HandCandidate] = []
    hands = np.zeros(left.shape, bool)
    for number in range(most):
        found = locate_hand(left, camera, cube_mm=cube_mm)
        if found is None or not found.observed.any():
            break
        seen, plausible, box = found.observed, False, box_of(found.observed)
        readings = left[box][seen[box]]
        area = float((readings**2).sum()) / (fx * fy)
        if area >= HAND_AREA_MM2:
            score = _plausible(area, AREA_MM2) * _plausible(_reach_mm(readings, seen[box], box, camera), REACH_MM)
            score *= _plausible(_palm_mm(found, fx), PALM_MM)
            border = sum(int(edge.sum()) for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1]))
            if number == 0 or _continued(depth_mm, seen, hands) < SAME_THING_PX:
                candidate = HandCandidate(found.centre_mm, seen, score, border >= BORDER_PX)
                plausible = score >= IMPLAUSIBLE
                if plausible:
                    yield candidate
                else:
                    others.append(candidate)
        if number + 1 < most:  # the frame as it came stays as it is
            left = left.copy() if number == 0 else left
            box, gone = _found_there(left, found, camera, cube_mm)
            if plausible:
                hands[box] |= gone & (left[box] > 0)
            left[box][gone] = 0
    yield from others


def _plausible(value: float, limits: tuple[float, float, float, float]) -> float:
    """1 between the two middle limits, falling to 0 at the outer ones."""
    return float(np.interp(value, limits, (0.0, 1.0, 1.0, 0.0)))


def _reach_mm(readings_mm: np.ndarray, seen: np.ndarray, box: Box, camera: Intrinsics) -> float:
    """Largest extent of a hand in the image, mm: along the longer axis of its outline.

    readings_mm: those of the pixels seen in the box, row by row.
    """
    v, u = np.nonzero(seen)
    points = np.stack([(u + box[1].start) * readings_mm / camera[0], (v + box[0].start) * readings_mm / camera[1]])
    _, axes = np.linalg.eigh(np.cov(points) if points.shape[1] > 1 else np.eye(2))
    low, high = np.percentile(axes.T @ points, (1, 99), axis=1)
    return float((high - low).max())


def _palm_mm(found: LocatedHand, focal: float) -> float:
    """Radius of the widest circle inside a hand, mm; missing readings of a pixel or two do not count."""
    seen = found.observed[box_of(found.observed, margin=2)]  # 2: closing looks that far
    solid = cv2.morphologyEx(seen.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return float(cv2.distanceTransform(np.pad(solid, 1), cv2.DIST_L2, 5).max()) * found.centre_mm[2] / focal


def _continued(depth_mm: np.ndarray, seen: np.ndarray, hands: np.ndarray) -> int:
    """How many pixels around a find belong to a hand found before, as far away as the find itself is there."""
    box = box_of(seen, margin=1)
    depth, seen, hands = depth_mm[box], seen[box], hands[box]
    if not hands.any():
        return 0
    reach = cv2.dilate(np.where(seen, depth, 0).astype(np.float32), np.ones((3, 3), np.uint8))
    return int((hands & ~seen & (reach > 0) & (np.abs(depth - reach) < SAME_THING_MM)).sum())


def _found_there(
    depth_mm: np.ndarray, found: LocatedHand, camera: Intrinsics, cube_mm: float
) -> tuple[Box, np.ndarray]:
    """What the next search does not need to see: a box, and in it the pixels of a find and of the cube around it."""
    height, width = depth_mm.shape
    x, y, z = found.centre_mm
    fx, fy, cx, cy = camera
    half = cube_mm / 2
    across = np.abs((np.arange(width, dtype=np.float32) + 0.5 - cx) * (z / fx) - x) <= half
    down = np.abs((np.arange(height, dtype=np.float32) + 0.5 - cy) * (z / fy) - y) <= half
    seen = box_of(found.observed)
    down_there, across_there = down.copy(), across.copy()
    down_there[seen[0]] = across_there[seen[1]] = True
    box = box_of(down_there[:, None] & across_there)
    gone = down[box[0], None] & across[box[1]] & (np.abs(depth_mm[box] - z) <= half)
    return box, gone | found.observed[box]
