"""The search for hands as it is most plainly written: mostly over the whole frame, nothing skipped.

What dataloader/blob.py, locate.py and find_hands.py find is the same, pixel for pixel (tests/test_find_hands_twin.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dataloader.blob import GAP_DEPTH_MM, GAP_MM, HAND_AREA_MM2, JUMP_MM, SEED_AREA_MM2, SLAB_MM
from dataloader.find_hands import (
    AREA_MM2,
    BORDER_PX,
    IMPLAUSIBLE,
    PALM_MM,
    REACH_MM,
    SAME_THING_MM,
    SAME_THING_PX,
    HandCandidate,
)
from dataloader.locate import (
    ARM_RADIUS_MM,
    BOXED_ARM,
    CONTACT_MM,
    FAR_FROM_ARM,
    HAND_DEPTH_MM,
    HOLE_MM2,
    NARROWER,
    PALM_RADIUS_MM,
    PALM_TO_CUT_MM,
    PIXEL_MM,
    READINGS,
    SLICE_MM,
    WALL_MM2,
    Intrinsics,
    LocatedHand,
)


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
    return _blob_in(depth_mm, slab, focal)


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
    ordered = np.sort(readings)
    area = np.cumsum((ordered / focal) ** 2)
    return float(ordered[min(int(np.searchsorted(area, SEED_AREA_MM2)), len(ordered) - 1)])


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
    left = np.array(depth_mm, np.float32)
    fx, fy = camera[:2]
    others: list[HandCandidate] = []
    hands = np.zeros(left.shape, bool)
    for _ in range(most):
        found = locate_hand(left, camera, cube_mm=cube_mm)
        if found is None or not found.observed.any():
            break
        seen, plausible = found.observed, False
        area = float((left[seen] ** 2).sum()) / (fx * fy)
        if area >= HAND_AREA_MM2:
            score = _plausible(area, AREA_MM2) * _plausible(_reach_mm(left, found, camera), REACH_MM)
            score *= _plausible(_palm_mm(found, fx), PALM_MM)
            border = sum(int(edge.sum()) for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1]))
            if _continued(depth_mm, seen, hands) < SAME_THING_PX:
                candidate = HandCandidate(found.centre_mm, seen, score, border >= BORDER_PX)
                plausible = score >= IMPLAUSIBLE
                if plausible:
                    yield candidate
                else:
                    others.append(candidate)
        without = _without(left, found, camera, cube_mm)
        if plausible:
            hands |= (without == 0) & (left > 0)
        left = without
    yield from others


def _plausible(value: float, limits: tuple[float, float, float, float]) -> float:
    """1 between the two middle limits, falling to 0 at the outer ones."""
    return float(np.interp(value, limits, (0.0, 1.0, 1.0, 0.0)))


def _reach_mm(depth_mm: np.ndarray, found: LocatedHand, camera: Intrinsics) -> float:
    """Largest extent of a hand in the image, mm: along the longer axis of its outline."""
    v, u = np.nonzero(found.observed)
    z = depth_mm[found.observed]
    points = np.stack([u * z / camera[0], v * z / camera[1]])
    _, axes = np.linalg.eigh(np.cov(points) if points.shape[1] > 1 else np.eye(2))
    low, high = np.percentile(axes.T @ points, (1, 99), axis=1)
    return float((high - low).max())


def _palm_mm(found: LocatedHand, focal: float) -> float:
    """Radius of the widest circle inside a hand, mm; missing readings of a pixel or two do not count."""
    solid = cv2.morphologyEx(found.observed.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return float(cv2.distanceTransform(np.pad(solid, 1), cv2.DIST_L2, 5).max()) * found.centre_mm[2] / focal


def _continued(depth_mm: np.ndarray, seen: np.ndarray, hands: np.ndarray) -> int:
    """How many pixels around a find belong to a hand found before, as far away as the find itself is there."""
    square = np.ones((3, 3), np.uint8)
    reach = cv2.dilate(np.where(seen, depth_mm, 0).astype(np.float32), square)
    return int((hands & ~seen & (reach > 0) & (np.abs(depth_mm - reach) < SAME_THING_MM)).sum())


def _without(depth_mm: np.ndarray, found: LocatedHand, camera: Intrinsics, cube_mm: float) -> np.ndarray:
    """Depth with the cube around what was found emptied, so that the next search meets something else."""
    height, width = depth_mm.shape
    x, y, z = found.centre_mm
    fx, fy, cx, cy = camera
    half = cube_mm / 2
    across = np.abs((np.arange(width, dtype=np.float32) + 0.5 - cx) * (z / fx) - x) <= half
    down = np.abs((np.arange(height, dtype=np.float32) + 0.5 - cy) * (z / fy) - y) <= half
    gone = down[:, None] & across & (np.abs(depth_mm - z) <= half)
    return np.where(gone | found.observed, 0, depth_mm)
