"""Where the hand is in a frame, and which pixels are hand: by depth alone, before anything is predicted.

Blob: the nearest connected surface of plausible size (no depth jump inside), plus pieces that missing readings cut off.
Palm: the centre of the widest circle in the blob. Arm: the blob goes on beyond a border (of the hand box, the image or
the cube) along a contact that is long, thick and away from the palm; its axis runs from there to the palm. Wrist: the
narrowest slice across the axis, at an anatomical distance from the palm. What hangs together with the contact behind it
is forearm.
Every step is deterministic; lengths are millimetres in the world, so sensor and distance do not matter.
"""

from dataclasses import dataclass

import cv2
import numpy as np

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels."""

SEED_AREA_MM2 = 600.0
"""Surface nearer than the blob's front: less than this is flying pixels."""
HAND_AREA_MM2 = 1500.0
"""The least that a hand shows."""
WALL_MM2 = 1e6
"""A surface that shows more is a wall: persons show less."""
SLAB_MM = 300.0
"""Depth behind the front that can still be hand or wrist."""
HAND_DEPTH_MM = 120.0
"""The hand is looked for first in this much depth behind the blob's front."""
JUMP_MM = 40.0
"""Neighbouring readings further apart are two surfaces."""
GAP_MM = 20.0
"""Pieces this close in the image ..."""
GAP_DEPTH_MM = (-70.0, 40.0)
"""... and so far in depth from what they are close to belong to the blob: bent fingers stand in front of a palm."""
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
    return np.stack([x * depth_mm, y[:, None] * depth_mm, depth_mm], axis=-1)


def nearest_blob(depth_mm: np.ndarray, focal: float) -> np.ndarray:
    """(h, w) bool: the nearest connected surface that is large enough for a hand (else the largest one)."""
    found = np.zeros(depth_mm.shape, bool)
    front = _front(depth_mm, focal)
    if front is None:
        return found
    slab = (depth_mm > 0) & (depth_mm < front + SLAB_MM)
    box = box_of(slab)  # mostly a small part of the frame
    found[box] = _blob_in(depth_mm[box], slab[box], focal)
    return found


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask that is not empty, and `margin` more on each side where there are."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    return np.s_[top : int(rows[-1]) + 1 + margin, left : int(columns[-1]) + 1 + margin]


def _front(depth_mm: np.ndarray, focal: float) -> float | None:
    """Depth that so much surface is nearer than as a blob's front takes; None where nothing was read."""
    readings = depth_mm[depth_mm > 0]
    if not len(readings):
        return None
    # the nearest readings alone are sorted: of a whole frame that took most of the search
    nearest = readings[readings < float(readings.min()) + SLAB_MM]
    for some in (nearest, readings):
        ordered = np.sort(some)
        area = np.cumsum((ordered / focal) ** 2)
        if area[-1] >= SEED_AREA_MM2:
            return float(ordered[int(np.searchsorted(area, SEED_AREA_MM2))])
    return float(ordered[-1])


def _blob_in(depth_mm: np.ndarray, slab: np.ndarray, focal: float) -> np.ndarray:
    """(h, w) bool: the nearest connected surface of a hand's size among the pixels of a slab."""
    empty = np.zeros(depth_mm.shape, bool)
    whole = slab.copy()
    far = np.where(slab, depth_mm, 0)
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jump = far[a] - far[b]
        both = slab[a] & slab[b]
        whole[a] &= ~(both & (jump > JUMP_MM))
        whole[b] &= ~(both & (jump < -JUMP_MM))
    count, labels = cv2.connectedComponents(whole.view(np.uint8), connectivity=4)
    if count == 1:
        return empty
    flat, depth = labels.ravel(), far.ravel()
    areas = np.bincount(flat, (depth / focal) ** 2, count)
    mean = np.bincount(flat, depth, count) / np.maximum(np.bincount(flat, minlength=count), 1)
    areas[0] = 0
    plausible = areas >= min(HAND_AREA_MM2, areas.max())
    main = labels == int(np.argmin(np.where(plausible, mean, np.inf)))
    for _ in range(2):
        main = _with_loose_pieces(main, slab, labels, far, focal)
    return main


