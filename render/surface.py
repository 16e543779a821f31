"""Squared distance of points to the surface of a batch of meshes, differentiable with respect to points and vertices.

A back end finds the nearest triangle of each point and the closest place of that triangle. The gradient follows from
this place, in one closed form that both back ends share.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from render import surface_torch, surface_warp
from util.errors import UserError

Backend = Literal["warp", "torch"]

BACKENDS: dict[str, ModuleType] = {"warp": surface_warp, "torch": surface_torch}
"""Each has `nearest_faces` and `closest`."""


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
        faces: vertex ids, shared by the batch. The same tensor each time, if it is to be fast: how its triangles lie
            beside each other is found out at the first call.
        backend: "warp" (boxes within boxes; CPU and CUDA) or "torch" (its brute-force twin).

    Returns:
        Squared distances, in the square of the unit.

    Raises:
        UserError: if the back end is unknown.
        ValueError: if there are no faces.
    """
    group = points.new_zeros(points.shape[:2], dtype=torch.long)
    return _distance(points, group, vertices, faces, (), backend)


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
        faces: vertex ids, shared by the batch; they and the parts are the same tensors (or views of one) each time,
            as for `surface_distance`.
        part_faces: ids of the faces of parts 1, 2, ...; a face may belong to several.
        backend: "warp" or "torch".

    Returns:
        Squared distances; 0, without gradient, for points of no part.

    Raises:
        UserError: if the back end is unknown.
        ValueError: if a part has no faces.
    """
    distance = _distance(points, labels - 1, vertices, faces, tuple(part_faces), backend)
    return torch.where(labels == 0, 0.0, distance)


def _distance(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    groups: tuple[Int[Tensor, "_"], ...],
    backend: Backend,
) -> Float[Tensor, "b p"]:
    """Squared distance to the faces of each point's group, or to all faces where there are no groups."""
    module = BACKENDS.get(backend)
    if module is None:
        raise UserError(f"Unknown surface distance back end {backend!r}: choose one of {', '.join(BACKENDS)}.")
    sizes = [len(ids) for ids in groups or (faces,)]
    if not all(sizes):
        raise ValueError(f"No faces to measure to: the numbers of faces are {sizes}.")
    nearest = module.nearest_faces(points.detach(), group, vertices.detach(), faces, groups)
    distance: Tensor = _SquaredDistance.apply(points, vertices, faces, nearest, module)  # type: ignore[assignment]
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
        module: ModuleType,
    ) -> Float[Tensor, "b p"]:
        squared, offset, weights = module.closest(points, vertices, faces, nearest)
        ctx.save_for_backward(offset, weights, faces, nearest)
        ctx.vertices_shape = vertices.shape
        return squared

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        offset, weights, faces, nearest = ctx.saved_tensors
        batch, n_vertices = ctx.vertices_shape[:2]
        for_points = 2.0 * grad.unsqueeze(-1) * offset
        pulls = -weights.unsqueeze(-1) * for_points.unsqueeze(-2)
        first_vertex = torch.arange(batch, device=faces.device).view(batch, 1, 1) * n_vertices
        corner_ids = faces[nearest.clamp(min=0).long()] + first_vertex
        for_vertices = offset.new_zeros(ctx.vertices_shape)
        for_vertices.view(-1, 3).index_add_(0, corner_ids.reshape(-1), pulls.reshape(-1, 3))
        return for_points, for_vertices, None, None, None
