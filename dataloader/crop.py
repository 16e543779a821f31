"""A square depth crop around a hand, and the maths between its coordinates and the camera's.

Frames: `mm` camera frame; `uvd` crop coordinates in [-1, 1]^3, d = (z - centre z) / (cube z / 2); `xyz` =
(point - centre) / (cube / 2); `pixels` = (u, v) in crop samples and z in mm. Crop sample j lies at crop coordinate j:
u = j / (size / 2) - 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dataloader.camera import Camera, moved

FOREGROUND_BELOW = 0.99
"""A sample whose normalised depth is below this belongs to something inside the cube."""


@dataclass(frozen=True)
class HandCrop:
    """Depth of what lies in a cube around a hand, with everything needed to get back to millimetres."""

    depth: Float[Tensor, "*batch 1 s s"]
    """Depth scaled to [-1, 1] by half the cube; background 1."""
    camera: Camera
    """The sensor's camera, with the crop's batch shape."""
    centre_mm: Float[Tensor, "*batch 3"]
    """Centre of the cube in the camera frame."""
    cube_mm: Float[Tensor, "*batch 3"]
    """Edge lengths of the cube."""
    crop_from_image: Float[Tensor, "*batch 3 3"]
    """Affine map, homogeneous sensor coordinate -> crop coordinate."""

    @property
    def size(self) -> int:
        """Side length of the crop, samples."""
        return self.depth.shape[-1]

    @property
    def foreground(self) -> Bool[Tensor, "*batch 1 s s"]:
        """Samples on something inside the cube."""
        return self.depth < FOREGROUND_BELOW

    @property
    def depth_mm(self) -> Float[Tensor, "*batch 1 s s"]:
        """Depth in millimetres, 0 on background (what lay nearer than the cube stands on its front face)."""
        centre_z, half_z = self.centre_mm[..., 2, None, None, None], self.cube_mm[..., 2, None, None, None] / 2
        return torch.where(self.foreground, self.depth * half_z + centre_z, 0.0)

    def pixels_from_mm(self, points_mm: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Camera frame (mm) -> (u, v in crop samples, z mm): what the rasteriser takes."""
        return _affine(self.crop_from_image, self.camera.project(points_mm))

    def mm_from_pixels(self, points_uvz: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """(u, v in crop samples, z mm) -> camera frame (mm)."""
        # inv_ex: inv itself waits for a GPU to say whether the matrix has an inverse
        return self.camera.unproject(_affine(torch.linalg.inv_ex(self.crop_from_image).inverse, points_uvz))

    def uvd_from_mm(self, points_mm: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Camera frame (mm) -> crop coordinates."""
        pixels = self.pixels_from_mm(points_mm)
        d = (pixels[..., 2:] - self.centre_mm[..., None, 2:]) / (self.cube_mm[..., None, 2:] / 2)
        return torch.cat([pixels[..., :2] / (self.size / 2) - 1, d], dim=-1)

    def mm_from_uvd(self, points_uvd: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Crop coordinates -> camera frame (mm)."""
        z = points_uvd[..., 2:] * (self.cube_mm[..., None, 2:] / 2) + self.centre_mm[..., None, 2:]
        return self.mm_from_pixels(torch.cat([(points_uvd[..., :2] + 1) * (self.size / 2), z], dim=-1))

    def xyz_from_mm(self, points_mm: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Camera frame (mm) -> offsets from the centre in half cubes."""
        return (points_mm - self.centre_mm[..., None, :]) / (self.cube_mm[..., None, :] / 2)

    def mm_from_xyz(self, points_xyz: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Offsets from the centre in half cubes -> camera frame (mm)."""
        return points_xyz * (self.cube_mm[..., None, :] / 2) + self.centre_mm[..., None, :]

    def uvd_from_xyz(self, points_xyz: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Offsets from the centre in half cubes -> crop coordinates."""
        return self.uvd_from_mm(self.mm_from_xyz(points_xyz))

    def xyz_from_uvd(self, points_uvd: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Crop coordinates -> offsets from the centre in half cubes."""
        return self.xyz_from_mm(self.mm_from_uvd(points_uvd))

    def with_depth_mm(self, depth_mm: Float[Tensor, "*batch s s"]) -> "HandCrop":
        """The same window with another depth image, (s, s) in mm, 0 = nothing there."""
        depth = normalised_depth(depth_mm, self.centre_mm, self.cube_mm)
        return HandCrop(depth[..., None, :, :], self.camera, self.centre_mm, self.cube_mm, self.crop_from_image)

    def with_depth(self, depth: Float[Tensor, "*batch 1 s s"]) -> "HandCrop":
        """The same window with another depth image that is scaled to [-1, 1] already."""
        return HandCrop(depth, self.camera, self.centre_mm, self.cube_mm, self.crop_from_image)

    def select(self, indices: Int[Tensor, " n"]) -> "HandCrop":
        """Crops `indices` of a batch."""
        return HandCrop(
            self.depth[indices],
            self.camera.select(indices),
            self.centre_mm[indices],
            self.cube_mm[indices],
            self.crop_from_image[indices],
        )

    def joined(self, other: "HandCrop") -> "HandCrop":
        """Two batches of crops as one."""
        return HandCrop(
            torch.cat([self.depth, other.depth]),
            Camera(
                torch.cat([self.camera.focal, other.camera.focal]),
                torch.cat([self.camera.principal, other.camera.principal]),
            ),
            torch.cat([self.centre_mm, other.centre_mm]),
            torch.cat([self.cube_mm, other.cube_mm]),
            torch.cat([self.crop_from_image, other.crop_from_image]),
        )

    def to(self, target: torch.device | torch.dtype) -> "HandCrop":
        """On another device or in another precision."""
        return self.each(partial(moved, target=target))

    def each(self, change: Callable[[Tensor], Tensor]) -> "HandCrop":
        """With every tensor changed."""
        return HandCrop(
            change(self.depth),
            self.camera.each(change),
            change(self.centre_mm),
            change(self.cube_mm),
            change(self.crop_from_image),
        )


def _affine(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply a 3x3 affine map to the first two columns of (*b, n, 3), keep the third."""
    linear, shift = matrix[..., :2, :2], matrix[..., None, :2, 2]
    return torch.cat([points[..., :2] @ linear.transpose(-1, -2) + shift, points[..., 2:]], dim=-1)


def normalised_depth(
    depth_mm: Float[Tensor, "*batch h w"], centre_mm: Float[Tensor, "*batch 3"], cube_mm: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch h w"]:
    """Depth (mm, 0 = none) -> [-1, 1]: none or beyond the cube's back is 1, nearer than its front -1 (not dropped)."""
    centre_z, half_z = centre_mm[..., 2, None, None], cube_mm[..., 2, None, None] / 2
    scaled = (depth_mm - centre_z) / half_z
    return torch.where((depth_mm <= 0) | (scaled > 1), 1.0, scaled.clamp(min=-1.0))


@dataclass(frozen=True)
class CropWindow:
    """Whole-pixel window of a crop in the sensor image and the samples it fills (long tensors of the batch shape)."""

    left: Int[Tensor, "*batch"]
    top: Int[Tensor, "*batch"]
    width: Int[Tensor, "*batch"]
    height: Int[Tensor, "*batch"]
    columns: Int[Tensor, "*batch"]
    rows: Int[Tensor, "*batch"]

    def each(self) -> "list[CropWindow]":
        """Of a batch, one window a crop."""
        parts = (self.left, self.top, self.width, self.height, self.columns, self.rows)
        return [CropWindow(*one) for one in zip(*parts, strict=True)]


def crop_window(
    camera: Camera, centre_mm: Float[Tensor, "*batch 3"], cube_mm: Float[Tensor, "*batch 3"], size: int
) -> CropWindow:
    """Pixels that the cube's middle plane covers, rounded as the published crop rounds them.

    Raises:
        ValueError: a centre lies behind the camera.
    """
    if bool((centre_mm[..., 2] <= 0).any()):
        raise ValueError("a crop's centre must lie in front of the camera (z > 0)")
    centre = centre_mm.double()
    middle = camera.to(torch.float64).project(centre[..., None, :])[..., 0, :2]
    reach = camera.focal.double() * cube_mm.double()[..., :2] / (2 * centre[..., 2:])
    low = torch.floor(middle - reach + 0.5).long()
    sides = (torch.floor(middle + reach + 0.5).long() - low).clamp(min=1)
    longest = sides.amax(dim=-1, keepdim=True)
    # size * side / longest in whole numbers: int(side * s) of the published rule, without its rounding accidents
    filled = torch.where(sides == longest, size, (sides * size) // longest).clamp(min=1)
    return CropWindow(low[..., 0], low[..., 1], sides[..., 0], sides[..., 1], filled[..., 0], filled[..., 1])


def crop_geometry(
    camera: Camera, centre_mm: Float[Tensor, "*batch 3"], cube_mm: Float[Tensor, "*batch 3"], size: int = 128
) -> Float[Tensor, "*batch 3 3"]:
    """crop_from_image of a cube seen by a camera: pad x scale x translate, in the centre's precision.

    Raises:
        ValueError: a centre lies behind the camera.
    """
    window = crop_window(camera, centre_mm, cube_mm, size)
    scale = size / torch.maximum(window.width, window.height).double()
    matrix = torch.zeros(*window.left.shape, 3, 3, dtype=torch.float64, device=centre_mm.device)
    matrix[..., 0, 0] = scale
    matrix[..., 1, 1] = scale
    matrix[..., 0, 2] = (size - window.columns) // 2 - scale * window.left
    matrix[..., 1, 2] = (size - window.rows) // 2 - scale * window.top
    matrix[..., 2, 2] = 1
    return matrix.to(centre_mm.dtype)


def published_grid(
    camera: Camera, centre_mm: Float[Tensor, "*batch 3"], cube_mm: Float[Tensor, "*batch 3"], size: int = 128
) -> Float[Tensor, "*batch 3 3"]:
    """Crop sample -> sensor coordinate as OpenCV's resize of the whole-pixel window picks it, float64.

    Differs from the inverse of crop_from_image, by less than a sample, where a side has a rounded number of samples.
    Published crops of real frames are made this way.
    """
    window = crop_window(camera, centre_mm, cube_mm, size)
    matrix = torch.zeros(*window.left.shape, 3, 3, dtype=torch.float64, device=centre_mm.device)
    across, down = window.width.double() / window.columns, window.height.double() / window.rows
    matrix[..., 0, 0] = across
    matrix[..., 1, 1] = down
    matrix[..., 0, 2] = window.left - across * ((size - window.columns) // 2)
    matrix[..., 1, 2] = window.top - down * ((size - window.rows) // 2)
    matrix[..., 2, 2] = 1
    return matrix


def empty_crop(
    camera: Camera, centre_mm: Float[Tensor, "*batch 3"], cube_mm: Float[Tensor, "*batch 3"], size: int = 128
) -> HandCrop:
    """A crop of nothing but background: the window a render is then put into by `with_depth_mm`.

    Raises:
        ValueError: a centre lies behind the camera.
    """
    batch = centre_mm.shape[:-1]
    return HandCrop(
        torch.ones(*batch, 1, size, size, dtype=centre_mm.dtype, device=centre_mm.device),
        camera.expand(*batch),
        centre_mm,
        cube_mm.expand(*batch, 3),
        crop_geometry(camera, centre_mm, cube_mm.expand(*batch, 3), size),
    )


def crop_frame(
    depth_mm: np.ndarray,
    camera: Camera,
    centre_mm: Float[Tensor, " 3"],
    cube_mm: Float[Tensor, " 3"],
    size: int = 128,
) -> HandCrop:
    """Crop one frame, (h, w) in mm with 0 = no reading; nearest neighbour as OpenCV's resize picks it. No batch axis.

    Raises:
        ValueError: the centre lies behind the camera.
    """
    samples = crop_samples([depth_mm], crop_window(camera, centre_mm, cube_mm, size), size)[0]
    depth = torch.from_numpy(samples).to(centre_mm.dtype)
    return empty_crop(camera, centre_mm, cube_mm, size).with_depth_mm(depth)


def crop_samples(images: Sequence[np.ndarray], window: CropWindow, size: int = 128) -> Float[np.ndarray, "n s s"]:
    """Images of one sensor, (h, w) each, at the samples of one crop: nearest pixels, 0 outside of the image."""
    columns, rows = int(window.columns), int(window.rows)
    u = int(window.left) + np.arange(columns) * int(window.width) // columns
    v = int(window.top) + np.arange(rows) * int(window.height) // rows
    height, width = images[0].shape
    at = v.clip(0, height - 1)[:, None] * width + u.clip(0, width - 1)
    top, left = (size - rows) // 2, (size - columns) // 2
    canvas = np.zeros((len(images), size, size), np.float32)
    filled = canvas[:, top : top + rows, left : left + columns]
    for part, image in zip(filled, images, strict=True):
        part[:] = image.ravel().take(at)
    filled[:, (v < 0) | (v >= height)] = 0
    filled[:, :, (u < 0) | (u >= width)] = 0
    return canvas
