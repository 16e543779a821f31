"""Scores of a network on frames: label-free measures of the hand it fits, and joint errors where labels are known.

The observed hand of a frame is fixed before any prediction is seen (`HandSample.observed`), so that networks are
compared on the same points. The `*_predbox` measures cut it out by the predicted joints' box instead: a shrunken hand
can game them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dataloader.crop import FOREGROUND_BELOW, HandCrop
from dataloader.points import box_cut, points_from_crop
from dataloader.store import FrameStore
from model.network import StageOutput
from render.hand_layer import HandLayer
from render.surface import surface_distance
from training.branches import branch_joints_mm, masked_mean, render_model
from training.observation import outside_at, outside_distance
from util.joints import JOINT_SETS, NYU14, JointSet
from util.metrics import JointErrors, share, summary
from util.processes import shared

POINTS = 1024
"""Observed points that are measured against the surface."""
COVERED_MM = 10.0
"""A point within this of the surface is covered."""
OK_SURFACE_MM, OK_IOU = 6.0, 0.7
"""A frame is ok when its surface distance is below and its overlap above."""
CURVE_MM = tuple(float(limit) for limit in range(0, 81, 2))
"""Limits of the success curve."""
TIPS = slice(16, 21)
BATCH = 64
"""Frames that are scored together."""
POINT_SEED = 20220722
"""Observed points are the same for every network."""

Found = dict[str, dict[str, Tensor]]
"""Of a batch: joints_mm and measures of each branch, a row a frame, on the CPU."""
Share = Callable[[int, Callable[[int], Found]], list[Found]]
"""The number of batches and what scores one, by its number -> what was found, in order, in every process."""


@dataclass
class _Scores:
    """What one branch collects, frame by frame."""

    measures: dict[str, list[Tensor]] = field(default_factory=dict)
    joints_mm: list[Tensor] = field(default_factory=list)

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.measures.setdefault(name, []).append(value)

    def result(self, true_mm: Tensor | None, joint_set: JointSet) -> dict:
        columns = {name: torch.cat(values).numpy() for name, values in self.measures.items()}
        n = sum(len(joints) for joints in self.joints_mm)
        result: dict = {name: summary(column) for name, column in columns.items()}
        if "surface_mm" in columns:
            result["share_ok"] = share((columns["surface_mm"] < OK_SURFACE_MM) & (columns["iou"] > OK_IOU))
            result["share_ok_predbox"] = share(
                (columns["surface_mm_predbox"] < OK_SURFACE_MM) & (columns["iou_predbox"] > OK_IOU)
            )
        if true_mm is not None:
            errors = JointErrors.between(torch.cat(self.joints_mm).numpy(), true_mm.numpy(), joint_set.names)
            result["mean_mm"] = summary(errors.frame_mm)
            if joint_set is NYU14:
                result["mean_first_11_mm"] = summary(errors.only(range(11)).frame_mm)
            result["joint_mm"] = errors.joint_mm
            result["success_curve"] = {
                "limit_mm": list(CURVE_MM),
                "share_worst_joint_within": errors.success_curve(CURVE_MM).tolist(),
            }
        result["n_frames"] = n
        return result


@torch.no_grad()
def score_frames(
    network: nn.Module,
    store: FrameStore,
    layer: HandLayer,
    batch: int = BATCH,
    predictions: dict | None = None,
    share: Share = shared,
) -> dict[str, dict]:
    """Measures of each branch of each stage over all frames of a store.

    Returns {branch: {measure: {"mean", "median"}, "share_ok", "n_frames"}}; model branches have surface_mm, coverage,
    depth_mm, iou and the same with `_predbox`; all have tips_outside_mm (how far finger tips fall outside the observed
    silhouette, in the image); with labels also mean_mm, joint_mm and success_curve, in the labels' own joint set.
    predictions: a dict that receives the joints of each branch, (n, joints, 3) in mm, in that set too.
    share: who scores the batches.
    """
    device = next(network.parameters()).device
    network.eval()
    joint_set = JOINT_SETS[store.joint_set]

    def scored(i: int) -> Found:
        """What each branch says of a batch, and how good that is."""
        sample = store.batch(range(batch * i, min(batch * (i + 1), len(store)))).to(device)
        outputs = network(sample.crop)
        observed = sample.crop.foreground if sample.observed is None else sample.observed
        found = {
            branch: {"joints_mm": joints_mm}
            for branch, joints_mm in branch_joints_mm(outputs, sample.crop, joint_set).items()
        }
        for branch, keypoints_mm in branch_joints_mm(outputs, sample.crop).items():
            found[branch]["tips_outside_mm"] = tips_outside_mm(sample.crop, keypoints_mm)
        for k, output in enumerate(outputs, 1):
            found[f"stage{k}_model"] |= fit_measures(sample.crop, output, layer, observed)
        return {branch: {name: value.cpu() for name, value in own.items()} for branch, own in found.items()}

    scores: dict[str, _Scores] = {}
    for found in share(-(-len(store) // batch), scored):
        for branch, own in found.items():
            entry = scores.setdefault(branch, _Scores())
            entry.joints_mm.append(own.pop("joints_mm"))
            entry.add(own)
    true_mm = None if store.joints_mm is None else torch.from_numpy(store.joints_mm)
    if predictions is not None:
        predictions.update({branch: torch.cat(entry.joints_mm) for branch, entry in scores.items()})
    return {branch: entry.result(true_mm, joint_set) for branch, entry in scores.items()}


def fit_measures(
    crop: HandCrop, output: StageOutput, layer: HandLayer, observed: Bool[Tensor, "b 1 s s"]
) -> dict[str, Float[Tensor, " b"]]:
    """Label-free measures of a model branch's hand, one value a frame; NaN where nothing is observed."""
    rendered = render_model(crop, output, layer.faces)
    fixed = hand_measures(crop, output, layer, rendered, observed & crop.foreground)
    boxed = hand_measures(crop, output, layer, rendered, box_cut(crop, output.joints_xyz))
    return fixed | {f"{name}_predbox": value for name, value in boxed.items()}


