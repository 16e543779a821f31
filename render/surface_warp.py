"""Nearest triangle by warp's bounding volume hierarchy, one source for CPU and CUDA.

One hierarchy holds the triangles of all groups of all items, each group moved to a cell of its own, so far from the
others that a point never meets another group's triangles. The move costs float32 precision in the choice between
triangles that are almost equally near (within about 2e-6 of the farthest point's distance from its mesh: micrometres
for points within a metre); the distance itself is computed elsewhere, unmoved.
"""

# Kernels are written in warp's own types, which a checker of Python types cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from collections.abc import Sequence

import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from render.kernels import as_warp, run

wp.set_module_options({"enable_backward": False})


def nearest_faces(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    corners: Float[Tensor, "b f 3 3"],
    group_sizes: Sequence[int],
    usable: Bool[Tensor, "b f"],
) -> Int[Tensor, "b p"]:
    """Row of `corners` nearest to each point among those of its group; -1 where there is none (int32).

    Args:
        points: in any unit.
        group: group of each point; points of other groups than those given find nothing.
        corners: triangles, those of group 0 first, then group 1, ...
        group_sizes: number of triangles of each group.
        usable: triangles that count.
    """
    if group.numel() == 0:
        return group.int()
    batch, n_faces = corners.shape[:2]
    n_groups = len(group_sizes)
    # Near its own origin each item keeps the most precision.
    drawn = usable[..., None, None]
    middle = torch.where(drawn, corners, 0.0).sum((1, 2)) / (3 * usable.sum(1, keepdim=True)).clamp(min=1)
    corners = torch.where(drawn, corners - middle[:, None, None], 0.0).float()
    points = (points - middle[:, None]).float()
    reach = torch.where(torch.isfinite(points), points, 0.0).abs().amax().maximum(corners.abs().amax())
    # Cells this wide: what is not in a point's own cell is farther than anything in it can be, 2 sqrt(3) reaches.
    cells = _cells(batch * n_groups + 1, corners) * (6.0 * reach)
    group_of_face = torch.repeat_interleave(torch.tensor(group_sizes)).to(corners.device)
    first_cell = torch.arange(batch, device=corners.device).view(batch, 1) * n_groups
    # Unusable triangles rest in the last cell, which no point is in.
    cell_of_face = torch.where(usable, first_cell + group_of_face, batch * n_groups)
    known = (group >= 0) & (group < n_groups)
    cell_of_point = torch.where(known, first_cell + group, 0)
    moved_corners = corners + cells[cell_of_face].unsqueeze(-2)
    moved_points = torch.where(known.unsqueeze(-1), points + cells[cell_of_point], torch.nan)

    ids = torch.arange(batch * n_faces * 3, dtype=torch.int32, device=corners.device)
    rows = torch.empty(points.shape[:2], dtype=torch.int32, device=points.device)

    def query(items: slice) -> None:
        at, out = moved_points[items].view(-1, 3), rows[items].view(-1)
        triangles = moved_corners[items].view(-1, 3)
        # It lives to the end of this function, where it is freed in the stream that ran the query.
        mesh = wp.Mesh(as_warp(triangles, wp.vec3), as_warp(ids[: len(triangles)], wp.int32))
        inputs = [mesh.id, as_warp(at, wp.vec3), items.start * n_faces, as_warp(out, wp.int32)]
        wp.launch(_nearest, dim=len(out), inputs=inputs, device=mesh.device)

    run(query, batch, like=corners)
    # A point of a cell without usable triangles meets those of another one.
    own = (rows >= 0) & (cell_of_face.view(-1)[rows.clamp(min=0)] == cell_of_point)
    return torch.where(own, rows % n_faces, -1)


def _cells(count: int, like: Tensor) -> Float[Tensor, "{count} 3"]:
    """Integer places of cells in a cube, the most compact way to lay them out."""
    side = 1
    while side**3 < count:
        side += 1
    number = torch.arange(count, device=like.device)
    place = torch.stack((number % side, number // side % side, number // side**2), dim=-1)
    return place.to(like.dtype) - (side - 1) / 2


@wp.kernel
def _nearest(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), first_row: wp.int32, rows: wp.array(dtype=wp.int32)):
    i = wp.tid()
    rows[i] = -1
    if wp.isfinite(points[i]):
        query = wp.mesh_query_point_no_sign(mesh, points[i], 1.0e12)
        if query.result:
            rows[i] = first_row + query.face
