"""Whether labels stay true when crops are translated, and pictures of what a translation does."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dataloader.crop import FOREGROUND_BELOW, HandCrop
from dataloader.points import box_cut
from dataloader.sample import HandSample
from dataloader.store import FrameStore
from training.branches import masked_mean
from training.reader import Reader
from training.translation import Translation
from util.draw import Picture, depth_picture, grid, shaded_picture

SEARCHED = 512
"""Real crops among which the nearest one is looked for."""
COARSE = 4
"""Samples to a side of the squares by whose mean depth crops are compared."""
SMOOTH = 0.08
"""Neighbours further apart than this (half cubes) stand on two surfaces."""


@torch.no_grad()
def label_truth(
    held_out: list[HandSample], translation: Translation, reader: Reader | None, frames: FrameStore
) -> dict[str, float]:
    """What a translation changes of rendered hands, means over crops.

    joints_moved_mm: how far the reader's joints move, its own unsteadiness under noise included; joints_bias_mm: how
    far on average over crops, in which that cancels and a hand that was moved does not, mean over joints;
    joints_mm_before and _after: their distance from the labels.
    iou: overlap of the hand's region before and after; lost and gained: share of its samples that vanish and appear.
    depth_mm, depth_bias_mm: size and mean of the change of depth, where both show the hand.
    roughness_mm_*: mean difference of a reading from its four neighbours on one surface, for the three kinds of crops:
    how far from a sensor's noise a translation still is. nan where nothing was seen or no reader was given.
    """
    found: dict[str, list[Tensor]] = {}
    moves: list[Tensor] = []

    def note(**values: Tensor) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value.cpu())

    for sample in held_out:
        after = translation(sample)
        source, crop = sample.to(translation.device).crop, after.crop
        joints_mm = after.joints_mm
        if joints_mm is None:
            raise ValueError("label_truth needs labels")
        if reader is not None:
            first, second = (c.mm_from_uvd(reader(c.depth).joints_uvd) for c in (source, crop))
            moves.append((second - first).cpu())
            note(
                joints_moved_mm=moves[-1].norm(dim=-1).mean(1),
                joints_mm_before=(first - joints_mm).norm(dim=-1).mean(1),
                joints_mm_after=(second - joints_mm).norm(dim=-1).mean(1),
            )
        joints_xyz = source.xyz_from_mm(joints_mm)
        one, other = box_cut(source, joints_xyz), box_cut(crop, joints_xyz)
        common, either = ((one & other).flatten(1).sum(1), (one | other).flatten(1).sum(1))
        size = one.flatten(1).sum(1).clamp_min(1)
        half_mm = source.cube_mm[:, 2] / 2
        change = (crop.depth - source.depth) * half_mm[:, None, None, None]
        note(
            iou=common / either.clamp_min(1),
            lost=1 - common / size,
            gained=(other & ~one).flatten(1).sum(1) / size,
            depth_mm=masked_mean(change.abs(), one & other),
            depth_bias_mm=masked_mean(change, one & other),
            roughness_mm_synthetic=_roughness(source),
            roughness_mm_translated=_roughness(crop),
        )
    some = frames.batch(torch.linspace(0, len(frames) - 1, min(SEARCHED, len(frames))).long()).crop
    note(roughness_mm_real=_roughness(some))
    names = ("joints_moved_mm", "joints_mm_before", "joints_mm_after", *found)
    bias_mm = float(torch.cat(moves).mean(0).norm(dim=-1).mean()) if moves else math.nan
    means = {name: float(torch.cat(found[name]).mean()) if name in found else math.nan for name in names}
    return {"joints_bias_mm": bias_mm} | means


@torch.no_grad()
def side_by_side(sample: HandSample, translation: Translation, frames: FrameStore, most: int = 8) -> Picture:
    """One row a crop: synthetic, translated, the real crop most like it; as depth, then lit from above left."""
    most = min(most, len(sample))
    source = sample.select(torch.arange(most))
    translated = translation(source).crop.depth.cpu()
    chosen = torch.linspace(0, len(frames) - 1, min(SEARCHED, len(frames))).long()
    real = frames.batch(chosen).crop.depth
    coarse, candidates = (F.avg_pool2d(depth, COARSE).flatten(1) for depth in (translated, real))
    nearest = real[torch.cdist(coarse, candidates, p=1).argmin(1)]
    triples = list(zip(source.crop.depth.cpu()[:, 0], translated[:, 0], nearest[:, 0], strict=True))
    cells = [draw(depth, 2) for triple in triples for draw in (depth_picture, shaded_picture) for depth in triple]
    return grid(cells, 6, titles=2 * ("synthetic", "translated", "nearest real"))


def there_and_back(
    name: str, depth: Float[Tensor, "b 1 s s"], translated: Float[Tensor, "b 1 s s"], back: Float[Tensor, "b 1 s s"]
) -> Picture:
    """One row a crop: source, translation, and what the other generator makes of that."""
    cells = [
        depth_picture(image, 2) for row in zip(depth[:, 0], translated[:, 0], back[:, 0], strict=True) for image in row
    ]
    return grid(cells, 3, titles=(name, "translated", "back"))


def _roughness(crop: HandCrop) -> Float[Tensor, " b"]:
    """Mean size of the difference between a reading and the mean of its four neighbours on one surface, mm."""
    depth, here = crop.depth, slice(1, -1)
    middle = depth[..., here, here]
    sides = torch.stack([depth[..., :-2, here], depth[..., 2:, here], depth[..., here, :-2], depth[..., here, 2:]])
    flat: Bool[Tensor, "b 1 h w"] = ((sides - middle).abs() < SMOOTH).all(0) & (middle < FOREGROUND_BELOW)
    return masked_mean((middle - sides.mean(0)).abs(), flat) * crop.cube_mm[:, 2] / 2
