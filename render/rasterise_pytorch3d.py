"""Front-most triangle per pixel by pytorch3d, for users who have it (no wheel of it installs beside this torch).

Written against the documented interface of `pytorch3d.renderer.mesh.rasterize_meshes`
(https://pytorch3d.readthedocs.io) and its coordinates (https://pytorch3d.org/docs/cameras).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from util.optional import optional


def front_faces(corners: Float[Tensor, "b f 3 3"], height: int, width: int) -> Int[Tensor, "b h w"]:
    """Face id met first by each sample's ray, -1 where none (int64). Samples exactly on an edge count as outside.

    Args:
        corners: (u, v, z) of each triangle's corners in pixels and mm; a triangle with z = 0 is left out.
        height: rows of the image.
        width: columns of the image.

    Raises:
        UserError: if pytorch3d or its compiled part `pytorch3d._C` is absent.
    """
    # A wheel for another torch imports well, and fails at its compiled part.
    names = ("_C", "renderer.mesh.rasterize_meshes", "structures")
    need, remedy = "The pytorch3d back end needs pytorch3d, compiled for this torch", "install it, or use 'warp'"
    _, rasteriser, structures = (optional(f"pytorch3d.{name}", need, remedy) for name in names)
    rasterize_meshes, meshes_type = rasteriser.rasterize_meshes, structures.Meshes
    batch, n_faces = corners.shape[:2]
    # Its triangles come from vertices of their own; those left out collapse to a point behind the camera.
    ndc = screen_to_ndc(corners, height, width)
    ndc = torch.where(corners[..., :1, 2:] > 0, ndc, ndc.new_tensor((0.0, 0.0, -1.0)))
    ids = torch.arange(n_faces * 3, device=corners.device).view(n_faces, 3)
    meshes = meshes_type(verts=ndc.reshape(batch, n_faces * 3, 3).float(), faces=ids.expand(batch, -1, -1))
    face_of_pixel = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        cull_backfaces=False,
    )[0][..., 0]
    # Face ids count through the whole batch.
    first = torch.arange(batch, device=corners.device).view(batch, 1, 1) * n_faces
    return torch.where(face_of_pixel >= 0, face_of_pixel - first, -1)


def screen_to_ndc(uvz: Float[Tensor, "*batch 3"], height: int, width: int) -> Float[Tensor, "*batch 3"]:
    """Pixels to pytorch3d's normalised coordinates: x left, y up, the shorter image side spanning [-1, 1]; z is kept.

    pytorch3d samples pixel j at its centre, which is our sample coordinate j, hence the half pixel.
    """
    u, v, z = uvz.unbind(-1)
    shorter = min(height, width)
    return torch.stack(((width - 2.0 * u - 1.0) / shorter, (height - 2.0 * v - 1.0) / shorter, z), dim=-1)
