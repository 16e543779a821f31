"""Shape coefficients and sizes of hands, and the two sides of shape space for pre-training and the demo."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import SamplerConfig
from util.errors import UserError

N_SHAPE = 10
SPLIT_DIRECTION = (0.0, 0.5, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Normal of the plane between the sides, in units of each coefficient's spread: length and thickness of the fingers."""
SPLIT_AT = 0.5
"""Beyond this many spreads along it lies the demo's side: 31 % of all hands."""


def on_target_side(config: SamplerConfig, shape: Float[Tensor, "*batch 10"]) -> Bool[Tensor, "*batch"]:
    """Whether shape coefficients lie on the demo's side of shape space."""
    spread = torch.tensor(config.shape_sd).clamp_min(1e-12)
    return (shape.double() / spread.double()) @ _direction().double() > SPLIT_AT


def draw_shapes(config: SamplerConfig, n: int, generator: torch.Generator) -> Float[Tensor, "n 10"]:
    """Normally distributed coefficients, cut at `shape_limit` spreads, on the side that the settings allow.

    Raises UserError when `shape_sd` has not ten entries, or is 0 along the whole direction between the sides.
    """
    spread = torch.tensor(config.shape_sd)
    if spread.shape != (N_SHAPE,):
        raise UserError(f"sampler.shape_sd has {len(config.shape_sd)} entries: give {N_SHAPE}, one a coefficient.")
    direction = _direction()
    limit = config.shape_limit
    units = _cut_normal(torch.full((n, N_SHAPE), -limit), torch.full((n, N_SHAPE), limit), generator)
    if config.shapes != "all":
        if bool(((spread == 0) & (direction != 0)).any()):
            raise UserError("sampler.shapes can be split only where shape_sd is positive for coefficients 1, 3 and 4.")
        low, high = (SPLIT_AT, limit) if config.shapes == "target" else (-limit, SPLIT_AT)
        margin = 1e-3  # rounding must not carry a hand across
        along = _cut_normal(torch.full((n, 1), low + margin), torch.full((n, 1), high - margin), generator)
        units = units + (along - units @ direction[:, None]) * direction
    return units * spread


def draw_scales(config: SamplerConfig, n: int, generator: torch.Generator) -> Float[Tensor, "n 1"]:
    """Sizes about `scale_mean`, cut at `scale_range`."""
    low, high = ((limit - config.scale_mean) / config.scale_sd for limit in config.scale_range)
    units = _cut_normal(torch.full((n, 1), low), torch.full((n, 1), high), generator)
    return config.scale_mean + config.scale_sd * units


def _direction() -> Float[Tensor, "10"]:
    direction = torch.tensor(SPLIT_DIRECTION)
    return direction / direction.norm()


def _cut_normal(low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal draws between two limits, by the inverse of the distribution function."""
    bottom, top = torch.special.ndtr(low), torch.special.ndtr(high)
    share = bottom + (top - bottom) * torch.rand(low.shape, generator=generator)
    return torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).clamp(low, high)
