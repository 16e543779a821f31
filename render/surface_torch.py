"""Nearest triangle by brute force in plain torch: the slow, obvious twin of render/surface_warp.py."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Pairs of a point and a triangle held at a time, which bounds the memory to some hundreds of megabytes.
PAIRS_AT_ONCE = 1 << 20


def nearest_faces(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    corners: Float[Tensor, "b f 3 3"],
    group_sizes: Sequence[int],
    usable: Bool[Tensor, "b f"],
) -> Int[Tensor, "b p"]:
    """Row of `corners` nearest to each point among those of its group; -1 where there is none.

    Args:
        points: in any unit.
        group: group of each point; points of other groups than those given find nothing.
        corners: triangles, those of group 0 first, then group 1, ...
        group_sizes: number of triangles of each group.
        usable: triangles that count.
    """
    nearest = torch.full_like(group, -1)
    first = 0
    for number, size in enumerate(group_sizes):
        here = corners[:, first : first + size]
        here_usable = usable[:, first : first + size]
        items, columns = ((group == number) & torch.isfinite(points).all(-1)).nonzero(as_tuple=True)
        step = max(1, PAIRS_AT_ONCE // size)
        for item, column in zip(items.split(step), columns.split(step), strict=True):
            triangles = here[item]
            point = points[item, column].unsqueeze(1)
            place = (closest_weights(point.expand(-1, size, -1), triangles).unsqueeze(-1) * triangles).sum(-2)
            squared = torch.where(here_usable[item], (point - place).square().sum(-1), torch.inf)
            least, row = squared.min(1)
            nearest[item, column] = torch.where(least < torch.inf, row + first, -1)
        first += size
    return nearest


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
