"""Things before a hand that return no light, such as a pen or a strap: a gap across the depth image."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import DarkConfig


def behind_dark_things(
    joints_uvz: Float[Tensor, "b j 3"], side: int, focal_px: float, config: DarkConfig, generator: torch.Generator
) -> Bool[Tensor, "b side side"]:
    """Pixels that a dark bar hides: at most one an image, across one of its joints, at any angle.

    joints_uvz: u, v in pixels of the image, z in mm. generator: CPU.
    """
    b = len(joints_uvz)
    drawn = torch.rand(b, 4, generator=generator)
    joint = torch.randint(joints_uvz.shape[1], (b,), generator=generator)
    at = joints_uvz[torch.arange(b), joint]
    angle = torch.pi * drawn[:, 0]
    half_px = [
        (low + (high - low) * drawn[:, k]) * focal_px / at[:, 2] / 2
        for k, (low, high) in ((1, config.width_mm), (2, config.length_mm))
    ]
    step = torch.arange(side, dtype=at.dtype)
    u, v = (step + 0.5) - at[:, :1], (step + 0.5) - at[:, 1:2]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = u[:, None, :] * cosine + v[:, :, None] * sine
    across = v[:, :, None] * cosine - u[:, None, :] * sine
    shown = (drawn[:, 3] < config.chance)[:, None, None]
    return shown & (across.abs() < half_px[0][:, None, None]) & (along.abs() < half_px[1][:, None, None])
