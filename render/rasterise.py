"""Depth image of a batch of meshes, differentiable with respect to the vertices.

A back end only finds which triangle each pixel's ray meets first. Depth and gradient follow from that triangle here, in
one closed form that all back ends share: on the screen the inverse depth of a triangle is a plane, q(x, y) = 1 / z.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from render import rasterise_pytorch3d, rasterise_torch, rasterise_warp
from util.errors import UserError

Backend = Literal["warp", "torch", "pytorch3d"]

# Triangles reaching nearer than this are left out: they have no projection worth drawing.
NEAR_MM = 1.0
# Twice the area on screen (squared pixels) up to which a triangle counts as degenerate: about float32's rounding error.
MIN_DOUBLE_AREA = 1e-6

FINDERS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "warp": rasterise_warp.front_faces,
    "torch": rasterise_torch.front_faces,
    "pytorch3d": rasterise_pytorch3d.front_faces,
}


def rasterise(
    vertices_uvz: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    size: int | tuple[int, int],
    backend: Backend = "warp",
) -> Float[Tensor, "b h w"]:
    """Depth of the front-most surface through each sample of the image.

    Inverse depth is interpolated linearly on the screen (perspective-correct). The gradient moves the vertices of
    the triangle that a pixel's ray hits, the ray staying where it is; silhouettes carry none. Back faces are drawn.
    Skipped are triangles with a vertex nearer than 1 mm or not finite, or of no area on the screen. A sample exactly
    on an edge belongs to both sides, and of equal inverse depths (as float32) the lower face id wins: "warp" and
    "torch" share these rules.

    Args:
        vertices_uvz: u, v in output pixels (sample j of a row lies at u = j, row i at v = i), z in mm.
        faces: vertex ids, shared by the batch.
        size: output size in pixels, or (height, width).
        backend: "warp" (CPU and CUDA), "torch" (its slow twin), or "pytorch3d" (if installed; samples exactly on an
            edge stay empty).

    Returns:
        Depth in mm, 0 where no surface is met; dtype and device of the vertices.

    Raises:
        UserError: if the back end is unknown, or its package is absent.
        RuntimeError: from torch, if a face names a vertex that is not there.
    """
    finder = FINDERS.get(backend)
    if finder is None:
        raise UserError(f"Unknown rasteriser back end {backend!r}: choose one of {', '.join(FINDERS)}.")
    height, width = (size, size) if isinstance(size, int) else size
    batch, n_faces = vertices_uvz.shape[0], faces.shape[0]
    # float64 inside: edge tests of float32 vertices are then exact for all practical purposes, so that no crack opens
    # between neighbours, and nearly edge-on triangles keep their depth between that of their corners.
    corners = vertices_uvz.double().index_select(1, faces.reshape(-1)).view(batch, n_faces, 3, 3)
    corners = torch.where(_usable(corners.detach()).view(batch, n_faces, 1, 1), corners, 0.0)
    hits = finder(corners.detach(), height, width)
    depth: Tensor = _DepthOfHits.apply(corners, hits)  # type: ignore[assignment]
    return depth.to(vertices_uvz.dtype)


def _usable(corners: Float[Tensor, "b f 3 3"]) -> Tensor:
    """Which triangles can be drawn; comparisons with NaN are false, so those drop out as well."""
    u, v, z = corners.unbind(-1)
    double_area = (u[..., 1] - u[..., 0]) * (v[..., 2] - v[..., 0]) - (v[..., 1] - v[..., 0]) * (u[..., 2] - u[..., 0])
    in_front = (z > NEAR_MM).all(-1) & (z < torch.inf).all(-1)
    return in_front & (double_area.abs() > MIN_DOUBLE_AREA) & (double_area.abs() < torch.inf)


def _barycentric(corners: Float[Tensor, "b f 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Barycentric coordinates as functions on the screen: (b, f, 3) each of along, down, offset, so that
    b_k(x, y) = along_k x + down_k y + offset_k; all zero for triangles that are left out."""
    u, v, z = corners.unbind(-1)
    u_next, v_next, u_last, v_last = (t.roll(turn, -1) for turn in (-1, -2) for t in (u, v))
    offset = u_next * v_last - u_last * v_next
    drawn = z[..., 0] > 0
    scale = torch.where(drawn, 1.0 / torch.where(drawn, _total(offset), 1.0), 0.0).unsqueeze(-1)
    return (v_next - v_last) * scale, (u_last - u_next) * scale, offset * scale


def _total(t: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Sum over the last axis; on three values much faster than `sum`."""
    return t[..., 0] + t[..., 1] + t[..., 2]


class _DepthOfHits(torch.autograd.Function):
    """Depth where each pixel's ray meets its triangle, and the gradient in closed form.

    With q_k = 1 / z_k at the corners, q = sum_k b_k(x, y) q_k and z = 1 / q. Moving corner k while the ray stays, from
    dq = b_k (dq_k - dq/dx du_k - dq/dy dv_k) follows dz = z^2 b_k (q_k^2 dz_k + dq/dx du_k + dq/dy dv_k). As b_k is
    linear in (x, y), a triangle's sum over its pixels needs only the sums of g z^2 (x, y, 1), g the incoming gradient.
    """

    @staticmethod
    def forward(ctx: Any, corners: Float[Tensor, "b f 3 3"], hits: Int[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
        batch, n_faces = corners.shape[:2]
        height, width = hits.shape[1:]
        corner_q = torch.where(corners[..., 2] > 0, 1.0 / corners[..., 2], 0.0)
        plane = torch.stack([_total(part * corner_q) for part in _barycentric(corners)], dim=-1)
        hits = hits.reshape(-1)
        pixel = (hits >= 0).nonzero().squeeze(1)
        triangle = hits.index_select(0, pixel) + pixel // (height * width) * n_faces
        x, y = (pixel % width).to(corners.dtype), (pixel // width % height).to(corners.dtype)
        q_x, q_y, q_0 = plane.view(-1, 3).index_select(0, triangle).unbind(-1)
        z = 1.0 / (q_x * x + q_y * y + q_0)
        ctx.save_for_backward(corners, corner_q, plane, pixel, triangle, x, y, z)
        return corners.new_zeros(batch * height * width).index_copy_(0, pixel, z).view(batch, height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        corners, corner_q, plane, pixel, triangle, x, y, z = ctx.saved_tensors
        g = grad.reshape(-1).index_select(0, pixel) * z * z
        moments = torch.zeros_like(plane)
        moments.view(-1, 3).index_add_(0, triangle, torch.stack((g * x, g * y, g), dim=-1))
        along, down, offset = _barycentric(corners)
        moment_x, moment_y, moment_1 = moments.unsqueeze(-2).unbind(-1)
        share = along * moment_x + down * moment_y + offset * moment_1
        q_x, q_y, _ = plane.unsqueeze(-2).unbind(-1)
        return torch.stack((share * q_x, share * q_y, share * corner_q.square()), dim=-1), None
