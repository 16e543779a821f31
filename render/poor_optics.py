"""Errors of a depth sensor's optics: lateral blur, multi-path, losses at grazing angles, flying pixels.

They go around a sensor's own way of measuring (`StructuredLight`): blur, multi-path and losses are in the light that it
receives, flying pixels in what it makes of an edge (Foix et al. 2011 for multi-path and flying pixels, Nguyen et al.
2012 for lateral blur and losses with the angle of view).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from config import OpticsConfig

EDGE_MM = 12.0
"""No surface of a hand steps so far between neighbouring pixels, unless one surface ends there."""
LOSS_PX = 4
"""Losses come in stretches of about this size."""


class PoorOptics:
    """Callable: true depth -> what a sensor behind poor optics reports."""

    def __init__(
        self,
        config: OpticsConfig,
        focal_px: float,
        sensor: Callable[[Tensor, torch.Generator], Tensor],
    ) -> None:
        self.config, self.focal_px, self.sensor = config, focal_px, sensor

    def __call__(self, depth_mm: Float[Tensor, "b h w"], generator: torch.Generator) -> Float[Tensor, "b h w"]:
        """depth_mm: at the sensor's own resolution, 0 = nothing; the same is returned. generator: CPU."""
        config = self.config
        lost = self._lost(depth_mm, generator)
        blurred = self._mixed(depth_mm, _each(depth_mm, config.blur_px, generator))
        around = smooth(blurred, depth_mm.new_full((len(depth_mm),), config.stray_px))
        light = torch.lerp(blurred, around, _each(depth_mm, config.stray, generator)[:, None, None])
        reported = self.sensor(torch.where((depth_mm > 0) & ~lost, light, 0.0), generator)
        return self._with_flying(reported, depth_mm, generator)

    def _mixed(self, depth_mm: Tensor, spread_px: Tensor) -> Tensor:
        """Depth through a lens: mixed across a few pixels, but not over a step from one thing to another."""
        blurred = smooth(depth_mm, spread_px)
        return torch.where((blurred - depth_mm).abs() < self.config.mixed_mm, blurred, depth_mm)

    def _lost(self, depth_mm: Tensor, generator: torch.Generator) -> Bool[Tensor, "b h w"]:
        """Pixels that get too little light back, since their surface is seen at a grazing angle."""
        low, high = self.config.grazing_deg
        angle = torch.rad2deg(torch.atan(slope(depth_mm) * self.focal_px / depth_mm.clamp(min=1.0)))
        share = _each(depth_mm, self.config.grazing, generator)[:, None, None]
        chance = share * ((angle - low) / (high - low)).clamp(0, 1)
        b, h, w = depth_mm.shape
        cells = torch.rand(b, 1, h // LOSS_PX + 2, w // LOSS_PX + 2, generator=generator)
        field = F.interpolate(cells, size=(h, w), mode="bilinear", align_corners=False)[:, 0]
        return field < chance

    def _with_flying(self, reported: Tensor, depth_mm: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels along edges of the true depth that read something between the nearer surface and what is behind it."""
        near = -F.max_pool2d(-torch.where(depth_mm > 0, depth_mm, torch.inf)[:, None], 3, 1, 1)[:, 0]
        behind = torch.where(depth_mm > 0, depth_mm, torch.inf)
        gap = (behind - near).clamp(max=self.config.flying_mm)
        drawn = torch.rand(2, *depth_mm.shape, generator=generator)
        share = _each(depth_mm, self.config.flying, generator)[:, None, None]
        chosen = near.isfinite() & (gap > EDGE_MM) & (drawn[0] < share)
        return torch.where(chosen, near + drawn[1] * gap, reported)


def slope(depth_mm: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Depth change to the next pixel on the smoother side, both axes together; steps at edges do not count."""
    squares = torch.zeros_like(depth_mm)
    for axis in (1, 2):
        step = depth_mm.diff(dim=axis).abs()
        n = step.shape[axis] - 1
        smoother = torch.minimum(step.narrow(axis, 0, n), step.narrow(axis, 1, n))
        squares.narrow(axis, 1, n).add_(smoother.square())
    return squares.sqrt()


def smooth(depth_mm: Float[Tensor, "b h w"], spread_px: Float[Tensor, " b"]) -> Float[Tensor, "b h w"]:
    """Gaussian mean of the depth of what is there, one spread an image; 0 where nothing is near."""
    reach = int(3 * float(spread_px.max())) + 1
    at = torch.arange(-reach, reach + 1, dtype=depth_mm.dtype)
    kernel = torch.exp(-0.5 * (at / spread_px[:, None]).square())
    kernel = kernel / kernel.sum(1, keepdim=True)
    both = torch.stack([depth_mm, (depth_mm > 0).to(depth_mm.dtype)])  # (2, b, h, w): an image is a channel below
    both = F.conv2d(both, kernel[:, None, :, None], padding=(reach, 0), groups=len(depth_mm))
    both = F.conv2d(both, kernel[:, None, None, :], padding=(0, reach), groups=len(depth_mm))
    return torch.where(both[1] > 1e-4, both[0] / both[1].clamp(min=1e-4), 0.0)


def _each(like: Tensor, bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, " b"]:
    """One number an image, uniform between two bounds."""
    low, high = bounds
    return low + (high - low) * torch.rand(len(like), generator=generator)
