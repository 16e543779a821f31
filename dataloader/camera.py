"""A pinhole camera without distortion: millimetres in the camera frame <-> pixels of the sensor image."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Focal lengths and principal point in pixels, one camera or a batch of them.

    Camera frame: x right, y down, z forward, millimetres. Pixel i of the image covers [i, i + 1), so its centre lies at
    i + 0.5; u = fx x / z + cx is in these units.
    """

    focal: Float[Tensor, "*batch 2"]
    """(fx, fy), pixels, both positive."""
    principal: Float[Tensor, "*batch 2"]
    """(cx, cy), pixels."""

    @staticmethod
    def of(fx: float, fy: float, cx: float, cy: float, dtype: torch.dtype = torch.float32) -> "Camera":
        """One camera from four numbers; a negative fy (data sets with y up) counts as positive: y is down here."""
        return Camera(torch.tensor([fx, abs(fy)], dtype=dtype), torch.tensor([cx, cy], dtype=dtype))

    def project(self, points_mm: Float[Tensor, "*points n 3"]) -> Float[Tensor, "*points n 3"]:
        """Camera frame (mm) -> (u px, v px, z mm)."""
        z = points_mm[..., 2:]
        pixels = points_mm[..., :2] / z * self.focal[..., None, :] + self.principal[..., None, :]
        return torch.cat([pixels, z], dim=-1)

    def unproject(self, points_uvz: Float[Tensor, "*points n 3"]) -> Float[Tensor, "*points n 3"]:
        """(u px, v px, z mm) -> camera frame (mm); the inverse of `project`."""
        z = points_uvz[..., 2:]
        xy = (points_uvz[..., :2] - self.principal[..., None, :]) / self.focal[..., None, :] * z
        return torch.cat([xy, z], dim=-1)

    def matrix(self) -> Float[Tensor, "*batch 3 3"]:
        """K: homogeneous camera frame -> homogeneous pixel."""
        k = torch.zeros(*self.focal.shape[:-1], 3, 3, dtype=self.focal.dtype, device=self.focal.device)
        k[..., 0, 0] = self.focal[..., 0]
        k[..., 1, 1] = self.focal[..., 1]
        k[..., :2, 2] = self.principal
        k[..., 2, 2] = 1
        return k

    def mirrored(self, width: int) -> "Camera":
        """The camera of the image flipped left to right: u' = width - u."""
        flip = self.principal.new_tensor([-1.0, 1.0])
        return Camera(self.focal, self.principal * flip + self.principal.new_tensor([float(width), 0.0]))

    def expand(self, *batch: int) -> "Camera":
        """The same camera for a whole batch (no copy)."""
        return Camera(self.focal.expand(*batch, 2), self.principal.expand(*batch, 2))

    def select(self, indices: Int[Tensor, " n"]) -> "Camera":
        """Cameras `indices` of a batch."""
        return Camera(self.focal[indices], self.principal[indices])

    def to(self, target: torch.device | torch.dtype) -> "Camera":
        """On another device or in another precision."""
        return self.each(partial(moved, target=target))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Camera":
        """With every tensor changed."""
        return Camera(change(self.focal), change(self.principal))


def moved(tensor: Tensor, target: torch.device | torch.dtype) -> Tensor:
    """On another device or in another precision; a copy from pinned memory to a GPU is not waited for."""
    return tensor.to(target, non_blocking=not tensor.is_cuda)
