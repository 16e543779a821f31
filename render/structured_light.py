"""A simulated structured-light sensor: a projector beside the camera, disparities found by matching blocks.

Its errors come from triangulation and matching (Scharstein and Szeliski 2002 for what block matching does at edges),
not from the list of render/sensor.py: pre-training never sees them, so frames of this sensor are a new domain to it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import StructuredLightConfig


class StructuredLight:
    """Callable: true depth of a rectified camera -> the depth that the sensor reports, whole images."""

    def __init__(self, config: StructuredLightConfig) -> None:
        self.config = config

    def __call__(self, depth_mm: Float[Tensor, "b h w"], generator: torch.Generator) -> Float[Tensor, "b h w"]:
        """depth_mm: at the sensor's own resolution, 0 = nothing; the same is returned. generator: CPU."""
        config = self.config
        constant = config.focal_px * config.baseline_mm
        disparity = torch.where(depth_mm > 0, constant / depth_mm.clamp(min=1.0), 0.0)
        lost = in_shadow(disparity) | self._unmatched(disparity, generator)
        matched = self._matched_blocks(torch.where(lost, 0.0, disparity), generator)
        error = config.error_px * self._correlated_error(disparity, generator)
        steps = ((matched + error) * config.steps_per_px).round().clamp(min=1.0)
        return torch.where(matched > 0, constant * config.steps_per_px / steps, 0.0)

    def _unmatched(self, disparity: Tensor, generator: torch.Generator) -> Tensor:
        """Where the pattern is too squeezed by the slope of the surface to be recognised, or a block just fails."""
        change = (disparity[..., 1:] - disparity[..., :-1]).abs()
        inner = torch.nn.functional.pad(torch.minimum(change[..., 1:], change[..., :-1]), (1, 1))
        failed = self._per_block(torch.rand, disparity, self.config.block_px, generator) < self.config.failing
        return (inner > self.config.gradient_limit) | failed

    def _matched_blocks(self, disparity: Tensor, generator: torch.Generator) -> Tensor:
        """Each block takes its disparities from a place up to half a window away: edges fatten, shrink and fray."""
        b, h, w = disparity.shape
        reach = self.config.window_px / 2
        v, u = (
            (2 * reach * self._per_block(torch.rand, disparity, self.config.block_px, generator) - reach).round()
            + torch.arange(n, device=disparity.device).view(shape)
            for n, shape in ((h, (h, 1)), (w, (1, w)))
        )
        index = v.clamp(0, h - 1).long() * w + u.clamp(0, w - 1).long()
        return disparity.flatten(1).gather(1, index.flatten(1)).view(b, h, w)

    def _correlated_error(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Sub-pixel errors of unit spread: half of the variance in each pixel, half shared by a block."""
        fine, coarse = (self._per_block(torch.randn, like, size, generator) for size in (1, self.config.block_px))
        return (fine + coarse) / 2**0.5

    @staticmethod
    def _per_block(noise, like: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """One random number a block of size x size pixels, each image's blocks starting elsewhere."""
        b, h, w = like.shape
        numbers = noise(b, h // size + 2, w // size + 2, generator=generator).to(like)
        if size == 1:
            return numbers[:, :h, :w]
        rows, columns = (
            ((torch.arange(n) + torch.randint(size, (b, 1), generator=generator)) // size).to(like.device)
            for n in (h, w)
        )
        index = rows[:, :, None] * numbers.shape[2] + columns[:, None, :]
        return numbers.flatten(1).gather(1, index.flatten(1)).view(b, h, w)


def in_shadow(disparity: Float[Tensor, "b h w"]) -> Bool[Tensor, "b h w"]:
    """Which surface pixels the projector, to the right of the camera, does not reach.

    disparity: pixels, 0 = nothing. A pixel in column u lies at u - disparity in the projector's image; it is dark when
    something in a column further right lies there or further left: that surface is nearer and in the way.
    """
    column = torch.arange(disparity.shape[-1], device=disparity.device, dtype=disparity.dtype)
    lit_at = torch.where(disparity > 0, column - disparity, torch.inf)
    leftmost = lit_at.flip(-1).cummin(-1).values.flip(-1)  # of the pixel and all further right
    return (disparity > 0) & (leftmost < lit_at)
