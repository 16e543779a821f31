"""Depth of meshes and its gradient as warp kernels, one source for CPU and CUDA; twin: render/rasterise_torch.py.

One thread a triangle walks over the samples inside it and keeps the smallest key per pixel: the order of depths above
the face id. The smallest key does not depend on the order of threads. One thread a pixel then reads the depth off the
triangle that is left. On the way back one thread a pixel adds to the sums of its triangle, and one thread a triangle
moves its corners.
"""

# Kernels are written in warp's own types, which a checker of Python types cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false

from typing import Any, NamedTuple

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from render.kernels import as_warp, run
from render.rasterise_torch import INFINITY_BITS, MIN_DOUBLE_AREA, NEAR_MM

INFINITY = wp.constant(INFINITY_BITS)
NEAR, FAR = wp.constant(wp.float64(NEAR_MM)), wp.constant(wp.float64(torch.inf))
MIN_AREA = wp.constant(wp.float64(MIN_DOUBLE_AREA))
ZERO, ONE = wp.constant(wp.float64(0.0)), wp.constant(wp.float64(1.0))
# How far the crossing of a row and an edge may be off by rounding, in widths of the triangle.
SLACK = wp.constant(wp.float64(1e-9))

# Twin and kernel round alike only without fused multiply-adds; gradients are not taken through kernels.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})


class DepthOfMeshes(torch.autograd.Function):
    """Depth of vertices (float32 or float64) joined by faces (int32), and the gradient in closed form.

    With q_k = 1 / z_k at the corners, q = sum_k b_k(x, y) q_k and z = 1 / q. Moving corner k while the ray stays, from
    dq = b_k (dq_k - dq/dx du_k - dq/dy dv_k) follows dz = z^2 b_k (q_k^2 dz_k + dq/dx du_k + dq/dy dv_k). As b_k is
    linear in (x, y), a triangle's sum over its pixels needs only the sums of g z^2 (x, y, 1), g the incoming gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, vertices: Float[Tensor, "b v 3"], faces: Int[Tensor, "f 3"], height: int, width: int
    ) -> Float[Tensor, "b h w"]:
        vertices = vertices.detach().contiguous()
        real, kernels = KERNELS[vertices.dtype]
        batch, n_faces = len(vertices), len(faces)
        # The low word of the largest int64 reads -1: no face.
        keys = vertices.new_full((batch, height, width), torch.iinfo(torch.int64).max, dtype=torch.int64)
        planes = vertices.new_empty(batch, n_faces, 3, dtype=torch.float64)
        depth = vertices.new_empty(batch, height, width)

        def draw(items: slice) -> None:
            n, nearest, slopes = (
                items.stop - items.start,
                as_warp(keys[items], wp.int64),
                as_warp(planes[items], wp.vec3d),
            )
            meshes = [as_warp(vertices[items], real), as_warp(faces, wp.int32)]
            wp.launch(kernels.nearest, dim=(n, n_faces), inputs=[*meshes, nearest, slopes], device=nearest.device)
            pixels = [as_warp(keys[items].view(-1), wp.int64), height, width]
            read = [slopes, as_warp(depth[items].view(-1), real)]
            wp.launch(kernels.depth, dim=n * height * width, inputs=[*pixels, *read], device=nearest.device)

        run(draw, batch, like=vertices)
        ctx.save_for_backward(vertices, faces, keys, planes, depth)
        return depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "b h w"]) -> tuple[Tensor, None, None, None]:
        vertices, faces, keys, planes, depth = ctx.saved_tensors
        real, kernels = KERNELS[vertices.dtype]
        (height, width), n_faces = keys.shape[1:], len(faces)
        grad = grad.contiguous()
        sums, moved = torch.zeros_like(planes), torch.zeros_like(vertices)

        def move(items: slice) -> None:
            n, moments = items.stop - items.start, as_warp(sums[items], wp.float64)
            pixels = [as_warp(keys[items].view(-1), wp.int64), height, width]
            values = [as_warp(t[items].view(-1), real) for t in (depth, grad)]
            wp.launch(
                kernels.moments, dim=n * height * width, inputs=[*pixels, *values, moments], device=moments.device
            )
            meshes = [as_warp(vertices[items], real), as_warp(faces, wp.int32)]
            triangles = [as_warp(planes[items], wp.vec3d), moments, as_warp(moved[items], real)]
            wp.launch(kernels.corners, dim=(n, n_faces), inputs=[*meshes, *triangles], device=moments.device)

        run(move, len(vertices), like=vertices)
        return moved, None, None, None


@wp.func
def _corner(vertices: wp.array3d(dtype=Any), item: int, vertex: int):
    u = wp.float64(vertices[item, vertex, 0])
    v = wp.float64(vertices[item, vertex, 1])
    return wp.vec3d(u, v, wp.float64(vertices[item, vertex, 2]))


@wp.func
def _double_area(a: wp.vec3d, b: wp.vec3d, c: wp.vec3d):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@wp.func
def _raised(low: wp.float64, crossing: wp.float64, rise: wp.float64):
    """Start of a row's samples, moved to an edge that bounds them from the left; NaN moves nothing."""
    return wp.where(rise < -SLACK and crossing > low, crossing, low)


