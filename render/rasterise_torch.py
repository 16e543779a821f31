"""The rasteriser in plain torch: the slow, obvious twin of render/rasterise_warp.py."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Triangles reaching nearer than this are left out: they have no projection worth drawing.
NEAR_MM = 1.0
# Twice the area on screen (squared pixels) up to which a triangle counts as degenerate: about float32's rounding error.
MIN_DOUBLE_AREA = 1e-6
# Bits of the float32 infinity. Bits of positive floats sort like integers; the nearest has the largest inverse depth.
INFINITY_BITS = 0x7F800000


def drawn_corners(vertices_uvz: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "b f 3 3"]:
    """Corners of each triangle as float64, zero for triangles that are left out."""
    corners = vertices_uvz.double()[:, faces.long()]
    a, b, c = corners.unbind(-2)
    double_area = _cross(b - a, c - a).abs()
    z = corners[..., 2]
    in_front = (z > NEAR_MM).all(-1) & (z < torch.inf).all(-1)
    # Comparisons with NaN are false, so those drop out as well.
    drawn = in_front & (double_area > MIN_DOUBLE_AREA) & (double_area < torch.inf)
    return torch.where(drawn[..., None, None], corners, 0.0)


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

    xy = torch.stack((column, row), dim=-1)
    q = _inverse_depth(flat[triangle], xy)
    order = INFINITY_BITS - q.float().view(torch.int32).long()
    key = (order << 32) | (triangle % n_faces)

    inside = _inside(flat[triangle], xy)
    pixel = (triangle // n_faces * height + row) * width + column
    keys.scatter_reduce_(0, pixel[inside], key[inside], reduce="amin")
    return keys.view(torch.int32)[::2].view(batch, height, width)


def depth_of_hits(
    vertices_uvz: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"], hits: Int[Tensor, "b h w"]
) -> Float[Tensor, "b h w"]:
    """Depth at which each sample's ray meets the plane of its triangle, 0 where it has none; torch finds the gradient.

    Args:
        vertices_uvz: u, v in pixels, z in mm.
        faces: vertex ids.
        hits: face id of each sample, -1 for none.
    """
    item, row, column = (hits >= 0).nonzero(as_tuple=True)
    ids = faces.long()[hits[item, row, column].long()]
    corners = vertices_uvz.double()[item[:, None], ids]
    q = _inverse_depth(corners, torch.stack((column, row), dim=-1))
    depth = torch.zeros(hits.shape, dtype=torch.float64, device=hits.device)
    return depth.index_put((item, row, column), 1.0 / q).to(vertices_uvz.dtype)


def _inside(corners: Float[Tensor, "n 3 3"], xy: Int[Tensor, "n 2"]) -> Bool[Tensor, "n"]:
    """Whether samples lie in their triangles, whichever way round these are seen; edges and corners are inside."""
    a, b, c = corners[..., :2].unbind(1)
    turn = torch.sign(_cross(b - a, c - a))
    inside = [turn * _cross(end - start, xy - start) >= 0 for start, end in ((b, c), (c, a), (a, b))]
    return inside[0] & inside[1] & inside[2]


def _inverse_depth(corners: Float[Tensor, "n 3 3"], xy: Int[Tensor, "n 2"]) -> Float[Tensor, "n"]:
    """1 / z, which is a plane over the screen; term by term as the kernels have it."""
    a, b, c = corners[..., :2].unbind(1)
    scale = 1.0 / _cross(b - a, c - a)
    q = 1.0 / corners[..., 2]
    a_q, b_q, c_q = q[:, 0], q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    q_x = (b_q * (c - a)[:, 1] - c_q * (b - a)[:, 1]) * scale
    q_y = (c_q * (b - a)[:, 0] - b_q * (c - a)[:, 0]) * scale
    q_0 = a_q - q_x * a[:, 0] - q_y * a[:, 1]
    return q_x * xy[:, 0] + q_y * xy[:, 1] + q_0


def _cross(p: Float[Tensor, "*n _"], q: Float[Tensor, "*n _"]) -> Float[Tensor, "*n"]:
    return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]
