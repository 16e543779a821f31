"""Front-most triangle per pixel in plain torch: the slow, obvious twin of render/rasterise_warp.py."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Bits of the float32 infinity. Bits of positive floats sort like integers; the nearest has the largest inverse depth.
INFINITY_BITS = 0x7F800000


def front_faces(corners: Float[Tensor, "b f 3 3"], height: int, width: int) -> Int[Tensor, "b h w"]:
    """Face id met first by each sample's ray, -1 where none (int32).

    Every pair of a triangle and a pixel of its bounding box is written out and tested (memory grows with the sum of the
    boxes); a scatter keeps each pixel's smallest key, the order of depths above the face id.

    Args:
        corners: (u, v, z) of each triangle's corners in pixels and mm, float64; a triangle with z = 0 is left out.
        height: rows of the image.
        width: columns of the image.
    """
    batch, n_faces = corners.shape[:2]
    keys = corners.new_full((batch * height * width,), torch.iinfo(torch.int64).max, dtype=torch.int64)
    flat = corners.reshape(-1, 3, 3)
    low, high = flat[..., :2].amin(1).ceil(), flat[..., :2].amax(1).floor()
    last = torch.tensor((width - 1, height - 1), dtype=flat.dtype, device=flat.device)
    low, high = low.clamp(min=0).minimum(last + 1).long(), high.minimum(last).clamp(min=-1).long()
    columns, rows = (high - low + 1).clamp(min=0).unbind(-1)
    count = columns * rows * (flat[:, 0, 2] > 0)

    triangle = torch.repeat_interleave(torch.arange(len(flat), device=flat.device), count)
    rank = torch.arange(len(triangle), device=flat.device) - (count.cumsum(0) - count)[triangle]
    column = low[triangle, 0] + rank % columns[triangle]
    row = low[triangle, 1] + rank // columns[triangle]

    a, b, c = flat[triangle].unbind(1)
    xy = torch.stack((column, row), dim=-1).to(flat.dtype)
    double_area = _cross(b - a, c - a)
    turn = torch.sign(double_area)
    a_w, b_w, c_w = _edge(b, c, xy, turn), _edge(c, a, xy, turn), _edge(a, b, xy, turn)
    scale = turn * double_area
    q = a_w * (1.0 / (scale * a[:, 2])) + b_w * (1.0 / (scale * b[:, 2])) + c_w * (1.0 / (scale * c[:, 2]))
    order = INFINITY_BITS - q.float().view(torch.int32).long()
    key = (order << 32) | (triangle % n_faces)

    inside = (a_w >= 0) & (b_w >= 0) & (c_w >= 0)
    pixel = (triangle // n_faces * height + row) * width + column
    keys.scatter_reduce_(0, pixel[inside], key[inside], reduce="amin")
    return keys.view(torch.int32)[::2].view(batch, height, width)


def _cross(p: Tensor, q: Tensor) -> Tensor:
    return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]


def _edge(start: Tensor, end: Tensor, xy: Tensor, turn: Tensor) -> Tensor:
    """Twice the area between an edge and a pixel, positive towards the inside; term by term as the kernel has it."""
    along = turn[:, None] * (end - start)[:, :2]
    return along[:, 0] * (xy[:, 1] - start[:, 1]) - along[:, 1] * (xy[:, 0] - start[:, 0])
