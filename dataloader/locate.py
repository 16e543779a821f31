"""Where the hand is in a frame, and which pixels are hand: by depth alone, before anything is predicted.

Blob: the nearest connected surface of plausible size (no depth jump inside), plus pieces that missing readings cut off.
Palm: the centre of the widest circle in the blob. Arm: the blob goes on beyond a border (of the hand box, the image or
the cube) along a contact that is long, thick and away from the palm; its axis runs from there to the palm. Wrist: the
narrowest slice across the axis, at an anatomical distance from the palm. What hangs together with the contact behind it
is forearm.
Every step is deterministic; lengths are millimetres in the world, so sensor and distance do not matter.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dataloader.blob import JUMP_MM, Box, nearest_blob

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels."""

WALL_MM2 = 1e6
"""A surface that shows more is a wall: persons show less."""
HAND_DEPTH_MM = 120.0
"""The hand is looked for first in this much depth behind the blob's front."""
HOLE_MM2 = 400.0
"""Smaller holes are missing readings, not the gap of a ring of fingers."""
CONTACT_MM = 30.0
"""A border contact shorter than this is a finger's."""
ARM_RADIUS_MM = 16.0
"""Behind an arm's contact the blob is at least twice this thick."""
PALM_TO_CUT_MM = (60.0, 90.0, 100.0)
"""Least, usual and greatest distance from the palm's centre to the cut; a hand model ends 30 mm behind its wrist."""
NARROWER = 0.93
"""The wrist shows when its slice is narrower than the usual one by this factor."""
BOXED_ARM = 0.4
"""A hand box holds no larger share of forearm than this: a larger cut has missed the wrist and is not made."""
PALM_RADIUS_MM = 25.0
"""A palm seen from the side is about this thick to either side; anything thicker is not more of a palm."""
FAR_FROM_ARM = 0.06
"""What a millimetre away from the arm's contact is worth in thickness, when the palm is looked for."""
PIXEL_MM = 1.8
"""Finer pixels than this are skipped while looking."""
READINGS = 20_000
"""So many of a frame's pixels are enough to know how far away it is."""
SLICE_MM = 5.0
"""Thickness of the slices across the arm's axis."""


@dataclass(frozen=True)
class LocatedHand:
    """A hand found in a depth image."""

    centre_mm: tuple[float, float, float]
    """Mean of the hand's points, camera frame."""
    observed: np.ndarray
    """(h, w) bool: pixels on the hand itself, without forearm and background."""
    cut: bool
    """Whether a forearm was found and cut off."""


def points_mm(depth_mm: np.ndarray, camera: Intrinsics, origin: tuple[int, int] = (0, 0), step: int = 1) -> np.ndarray:
    """(h, w) depth, every `step`-th pixel from `origin` on -> (h, w, 3) camera frame, pixel centres at + 0.5."""
    fx, fy, cx, cy = camera
    height, width = depth_mm.shape
    x = (np.arange(width, dtype=np.float32) * step + (origin[0] + 0.5 - cx)) / fx
    y = (np.arange(height, dtype=np.float32) * step + (origin[1] + 0.5 - cy)) / fy
    return np.asarray(cv2.merge([x * depth_mm, y[:, None] * depth_mm, depth_mm]))


def locate_hand(
    depth_mm: np.ndarray, camera: Intrinsics, origin: tuple[int, int] = (0, 0), cube_mm: float = 250.0
) -> LocatedHand | None:
    """Find the nearest hand in an image part (a hand box, or a whole frame).

    Args:
        depth_mm: (h, w), 0 = no reading.
        camera: intrinsics of the whole image.
        origin: pixel (u, v) of the part's first pixel.
        cube_mm: edge of the cube that the hand is looked for in.

    Returns:
        The hand, or None when the part holds no reading or nothing before a wall. Its mask is confined to the cube
        around its centre.
    """
    full = np.asarray(depth_mm, np.float32)
    focal = float(np.sqrt(camera[0] * camera[1]))
    if not full.any():
        return None
    step = max(int(PIXEL_MM * focal / _middle(full)), 1)
    depth = np.ascontiguousarray(full[::step, ::step])
    blob = nearest_blob(depth, focal / step)
    if blob is None:
        return None
    # the blob's own box, one pixel wider: past an edge of the array there is then nothing but the part's own border
    kept, mask = blob
    near = depth[kept]
    readings = near[mask]
    if float((readings**2).sum()) * (step / focal) ** 2 > WALL_MM2:
        return None
    top, left = kept[0].start, kept[1].start
    pixel_mm = float(np.median(readings)) * step / focal
    solid = _without_holes(mask, HOLE_MM2 / pixel_mm**2)
    edge = np.minimum(cv2.distanceTransform(solid, cv2.DIST_L2, 5), max(solid.shape))  # without any edge it is huge
    thickness = edge * (near * step / focal)
    points = points_mm(near, camera, (origin[0] + left * step, origin[1] + top * step), step)
    centre, hand, cut = _hand_of(_Blob(mask, _border(depth.shape, kept), points, thickness), cube_mm)
    observed = np.zeros(full.shape, bool)
    there = np.s_[top * step : kept[0].stop * step, left * step : kept[1].stop * step]
    observed[there] = hand if step == 1 else _in_full(hand, near, full[there], step)
    return LocatedHand((float(centre[0]), float(centre[1]), float(centre[2])), observed, cut)