@wp.func
def _lowered(high: wp.float64, crossing: wp.float64, rise: wp.float64):
    """End of a row's samples, moved to an edge that bounds them from the right."""
    return wp.where(rise > SLACK and crossing < high, crossing, high)


@wp.kernel
def _keep_nearest(
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    keys: wp.array3d(dtype=wp.int64),
    planes: wp.array2d(dtype=wp.vec3d),
):
    item, face = wp.tid()
    a = _corner(vertices, item, faces[face, 0])
    b = _corner(vertices, item, faces[face, 1])
    c = _corner(vertices, item, faces[face, 2])
    u_low = wp.min(wp.min(a[0], b[0]), c[0])
    u_high = wp.max(wp.max(a[0], b[0]), c[0])
    left = wp.max(wp.ceil(u_low), ZERO)
    right = wp.min(wp.floor(u_high), wp.float64(keys.shape[2] - 1))
    top = wp.max(wp.ceil(wp.min(wp.min(a[1], b[1]), c[1])), ZERO)
    bottom = wp.min(wp.floor(wp.max(wp.max(a[1], b[1]), c[1])), wp.float64(keys.shape[1] - 1))
    double_area = _double_area(a, b, c)
    area = wp.abs(double_area)
    # Comparisons with NaN are false, so that it is left out as well.
    if not (left <= right and top <= bottom and area > MIN_AREA and area < FAR):
        return
    if not (a[2] > NEAR and b[2] > NEAR and c[2] > NEAR and a[2] < FAR and b[2] < FAR and c[2] < FAR):
        return

    # On the screen the inverse depth of a triangle is a plane.
    scale = ONE / double_area
    a_q = ONE / a[2]
    b_q = ONE / b[2] - a_q
    c_q = ONE / c[2] - a_q
    q_x = (b_q * (c[1] - a[1]) - c_q * (b[1] - a[1])) * scale
    q_y = (c_q * (b[0] - a[0]) - b_q * (c[0] - a[0])) * scale
    q_0 = a_q - q_x * a[0] - q_y * a[1]
    planes[item, face] = wp.vec3d(q_x, q_y, q_0)

    # Edge functions, positive inside whichever way round the triangle is seen.
    turn = wp.sign(double_area)
    a_u = turn * (c[0] - b[0])
    a_v = turn * (c[1] - b[1])
    b_u = turn * (a[0] - c[0])
    b_v = turn * (a[1] - c[1])
    c_u = turn * (b[0] - a[0])
    c_v = turn * (b[1] - a[1])
    # Where a row crosses the edges says which samples are worth testing: hardly more than those inside.
    margin = SLACK * (ONE + u_high - u_low)
    a_step = a_u / a_v
    b_step = b_u / b_v
    c_step = c_u / c_v
    image = keys[item]
    for row in range(int(top), int(bottom) + 1):
        y = wp.float64(row)
        a_x = b[0] + (y - b[1]) * a_step
        b_x = c[0] + (y - c[1]) * b_step
        c_x = a[0] + (y - a[1]) * c_step
        first = _raised(_raised(_raised(left, a_x, a_v), b_x, b_v), c_x, c_v)
        last = _lowered(_lowered(_lowered(right, a_x, a_v), b_x, b_v), c_x, c_v)
        # Within the image, and so within the integers.
        first = wp.min(wp.max(wp.ceil(first - margin), left), right + ONE)
        last = wp.max(wp.min(wp.floor(last + margin), right), left - ONE)
        a_row = a_u * (y - b[1])
        b_row = b_u * (y - c[1])
        c_row = c_u * (y - a[1])
        for column in range(int(first), int(last) + 1):
            x = wp.float64(column)
            a_w = a_row - a_v * (x - b[0])
            b_w = b_row - b_v * (x - c[0])
            c_w = c_row - c_v * (x - a[0])
            if a_w >= ZERO and b_w >= ZERO and c_w >= ZERO:
                # Bits of positive floats sort like integers; the nearest has the largest inverse depth.
                q = wp.float32(q_x * x + q_y * y + q_0)
                order = wp.int64(INFINITY - wp.cast(q, wp.int32))
                wp.atomic_min(image, row, column, (order << wp.int64(32)) | wp.int64(face))


