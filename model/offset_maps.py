"""Joints <-> offset maps: 63 unit-vector channels and 21 closeness channels over a coarse grid of cells.

For joint j and a foreground cell p = (u, v, d): the unit vector from p to j, and closeness 1 - |j - p| / 0.8; both zero
where closeness is negative. A joint is read as a softmax over cells of 30 x closeness, weighting
p + (0.8 - 0.8 closeness) x offset (AWR, Huang et al., AAAI 2020; DSF, Ren et al., TIP 2022).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dataloader.crop import FOREGROUND_BELOW

N_JOINTS = 21
KERNEL = 0.8
"""Reach of a joint's maps, in uvd."""
SHARPNESS = 30.0
"""Factor of closeness in the softmax that reads a joint."""
ROUNDING = 1e-8
"""Added to a squared distance before its root, as published: a distance of 0, which a joint on a cell has, would have
no gradient."""


class Cells(NamedTuple):
    """The coarse grid of a batch of crops: each cell's own uvd, and which cells see something."""

    uvd: Float[Tensor, "b cells 3"]
    """Where each cell is."""
    foreground: Bool[Tensor, "b cells"]
    """Cells on something."""
    seen: Int[Tensor, " n"]
    """Numbers (crop x cells + cell) of the foreground cells, ascending: what maps are stored and compared at."""

    @staticmethod
    def of(depth: Float[Tensor, "b 1 size size"], cells: int) -> "Cells":
        """cells: the side of the map. Depth is every (size / cells)-th pixel from index 0, as published."""
        step = depth.shape[-1] // cells
        coarse = depth[:, 0, ::step, ::step]
        coarse = coarse if coarse.dtype == torch.float64 else coarse.float()
        axis = (torch.arange(cells, device=depth.device, dtype=coarse.dtype) + 0.5) / (cells / 2) - 1
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        uvd = torch.stack([u.expand_as(coarse), v.expand_as(coarse), coarse], -1).flatten(1, 2)
        foreground = uvd[..., 2] < FOREGROUND_BELOW
        return Cells(uvd, foreground, foreground.flatten().nonzero().squeeze(1))

    @property
    def crop_of_seen(self) -> Int[Tensor, " n"]:
        """Which crop of the batch each foreground cell is in."""
        return torch.div(self.seen, self.uvd.shape[1], rounding_mode="floor")

    def uvd_of_seen(self) -> Float[Tensor, "n 3"]:
        """Where the foreground cells are."""
        return self.uvd.flatten(0, 1).index_select(0, self.seen)

    def at_seen(self, maps: Float[Tensor, "b cells c"]) -> Float[Tensor, "n c"]:
        """Rows of maps at the foreground cells."""
        return maps.flatten(0, 1).index_select(0, self.seen)


def write_maps(
    joints_uvd: Float[Tensor, "b 21 3"], cells: Cells, kernel: float = KERNEL
) -> Float[Tensor, "b cells 84"]:
    """Maps of known joints, cell by cell: 63 offsets (joint by joint, u v d), then 21 closeness values."""
    offset = joints_uvd.unsqueeze(1) - cells.uvd.unsqueeze(2)  # (b, cells, 21, 3)
    return _vectors(offset, cells.foreground, kernel)


def write_maps_at(
    joints_uvd: Float[Tensor, "n 21 3"], cells_uvd: Float[Tensor, "n 3"], kernel: float = KERNEL
) -> Float[Tensor, "n 84"]:
    """The same for chosen foreground cells, each with its own crop's joints."""
    everywhere = torch.ones(len(cells_uvd), dtype=torch.bool, device=cells_uvd.device)
    return _vectors(joints_uvd - cells_uvd.unsqueeze(1), everywhere, kernel)


def _vectors(offset: Tensor, foreground: Tensor, kernel: float) -> Tensor:
    distance = (offset.square().sum(-1) + ROUNDING).sqrt()
    closeness = 1 - distance / kernel
    inside = (closeness >= 0) & foreground.unsqueeze(-1)
    offset = (offset / distance.unsqueeze(-1)) * inside.unsqueeze(-1)
    return torch.cat([offset.flatten(-2), closeness * inside], -1)


def read_maps(maps: Float[Tensor, "b cells 84"], cells: Cells, kernel: float = KERNEL) -> Float[Tensor, "b 21 3"]:
    """Joints (uvd) off predicted maps, as published checkpoints need them read.

    Background cells stay in the softmax, with offset and closeness 0 and their own depth of 1.
    """
    # Cells last: torch adds up a contiguous axis in pairs but any other one term by term, which on 4,096 cells loses
    # 1e-4 in float32 (a matrix product 4e-5); it is the faster order as well.
    planes = maps.transpose(1, 2).contiguous()
    seen = cells.foreground.unsqueeze(1)
    closeness = planes[:, 3 * N_JOINTS :] * seen
    weight = (SHARPNESS * closeness).softmax(-1)
    reach = weight * (1 - closeness) * seen
    offset = planes[:, : 3 * N_JOINTS].unflatten(1, (N_JOINTS, 3))
    places = cells.uvd.transpose(1, 2).contiguous().unsqueeze(2)
    joints = [
        torch.addcmul(weight * places[:, axis], reach, offset[:, :, axis], value=kernel).sum(-1) for axis in range(3)
    ]
    return torch.stack(joints, -1)


def read_rows(rows: Float[Tensor, "n 84"], cells: Cells, kernel: float = KERNEL) -> Float[Tensor, "b 21 3"]:
    """Joints (uvd) off maps at foreground cells alone: the softmax runs over those of each crop.

    rows: `cells.at_seen(maps)`. A crop without a foreground cell reads the middle of its cube.
    """
    crop = cells.crop_of_seen
    batch = len(cells.uvd)
    offset, closeness = rows[:, : 3 * N_JOINTS].unflatten(-1, (N_JOINTS, 3)), rows[:, 3 * N_JOINTS :]
    logits = SHARPNESS * closeness
    with torch.no_grad():
        top = logits.new_full((batch, N_JOINTS), -torch.inf)
        top = top.scatter_reduce(0, crop.unsqueeze(1).expand_as(logits), logits, "amax").index_select(0, crop)
    weight = (logits - top).exp()
    total = weight.new_zeros(batch, N_JOINTS).index_add(0, crop, weight)
    weight = weight / total.index_select(0, crop)
    position = cells.uvd_of_seen().unsqueeze(1) + (kernel * (1 - closeness)).unsqueeze(-1) * offset
    joints = rows.new_zeros(batch, 3 * N_JOINTS)
    return joints.index_add(0, crop, (weight.unsqueeze(-1) * position).flatten(1)).unflatten(-1, (N_JOINTS, 3))
