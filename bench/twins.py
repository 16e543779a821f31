"""Plain torch twins of the geometry, written from the formulas: what a user without these kernels would write.

All are batched, without a Python loop over the batch or over triangles; they are float32 and as quick as plain torch
allows while they stay obvious. Loops that remain run over joints, parts of the hand, or slices of points that bound
the memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from render.hand_layer import HandLayer
from render.spheres import KNUCKLES, N_PALM, NEAREST, RADIUS_RANGE_MM, TIP_SHRINK, WRIST_LESS_MM, HandSpheres
from render.surface_torch import closest_weights

NEAR_MM, LEAST_AREA = 1.0, 1e-6
PAIRS_AT_ONCE = 1 << 19
"""Pairs of a point and a triangle at a time: about the processor's cache."""


def rodrigues(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of axis-angles (..., 3): I + sin K + (1 - cos) K^2."""
    angle = axis_angle.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = angle.unsqueeze(-1)
    return torch.eye(3, device=k.device) + angle.sin() * k + (1 - angle.cos()) * (k @ k)


def hand_layer(layer: HandLayer, rotation: Tensor, pose: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices (b, v, 3) and the 16 skeleton joints and 5 tips (b, 21, 3): 4x4 transforms down the chain, then LBS."""
    shaped = layer.template + torch.einsum("bs,sx->bx", shape, layer.shapedirs).unflatten(-1, (-1, 3))
    rest = torch.einsum("jv,bvx->bjx", layer.joint_regressor, shaped)
    axis_angles = torch.cat([rotation.unsqueeze(1), layer.axis_angles(pose)], 1)
    rotations = rodrigues(axis_angles)
    if layer.posedirs is not None:
        bend = (rotations[:, 1:] - torch.eye(3, device=rest.device)).flatten(1)
        shaped = shaped + torch.einsum("bp,px->bx", bend, layer.posedirs).unflatten(-1, (-1, 3))
    world: list[Tensor] = []
    for joint, parent in enumerate(layer.parents):
        local = torch.zeros(len(pose), 4, 4, device=rest.device)
        local[:, :3, :3], local[:, 3, 3] = rotations[:, joint], 1
        local[:, :3, 3] = rest[:, joint] - (rest[:, parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    transforms = torch.stack(world, 1)
    shift = transforms[..., :3, 3] - torch.einsum("bjxy,bjy->bjx", transforms[..., :3, :3], rest)
    transforms = torch.cat([transforms[..., :3, :3], shift.unsqueeze(-1)], -1)
    blended = torch.einsum("vj,bjxy->bvxy", layer.weights[:-1], transforms)
    vertices = torch.einsum("bvxy,bvy->bvx", blended, F.pad(shaped, (0, 1), value=1.0))
    joints = torch.cat(
        [torch.einsum("jv,bvx->bjx", layer.joint_regressor, vertices), vertices[:, layer.tip_vertex_ids]], 1
    )
    return torch.cat([vertices, vertices[:, layer.wrist_ring].mean(1, keepdim=True)], 1), joints


def rasterise(vertices_uvz: Tensor, faces: Tensor, size: int) -> Tensor:
    """Depth (b, size, size) by a z-buffer that a scatter fills; differentiable where a pixel shows a triangle.

    Each triangle is tested at the pixels of its own box, all boxes written out one after another.
    """
    with torch.no_grad():
        front = _front_triangles(vertices_uvz, faces, size)
        pixel = (front >= 0).nonzero().squeeze(1)
        triangle = front[pixel]
        corner = faces[triangle % len(faces)] + (triangle // len(faces) * vertices_uvz.shape[1]).unsqueeze(1)
        x, y = (pixel % size).float(), (pixel // size % size).float()
    a, b, c = vertices_uvz.flatten(0, 1)[corner].unbind(1)
    depth = vertices_uvz.new_zeros(len(front)).index_put((pixel,), 1 / _inverse_depth(a, b, c, x, y)[0])
    return depth.view(len(vertices_uvz), size, size)


def _inverse_depth(a: Tensor, b: Tensor, c: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse depth, which is linear on the screen, at pixels (x, y) of triangles (n, 3), and weights of b and c."""
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    x, y = x - a[:, 0], y - a[:, 1]
    at_b = (x * (c[:, 1] - a[:, 1]) - y * (c[:, 0] - a[:, 0])) / area
    at_c = (y * (b[:, 0] - a[:, 0]) - x * (b[:, 1] - a[:, 1])) / area
    q_a, q_b, q_c = 1 / a[:, 2], 1 / b[:, 2], 1 / c[:, 2]
    return q_a + at_b * (q_b - q_a) + at_c * (q_c - q_a), at_b, at_c


def _front_triangles(vertices_uvz: Tensor, faces: Tensor, size: int) -> Tensor:
    """Number (item x faces + face) of the nearest triangle of each pixel of the batch, -1 where there is none."""
    batch, n_faces = len(vertices_uvz), len(faces)
    corners = vertices_uvz[:, faces].flatten(0, 1)
    a, b, c = corners.unbind(1)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    drawn = (corners[..., 2] > NEAR_MM).all(1) & (area.abs() > LEAST_AREA)
    low = corners[..., :2].amin(1).ceil().clamp(0, size).int()
    high = corners[..., :2].amax(1).floor().clamp(-1, size - 1).int()
    columns, rows = (high - low + 1).clamp_min(0).unbind(1)
    count = columns * rows * drawn
    # per triangle: weights of b and c as functions of the pixel, and inverse depth as a function of these weights
    q = 1 / corners[..., 2]
    table = [a[:, 0], a[:, 1], (c[:, 1] - a[:, 1]) / area, (a[:, 0] - c[:, 0]) / area, (a[:, 1] - b[:, 1]) / area]
    table += [(b[:, 0] - a[:, 0]) / area, q[:, 0], q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]]

    triangle = torch.repeat_interleave(count)
    rank = torch.arange(len(triangle), dtype=torch.int32, device=count.device)
    rank = rank - (count.cumsum(0, dtype=torch.int32) - count).index_select(0, triangle)
    width = columns.index_select(0, triangle)
    row = torch.div(rank, width, rounding_mode="floor")
    x, y = rank - row * width + low[:, 0].index_select(0, triangle), row + low[:, 1].index_select(0, triangle)
    u, v, b_u, b_v, c_u, c_v, q_a, q_b, q_c = (column.index_select(0, triangle) for column in table)
    u, v = x - u, y - v
    at_b, at_c = b_u * u + b_v * v, c_u * u + c_v * v
    order = q_a + at_b * q_b + at_c * q_c
    inside = (torch.minimum(torch.minimum(at_b, at_c), 1 - at_b - at_c) >= 0).nonzero().squeeze(1)
    triangle, order = triangle[inside].long(), order[inside]
    pixel = (triangle // n_faces * size + y[inside]) * size + x[inside]
    nearest = order.new_zeros(batch * size * size).scatter_reduce_(0, pixel, order, "amax")
    wins = (order == nearest[pixel]).nonzero().squeeze(1)
    front = torch.full((len(nearest),), -1, dtype=torch.long, device=order.device)
    return front.index_put_((pixel[wins],), triangle[wins])


def surface_distance(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """Squared distance (b, p) of points to meshes: every point to every triangle, the least counts.

    The search has no gradient; the distance to the triangle found is computed once more with one.
    """
    corners = vertices[:, faces]
    with torch.no_grad():
        step = max(1, PAIRS_AT_ONCE // (len(points) * len(faces)))
        nearest = torch.cat([_nearest(part, corners) for part in points.split(step, 1)], 1)
    chosen = corners.gather(1, nearest[..., None, None].expand(-1, -1, 3, 3))
    place = (closest_weights(points, chosen).detach().unsqueeze(-1) * chosen).sum(-2)
    return (points - place).square().sum(-1)


def _nearest(points: Tensor, corners: Tensor) -> Tensor:
    """Triangle (b, p) nearest to each point."""
    point, triangle = points.unsqueeze(2), corners.unsqueeze(1)
    weights = closest_weights(point, triangle)
    offset = [
        point[..., k]
        - weights[..., 0] * triangle[..., 0, k]
        - weights[..., 1] * triangle[..., 1, k]
        - weights[..., 2] * triangle[..., 2, k]
        for k in range(3)
    ]
    return (offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2]).argmin(-1)


def part_surface_distance(
    points: Tensor, labels: Tensor, vertices: Tensor, faces: Tensor, part_faces: tuple[Tensor, ...]
) -> Tensor:
    """Squared distance (b, p) of the points of parts 1, 2, ... to the triangles of their part; 0 for part 0.

    Part by part, on that part's points alone, gathered to the front of each item.
    """
    distance = points.new_zeros(points.shape[:2])
    for part, ids in enumerate(part_faces, 1):
        own = labels == part
        order = own.int().argsort(dim=1, descending=True, stable=True)[:, : int(own.sum(1).max())]
        some = surface_distance(points.gather(1, order.unsqueeze(-1).expand(-1, -1, 3)), vertices, faces[ids])
        distance = distance.scatter_add(1, order, torch.where(own.gather(1, order), some, 0.0))
    return distance


def sphere_terms(
    spheres: HandSpheres, joints: Tensor, vertices: Tensor, unit_mm: Tensor, points: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Radii (b, 66), penetration (b,) and part of each point (b, p): every pair measured."""
    centres = torch.einsum("sj,bjx->bsx", spheres.blend, joints)
    apart = torch.where(spheres.support, torch.cdist(joints[:, : len(spheres.support)], vertices[:, :-1]), torch.inf)
    least = apart.topk(NEAREST, -1, largest=False).values
    least, counts = torch.where(least.isinf(), 0.0, least), spheres.support.sum(1).clamp_max(NEAREST)
    own = least.sum(-1) / counts
    # the finger tips have no ring of their own: that of the last joint, shrunk
    tips = own[:, [knuckle + 2 for knuckle in KNUCKLES]] / TIP_SHRINK
    at_joints = torch.cat([own[:, :1] - WRIST_LESS_MM / unit_mm, own[:, 1:16], tips], 1)
    low, high = (mm / unit_mm for mm in RADIUS_RANGE_MM)
    radii = torch.einsum("sj,bj->bs", spheres.blend, at_joints.clamp(low, high))
    apart = (centres.unsqueeze(2) - centres.unsqueeze(1)).square().sum(-1).add(1e-12).sqrt()
    overlap = (radii.unsqueeze(2) + radii.unsqueeze(1) - apart).clamp_min(0) * spheres.pair_mask
    to_sphere = (points.unsqueeze(2) - centres.unsqueeze(1)).norm(dim=-1) - radii.unsqueeze(1)
    part = torch.cat([torch.zeros(N_PALM), torch.arange(45) // 3 + 1]).long().to(points.device)
    return radii, overlap.sum((1, 2)) / len(spheres.sphere_part), part[to_sphere.abs().argmin(-1)]
