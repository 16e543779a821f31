"""Nearest triangle by brute force in plain torch: the slow, obvious twin of render/surface_warp.py."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Pairs of a point and a triangle held at a time, which bounds the memory to some hundreds of megabytes.
PAIRS_AT_ONCE = 1 << 20


def nearest_faces(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    groups: Sequence[Int[Tensor, "_"]],
) -> Int[Tensor, "b p"]:
    """Id of the face nearest to each point among those of its group; -1 where there is none.

    Args:
        points: in any unit.
        group: group of each point; points of other groups than those given find nothing.
        vertices: in the same unit; faces with a vertex that is not finite do not count.
        faces: vertex ids.
        groups: face ids of each group; none for one group of all faces.
    """
    nearest = torch.full_like(group, -1)
    for number, ids in enumerate(groups or [torch.arange(len(faces), device=faces.device)]):
        corners = vertices[:, faces[ids]]
        usable = torch.isfinite(corners).all(-1).all(-1)
        items, columns = ((group == number) & torch.isfinite(points).all(-1)).nonzero(as_tuple=True)
        step = max(1, PAIRS_AT_ONCE // len(ids))
        for item, column in zip(items.split(step), columns.split(step), strict=True):
            triangles = corners[item]
            point = points[item, column].unsqueeze(1)
            place = (closest_weights(point.expand(-1, len(ids), -1), triangles).unsqueeze(-1) * triangles).sum(-2)
            squared = torch.where(usable[item], (point - place).square().sum(-1), torch.inf)
            least, row = squared.min(1)
            nearest[item, column] = torch.where(least < torch.inf, ids[row].to(nearest.dtype), -1)
    return nearest


def closest(
    points: Float[Tensor, "b p 3"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    nearest: Int[Tensor, "b p"],
) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b p 3"], Float[Tensor, "b p 3"]]:
    """(squared distance, offset, weights) of the closest place of the nearest face.

    The offset leads from the place to the point, the weights are those of the face's corners there. Where the face is
    -1 the distance is NaN and the others are 0.
    """
    found = (nearest >= 0).unsqueeze(-1)
    corner_ids = faces[nearest.clamp(min=0).long()].flatten(1).unsqueeze(-1)
    corners = vertices.gather(1, corner_ids.long().expand(-1, -1, 3)).unflatten(1, (-1, 3))
    weights = torch.where(found, closest_weights(points, corners), 0.0)
    offset = torch.where(found, points - (weights.unsqueeze(-1) * corners).sum(-2), 0.0)
    return torch.where(found.squeeze(-1), offset.square().sum(-1), torch.nan), offset, weights


def closest_weights(points: Float[Tensor, "*#batch 3"], corners: Float[Tensor, "*#batch 3 3"]) -> Tensor:
    """Barycentric weights (*batch, 3) of the place of a triangle that is closest to a point.

    The seven regions of Ericson, Real-Time Collision Detection (2005), section 5.1.5: three vertices, three edges, and
    the inside. Degenerate triangles count as the edge or vertex that they are.
    """
    a, b, c = corners.unbind(-2)
    ab, ac = b - a, c - a
    ab_a, ac_a = _dot(ab, points - a), _dot(ac, points - a)
    ab_b, ac_b = _dot(ab, points - b), _dot(ac, points - b)
    ab_c, ac_c = _dot(ab, points - c), _dot(ac, points - c)
    inside_a = ab_b * ac_c - ab_c * ac_b
    inside_b = ab_c * ac_a - ab_a * ac_c
    inside_c = ab_a * ac_b - ab_b * ac_a
    bc_b, bc_c = ac_b - ab_b, ac_c - ab_c

    # From the inside outwards: where two regions claim a point, the later line wins.
    total = inside_a + inside_b + inside_c
    at_b, at_c = _ratio(inside_b, total), _ratio(inside_c, total)
    for on_edge, new_b, new_c in (
        ((inside_a <= 0) & (bc_b >= 0) & (bc_c <= 0), _ratio(-bc_c, bc_b - bc_c), _ratio(bc_b, bc_b - bc_c)),
        ((inside_b <= 0) & (ac_a >= 0) & (ac_c <= 0), torch.zeros_like(ac_a), _ratio(ac_a, ac_a - ac_c)),
        ((inside_c <= 0) & (ab_a >= 0) & (ab_b <= 0), _ratio(ab_a, ab_a - ab_b), torch.zeros_like(ab_a)),
        ((ac_c >= 0) & (bc_c >= 0), torch.zeros_like(ab_a), torch.ones_like(ab_a)),
        ((ab_b >= 0) & (bc_b <= 0), torch.ones_like(ab_a), torch.zeros_like(ab_a)),
        ((ab_a <= 0) & (ac_a <= 0), torch.zeros_like(ab_a), torch.zeros_like(ab_a)),
    ):
        at_b, at_c = torch.where(on_edge, new_b, at_b), torch.where(on_edge, new_c, at_c)
    return torch.stack((1.0 - at_b - at_c, at_b, at_c), dim=-1)


def _dot(p: Tensor, q: Tensor) -> Tensor:
    """Scalar product over the last axis of three; much faster there than a sum."""
    return p[..., 0] * q[..., 0] + p[..., 1] * q[..., 1] + p[..., 2] * q[..., 2]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, 0 where the whole is 0."""
    return part / torch.where(whole == 0, 1.0, whole)
