"""Points on what a crop shows, and which of them belong to a hand whose joints are given."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dataloader.crop import HandCrop
from util import draws
from util.draws import Draws

BOX_MARGIN_MM = (25.0, 25.0, 20.0)
"""How far a hand's surface may lie outside the box of its joints, along x, y, z."""
BOX_THICKNESS_MM = 20.0
"""Room on top of that towards the camera: joints lie inside the hand, readings on its near side."""


def all_points_xyz(crop: HandCrop) -> Float[Tensor, "b p 3"]:
    """Every sample of a batch of crops as a point, row by row (p = size * size), in half cubes from the centre.

    Background samples lie on the cube's back face; use `crop.foreground` to leave them out.
    """
    return torch.stack(_planes_xyz(crop), dim=-1).flatten(1, 2)


def _planes_xyz(crop: HandCrop) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b s s"], Float[Tensor, "b s s"]]:
    """The same as crop.xyz_from_uvd on the grid, plane by plane: several times as fast on whole images."""
    steps = torch.arange(crop.size, dtype=crop.depth.dtype, device=crop.depth.device)
    # inv_ex: inv itself waits for a GPU to say whether the matrix has an inverse
    ray = torch.linalg.inv_ex(crop.crop_from_image @ crop.camera.matrix()).inverse[..., None, None]
    half, centre = (crop.cube_mm / 2)[..., None, None], crop.centre_mm[..., None, None]
    depth = crop.depth[:, 0]
    z = depth * half[:, 2] + centre[:, 2]
    x = (ray[:, 0, 0] * steps + ray[:, 0, 1] * steps[:, None] + ray[:, 0, 2]) * z
    y = (ray[:, 1, 0] * steps + ray[:, 1, 1] * steps[:, None] + ray[:, 1, 2]) * z
    return (x - centre[:, 0]) / half[:, 0], (y - centre[:, 1]) / half[:, 1], depth


def sample_indices(
    mask: Bool[Tensor, "b p"], n: int, generator: Draws
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, " b"]]:
    """n places where the mask is set: drawn without replacement, or all of them repeated whole when there are fewer.

    Returns the places and, for each row, whether there was any; rows without one get places that mean nothing.
    """
    # Drawn by the caller's generator, so alike on all devices; from pinned memory the copy to a GPU waits for nothing.
    keys = draws.rand(generator, *mask.shape, pin_memory=mask.is_cuda).to(mask.device, non_blocking=True)
    taken = min(n, mask.shape[1])
    order = torch.where(mask, keys, -1.0).topk(taken, dim=1).indices
    count = mask.sum(dim=1)
    turns = torch.arange(n, device=mask.device)[None] % count.clamp(min=1, max=taken)[:, None]
    return order.gather(1, turns), count > 0


def points_from_crop(
    crop: HandCrop, n: int, generator: Draws, mask: Bool[Tensor, "b 1 s s"] | None = None
) -> tuple[Float[Tensor, "b n 3"], Bool[Tensor, " b"]]:
    """n random points on the foreground of each crop (of it, the part inside `mask`), in half cubes from the centre.

    Returns the points and whether each crop had any; those of a crop that had none are all zero.
    """
    wanted = crop.foreground if mask is None else crop.foreground & mask
    chosen, valid = sample_indices(wanted.flatten(1), n, generator)
    v = torch.div(chosen, crop.size, rounding_mode="floor")
    pixels = torch.stack([chosen - v * crop.size, v], dim=-1).to(crop.depth.dtype)
    depth = crop.depth.flatten(1).gather(1, chosen)
    points = crop.xyz_from_uvd(torch.cat([pixels / (crop.size / 2) - 1, depth[..., None]], dim=-1))
    return torch.where(valid[:, None, None], points, 0.0), valid


def in_joint_box(
    points_xyz: Float[Tensor, "b p 3"],
    joints_xyz: Float[Tensor, "b j 3"],
    cube_mm: Float[Tensor, "b 3"],
    margin_mm: tuple[float, float, float] = BOX_MARGIN_MM,
    thickness_mm: float = BOX_THICKNESS_MM,
) -> Bool[Tensor, "b p"]:
    """Whether each point lies in the joints' box, grown by the margins and, towards the camera, by the thickness."""
    low, high = _joint_box(joints_xyz, cube_mm, margin_mm, thickness_mm)
    return ((points_xyz >= low[:, None]) & (points_xyz <= high[:, None])).all(dim=-1)


def _joint_box(
    joints_xyz: Float[Tensor, "b j 3"],
    cube_mm: Float[Tensor, "b 3"],
    margin_mm: tuple[float, float, float] = BOX_MARGIN_MM,
    thickness_mm: float = BOX_THICKNESS_MM,
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
    """Lowest and highest corner of the joints' box."""

    def scaled(*lengths_mm: float) -> Tensor:
        # axis by axis with plain numbers, which need no copy to a GPU
        return torch.stack([mm / half for mm, half in zip(lengths_mm, (cube_mm / 2).unbind(1), strict=True)], 1)

    x, y, z = margin_mm
    return joints_xyz.amin(dim=1) - scaled(x, y, z + thickness_mm), joints_xyz.amax(dim=1) + scaled(x, y, z)


def box_cut(crop: HandCrop, joints_xyz: Float[Tensor, "b j 3"]) -> Bool[Tensor, "b 1 s s"]:
    """Foreground samples inside the box of a hand's joints: the hand without forearm and background.

    The cut of the published method (Ren et al., TIP 2022: margins 25/25/20 mm, 20 mm towards the camera); since the box
    follows the joints, a shrunken prediction keeps less: score on `HandSample.observed` instead.
    """
    low, high = (corner[..., None, None] for corner in _joint_box(joints_xyz, crop.cube_mm))
    inside = crop.foreground[:, 0]
    for axis, plane in enumerate(_planes_xyz(crop)):
        inside = inside & (plane >= low[:, axis]) & (plane <= high[:, axis])
    return inside.unsqueeze(1)
