"""Front-most triangle per pixel as a warp kernel, one source for CPU and CUDA.

One thread a triangle walks over the pixels of its bounding box and keeps the smallest key per pixel: the order of
depths above the face id. The smallest key does not depend on the order of threads.
"""

# Kernels are written in warp's own types, which a checker of Python types cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportArgumentType=false

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from render.kernels import as_warp, run

# Bits of the float32 infinity, above those of every number.
INFINITY_BITS = wp.constant(0x7F800000)

# Twin and kernel round alike only without fused multiply-adds; gradients are not taken through kernels.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})


def front_faces(corners: Float[Tensor, "b f 3 3"], height: int, width: int) -> Int[Tensor, "b h w"]:
    """Face id met first by each sample's ray, -1 where none (int32).

    Args:
        corners: (u, v, z) of each triangle's corners in pixels and mm, float64; a triangle with z = 0 is left out.
        height: rows of the image.
        width: columns of the image.
    """
    batch, n_faces = corners.shape[:2]
    # The low word of the largest int64 reads -1.
    keys = corners.new_full((batch, height, width), torch.iinfo(torch.int64).max, dtype=torch.int64)
    corners = corners.contiguous()

    def draw(items: slice) -> None:
        arrays = [as_warp(corners[items], wp.vec3d), as_warp(keys[items], wp.int64)]
        wp.launch(_keep_nearest, dim=(items.stop - items.start, n_faces), inputs=arrays, device=arrays[0].device)

    run(draw, batch, like=corners)
    return keys.view(torch.int32)[..., ::2]


@wp.kernel
def _keep_nearest(corners: wp.array3d(dtype=wp.vec3d), keys: wp.array3d(dtype=wp.int64)):
    item, face = wp.tid()
    a = corners[item, face, 0]
    b = corners[item, face, 1]
    c = corners[item, face, 2]
    if a[2] <= wp.float64(0.0):
        return
    last_column = wp.float64(keys.shape[2] - 1)
    last_row = wp.float64(keys.shape[1] - 1)
    zero = wp.float64(0.0)
    one = wp.float64(1.0)
    left = int(wp.max(wp.ceil(wp.min(wp.min(a[0], b[0]), c[0])), zero))
    right = int(wp.max(wp.min(wp.floor(wp.max(wp.max(a[0], b[0]), c[0])), last_column), -one))
    top = int(wp.max(wp.ceil(wp.min(wp.min(a[1], b[1]), c[1])), zero))
    bottom = int(wp.max(wp.min(wp.floor(wp.max(wp.max(a[1], b[1]), c[1])), last_row), -one))

    # Edge functions are positive inside, whichever way round the triangle is seen.
    double_area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    turn = wp.sign(double_area)
    a_u = turn * (c[0] - b[0])
    a_v = turn * (c[1] - b[1])
    b_u = turn * (a[0] - c[0])
    b_v = turn * (a[1] - c[1])
    c_u = turn * (b[0] - a[0])
    c_v = turn * (b[1] - a[1])
    a_q = one / (turn * double_area * a[2])
    b_q = one / (turn * double_area * b[2])
    c_q = one / (turn * double_area * c[2])
    image = keys[item]
    for row in range(top, bottom + 1):
        y = wp.float64(row)
        a_row = a_u * (y - b[1])
        b_row = b_u * (y - c[1])
        c_row = c_u * (y - a[1])
        for column in range(left, right + 1):
            x = wp.float64(column)
            a_w = a_row - a_v * (x - b[0])
            b_w = b_row - b_v * (x - c[0])
            c_w = c_row - c_v * (x - a[0])
            # One test in place of three branches that a processor guesses badly.
            if wp.min(wp.min(a_w, b_w), c_w) >= zero:
                # Bits of positive floats sort like integers; the nearest has the largest inverse depth.
                q = a_w * a_q + b_w * b_q + c_w * c_q
                order = wp.int64(INFINITY_BITS - wp.cast(wp.float32(q), wp.int32))
                wp.atomic_min(image, row, column, (order << wp.int64(32)) | wp.int64(face))
