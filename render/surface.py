"""Squared distance of points to the surface of a batch of meshes, differentiable with respect to points and vertices.

A back end only finds the nearest triangle of each point. Distance and gradient follow from that triangle here, in one
closed form that both back ends share.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from render import surface_torch, surface_warp
from render.surface_torch import closest_weights
from util.errors import UserError

Backend = Literal["warp", "torch"]

FINDERS: dict[str, Callable[[Tensor, Tensor, Tensor, Sequence[int], Tensor], Tensor]] = {
    "warp": surface_warp.nearest_faces,
    "torch": surface_torch.nearest_faces,
}


def surface_distance(
    points: Float[Tensor, "b p 3"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    backend: Backend = "warp",
) -> Float[Tensor, "b p"]:
    """Squared distance of each point to the nearest place on its mesh: inside a triangle, on an edge or at a vertex.

    Triangles with a vertex that is not finite are left out. A point that is not finite, or that finds no triangle, is
    NaN far and takes no part in the gradient.

    Args:
        points: in any unit; each item of the batch is measured against its own mesh.
        vertices: in the same unit.
        faces: vertex ids, shared by the batch.
        backend: "warp" (a bounding volume hierarchy; CPU and CUDA) or "torch" (its brute-force twin).

    Returns:
        Squared distances, in the square of the unit.

    Raises:
        UserError: if the back end is unknown.
        ValueError: if there are no faces.
    """
    group = points.new_zeros(points.shape[:2], dtype=torch.long)
    return _distance(points, group, vertices, faces, [len(faces)], backend)


def part_surface_distance(
    points: Float[Tensor, "b p 3"],
    labels: Int[Tensor, "b p"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    part_faces: Sequence[Int[Tensor, "_"]],
    backend: Backend = "warp",
) -> Float[Tensor, "b p"]:
    """Squared distance of each point to the triangles of its own part only, as `surface_distance` defines it.

    Args:
        points: in any unit.
        labels: part of each point, from 1; 0 marks points of no part.
        vertices: in the same unit.
        faces: vertex ids, shared by the batch.
        part_faces: ids of the faces of parts 1, 2, ...; a face may belong to several.
        backend: "warp" or "torch".

    Returns:
        Squared distances; 0, without gradient, for points of no part.

    Raises:
        UserError: if the back end is unknown.
        ValueError: if a part has no faces.
    """
    of_parts = faces.index_select(0, torch.cat(tuple(part_faces)))
    distance = _distance(points, labels - 1, vertices, of_parts, [len(ids) for ids in part_faces], backend)
    return torch.where(labels == 0, 0.0, distance)


def _distance(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    group_sizes: Sequence[int],
    backend: Backend,
) -> Float[Tensor, "b p"]:
    """Squared distance to the faces of each point's group, the groups lying one after another in `faces`."""
    finder = FINDERS.get(backend)
    if finder is None:
        raise UserError(f"Unknown surface distance back end {backend!r}: choose one of {', '.join(FINDERS)}.")
    if not all(group_sizes):
        raise ValueError(f"No faces to measure to: the numbers of faces are {list(group_sizes)}.")
    flat_ids = faces.reshape(-1)
    corners = vertices.detach().index_select(1, flat_ids).view(len(vertices), len(faces), 3, 3)
    nearest = finder(points.detach(), group, corners, group_sizes, torch.isfinite(corners).all(-1).all(-1))
    distance: Tensor = _SquaredDistance.apply(points, vertices, faces, nearest)  # type: ignore[assignment]
    return distance


class _SquaredDistance(torch.autograd.Function):
    """Squared distance to the given triangles, and its gradient in closed form.

    With w the barycentric weights of the closest place and r = point - sum_k w_k vertex_k, the change of w does not
    matter to first order (w is where the distance is least), so the gradient is 2 r for the point and -2 w_k r for
    corner k (Danskin's theorem).
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Float[Tensor, "b p 3"],
        vertices: Float[Tensor, "b v 3"],
        faces: Int[Tensor, "f 3"],
        nearest: Int[Tensor, "b p"],
    ) -> Float[Tensor, "b p"]:
        batch, n_vertices = vertices.shape[:2]
        found = nearest >= 0
        first_vertex = torch.arange(batch, device=vertices.device).view(batch, 1, 1) * n_vertices
        corner_ids = faces[nearest.clamp(min=0).long()] + first_vertex
        corners = vertices.reshape(-1, 3).index_select(0, corner_ids.reshape(-1)).view(*corner_ids.shape, 3)
        weights = torch.where(found.unsqueeze(-1), closest_weights(points, corners), 0.0)
        offset = torch.where(found.unsqueeze(-1), points - (weights.unsqueeze(-1) * corners).sum(-2), 0.0)
        ctx.save_for_backward(offset, weights, corner_ids)
        ctx.vertices_shape = vertices.shape
        return torch.where(found, offset.square().sum(-1), torch.nan)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        offset, weights, corner_ids = ctx.saved_tensors
        for_points = 2.0 * grad.unsqueeze(-1) * offset
        pulls = -weights.unsqueeze(-1) * for_points.unsqueeze(-2)
        for_vertices = offset.new_zeros(ctx.vertices_shape)
        for_vertices.view(-1, 3).index_add_(0, corner_ids.reshape(-1), pulls.reshape(-1, 3))
        return for_points, for_vertices, None, None
