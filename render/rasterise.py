"""Depth image of a batch of meshes, differentiable with respect to the vertices.

The warp back end computes depth and gradient in kernels. The others only find which triangle each sample's ray meets
first; depth then follows from that triangle in plain torch, which finds the gradient.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from render import rasterise_pytorch3d, rasterise_torch
from render.rasterise_warp import KERNELS, DepthOfMeshes
from util.errors import UserError

Backend = Literal["warp", "torch", "pytorch3d"]

FINDERS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "torch": rasterise_torch.front_faces,
    "pytorch3d": rasterise_pytorch3d.front_faces,
}


def rasterise(
    vertices_uvz: Float[Tensor, "*batch v 3"],
    faces: Int[Tensor, "f 3"],
    size: int | tuple[int, int],
    backend: Backend = "warp",
) -> Float[Tensor, "*batch h w"]:
    """Depth of the front-most surface through each sample of the image.

    Inverse depth is interpolated linearly on the screen (perspective-correct). The gradient moves the vertices of
    the triangle that a pixel's ray hits, the ray staying where it is; silhouettes carry none. Back faces are drawn.
    Skipped are triangles with a vertex nearer than 1 mm or not finite, or of no area on the screen. A sample exactly
    on an edge belongs to both sides, and of equal inverse depths (as float32) the lower face id wins: "warp" and
    "torch" share these rules.

    Args:
        vertices_uvz: u, v in output pixels (sample j of a row lies at u = j, row i at v = i), z in mm. One call for
            two stacked batches costs less than two calls.
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
    if backend != "warp" and backend not in FINDERS:
        raise UserError(f"Unknown rasteriser back end {backend!r}: choose one of {', '.join(('warp', *FINDERS))}.")
    height, width = (size, size) if isinstance(size, int) else size
    batch = vertices_uvz.shape[:-2]
    meshes = vertices_uvz.reshape(batch.numel(), *vertices_uvz.shape[-2:])
    # Gathered from the ids that there are: torch checks the faces' own on the way, on a GPU without waiting for it.
    known = torch.arange(meshes.shape[1], dtype=torch.int32, device=meshes.device)
    faces = known.gather(0, faces.reshape(-1).long()).view(-1, 3)
    if backend == "warp":
        meshes = meshes if meshes.dtype in KERNELS else meshes.float()
        depth: Tensor = DepthOfMeshes.apply(meshes, faces, height, width)  # type: ignore[assignment]
    else:
        hits = FINDERS[backend](rasterise_torch.drawn_corners(meshes.detach(), faces), height, width)
        depth = rasterise_torch.depth_of_hits(meshes, faces, hits)
    return depth.to(vertices_uvz.dtype).view(*batch, height, width)
