"""Nearest points in the same frame, in the frame before and in the frames around, and what is gathered from them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def nearest(
    points: Float[Tensor, "*batch n 3"], among: Float[Tensor, "*batch m 3"], k: int
) -> Int[Tensor, "*batch n k"]:
    """The k nearest of other points to each point (all where there are fewer)."""
    apart = torch.cdist(points, among, compute_mode="use_mm_for_euclid_dist")
    return apart.topk(min(k, among.shape[-2]), dim=-1, largest=False, sorted=False).indices


def gathered(values: Float[Tensor, "*batch m c"], index: Int[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n k c"]:
    """Rows of `values` at an index of `nearest`."""
    flat = index.flatten(-2).unsqueeze(-1).expand(*index.shape[:-2], -1, values.shape[-1])
    return values.gather(-2, flat).unflatten(-2, index.shape[-2:])


def around(values: Float[Tensor, "b frames n c"]) -> Float[Tensor, "b frames three_n c"]:
    """Of each frame the rows of the frame before, its own, and those of the frame behind; ends are repeated."""
    before = torch.cat([values[:, :1], values[:, :-1]], 1)
    behind = torch.cat([values[:, 1:], values[:, -1:]], 1)
    return torch.cat([before, values, behind], 2)
