"""Anatomical angles of random hands: between two named postures, or drawn freely with the couplings of real fingers."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from config import SamplerConfig
from render.anatomy import FLEXION, SPREAD, TWIST, clamp_to_limits
from render.postures import COMMON, POSTURES, paths
from util import draws
from util.draws import Draws

# Neighbouring fingers share muscles and tendons: correlation of the curl of index, middle, pinky, ring, thumb
# (order of magnitude after Haeger-Ross, Schieber, J. Neurosci. 20, 2000: index and thumb move most freely).
_DRAG = (
    (1.00, 0.55, 0.20, 0.35, 0.10),
    (0.55, 1.00, 0.50, 0.75, 0.05),
    (0.20, 0.50, 1.00, 0.80, 0.05),
    (0.35, 0.75, 0.80, 1.00, 0.05),
    (0.10, 0.05, 0.05, 0.05, 1.00),
)
# How far each finger moves sideways when the hand is spread (degrees, towards the thumb), and lies when it is closed.
_FAN_DEG = (13.0, 1.0, -20.0, -9.0)
_TOGETHER_DEG = (-1.0, 0.0, 2.0, 1.0)
_BASES = slice(0, 12, 3)
"""MCP joints of the four fingers among the 15 joints."""


class Articulation:
    """Draws anatomical angles; what overlaps is for render/untangle.py to part."""

    def __init__(self, config: SamplerConfig) -> None:
        self.config = config
        names = list(POSTURES)
        self._postures = torch.stack([posture.angles() for posture in POSTURES.values()])
        self._paths = torch.tensor([[names.index(a), names.index(b)] for a, b in paths(config.paths)])
        often = torch.tensor([COMMON.get(name, 1.0) for name in names])
        self._often = often[self._paths].prod(1)
        self._drag = torch.linalg.cholesky(torch.tensor(_DRAG))

    def draw(self, n: int, generator: Draws) -> Float[Tensor, "n 15 3"]:
        """Angles within limits, radians."""
        free = draws.rand(generator, n, 1, 1) < self.config.free_share
        angles = torch.where(free, self._free(n, generator), self._on_paths(n, generator))
        angles = self._fingers_together(angles + self._noise(n, generator), generator)
        return clamp_to_limits(angles)

    def path_ends(self, n: int, generator: Draws) -> Int[Tensor, "n 2"]:
        """Paths to stand on: start and end as places in `POSTURES`; common postures come more often."""
        pair = self._paths[draws.choice(generator, self._often, n)]
        swap = draws.rand(generator, n, 1) < 0.5
        return torch.where(swap, pair.flip(-1), pair)

    def _on_paths(self, n: int, generator: Draws) -> Tensor:
        """Between two postures, each finger at its own time."""
        start, end = self.path_ends(n, generator).unbind(-1)
        time = draws.rand(generator, n, 1) + self.config.timing_sd * draws.randn(generator, n, 5)
        at_end = draws.rand(generator, n, 1) < self.config.named_share
        time = torch.where(at_end, torch.zeros(()), time.clamp(0, 1)).repeat_interleave(3, -1).unsqueeze(-1)
        return torch.lerp(self._postures[start], self._postures[end], time)

    def _free(self, n: int, generator: Draws) -> Tensor:
        """Free draws: curls of fingers correlated, PIP with MCP, DIP about two thirds of PIP."""
        curl = draws.randn(generator, n, 5) @ self._drag.T
        mcp = _uniform(curl)
        own = draws.randn(generator, n, 5) @ self._drag.T
        pip = _uniform(0.65 * curl + 0.76 * own)
        dip = (pip * (2 / 3) + 0.08 * draws.randn(generator, n, 5)).clamp_min(0)
        fan = draws.rand(generator, n, 1) * 1.3 - 0.15
        u = draws.rand(generator, n, 5)
        angles = torch.zeros(n, 5, 3, 3)
        # Low curls are more frequent than high ones, hence the powers.
        angles[:, :4, 0, FLEXION] = -12 + 100 * mcp[:, :4] ** 1.4
        angles[:, :4, 1, FLEXION] = 105 * pip[:, :4] ** 1.2
        angles[:, :4, 2, FLEXION] = 105 * dip[:, :4] ** 1.2
        angles[:, :4, 0, SPREAD] = fan * torch.tensor(_FAN_DEG)
        # Opposition follows the thumb out of the palm's plane.
        away = u[:, 0]
        angles[:, 4, 0, FLEXION] = 5 + 50 * away
        angles[:, 4, 0, SPREAD] = 55 * u[:, 1] - 5 * away
        angles[:, 4, 0, TWIST] = -40 * away * u[:, 2]
        angles[:, 4, 1, FLEXION] = -5 + 50 * mcp[:, 4] ** 1.4
        angles[:, 4, 2, FLEXION] = -12 + 75 * pip[:, 4] ** 1.4
        return angles.flatten(1, 2).deg2rad()

    def _noise(self, n: int, generator: Draws) -> Tensor:
        """Deviations of single joints; flexions of neighbouring fingers deviate together."""
        config = self.config
        bend = draws.randn(generator, n, 3, 5) @ self._drag.T
        noise = config.twist_noise_deg * draws.randn(generator, n, 15, 3)
        noise[..., FLEXION] = config.flexion_noise_deg * bend.transpose(1, 2).flatten(1)
        noise[:, ::3, SPREAD] = config.spread_noise_deg * draws.randn(generator, n, 5)
        # Some hands hold a posture exactly: pinching tips meet in those.
        return noise.deg2rad() * (1.5 * draws.rand(generator, n, 1, 1))

    def _fingers_together(self, angles: Tensor, generator: Draws) -> Tensor:
        """Close the gaps between the fingers of some hands, wholly or partly."""
        n = len(angles)
        closed = draws.rand(generator, n, 1) < self.config.closed_share
        amount = torch.where(closed, (0.6 + 0.8 * draws.rand(generator, n, 1)).clamp_max(1), torch.zeros(()))
        together = torch.tensor(_TOGETHER_DEG).deg2rad() + torch.deg2rad(1.5 * draws.randn(generator, n, 4))
        angles = angles.clone()
        angles[:, _BASES, SPREAD] = torch.lerp(angles[:, _BASES, SPREAD], together, amount)
        return angles


def _uniform(normal: Tensor) -> Tensor:
    """Standard normal -> uniform in 0..1, correlations kept."""
    return torch.special.ndtr(normal)
