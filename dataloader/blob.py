"""The nearest surface of plausible size in a depth image, by depth alone: what a hand is then looked for in.

All is done in the box that holds what is near, and where few pixels are asked about, for these alone.
"""

import cv2
import numpy as np

Box = tuple[slice, slice]
"""Rows and columns of an image."""

SEED_AREA_MM2 = 600.0
"""Surface nearer than the blob's front: less than this is flying pixels."""
HAND_AREA_MM2 = 1500.0
"""The least that a hand shows."""
SLAB_MM = 300.0
"""Depth behind the front that can still be hand or wrist."""
JUMP_MM = 40.0
"""Neighbouring readings further apart are two surfaces."""
GAP_MM = 20.0
"""Pieces this close in the image ..."""
GAP_DEPTH_MM = (-70.0, 40.0)
"""... and so far in depth from what they are close to belong to the blob: bent fingers stand in front of a palm."""


def box_of(mask: np.ndarray, margin: int = 0) -> Box:
    """Rows and columns that hold all of a mask that is not empty, and `margin` more on each side where there are."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    rows = slice(max(top - margin, 0), min(top + height + margin, mask.shape[0]))
    return rows, slice(max(left - margin, 0), min(left + width + margin, mask.shape[1]))


def nearest_blob(depth_mm: np.ndarray, focal: float) -> tuple[Box, np.ndarray] | None:
    """The nearest connected surface that is large enough for a hand (else the largest one).

    Returns:
        The box that holds it and, where there is room, a pixel more on each side, and its mask there; None where there
        is no surface.
    """
    front = _front(depth_mm, focal)
    if front is None:
        return None
    slab = (depth_mm > 0) & (depth_mm < front + SLAB_MM)
    box = box_of(slab)  # mostly a small part of the frame
    found = _blob_in(depth_mm[box], slab[box], focal)
    if found is None:
        return None
    (top, left), inner = (part.start for part in box), box_of(found)
    rows, columns = (slice(part.start + at, part.stop + at) for part, at in zip(inner, (top, left), strict=True))
    kept = (
        slice(max(rows.start - 1, 0), min(rows.stop + 1, depth_mm.shape[0])),
        slice(max(columns.start - 1, 0), min(columns.stop + 1, depth_mm.shape[1])),
    )
    mask = np.zeros((kept[0].stop - kept[0].start, kept[1].stop - kept[1].start), bool)
    y, x = rows.start - kept[0].start, columns.start - kept[1].start
    mask[y : y + rows.stop - rows.start, x : x + columns.stop - columns.start] = found[inner]
    return kept, mask


def _front(depth_mm: np.ndarray, focal: float) -> float | None:
    """Depth that so much surface is nearer than as a blob's front takes; None where nothing was read."""
    there = depth_mm > 0
    nearest_mm = cv2.minMaxLoc(depth_mm, there.view(np.uint8))[0]
    if not nearest_mm > 0:
        return None
    near = there & (depth_mm < nearest_mm + SLAB_MM)
    readings = depth_mm[near]
    # sorted are the nearest readings alone, at first only so many as suffice if all were as near as the nearest
    enough = int(SEED_AREA_MM2 * (focal / nearest_mm) ** 2) + 2
    few = np.partition(readings, enough)[:enough] if enough < len(readings) else readings
    ordered = few
    for some in (few, readings, None):
        ordered = np.sort(depth_mm[there] if some is None else some)
        area = np.cumsum((ordered / focal) ** 2)
        if area[-1] >= SEED_AREA_MM2:
            return float(ordered[int(np.searchsorted(area, SEED_AREA_MM2))])
    return float(ordered[-1])


def _blob_in(depth_mm: np.ndarray, slab: np.ndarray, focal: float) -> np.ndarray | None:
    """(h, w) bool: the nearest connected surface of a hand's size among the pixels of a slab."""
    whole = slab.copy()
    far = np.where(slab, depth_mm, np.float32(np.nan))  # no jump to what is not there
    for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jump = far[a] - far[b]
        whole[a] &= ~(jump > JUMP_MM)
        whole[b] &= ~(jump < -JUMP_MM)
    count, labels = cv2.connectedComponents(whole.view(np.uint8), connectivity=4)
    if count == 1:
        return None
    inside = np.flatnonzero(whole)
    flat, depth = labels.ravel()[inside], far.ravel()[inside]
    areas = np.bincount(flat, (depth / focal) ** 2, count)
    mean = np.bincount(flat, depth, count) / np.maximum(np.bincount(flat, minlength=count), 1)
    plausible = areas >= min(HAND_AREA_MM2, areas.max())
    main = labels == int(np.argmin(np.where(plausible, mean, np.inf)))
    for _ in range(2):
        if not _join_loose_pieces(main, slab, labels, count, far, focal):
            break
    return main


def _join_loose_pieces(
    main: np.ndarray, slab: np.ndarray, labels: np.ndarray, count: int, depth_mm: np.ndarray, focal: float
) -> bool:
    """Add components (and the pixels that breaking at jumps took) that lie a small gap away from the main one.

    Returns whether there were any.
    """
    margin = int(1.05 * GAP_MM * focal / float(depth_mm[main].min())) + 2  # 1.05: for the distance's own error
    box = box_of(main, margin)
    there, depth, label = main[box], depth_mm[box].ravel(), labels[box].ravel()
    others = np.flatnonzero(slab[box] > there)
    if not len(others):
        return False
    outside = (~there).view(np.uint8)
    distance, seeds = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    nearest, inside = np.asarray(seeds, np.int32).ravel(), np.flatnonzero(there)
    depth_of = np.zeros(int(nearest[inside].max()) + 1, np.float32)
    depth_of[nearest[inside]] = depth[inside]
    beside, away, label = depth_of[nearest[others]], distance.ravel()[others], label[others]
    step = depth[others] - beside
    close = (away * beside / focal <= GAP_MM) & (step >= GAP_DEPTH_MM[0]) & (step <= GAP_DEPTH_MM[1])
    rim = others[close & (label == 0) & (away <= 1.5)]
    there.flat[rim] = True
    joined = np.zeros(count, bool)
    joined[label[close]] = True
    joined[0] = False
    if joined.any():
        main |= joined[labels]
        return True
    return len(rim) > 0
