"""How a sensor sees hands: global rotations, drawn as the direction of the camera, then a turn in the image."""

import torch
from jaxtyping import Float
from torch import Tensor

from config import SamplerConfig
from util import draws
from util.draws import Draws

PALM_FACING, BACK_FACING = 0.0, torch.pi


def draw_views(config: SamplerConfig, n: int, generator: Draws) -> Float[Tensor, "n 3 3"]:
    """Rotations from the hand's own axes (forward, thumb side, back) to the camera's (x right, y down, z forward).

    The tilt says how far the fingers point at the camera (90 degrees: straight at it), the side whether palm (0), thumb
    side edge or back (180) is seen; the turn is about the optical axis, 0 with the fingers up.
    """
    tilt = torch.deg2rad(config.tilt_mean_deg + config.tilt_sd_deg * draws.randn(generator, n))
    low, high = (torch.deg2rad(torch.tensor(limit)) for limit in config.tilt_range_deg)
    tilt = torch.where(tilt > high, 2 * high - tilt, tilt)  # mirrored, so that no heap forms at the limit
    tilt = torch.where(tilt < low, 2 * low - tilt, tilt).clamp(low, high)

    kind = draws.rand(generator, n)
    near = torch.deg2rad(config.side_sd_deg * draws.randn(generator, n))
    anywhere = 2 * torch.pi * draws.rand(generator, n)
    side = torch.where(kind < config.palm_share, near + PALM_FACING, near + BACK_FACING)
    side = torch.where(kind < config.palm_share + config.back_share, side, anywhere)

    upright = draws.rand(generator, n) < config.upright_share
    leaning = torch.deg2rad(config.upright_sd_deg * draws.randn(generator, n))
    turn = torch.where(upright, leaning, 2 * torch.pi * draws.rand(generator, n))
    return _look(tilt, side, turn)


def _look(tilt: Tensor, side: Tensor, turn: Tensor) -> Tensor:
    """Rotation (n, 3, 3) for a camera at this tilt and side of the hand, its image turned by `turn` (radians)."""
    ct, st, cs, ss = tilt.cos(), tilt.sin(), side.cos(), side.sin()
    # In the hand's axes: where the camera is, and what appears upwards in its image (well defined at tilt 90 too).
    camera = torch.stack([st, ct * ss, -ct * cs], -1)
    up = torch.stack([ct, -st * ss, st * cs], -1)
    looking = torch.stack([torch.linalg.cross(up, camera), -up, -camera], -2)
    c, s, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    rolled = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    return rolled @ looking