def _with_loose_pieces(
    main: np.ndarray, slab: np.ndarray, labels: np.ndarray, depth_mm: np.ndarray, focal: float
) -> np.ndarray:
    """Add components (and the pixels that breaking at jumps took) that lie a small gap away from the main one."""
    outside = (~main).view(np.uint8)
    distance, seeds = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.asarray(seeds, np.int64)
    depth_of = np.zeros(int(nearest.max()) + 1, np.float32)
    depth_of[nearest[main]] = depth_mm[main]
    beside = depth_of[nearest]
    step = depth_mm - beside
    close = slab & (distance * beside / focal <= GAP_MM) & (step >= GAP_DEPTH_MM[0]) & (step <= GAP_DEPTH_MM[1])
    joined = np.unique(labels[close & (labels > 0)])
    rim = close & (labels == 0) & (distance <= 1.5)
    return main | np.isin(labels, joined) & (labels > 0) | rim


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
    if not blob.any() or float((depth[blob] ** 2).sum()) * (step / focal) ** 2 > WALL_MM2:
        return None
    # the blob's own box, one pixel wider: past an edge of the array there is then nothing but the part's own border
    kept = box_of(blob, margin=1)
    top, left = kept[0].start, kept[1].start
    border = np.ones(depth.shape, bool)
    border[1:-1, 1:-1] = False
    pixel_mm = float(np.median(depth[blob])) * step / focal
    solid = _without_holes(blob[kept], HOLE_MM2 / pixel_mm**2)
    edge = np.minimum(cv2.distanceTransform(solid, cv2.DIST_L2, 5), max(solid.shape))  # without any edge it is huge
    thickness = edge * (depth[kept] * step / focal)
    points = points_mm(depth[kept], camera, (origin[0] + left * step, origin[1] + top * step), step)
    centre, hand, cut = _hand_of(_Blob(blob[kept], border[kept], points, thickness), cube_mm)
    observed = np.zeros(full.shape, bool)
    there = np.s_[top * step : kept[0].stop * step, left * step : kept[1].stop * step]
    seen = full[there]
    height, width = seen.shape
    found, looked_at = (
        np.repeat(np.repeat(part, step, axis=0), step, axis=1)[:height, :width] for part in (hand, depth[kept])
    )
    observed[there] = found.astype(bool) & (seen > 0) & (np.abs(seen - looked_at) < JUMP_MM)
    return LocatedHand((float(centre[0]), float(centre[1]), float(centre[2])), observed, cut)


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
    return solid | hole[labels].astype(np.uint8)


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

    def within(self, centre: np.ndarray, side_mm: float) -> np.ndarray:
        """(h, w) bool: the part of it in a cube."""
        near = np.abs(self.points - np.asarray(centre, np.float32)) <= side_mm / 2
        return self.mask & near[..., 0] & near[..., 1] & near[..., 2]

    def mean(self, part: np.ndarray) -> np.ndarray:
        """(3,) mean point of a part."""
        return np.array(cv2.mean(self.points, part.view(np.uint8))[:3], np.float32)


def _hand_of(blob: _Blob, cube_mm: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Centre (3,), mask (h, w) of the hand in a blob, and whether a forearm was cut off."""
    z = blob.points[..., 2]
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
    _, labels = cv2.connectedComponents(back.view(np.uint8), connectivity=8)
    forearm = back & np.isin(labels, np.unique(labels[contact & back]))
    if not seen_beyond and forearm.sum() > BOXED_ARM * region.sum():
        return np.zeros_like(region)
    return forearm


def _arm_contact(blob: _Blob, region: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """(h, w) bool: where the arm leaves the region, or None, and whether the blob is seen to go on there.

    The longest contact is taken, counted up to twice where the blob goes on.
    """
    palm = _palm(blob, region, None)
    beyond = cv2.dilate((blob.mask & ~region).view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    count, labels = cv2.connectedComponents((region & (beyond | blob.border)).view(np.uint8), connectivity=8)
    best, best_score, seen_beyond = None, 0.0, False
    for k in range(1, count):
        contact = labels == k
        where = blob.points[contact]
        length = float(np.linalg.norm(np.ptp(where, axis=0)))
        goes_on = float((beyond & contact).sum() / contact.sum())
        away = np.inf if goes_on > 0.5 else float(np.linalg.norm(where - palm, axis=1).min())
        if length < CONTACT_MM or blob.thickness[contact].max() < ARM_RADIUS_MM or away < PALM_TO_CUT_MM[0]:
            continue
        if length * (1 + goes_on) > best_score:
            best, best_score, seen_beyond = contact, length * (1 + goes_on), goes_on > 0.5
    return best, seen_beyond


def _palm(blob: _Blob, region: np.ndarray, arm: np.ndarray | None) -> np.ndarray:
    """(3,) centre of the thickest place; with the arm's end known, rather a place away from it than a thick forearm."""
    points = blob.points
    if arm is not None:
        away = _distance(points, arm)
        worth = np.minimum(blob.thickness, PALM_RADIUS_MM) + FAR_FROM_ARM * away
        rough = points.reshape(-1, 3)[int(np.argmax(np.where(region, worth, -1)))]
        region = region & (_distance(points, rough) <= 2 * PALM_RADIUS_MM)
    return points.reshape(-1, 3)[int(np.argmax(np.where(region, blob.thickness, -1)))]


def _wrist(region: np.ndarray, behind_mm: np.ndarray, across_mm: np.ndarray) -> float:
    """How far behind the palm's centre the hand ends: at the narrowest slice, or at the usual place."""
    least, usual, greatest = PALM_TO_CUT_MM
    behind, across = behind_mm[region], across_mm[region]
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


def _distance(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """(h, w) distance of (h, w, 3) points to one of them; several times as fast as numpy's norm."""
    x, y, z = (points[..., k] - to[k] for k in range(3))
    return np.sqrt(x * x + y * y + z * z)


def _sideways(axis: np.ndarray) -> np.ndarray:
    """(3,) unit vector in the image plane, square to an axis."""
    flat = np.array([-axis[1], axis[0], 0.0], np.float32)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-3 else np.array([1.0, 0.0, 0.0], np.float32)
