"""Random changes of real crops that keep their geometry exact: a turned camera, a shifted centre, a resized cube.

Ren et al., TIP 2022: each crop gets one of in-plane rotation, centre shift, cube scale, or nothing. A rotation is the
camera turned about its optical axis, so points and the crop's centre turn with it and crop coordinates stay those of a
pinhole camera; with K the camera's matrix the image changes by K Rz K^-1, which is exact for fx != fy as well.
"""

from dataclasses import dataclass
from math import radians

import torch
from jaxtyping import Float
from torch import Tensor

from config import AugmentConfig
from dataloader.camera import Camera
from util import draws
from util.draws import Draws

KINDS = ("rotate", "shift", "scale", "nothing")
"""What can happen to a crop; the order of AugmentConfig.weights."""


@dataclass(frozen=True)
class Change:
    """What happens to each crop of a batch; the fields that do not apply hold 0, 0 and 1."""

    angle: Float[Tensor, " b"]
    """Turn of the scene about the optical axis, radians, positive from x (right) to y (down)."""
    shift_mm: Float[Tensor, "b 3"]
    """Added to the centre."""
    cube_factor: Float[Tensor, " b"]
    """Multiplies the cube."""

    @staticmethod
    def none(n: int) -> "Change":
        """n crops left as they are."""
        return Change(torch.zeros(n), torch.zeros(n, 3), torch.ones(n))

    def rotation(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b 3 3"]:
        """Rz of each crop: old camera frame -> turned camera frame."""
        angle = self.angle.to(dtype)
        cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1]
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    def turned(self, points_mm: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Points (labels, centres) in the turned camera's frame."""
        return points_mm @ self.rotation(points_mm.dtype).transpose(-1, -2)

    def centre(self, centre_mm: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3"]:
        """The changed crop's centre in the turned camera's frame."""
        return self.turned((centre_mm + self.shift_mm.to(centre_mm.dtype))[:, None])[:, 0]

    def image_from_turned(self, camera: Camera) -> Float[Tensor, "b 3 3"]:
        """Turned image -> sensor image, K Rz^-1 K^-1: affine, since Rz keeps the optical axis."""
        matrix = camera.matrix()
        return matrix @ self.rotation(matrix.dtype).transpose(-1, -2) @ torch.linalg.inv(matrix)


class Augmentation:
    """Draws one change a crop by the weights and limits of a config."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def draw(self, n: int, generator: Draws) -> Change:
        """Changes for n crops."""
        config = self.config
        weights = torch.tensor(config.weights, dtype=torch.float32)
        kind = draws.choice(generator, weights, n)
        swing = 2 * draws.rand(generator, n, 5) - 1
        low, high = config.cube_factor
        factor = low + (high - low) * (swing[:, 4] + 1) / 2
        return Change(
            torch.where(kind == 0, swing[:, 0] * radians(config.rotation_deg), 0.0),
            torch.where((kind == 1)[:, None], swing[:, 1:4] * config.shift_mm, 0.0),
            torch.where(kind == 2, factor, 1.0),
        )
