"""Nearest triangle by boxes within boxes, one source for CPU and CUDA.

The triangles stay in the clusters that render/surface_clusters.py put them into; only the boxes are drawn anew around
each pose. A point looks into its own group's boxes alone, and only into those that begin nearer than the nearest
triangle so far. Eight boxes or triangles are measured at a time, without a branch: on a CPU that is one instruction a
step for all eight. The search is in float32; distance and weights are then measured in the type of the points.
"""

# Kernels are written in warp's own types, which a checker of Python types cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOperatorIssue=false
# pyright: reportIndexIssue=false, reportCallIssue=false

from collections.abc import Sequence
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from render.kernels import as_warp, run
from render.surface_clusters import LANES, Clusters

# Loops over lanes stay loops. Warp lets the compiler look only 4 operations deep for what it can do side by side; here
# it looks as far as LLVM does by itself.
wp.set_module_options(
    {
        "enable_backward": False,
        "max_unroll": 4,
        "cpu_compiler_flags": "-march=native -mllvm=-inline-threshold=9000"
        " -mllvm=-inline-cold-callsite-threshold=3000 -mllvm=-slp-recursion-max-depth=12",
    }
)

lanes = wp.types.vector(length=LANES, dtype=wp.float32)
lane_ids = wp.types.vector(length=LANES, dtype=wp.int32)

# Scalars and vectors of the types of tensor that distances are measured in.
TYPES = {torch.float32: (wp.float32, wp.vec3), torch.float64: (wp.float64, wp.vec3d)}

# A triangle whose angle has a smaller squared sine than this is measured by its edges alone.
SLIVER = wp.constant(1.0e-10)
# Times an overlap with the outside of a triangle, this is farther than anything else.
FAR = wp.constant(1.0e36)


