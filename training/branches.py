"""The answers of stages and branches by name, and the model branch's hand as the sensor would see it."""

import torch
from jaxtyping import Float
from torch import Tensor

from dataloader.crop import HandCrop
from model.network import StageOutput
from render.rasterise import rasterise
from util.joints import MANO21, JointSet


def branch_joints_mm(
    outputs: list[StageOutput], crop: HandCrop, joint_set: JointSet = MANO21
) -> dict[str, Float[Tensor, "b joints 3"]]:
    """Joints of each branch in the camera frame: stage1_pixel, stage1_model, and so on."""
    joints: dict[str, Tensor] = {}
    for k, output in enumerate(outputs, 1):
        joints[f"stage{k}_pixel"] = joint_set.from_mano21(crop.mm_from_xyz(output.pixel_xyz))
        joints[f"stage{k}_model"] = joint_set.from_mano21(crop.mm_from_xyz(output.joints_xyz))
    return joints


def render_crop(crop: HandCrop, vertices_xyz: Float[Tensor, "b v 3"], faces: Tensor, backend: str = "warp") -> HandCrop:
    """The same window with a mesh in it instead of what the sensor saw; differentiable with respect to the vertices."""
    pixels = crop.pixels_from_mm(crop.mm_from_xyz(vertices_xyz))
    return crop.with_depth_mm(rasterise(pixels, faces, crop.size, backend))  # type: ignore[arg-type]


def render_model(crop: HandCrop, output: StageOutput, faces: Tensor) -> Float[Tensor, "b 1 s s"]:
    """Depth of the model branch's hand in the crop, [-1, 1] with background 1."""
    return render_crop(crop, output.vertices_xyz, faces).depth


def masked_mean(values: Tensor, mask: Tensor) -> Float[Tensor, " b"]:
    """Mean over each item's masked entries; 0 where there are none. values, mask: (b, ...)."""
    weight = mask.to(values.dtype).flatten(1)
    # torch.where, not a product: what is masked out may be infinite
    kept = torch.where(mask.flatten(1), values.flatten(1), 0.0)
    return kept.sum(1) / weight.sum(1).clamp_min(1)
