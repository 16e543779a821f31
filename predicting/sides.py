"""Which hand it is: by its looks, and by which side's fitted hand explains the depth better.

A network of its own (model/looks.py) names the side of a place that is to be read; it looks at the crop and at the
flipped crop, so that what is said of a flipped frame is the opposite. Where it is not sure, the frame is read twice, as
it is and flipped, and the side with less to explain away is the likelier one. Both hands are refined against the depth
first (predicting/refine.py), which the wrong one gains less from. The odds are a logistic function of all that, without
a constant term. bench/sides.py counts how often that names the right side.
"""

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from config import WEIGHTS as FOLDER
from model.folded import without_norms
from predicting.looks import load_looks

SHIPPED_SIDE = FOLDER / "side.safetensors"
"""The weights that tell right hands from left ones."""
LOOKS = 0.66
"""Log odds of the right hand for each unit that the network gives."""
BESIDE_FITS = 0.8
"""What those odds count for where both sides were read."""
WEIGHTS = {"surface_mm": -0.5, "depth_mm": -0.3, "iou": 5.0}
"""There, log odds of the right hand for each unit by which the right hand's measure is above the left hand's."""
SURE = 4.0
"""Where looks alone give such log odds, the other side is not read."""
LIMIT = 8.0
"""Largest log odds that one frame gives."""


class SideReader:
    """Log odds that crops show right hands, by their looks; on the CPU, in float32."""

    def __init__(self, weights: Path = SHIPPED_SIDE) -> None:
        """Load weights. Raises UserError: the file is absent, damaged, or of something else."""
        self.network = without_norms(load_looks(weights, "side"))

    @torch.inference_mode()
    def __call__(self, depth: Float[Tensor, "b 1 s s"]) -> list[float]:
        """depth: crops scaled to [-1, 1], background 1."""
        score, flipped = self.network(torch.cat([depth, depth.flip(-1)])).chunk(2)
        return (LOOKS * (score - flipped)).tolist()


def right_log_odds(looks: float, right: dict[str, float], left: dict[str, float]) -> float:
    """Log odds that a hand is a right one; 0 = undecided.

    Args:
        looks: those of `SideReader`.
        right, left: measures of both fits, both refined (predicting/judge.py).
    """
    return limited(BESIDE_FITS * looks + fit_log_odds(right, left))


def fit_log_odds(right: dict[str, float], left: dict[str, float]) -> float:
    """What both fits alone say; what was not measured of both counts for nothing."""
    known = [name for name in WEIGHTS if name in right and name in left]
    return sum(WEIGHTS[name] * (right[name] - left[name]) for name in known)


def limited(log_odds: float) -> float:
    """Within what one frame can tell."""
    return max(-LIMIT, min(LIMIT, log_odds))


def side_confidence(log_odds: float) -> float:
    """How sure the likelier side is, 0 (undecided) to 1."""
    return 2 / (1 + math.exp(-abs(log_odds))) - 1
