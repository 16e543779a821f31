"""What the losses on real crops compare a hand with, taken once a step from the last stage, held fixed."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from config import UnlabelledConfig
from dataloader.crop import HandCrop
from dataloader.points import box_cut, points_from_crop
from model.network import StageOutput
from render.spheres import HandSpheres
from util.draws import Draws

OUTSIDE_SIDE = 64
"""Resolution at which the distance to the observed silhouette is computed."""
OUTSIDE_LIMIT = 0.5
"""Largest such distance, in uvd: what is further off pulls no harder."""


@dataclass(frozen=True)
class Observation:
    """The observed hand of a batch of real crops."""

    crop: HandCrop
    """The crops."""
    hand: Bool[Tensor, "b 1 s s"]
    """Foreground inside the box of the last stage's model joints: forearm and background are out."""
    points_xyz: Float[Tensor, "b p 3"]
    """Points of it."""
    seen: Bool[Tensor, " b"]
    """Crops that have any."""
    labels: Int[Tensor, "b p"]
    """Part of each point: 0 palm, 1-15 finger bones."""
    outside: Float[Tensor, "b 1 h w"]
    """Distance (uvd) of each place in the image from the foreground, 0 on it."""


@torch.no_grad()
def observe(
    crop: HandCrop, output: StageOutput, spheres: HandSpheres, config: UnlabelledConfig, generator: Draws
) -> Observation:
    """Cut the hand out of real crops, draw points, and say which part of the hand each belongs to.

    Spheres are centred by the pixel branch's joints and have the model branch's radii (Ren et al., TIP 2022).
    """
    hand = box_cut(crop, output.joints_xyz)
    points, seen = points_from_crop(crop, config.points, generator, hand)
    radii = spheres.radii(output.joints_xyz, output.vertices_xyz, crop.cube_mm[:, :1] / 2)
    labels = spheres.label_points(points, spheres.centres(output.pixel_xyz), radii)
    return Observation(crop, hand, points, seen, labels, outside_distance(crop.foreground))


def outside_distance(foreground: Bool[Tensor, "b 1 s s"], side: int = OUTSIDE_SIDE) -> Float[Tensor, "b 1 side side"]:
    """Distance from the foreground in uvd units, on a coarse grid; exact Euclidean up to OUTSIDE_LIMIT.

    Rows first, then columns: the least of (distance along the row)^2 + (rows apart)^2. Only rows nearer than the limit
    can matter, which leaves few whole images to compare.

    A crop without foreground is OUTSIDE_LIMIT away from it everywhere.
    """
    step = foreground.shape[-1] // side
    reach = math.ceil(OUTSIDE_LIMIT * side / 2)
    # A cell is foreground when any of its samples is: holes of one sample in a sensor's image are no background.
    along_row = (1 - F.max_pool2d(foreground.float(), step)) * reach
    hop = 1
    while hop < reach:  # hops of 1, 2, 4, ... cells add up to all distances below the reach
        before, behind = along_row[..., :-hop] + hop, along_row[..., hop:] + hop
        torch.minimum(along_row[..., hop:], before, out=along_row[..., hop:])
        torch.minimum(along_row[..., :-hop], behind, out=along_row[..., :-hop])
        hop *= 2
    across = along_row.square_()
    squared = across.clone()
    for gap in range(1, reach):
        further = across + gap**2
        torch.minimum(squared[..., gap:, :], further[..., :-gap, :], out=squared[..., gap:, :])
        torch.minimum(squared[..., :-gap, :], further[..., gap:, :], out=squared[..., :-gap, :])
    return (squared.sqrt_() * (2.0 / side)).clamp_max_(OUTSIDE_LIMIT)


def outside_at(outside: Float[Tensor, "b 1 h w"], uv: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n"]:
    """Distance (uvd) of image places from a silhouette, differentiable with respect to the places.

    outside: of `outside_distance`; uv: the first two of uvd.
    """
    # cell j stands at u = (2 j + 1) / side - 1: what grid_sample calls align_corners=False
    return F.grid_sample(outside, uv.unsqueeze(1), padding_mode="border", align_corners=False)[:, 0, 0]
