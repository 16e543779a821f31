"""Whether a fitted hand explains the depth that was seen: a status, and a confidence.

`measure` says how a batch of fitted hands lies in the crops; `judge` turns one of them into status and confidence.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dataloader.crop import FOREGROUND_BELOW, HandCrop
from dataloader.points import points_from_crop
from predicting.prediction import Status
from render.surface import surface_distance
from training.branches import masked_mean, render_crop
from training.measures import COVERED_MM, POINT_SEED

POINTS = 512
"""Observed points that are measured against the surface."""
OK_CONFIDENCE = 0.27
"""Below it a hand fits poorly: 99 % of the simulated hands that were read rightly reach it (bench/confidence.py)."""
WEIGHTS = {
    "constant": -0.981,
    "surface": 0.502,
    "coverage": 0.0,
    "depth": 0.535,
    "iou": 1.782,
    "agreement": 2.754,
    "presence": 0.387,
}
"""Of the evidence for a hand, in the logarithm of the odds: fitted to simulated frames by bench/confidence.py."""
REFINED_WEIGHTS = {
    "constant": -0.328,
    "surface": 0.0,
    "coverage": 0.0,
    "depth": 0.042,
    "iou": 0.0,
    "agreement": 5.646,
    "presence": 0.0,
}
"""The same for hands that were refined, which fit better, right or wrong."""
PRESENCE_LIMIT = 6.0
"""Log odds of a hand, by its looks, beyond which it does not count for more."""
FAR_SURFACE_MM = 15.0
"""A hand that is so far from its points, on average, does not fit, however sure its reading is."""
SMOOTH_MM = 1.5
"""A thing of round outline whose points are closer to a quadric, such as a ball's, is no hand."""
LEAST_WINDOW_PX = 40.0
"""A cube that fills fewer pixels of the sensor is too far away to tell fingers."""


@torch.no_grad()
def measure(
    crop: HandCrop,
    pixel_mm: Float[Tensor, "b 21 3"],
    joints_mm: Float[Tensor, "b 21 3"],
    vertices_mm: Float[Tensor, "b v 3"],
    params: Float[Tensor, "b 62"],
    observed: Bool[Tensor, "b 1 s s"],
    faces: Int[Tensor, "f 3"],
) -> list[dict[str, float]]:
    """How fitted hands lie in their crops, one dict a crop; what cannot be measured is left out.

    surface_mm: mean distance of observed points from the surface; coverage: share within 10 mm of it; depth_mm: mean
    difference from the rendered hand where both are; iou: overlap of the two in the image; agreement_mm: mean distance
    between the joints of the two branches; window_px: edge of the cube in the sensor's pixels.

    Args:
        crop: the crops, of right hands.
        pixel_mm, joints_mm, vertices_mm, params: an engine's answer for them, in this order.
        observed: samples on the hand itself, fixed before any prediction.
        faces: triangles of the hand; those with corners that are not among the vertices are left out.
    """
    if (outside := (faces >= vertices_mm.shape[1]).any(1)).any():  # 778 vertices are without the middle of the wrist
        faces = faces[~outside]  # else the very same tensor: what is prepared for a surface is found again by it
    hand = observed & crop.foreground
    half_mm = crop.cube_mm[:, 2] / 2
    vertices_xyz = crop.xyz_from_mm(vertices_mm)
    rendered = render_crop(crop, vertices_xyz, faces).depth
    # crop by crop with the same draws: what is said of a frame does not depend on what is read beside it
    drawn = [_points(crop.select(row), hand[row]) for row in torch.arange(len(half_mm)).split(1)]
    points, seen = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    distance_mm = surface_distance(points, vertices_xyz, faces).sqrt() * half_mm.unsqueeze(1)
    shown = rendered < FOREGROUND_BELOW
    both, either = (hand & shown).flatten(1).sum(1), (hand | shown).flatten(1).sum(1)
    unknown = torch.full_like(half_mm, torch.nan)
    columns = {
        "surface_mm": torch.where(seen, distance_mm.mean(1), unknown),
        "coverage": torch.where(seen, (distance_mm < COVERED_MM).float().mean(1), unknown),
        "depth_mm": torch.where(both > 0, masked_mean((crop.depth - rendered).abs(), hand & shown) * half_mm, unknown),
        "iou": torch.where(seen, both / either.clamp_min(1), unknown),
        "agreement_mm": (pixel_mm - joints_mm).norm(dim=-1).mean(1),
        "window_px": crop.camera.focal.mean(1) * crop.cube_mm[:, 0] / crop.centre_mm[:, 2],
    }
    rows = torch.stack(list(columns.values()), 1).tolist()
    return [{name: value for name, value in zip(columns, row, strict=True) if value == value} for row in rows]


def _points(crop: HandCrop, hand: Bool[Tensor, "b 1 s s"]) -> tuple[Tensor, Tensor]:
    return points_from_crop(crop, POINTS, torch.Generator().manual_seed(POINT_SEED), hand)


def complete(measures: dict[str, float]) -> bool:
    """Whether a hand was seen and drawn, so that all could be measured."""
    return "surface_mm" in measures and "depth_mm" in measures


def evidence(measures: dict[str, float]) -> dict[str, float]:
    """What speaks for a hand, by the names of WEIGHTS: more of it, more likely; distances as minus their logarithm."""
    distances = {name: -math.log(max(measures[f"{name}_mm"], 0.1) / 10) for name in ("surface", "depth", "agreement")}
    looks = max(-PRESENCE_LIMIT, min(PRESENCE_LIMIT, measures.get("presence", 0.0)))
    found = distances | {"constant": 1.0, "coverage": measures["coverage"], "iou": measures["iou"], "presence": looks}
    return {name: found[name] for name in WEIGHTS}


def probability(measures: dict[str, float], weights: dict[str, float] = WEIGHTS) -> float:
    """How likely a fitted hand is right: on simulated frames, that its joints are off by less than 25 mm on average.

    measures: of `measure`, all of them, and presence, log odds of predicting/presence.py (left out: even).
    docs/predictions.md shows how far that holds.
    """
    odds = sum(weights[name] * found for name, found in evidence(measures).items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))


def judge(
    measures: dict[str, float], touches_border: bool = False, weights: dict[str, float] = WEIGHTS
) -> tuple[Status, float]:
    """Status and confidence (0 to 1) of one fitted hand.

    The confidence is `probability`, or half of what an ok hand has at least where it is a smooth, round thing.

    Args:
        measures: of `measure`; quadric_mm of predicting/smooth_things.py, where it was measured.
        touches_border: whether the frame's border cuts the observed hand.
        weights: of the evidence: REFINED_WEIGHTS for a hand that was refined.
    """
    if not complete(measures):
        return "no hand", 0.0
    confidence = probability(measures, weights)
    if measures.get("quadric_mm", math.inf) < SMOOTH_MM:
        return "poor fit", min(confidence, OK_CONFIDENCE / 2)
    if measures["window_px"] < LEAST_WINDOW_PX:
        return "too far", confidence
    if confidence < OK_CONFIDENCE or measures["surface_mm"] > FAR_SURFACE_MM:
        return "poor fit", confidence
    return ("touches the border" if touches_border else "ok"), confidence