def hand_measures(
    crop: HandCrop,
    output: StageOutput,
    layer: HandLayer,
    rendered: Float[Tensor, "b 1 s s"],
    hand: Bool[Tensor, "b 1 s s"],
) -> dict[str, Float[Tensor, " b"]]:
    """surface_mm, coverage, depth_mm and iou of a rendered hand against the samples `hand` of a crop."""
    half_mm = crop.cube_mm[:, 2] / 2
    points, seen = points_from_crop(crop, POINTS, torch.Generator().manual_seed(POINT_SEED), hand)
    distance_mm = surface_distance(points, output.vertices_xyz, layer.faces).sqrt() * half_mm.unsqueeze(1)
    shown = rendered < FOREGROUND_BELOW
    both, either = (hand & shown).flatten(1).sum(1), (hand | shown).flatten(1).sum(1)
    difference_mm = masked_mean((crop.depth - rendered).abs(), hand & shown) * half_mm
    unknown = torch.full_like(half_mm, torch.nan)
    return {
        "surface_mm": torch.where(seen, distance_mm.mean(1), unknown),
        "coverage": torch.where(seen, (distance_mm < COVERED_MM).float().mean(1), unknown),
        "depth_mm": torch.where(both > 0, difference_mm, unknown),
        "iou": torch.where(seen, both / either.clamp_min(1), unknown),
    }


def tips_outside_mm(crop: HandCrop, joints_mm: Float[Tensor, "b 21 3"]) -> Float[Tensor, " b"]:
    """Mean distance in the image of the five finger tips from the observed foreground, in mm at the cube's middle."""
    uv = crop.uvd_from_mm(joints_mm)[:, TIPS, :2]
    return outside_at(outside_distance(crop.foreground), uv).mean(1) * crop.cube_mm[:, 0] / 2
