"""Joints <-> offset maps: 63 unit-vector channels and 21 closeness channels over a coarse grid of cells.

For joint j and a foreground cell p = (u, v, d): the unit vector from p to j, and closeness 1 - |j - p| / 0.8; both zero
where closeness is negative. A joint is read as a softmax over cells of 30 x closeness, weighting
p + (0.8 - 0.8 closeness) x offset (AWR, Huang et al., AAAI 2020; DSF, Ren et al., TIP 2022).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    counts: list[int]
    """How many of them each crop has."""

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
        # Waits for a GPU: how many cells there are decides the sizes of what follows. Better here than in the middle.
        seen = foreground.flatten().nonzero().squeeze(1)
        return Cells(uvd, foreground, seen, foreground.sum(1).tolist())

    def split(self, at: int) -> tuple["Cells", "Cells"]:
        """Those of the first `at` crops, and of the rest."""
        before = sum(self.counts[:at])
        first = Cells(self.uvd[:at], self.foreground[:at], self.seen[:before], self.counts[:at])
        rest = self.seen[before:] - at * self.uvd.shape[1]
        return first, Cells(self.uvd[at:], self.foreground[at:], rest, self.counts[at:])

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
    joints_uvd: Float[Tensor, "b 21 3"], cells: Cells, kernel: float = KERNEL, dtype: torch.dtype | None = None
) -> Float[Tensor, "b cells 84"]:
    """Maps of known joints, cell by cell: 63 offsets (joint by joint, u v d), then 21 closeness values.

    Only foreground cells, mostly a fifth of them, are computed. dtype: of the maps, that of the joints by default.
    """
    rows = write_maps_at(joints_uvd.index_select(0, cells.crop_of_seen), cells.uvd_of_seen(), kernel)
    rows = rows.to(dtype or rows.dtype)
    maps = rows.new_zeros(cells.foreground.numel(), rows.shape[1]).index_copy_(0, cells.seen, rows)
    return maps.unflatten(0, cells.foreground.shape)


def write_maps_at(
    joints_uvd: Float[Tensor, "n 21 3"], cells_uvd: Float[Tensor, "n 3"], kernel: float = KERNEL
) -> Float[Tensor, "n 84"]:
    """The same for chosen foreground cells, each with its own crop's joints."""
    # axis by axis: sums over an innermost axis of three are several times as slow
    u, v, d = (joints_uvd[..., axis] - cells_uvd[:, axis : axis + 1] for axis in range(3))
    distance = (torch.addcmul(torch.addcmul(u * u, v, v), d, d) + ROUNDING).sqrt()
    closeness = 1 - distance / kernel
    inside = closeness >= 0
    scale = inside / distance
    offset = torch.stack([u * scale, v * scale, d * scale], -1)
    return torch.cat([offset.flatten(1), closeness * inside], 1)


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
    sizes = len(cells.uvd), kernel
    joints: Tensor = _ReadRows.apply(rows, cells.crop_of_seen, cells.uvd_of_seen(), *sizes)  # type: ignore[assignment]
    return joints


class _ReadRows(torch.autograd.Function):
    """The weighted mean of a softmax over each crop's rows, and its gradient in closed form.

    Joint J = sum_i w_i p_i with p_i = cell_i + r_i offset_i, r_i = kernel (1 - closeness_i) and w the softmax of
    SHARPNESS x closeness. So dJ / d offset_i = w_i r_i and
    dJ / d closeness_i = w_i (SHARPNESS (p_i - J) - kernel offset_i).
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Float[Tensor, "n 84"],
        crop: Int[Tensor, " n"],
        cells_uvd: Float[Tensor, "n 3"],
        batch: int,
        kernel: float,
    ) -> Float[Tensor, "b 21 3"]:
        offset, closeness = rows[:, : 3 * N_JOINTS].unflatten(1, (N_JOINTS, 3)), rows[:, 3 * N_JOINTS :]
        top = rows.new_full((batch, N_JOINTS), -torch.inf)
        top.scatter_reduce_(0, crop.unsqueeze(1).expand_as(closeness), closeness, "amax")
        weight = (closeness - top.index_select(0, crop)).mul_(SHARPNESS).exp_()
        reach = (1 - closeness).mul_(weight).mul_(kernel)
        weighted = rows.new_empty(len(rows), 4, N_JOINTS)
        weighted[:, 0] = weight
        for k in range(3):
            torch.addcmul(weight * cells_uvd[:, k : k + 1], reach, offset[..., k], out=weighted[:, k + 1])
        sums = rows.new_zeros(batch, 4, N_JOINTS).index_add_(0, crop, weighted)
        # the largest weight of a crop is 1: only where no row is seen is there nothing to divide by
        total = sums[:, :1].clamp_min(1)
        joints = sums[:, 1:] / total
        weight /= total[:, 0].index_select(0, crop)
        ctx.kernel = kernel
        ctx.save_for_backward(rows, crop, cells_uvd, weight, joints)
        return joints.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        rows, crop, cells_uvd, weight, joints = ctx.saved_tensors
        offset, closeness = rows[:, : 3 * N_JOINTS].unflatten(1, (N_JOINTS, 3)), rows[:, 3 * N_JOINTS :]
        pull = grad.transpose(1, 2)
        of_crop = torch.cat([pull, -(pull * joints).sum(1, keepdim=True)], 1).index_select(0, crop)  # (n, 4, 21)
        slope, along = of_crop[:, 3], torch.zeros_like(weight)
        reach = (1 - closeness).mul_(ctx.kernel)
        for_rows = torch.empty_like(rows)
        for k in range(3):
            own = of_crop[:, k]
            slope.addcmul_(own, cells_uvd[:, k : k + 1])
            along.addcmul_(own, offset[..., k])
            for_rows[:, k : 3 * N_JOINTS : 3] = own.mul_(weight).mul_(reach)
        # SHARPNESS (p - J) - kernel offset, along the gradient: p = cell + reach offset
        slope.addcmul_(reach, along).mul_(SHARPNESS).add_(along, alpha=-ctx.kernel)
        torch.mul(slope, weight, out=for_rows[:, 3 * N_JOINTS :])
        return for_rows, None, None, None, None