def _border(shape: tuple[int, ...], box: Box) -> np.ndarray:
    """(h, w) bool: pixels of a box in an image of this shape that lie on the image's border."""
    (top, bottom), (left, right) = ((part.start, part.stop) for part in box)
    border = np.zeros((bottom - top, right - left), bool)
    border[0], border[-1] = top == 0, bottom == shape[0]
    border[:, 0] |= left == 0
    border[:, -1] |= right == shape[1]
    return border


def _in_full(hand: np.ndarray, depth_mm: np.ndarray, full_mm: np.ndarray, step: int) -> np.ndarray:
    """(h, w) bool: pixels of the full image whose skipped-to neighbour is hand, and that are as far away as it is."""
    height, width = full_mm.shape
    found, looked_at = (
        np.repeat(np.repeat(part, step, axis=0), step, axis=1)[:height, :width] for part in (hand, depth_mm)
    )
    return found & (full_mm > 0) & (np.abs(full_mm - looked_at) < JUMP_MM)


def _middle(depth_mm: np.ndarray) -> float:
    """The median reading, from some of a large image; there is at least one."""
    stride = max(int(np.sqrt(depth_mm.size / READINGS)), 1)
    some = depth_mm[::stride, ::stride]
    some = some if some.any() else depth_mm
    return float(np.median(some[some > 0]))


def _without_holes(mask: np.ndarray, largest: float) -> np.ndarray:
    """(h, w) uint8: the mask with narrow gaps closed and holes of up to `largest` pixels filled."""
    solid = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - solid, connectivity=4)
    height, width = mask.shape
    x, y, w, h, area = stats.T
    hole = (x > 0) & (y > 0) & (x + w < width) & (y + h < height) & (area <= largest)
    return solid | hole[labels].view(np.uint8) if hole[1:].any() else solid


@dataclass(frozen=True)
class _Blob:
    """A blob and what is measured on it."""

    mask: np.ndarray
    """(h, w) bool."""
    border: np.ndarray
    """(h, w) bool: pixels beyond which nothing is known."""
    points: np.ndarray
    """(h, w, 3) camera frame, mm."""
    thickness: np.ndarray
    """(h, w) distance to the blob's seen edge, mm."""

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, z of the points, each (h, w): several times as fast to calculate with."""
        x, y, z = cv2.split(self.points)
        return np.asarray(x), np.asarray(y), np.asarray(z)

    def within(self, centre: np.ndarray, side_mm: float) -> np.ndarray:
        """(h, w) bool: the part of it in a cube."""
        inside = self.mask
        for plane, middle in zip(self.planes, np.asarray(centre, np.float32), strict=True):
            inside = inside & (np.abs(plane - middle) <= side_mm / 2)
        return inside

    def distance(self, to: np.ndarray) -> np.ndarray:
        """(h, w) distance of the points to one of them."""
        x, y, z = (plane - middle for plane, middle in zip(self.planes, to, strict=True))
        return np.sqrt(x * x + y * y + z * z)

    def mean(self, part: np.ndarray) -> np.ndarray:
        """(3,) mean point of a part."""
        return np.array(cv2.mean(self.points, part.view(np.uint8))[:3], np.float32)


def _hand_of(blob: _Blob, cube_mm: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Centre (3,), mask (h, w) of the hand in a blob, and whether a forearm was cut off."""
    z = blob.planes[2]
    near = blob.mask & (z <= np.percentile(z[blob.mask], 2) + HAND_DEPTH_MM)
    contact, _ = _arm_contact(blob, near)
    if contact is not None:
        centre = _palm(blob, near, blob.mean(contact))
    else:
        centre = blob.mean(near)
        for side in (1.2 * cube_mm, cube_mm):
            part = blob.within(centre, side)
            centre = blob.mean(part) if part.any() else centre
    hand, cut = blob.mask, False
    for _ in range(2):
        region = blob.within(centre, cube_mm)
        if not region.any():
            break
        forearm = _forearm(blob, region)
        hand, cut = region & ~forearm, bool(forearm.any())
        centre = blob.mean(hand)
    return centre, hand & blob.within(centre, cube_mm), cut


