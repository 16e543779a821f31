"""Balls, cups, heads and bare arms: what is as smooth as it is round is no hand, however well a fist explains it.

A quadric (sphere, cylinder, cone, plane and what lies between) is fitted to the points on a thing whose outline has no
dents: knuckles and the gaps between fingers keep a hand away from any, a ball's points lie on one but for noise.
The fit is Taubin's (PAMI 1991): algebraic distance over the gradient's mean square, a generalised eigenvalue problem.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import eigh

from dataloader.blob import box_of
from dataloader.locate import Intrinsics, points_mm

CONVEX = 0.95
"""An outline has no dents where it fills so much of its convex hull."""
KEPT = 0.9
"""Share of the points that the quadric is fitted to and measured on: rims and flying pixels are worst, and left out."""
ROUNDS = 3
"""Fits, each without what was worst in the last one."""
LEAST, ENOUGH = 60, 2000
"""Fewer points than the first say nothing; of more than the second some will do."""


def quadric_mm(depth_mm: Float[np.ndarray, "h w"], camera: Intrinsics, thing: Bool[np.ndarray, "h w"]) -> float | None:
    """How far the points on a thing in a frame are from the nearest quadric, rms in mm.

    None where its outline has dents that nothing nearer made, or too little of it is seen.

    depth_mm: 0 = no reading. thing: its pixels.
    """
    if thing.sum() < LEAST:
        return None
    box = box_of(thing)
    depth, thing = depth_mm[box], thing[box]
    solid = cv2.morphologyEx(np.pad(thing, 2).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outline, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.fillConvexPoly(np.zeros_like(solid), cv2.convexHull(np.concatenate(outline)), 1)[2:-2, 2:-2] > 0
    solid = solid[2:-2, 2:-2] > 0
    hidden = hull & ~solid & (depth > 0) & (depth < depth[thing].mean())
    if solid.sum() < CONVEX * (hull & ~hidden).sum():
        return None
    inner = thing & (cv2.erode(np.pad(solid, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0)
    points_of = points_mm(depth, camera, (box[1].start, box[0].start))[inner].astype(np.float64)
    points_of = points_of[:: max(len(points_of) // ENOUGH, 1)]
    return _from_quadric(points_of) if len(points_of) >= LEAST else None


def _from_quadric(points: Float[np.ndarray, "n 3"]) -> float:
    """Root mean square distance of points from their nearest quadric, to first order."""
    centred = points - points.mean(0)
    scale = centred.std()
    x, y, z = (centred / scale).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    terms = np.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, one], 1)
    slopes = np.stack(
        [
            np.stack([2 * x, zero, zero, y, z, zero, one, zero, zero, zero], 1),
            np.stack([zero, 2 * y, zero, x, zero, z, zero, one, zero, zero], 1),
            np.stack([zero, zero, 2 * z, zero, x, y, zero, zero, one, zero], 1),
        ]
    )
    kept = np.ones(len(x), bool)
    distance = np.zeros_like(x)
    for _ in range(ROUNDS):
        steepness = np.einsum("kni,knj->ij", slopes[:, kept], slopes[:, kept])
        ridge = 1e-9 * np.trace(steepness) * np.eye(len(steepness))
        _, quadrics = eigh(terms[kept].T @ terms[kept], steepness + ridge)
        gradient = np.linalg.norm(slopes @ quadrics[:, 0], axis=0)
        distance = np.abs(terms @ quadrics[:, 0]) / np.maximum(gradient, 1e-9) * scale
        kept = distance <= np.quantile(distance, KEPT)
    return float(np.sqrt((distance[kept] ** 2).mean()))
