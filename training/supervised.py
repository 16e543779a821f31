"""Losses on rendered hands, whose joints, surface and parameters are known (Ren et al., TIP 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from config import SupervisedConfig
from dataloader.sample import HandSample
from model.network import StageOutput
from model.offset_maps import write_maps_at
from render.hand_layer import HandLayer
from training.parts import ITSELF, Counts

KNEE = 0.01
"""Where the L1 loss turns quadratic, in normalised units."""


def smooth_l1(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0.5 z^2 inside a knee of 0.01, 0.01 (|z| - 0.005) outside, element by element."""
    return F.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=KNEE)


@dataclass(frozen=True)
class Truth:
    """Labels of a rendered batch in crop-normalised frames."""

    joints_uvd: Float[Tensor, "b 21 3"]
    joints_xyz: Float[Tensor, "b 21 3"]
    vertices_xyz: Float[Tensor, "b v 3"]
    rotations: Float[Tensor, "b 16 3 3"]

    @staticmethod
    def of(sample: HandSample, layer: HandLayer) -> "Truth":
        """Read the labels of a sample. Raises ValueError when it has none."""
        if sample.joints_mm is None or sample.vertices_mm is None or sample.params is None:
            raise ValueError("supervised losses need joints, surface and parameters: is this a rendered sample?")
        crop = sample.crop
        params = sample.params
        return Truth(
            crop.uvd_from_mm(sample.joints_mm),
            crop.xyz_from_mm(sample.joints_mm),
            crop.xyz_from_mm(sample.vertices_mm),
            joint_rotations(layer, params.rotation, params.pose),
        )


def joint_rotations(layer: HandLayer, rotation: Tensor, pose: Tensor) -> Float[Tensor, "b 16 3 3"]:
    """Global rotation (axis-angle or matrix) and the 15 joints' own, as matrices."""
    root = rotation if rotation.ndim > pose.ndim else roma.rotvec_to_rotmat(rotation)
    return torch.cat([root.unsqueeze(-3), roma.rotvec_to_rotmat(layer.axis_angles(pose))], -3)


def maps_loss(output: StageOutput, joints_uvd: Float[Tensor, "b 21 3"], counts: Counts = ITSELF) -> Float[Tensor, ""]:
    """L of predicted maps against those of known joints, over foreground cells (a background cell's are not read)."""
    cells = output.cells
    if len(cells.seen) == 0:
        return output.rows.sum()
    with torch.no_grad():
        wanted = write_maps_at(joints_uvd.index_select(0, cells.crop_of_seen), cells.uvd_of_seen())
    return cell_mean(smooth_l1(output.rows - wanted), counts)


def cell_mean(values: Float[Tensor, "n 84"], counts: Counts) -> Float[Tensor, ""]:
    """Mean over foreground cells; counts: `cells`, where there are more of them in other parts of the batch."""
    if "cells" not in counts:
        return values.mean()
    return values.sum() / (values.shape[1] * counts["cells"].clamp_min(1))


def supervised_terms(
    outputs: Sequence[StageOutput],
    sample: HandSample,
    layer: HandLayer,
    config: SupervisedConfig,
    counts: Counts = ITSELF,
) -> dict[str, Tensor]:
    """Weighted terms of all stages, by name: stage{k}/{term}. counts: `cells`."""
    truth = Truth.of(sample, layer)
    terms: dict[str, Tensor] = {}
    for k, output in enumerate(outputs, 1):
        hand = output.hand
        rotations = joint_rotations(layer, hand.rotation, hand.pose)
        stage = {
            "maps": config.maps * maps_loss(output, truth.joints_uvd, counts),
            "pixel_joints": config.joints * smooth_l1(output.pixel_uvd - truth.joints_uvd).mean(),
            "model_joints": config.joints * smooth_l1(output.joints_xyz - truth.joints_xyz).mean(),
            "vertices": config.vertices * smooth_l1(output.vertices_xyz - truth.vertices_xyz).mean(),
            "rotations": config.rotations * smooth_l1(rotations - truth.rotations).mean(),
            "shape": config.shape * hand.shape.square().mean(),
            "scale": config.scale * hand.scale.clamp_max(0).abs().mean(),
        }
        terms |= {f"stage{k}/{name}": value for name, value in stage.items()}
    return terms