def _forearm(blob: _Blob, region: np.ndarray) -> np.ndarray:
    """(h, w) bool: the part of `region` (blob in the cube) behind the wrist; empty when no arm leaves the region."""
    contact, seen_beyond = _arm_contact(blob, region)
    if contact is None:
        return np.zeros_like(region)
    start = blob.mean(contact)
    palm = _palm(blob, region, start)
    reach = float(np.linalg.norm(palm - start))
    axis = (palm - start) / max(reach, 1e-3)
    # not numpy's matrix product: its threads fight with those of the other processes that prepare frames
    along, across = cv2.split(cv2.transform(blob.points, np.stack([axis, _sideways(axis)])))
    behind = reach + float(start.dot(axis)) - np.asarray(along)
    back = region & (behind > _wrist(region, behind, np.asarray(across)))
    count, labels = cv2.connectedComponents(back.view(np.uint8), connectivity=8)
    joined = np.zeros(count, bool)
    joined[labels[contact & back]] = True
    forearm = back & joined[labels]
    if not seen_beyond and forearm.sum() > BOXED_ARM * region.sum():
        return np.zeros_like(region)
    return forearm


def _arm_contact(blob: _Blob, region: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """(h, w) bool: where the arm leaves the region, or None, and whether the blob is seen to go on there.

    The longest contact is taken, counted up to twice where the blob goes on.
    """
    beyond = cv2.dilate((blob.mask & ~region).view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    edge = region & (beyond | blob.border)
    if not edge.any():
        return None, False
    _, labels = cv2.connectedComponents(edge.view(np.uint8), connectivity=8)
    cells = np.flatnonzero(edge)
    label = labels.ravel()[cells]
    points, thickness, goes = blob.points.reshape(-1, 3)[cells], blob.thickness.ravel()[cells], beyond.ravel()[cells]
    palm, best, best_score, seen_beyond = None, 0, 0.0, False
    for k in range(1, int(label.max()) + 1):
        chosen = label == k
        where = points[chosen]
        length = float(np.linalg.norm(np.ptp(where, axis=0)))
        if length < CONTACT_MM or thickness[chosen].max() < ARM_RADIUS_MM:
            continue
        goes_on = float(goes[chosen].sum() / len(where))
        if goes_on <= 0.5:
            palm = _palm(blob, region, None) if palm is None else palm
            if float(np.linalg.norm(where - palm, axis=1).min()) < PALM_TO_CUT_MM[0]:
                continue
        if length * (1 + goes_on) > best_score:
            best, best_score, seen_beyond = k, length * (1 + goes_on), goes_on > 0.5
    return (labels == best, seen_beyond) if best else (None, False)


def _palm(blob: _Blob, region: np.ndarray, arm: np.ndarray | None) -> np.ndarray:
    """(3,) centre of the thickest place; with the arm's end known, rather a place away from it than a thick forearm."""
    points = blob.points
    if arm is not None:
        away = blob.distance(arm)
        worth = np.minimum(blob.thickness, PALM_RADIUS_MM) + FAR_FROM_ARM * away
        rough = points.reshape(-1, 3)[int(np.argmax(np.where(region, worth, -1)))]
        region = region & (blob.distance(rough) <= 2 * PALM_RADIUS_MM)
    return points.reshape(-1, 3)[int(np.argmax(np.where(region, blob.thickness, -1)))]


def _wrist(region: np.ndarray, behind_mm: np.ndarray, across_mm: np.ndarray) -> float:
    """How far behind the palm's centre the hand ends: at the narrowest slice, or at the usual place."""
    least, usual, greatest = PALM_TO_CUT_MM
    asked = region & (behind_mm >= least) & (behind_mm < greatest)
    behind, across = behind_mm[asked], across_mm[asked]
    width: dict[float, float] = {}
    for edge in np.arange(least, greatest, SLICE_MM):
        chosen = np.sort(across[(behind >= edge) & (behind < edge + SLICE_MM)])
        if len(chosen) >= 5:
            low, high = chosen[len(chosen) // 20], chosen[-1 - len(chosen) // 20]
            width[float(edge)] = float(high - low)
    if not width:
        return usual
    narrowest = min(width, key=lambda edge: width[edge])
    return narrowest + SLICE_MM / 2 if width[narrowest] < NARROWER * width.get(usual, np.inf) else usual


def _sideways(axis: np.ndarray) -> np.ndarray:
    """(3,) unit vector in the image plane, square to an axis."""
    flat = np.array([-axis[1], axis[0], 0.0], np.float32)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-3 else np.array([1.0, 0.0, 0.0], np.float32)
