"""Shape coefficients and sizes of hands, and the two sides of shape space for pre-training and the demo."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from config import SamplerConfig
from util import draws
from util.draws import Draws
from util.errors import UserError

N_SHAPE = 10
SPLIT_DIRECTION = (0.0, 0.5, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Normal of the plane between the sides, in units of each coefficient's spread: length and thickness of the fingers."""
SPLIT_AT = 0.5
"""Beyond this many spreads along it lies the demo's side: 31 % of all hands."""


def on_target_side(config: SamplerConfig, shape: Float[Tensor, "*batch 10"]) -> Bool[Tensor, "*batch"]:
    """Whether shape coefficients lie on the demo's side of shape space."""
    spread = torch.tensor(config.shape_sd).clamp_min(1e-12)
    return (shape / spread) @ _direction() > SPLIT_AT


def draw_shapes(config: SamplerConfig, n: int, generator: Draws) -> Float[Tensor, "n 10"]:
    """Normally distributed coefficients, cut at `shape_limit` spreads, on the side that the settings allow.

    Raises UserError when `shape_sd` has not ten entries, or leaves one side without hands.
    """
    spread = torch.tensor(config.shape_sd)
    if spread.shape != (N_SHAPE,):
        raise UserError(f"sampler.shape_sd has {len(config.shape_sd)} entries: give {N_SHAPE}, one a coefficient.")
    units = _units(config, n, generator)
    if config.shapes == "all":
        return units * spread
    direction = _direction()
    if bool(((spread == 0) & (direction != 0)).any()) or config.shape_limit < 1:
        raise UserError(
            "sampler.shapes cannot be split: give coefficients 1, 3, 4 a positive shape_sd and shape_limit at least 1."
        )
    again, attempt = draws.fork(generator), 0
    while len(wrong := ((units @ direction > SPLIT_AT) != (config.shapes == "target")).nonzero().squeeze(1)):
        attempt += 1
        units[wrong] = _units(config, len(wrong), draws.at(again, wrong, attempt))
    return units * spread


def _units(config: SamplerConfig, n: int, generator: Draws) -> Tensor:
    limit = torch.full((n, N_SHAPE), config.shape_limit)
    return _cut_normal(-limit, limit, generator)


def draw_scales(config: SamplerConfig, n: int, generator: Draws) -> Float[Tensor, "n 1"]:
    """Sizes about `scale_mean`, cut at `scale_range`."""
    low, high = ((limit - config.scale_mean) / config.scale_sd for limit in config.scale_range)
    units = _cut_normal(torch.full((n, 1), low), torch.full((n, 1), high), generator)
    return config.scale_mean + config.scale_sd * units


def _direction() -> Float[Tensor, "10"]:
    direction = torch.tensor(SPLIT_DIRECTION)
    return direction / direction.norm()


def _cut_normal(low: Tensor, high: Tensor, generator: Draws) -> Tensor:
    """Standard normal draws between two limits, by the inverse of the distribution function."""
    bottom, top = torch.special.ndtr(low), torch.special.ndtr(high)
    share = bottom + (top - bottom) * draws.rand(generator, *low.shape)
    return torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).clamp(low, high)