@wp.kernel
def _read_depth(
    keys: wp.array(dtype=wp.int64),
    height: wp.int32,
    width: wp.int32,
    planes: wp.array2d(dtype=wp.vec3d),
    depth: wp.array(dtype=Any),
):
    i = wp.tid()
    face = wp.int32(keys[i])
    if face < 0:
        depth[i] = depth.dtype(0.0)
        return
    row = i / width
    item = row / height
    plane = planes[item, face]
    q = plane[0] * wp.float64(i - row * width) + plane[1] * wp.float64(row - item * height) + plane[2]
    depth[i] = depth.dtype(ONE / q)


@wp.kernel
def _add_moments(
    keys: wp.array(dtype=wp.int64),
    height: wp.int32,
    width: wp.int32,
    depth: wp.array(dtype=Any),
    grad: wp.array(dtype=Any),
    moments: wp.array3d(dtype=wp.float64),
):
    i = wp.tid()
    face = wp.int32(keys[i])
    if face < 0:
        return
    row = i / width
    item = row / height
    z = wp.float64(depth[i])
    g = wp.float64(grad[i]) * z * z
    wp.atomic_add(moments, item, face, 0, g * wp.float64(i - row * width))
    wp.atomic_add(moments, item, face, 1, g * wp.float64(row - item * height))
    wp.atomic_add(moments, item, face, 2, g)


@wp.kernel
def _move_corners(
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    planes: wp.array2d(dtype=wp.vec3d),
    moments: wp.array3d(dtype=wp.float64),
    moved: wp.array3d(dtype=Any),
):
    item, face = wp.tid()
    m_x = moments[item, face, 0]
    m_y = moments[item, face, 1]
    m_1 = moments[item, face, 2]
    # Planes of triangles that no pixel sees may never have been written.
    if m_x == ZERO and m_y == ZERO and m_1 == ZERO:
        return
    plane = planes[item, face]
    a = _corner(vertices, item, faces[face, 0])
    b = _corner(vertices, item, faces[face, 1])
    c = _corner(vertices, item, faces[face, 2])
    scale = ONE / _double_area(a, b, c)
    for k in range(3):
        corner = _corner(vertices, item, faces[face, k])
        start = _corner(vertices, item, faces[face, (k + 1) % 3])
        end = _corner(vertices, item, faces[face, (k + 2) % 3])
        share = (end[0] - start[0]) * (m_y - start[1] * m_1) - (end[1] - start[1]) * (m_x - start[0] * m_1)
        share *= scale
        wp.atomic_add(moved, item, faces[face, k], 0, moved.dtype(share * plane[0]))
        wp.atomic_add(moved, item, faces[face, k], 1, moved.dtype(share * plane[1]))
        wp.atomic_add(moved, item, faces[face, k], 2, moved.dtype(share / (corner[2] * corner[2])))


class Kernels(NamedTuple):
    """The kernels for vertices and depths of one type; warp would look for it anew at every launch."""

    nearest: wp.Kernel
    depth: wp.Kernel
    moments: wp.Kernel
    corners: wp.Kernel

    @classmethod
    def of(cls, real: type) -> "Kernels":
        """Compiled for vertices, depths and gradients of this type, at the first launch."""
        meshes, line = wp.array3d(dtype=real), wp.array(dtype=real)
        return cls(
            wp.overload(_keep_nearest, {"vertices": meshes}),
            wp.overload(_read_depth, {"depth": line}),
            wp.overload(_add_moments, {"depth": line, "grad": line}),
            wp.overload(_move_corners, {"vertices": meshes, "moved": meshes}),
        )


KERNELS: dict[torch.dtype, tuple[type, Kernels]] = {
    torch.float32: (wp.float32, Kernels.of(wp.float32)),
    torch.float64: (wp.float64, Kernels.of(wp.float64)),
}