def nearest_faces(
    points: Float[Tensor, "b p 3"],
    group: Int[Tensor, "b p"],
    vertices: Float[Tensor, "b v 3"],
    faces: Int[Tensor, "f 3"],
    groups: Sequence[Int[Tensor, "_"]],
) -> Int[Tensor, "b p"]:
    """Id of the face nearest to each point among those of its group (int32); -1 where there is none.

    Args:
        points: in any unit.
        group: group of each point; points of other groups than those given find nothing.
        vertices: in the same unit; faces with a vertex that is not finite do not count.
        faces: vertex ids.
        groups: face ids of each group; none for one group of all faces.
    """
    if group.numel() == 0:
        return group.int()
    clusters = Clusters.of(vertices, faces, groups)
    points, vertices, group = points.float().contiguous(), vertices.float().contiguous(), group.long().contiguous()
    batch, count = len(points), len(clusters.faces)
    # A corner and two sides of each triangle, and the boxes around clusters and around nodes, lanes last.
    triangles = points.new_empty(batch, count, 9, LANES)
    of_clusters = points.new_empty(batch, count // LANES, 6, LANES)
    of_nodes = points.new_empty(batch, count // LANES**2, 6, LANES)
    nearest = group.new_empty(group.shape, dtype=torch.int32)

    def search(items: slice) -> None:
        poses = triangles[items], of_clusters[items], of_nodes[items]
        numbers, wide = [as_warp(t, wp.float32) for t in poses], [as_warp(t, lanes) for t in poses]
        face_ids, first_block = as_warp(clusters.faces, wp.int32), as_warp(clusters.first_block, wp.int32)
        at, corners = as_warp(vertices[items], wp.vec3), as_warp(clusters.corners, wp.int32)
        targets, own = as_warp(points[items], wp.vec3), as_warp(group[items], wp.int64)
        out = as_warp(nearest[items], wp.int32)
        wp.launch(_pose_clusters, wide[0].shape[:2], [at, face_ids, corners, *numbers[:2]], device=out.device)
        wp.launch(_pose_nodes, wide[1].shape[:2], [wide[1], numbers[2]], device=out.device)
        wp.launch(_search, out.shape, [targets, own, first_block, *wide, face_ids, out], device=out.device)

    run(search, batch, like=points)
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
    points, vertices, faces = points.contiguous(), vertices.contiguous(), faces.long().contiguous()
    squared = points.new_full(points.shape[:2], torch.nan)
    offset, weights = torch.zeros_like(points), torch.zeros_like(points)
    if squared.numel() == 0:
        return squared, offset, weights
    real, triple = TYPES[points.dtype]

    def measure(items: slice) -> None:
        arrays = [as_warp(t[items], triple) for t in (points, vertices, offset, weights)]
        found, out = as_warp(nearest[items], wp.int32), as_warp(squared[items], real)
        wp.launch(_measure, out.shape, [as_warp(faces, wp.int64), found, *arrays, out], device=out.device)

    run(measure, len(points), like=points)
    return squared, offset, weights


@wp.kernel
def _pose_clusters(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    corners: wp.array3d(dtype=wp.int32),
    triangles: wp.array4d(dtype=wp.float32),
    boxes: wp.array4d(dtype=wp.float32),
):
    item, cluster = wp.tid()
    low = wp.vec3(wp.inf, wp.inf, wp.inf)
    high = -low
    for lane in range(LANES):
        a = vertices[item, corners[cluster, lane, 0]]
        b = vertices[item, corners[cluster, lane, 1]]
        c = vertices[item, corners[cluster, lane, 2]]
        if faces[cluster, lane] >= 0 and wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c):
            low = wp.min(low, wp.min(a, wp.min(b, c)))
            high = wp.max(high, wp.max(a, wp.max(b, c)))
        else:  # no distance to it is less than another
            a = wp.vec3(wp.nan, wp.nan, wp.nan)
        for axis in range(3):
            triangles[item, cluster, axis, lane] = a[axis]
            triangles[item, cluster, 3 + axis, lane] = b[axis] - a[axis]
            triangles[item, cluster, 6 + axis, lane] = c[axis] - a[axis]
    for axis in range(3):
        boxes[item, cluster // LANES, axis, cluster % LANES] = low[axis]
        boxes[item, cluster // LANES, 3 + axis, cluster % LANES] = high[axis]


@wp.kernel
def _pose_nodes(of_clusters: wp.array3d(dtype=lanes), of_nodes: wp.array4d(dtype=wp.float32)):
    item, node = wp.tid()
    for axis in range(3):
        of_nodes[item, node // LANES, axis, node % LANES] = wp.min(of_clusters[item, node, axis])
        of_nodes[item, node // LANES, 3 + axis, node % LANES] = wp.max(of_clusters[item, node, 3 + axis])


@wp.kernel
def _search(
    points: wp.array2d(dtype=wp.vec3),
    group: wp.array2d(dtype=wp.int64),
    first_block: wp.array(dtype=wp.int32),
    triangles: wp.array3d(dtype=lanes),
    of_clusters: wp.array3d(dtype=lanes),
    of_nodes: wp.array3d(dtype=lanes),
    faces: wp.array2d(dtype=wp.int32),
    nearest: wp.array2d(dtype=wp.int32),
):
    item, i = wp.tid()
    nearest[item, i] = -1
    p = points[item, i]
    own = int(group[item, i])
    if own < 0 or own >= first_block.shape[0] - 1 or not wp.isfinite(p):
        return
    first = first_block[own]
    last = first_block[own + 1]

    # The nearest cluster of the nearest node comes first: its triangles leave little else to look at.
    node = wp.int32(-1)
    best = float(wp.inf)
    for block in range(first, last):
        at_nodes = _to_boxes(of_nodes[item, block], p)
        lane = _least(at_nodes)
        if at_nodes[lane] < best:
            best = at_nodes[lane]
            node = LANES * block + lane
    if node < 0:
        return
    start = LANES * node + _least(_to_boxes(of_clusters[item, node], p))
    squared = _to_triangles(triangles[item, start], p)
    lane = _least(squared)
    best = squared[lane]
    face = faces[start, lane]

    for block in range(first, last):
        at_nodes = _to_boxes(of_nodes[item, block], p)
        for k in range(LANES):
            if at_nodes[k] < best:
                node = LANES * block + k
                at_clusters = _to_boxes(of_clusters[item, node], p)
                for j in range(LANES):
                    cluster = LANES * node + j
                    if at_clusters[j] < best and cluster != start:
                        squared = _to_triangles(triangles[item, cluster], p)
                        lane = _least(squared)
                        if squared[lane] < best:
                            best = squared[lane]
                            face = faces[cluster, lane]
    nearest[item, i] = face


@wp.func
def _to_boxes(box: wp.array(dtype=lanes), p: wp.vec3):
    """Squared distances of a point to boxes, infinite for empty ones."""
    x = wp.max(wp.max(box[0] - lanes(p[0]), lanes(p[0]) - box[3]), lanes(0.0))
    y = wp.max(wp.max(box[1] - lanes(p[1]), lanes(p[1]) - box[4]), lanes(0.0))
    z = wp.max(wp.max(box[2] - lanes(p[2]), lanes(p[2]) - box[5]), lanes(0.0))
    return _dot(x, y, z, x, y, z)


@wp.func
def _to_triangles(t: wp.array(dtype=lanes), p: wp.vec3):
    """Squared distances of a point to triangles: to the plane if it lies above the inside, else to the nearest edge.

    Minima skip NaN, so that triangles that do not count, of which all is NaN, end up infinitely far away, an edge
    without length is as far away as its end, and a triangle without area is as far away as its edges.
    """
    x, y, z = lanes(p[0]) - t[0], lanes(p[1]) - t[1], lanes(p[2]) - t[2]
    at_b = _dot(x, y, z, t[3], t[4], t[5])
    at_c = _dot(x, y, z, t[6], t[7], t[8])
    bb = _dot(t[3], t[4], t[5], t[3], t[4], t[5])
    bc = _dot(t[3], t[4], t[5], t[6], t[7], t[8])
    cc = _dot(t[6], t[7], t[8], t[6], t[7], t[8])
    to_b = _to_edge(x, y, z, t[3], t[4], t[5], wp.cw_div(at_b, bb))
    to_c = _to_edge(x, y, z, t[6], t[7], t[8], wp.cw_div(at_c, cc))
    along = wp.cw_div(at_c - at_b + bb - bc, bb + cc - 2.0 * bc)
    from_b_to_c = _to_edge(x - t[3], y - t[4], z - t[5], t[6] - t[3], t[7] - t[4], t[8] - t[5], along)
    normal_x = wp.cw_mul(t[4], t[8]) - wp.cw_mul(t[5], t[7])
    normal_y = wp.cw_mul(t[5], t[6]) - wp.cw_mul(t[3], t[8])
    normal_z = wp.cw_mul(t[3], t[7]) - wp.cw_mul(t[4], t[6])
    area = _dot(normal_x, normal_y, normal_z, normal_x, normal_y, normal_z)
    height = _dot(x, y, z, normal_x, normal_y, normal_z)
    # As triple products: from the dot products above, a narrow triangle's would be lost in rounding.
    b = _triple(x, y, z, t[6], t[7], t[8], normal_x, normal_y, normal_z)
    c = _triple(t[3], t[4], t[5], x, y, z, normal_x, normal_y, normal_z)
    outside = wp.max(wp.max(-b, -c), wp.max(b + c - area, SLIVER * wp.cw_mul(bb, cc) - area))
    to_plane = wp.cw_div(wp.cw_mul(height, height), area) + FAR * wp.max(outside, lanes(0.0))
    nearest = wp.min(wp.min(to_b, to_c), wp.min(from_b_to_c, to_plane))
    return wp.min(nearest, lanes(wp.inf))


@wp.func
def _to_edge(x: lanes, y: lanes, z: lanes, edge_x: lanes, edge_y: lanes, edge_z: lanes, along: lanes):
    """Squared distances to edges from the origin; along: where the line is closest, in lengths of the edge."""
    along = wp.max(wp.min(along, lanes(1.0)), lanes(0.0))
    x -= wp.cw_mul(along, edge_x)
    y -= wp.cw_mul(along, edge_y)
    z -= wp.cw_mul(along, edge_z)
    return _dot(x, y, z, x, y, z)


@wp.func
def _dot(x: lanes, y: lanes, z: lanes, to_x: lanes, to_y: lanes, to_z: lanes):
    return wp.cw_mul(x, to_x) + wp.cw_mul(y, to_y) + wp.cw_mul(z, to_z)


@wp.func
def _triple(x: lanes, y: lanes, z: lanes, by_x: lanes, by_y: lanes, by_z: lanes, to_x: lanes, to_y: lanes, to_z: lanes):
    """Dot products of a cross product with a third vector."""
    cross_x = wp.cw_mul(y, by_z) - wp.cw_mul(z, by_y)
    cross_y = wp.cw_mul(z, by_x) - wp.cw_mul(x, by_z)
    cross_z = wp.cw_mul(x, by_y) - wp.cw_mul(y, by_x)
    return _dot(cross_x, cross_y, cross_z, to_x, to_y, to_z)


@wp.func
def _least(values: lanes):
    """Lane of the least value; in three rounds, which wait less for each other than seven comparisons in a row."""
    lane = lane_ids(0, 1, 2, 3, 4, 5, 6, 7)
    for k in range(4):
        if values[k + 4] < values[k]:
            values[k] = values[k + 4]
            lane[k] = lane[k + 4]
    for k in range(2):
        if values[k + 2] < values[k]:
            values[k] = values[k + 2]
            lane[k] = lane[k + 2]
    return wp.where(values[1] < values[0], lane[1], lane[0])


@wp.kernel
def _measure(
    faces: wp.array2d(dtype=wp.int64),
    nearest: wp.array2d(dtype=wp.int32),
    points: wp.array2d(dtype=Any),
    vertices: wp.array2d(dtype=Any),
    offsets: wp.array2d(dtype=Any),
    weights: wp.array2d(dtype=Any),
    squared: wp.array2d(dtype=Any),
):
    item, i = wp.tid()
    face = nearest[item, i]
    if face >= 0:
        a = vertices[item, int(faces[face, 0])]
        b = vertices[item, int(faces[face, 1])]
        c = vertices[item, int(faces[face, 2])]
        w = _closest_weights(points[item, i] - a, points[item, i] - b, points[item, i] - c, b - a, c - a)
        offset = points[item, i] - (w[0] * a + w[1] * b + w[2] * c)
        offsets[item, i] = offset
        weights[item, i] = w
        squared[item, i] = wp.dot(offset, offset)


@wp.func
def _closest_weights(from_a: Any, from_b: Any, from_c: Any, ab: Any, ac: Any):
    """Weights of the closest place of a triangle: the same seven regions as in render/surface_torch.py."""
    ab_a, ac_a = wp.dot(ab, from_a), wp.dot(ac, from_a)
    ab_b, ac_b = wp.dot(ab, from_b), wp.dot(ac, from_b)
    ab_c, ac_c = wp.dot(ab, from_c), wp.dot(ac, from_c)
    zero, one = type(ab_a)(0.0), type(ab_a)(1.0)
    if ab_a <= zero and ac_a <= zero:
        return wp.vector(one, zero, zero)
    if ab_b >= zero and ac_b <= ab_b:
        return wp.vector(zero, one, zero)
    if ac_c >= zero and ab_c <= ac_c:
        return wp.vector(zero, zero, one)
    inside_a, inside_b, inside_c = ab_b * ac_c - ab_c * ac_b, ab_c * ac_a - ab_a * ac_c, ab_a * ac_b - ab_b * ac_a
    if inside_c <= zero and ab_a >= zero and ab_b <= zero:
        b = _ratio(ab_a, ab_a - ab_b)
        return wp.vector(one - b, b, zero)
    if inside_b <= zero and ac_a >= zero and ac_c <= zero:
        c = _ratio(ac_a, ac_a - ac_c)
        return wp.vector(one - c, zero, c)
    bc_b, bc_c = ac_b - ab_b, ac_c - ab_c
    if inside_a <= zero and bc_b >= zero and bc_c <= zero:
        c = _ratio(bc_b, bc_b - bc_c)
        return wp.vector(zero, one - c, c)
    total = inside_a + inside_b + inside_c
    b, c = _ratio(inside_b, total), _ratio(inside_c, total)
    return wp.vector(one - b - c, b, c)


@wp.func
def _ratio(part: Any, whole: Any):
    """part / whole, 0 where the whole is 0."""
    if whole == type(whole)(0.0):
        return whole
    return part / whole


# Written out for both types, so that all of the module can be compiled ahead of time.
for real, triple in TYPES.values():
    triples = dict.fromkeys(("points", "vertices", "offsets", "weights"), wp.array2d(dtype=triple))
    wp.overload(_measure, {**triples, "squared": wp.array2d(dtype=real)})
