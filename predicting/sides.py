"""Which hand it is: by its looks, and by which side's fitted hand explains the depth better.

A network of its own (model/side.py) names the side of a place that is to be read; it looks at the crop and at the
flipped crop, so that what is said of a flipped frame is the opposite. Where it is not sure, the frame is read twice, as
it is and flipped, and the side with less to explain away is the likelier one. The odds are a logistic function of both,
without a constant term. bench/sides.py counts how often that names the right side.
"""

import math
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from config import WEIGHTS as FOLDER, SideConfig
from model.side import SideNetwork
from predicting.judge import complete, evidence
from util.checkpoint import check_fits, fill_module, read_checkpoint
from util.errors import UserError
from util.settings import from_plain

SHIPPED_SIDE = FOLDER / "side.safetensors"
"""The weights that tell right hands from left ones."""
LOOKS = 0.66
"""Log odds of the right hand for each unit that the network gives."""
WEIGHTS = {"looks": 0.81, "surface": 1.7, "iou": 7.9, "agreement": 0.77}
"""Where both sides were read, log odds of the right hand for each unit of those odds, and for each unit by which the
right hand's evidence (predicting/judge.py) is above the left hand's."""
SURE = 4.0
"""Where looks alone give such log odds, the other side is not read."""
LIMIT = 8.0
"""Largest log odds that one frame gives."""


class SideReader:
    """Log odds that crops show right hands, by their looks; on the CPU, in float32."""

    def __init__(self, weights: Path = SHIPPED_SIDE) -> None:
        """Load weights. Raises UserError: the file is absent, damaged, or of something else."""
        self.network = load_side_network(weights)

    @torch.inference_mode()
    def __call__(self, depth: Float[Tensor, "b 1 s s"]) -> list[float]:
        """depth: crops scaled to [-1, 1], background 1."""
        score, flipped = self.network(torch.cat([depth, depth.flip(-1)])).chunk(2)
        return (LOOKS * (score - flipped)).tolist()


def load_side_network(weights: Path) -> SideNetwork:
    """The network of a file, ready for use.

    Raises:
        UserError: the file is absent, damaged, or of something else.
    """
    checkpoint = read_checkpoint(weights)
    if set(checkpoint.config) != {"side"}:
        raise UserError(
            f"{weights} does not tell right hands from left ones: take the file that comes with the project."
        )
    config = from_plain(SideConfig, checkpoint.config["side"], str(weights))
    build = partial(SideNetwork, config)
    check_fits(build, checkpoint.state, weights)
    network = build()
    fill_module(network, checkpoint.state, weights)
    return network.eval().requires_grad_(False)


def right_log_odds(looks: float, right: dict[str, float], left: dict[str, float]) -> float:
    """Log odds that a hand is a right one; 0 = undecided.

    Args:
        looks: those of `SideReader`.
        right, left: measures of both fits (predicting/judge.py); they count where all were taken of both.
    """
    if not (complete(right) and complete(left)):
        return limited(looks)
    found = {"looks": looks} | fit_difference(right, left)
    return limited(sum(weight * found[name] for name, weight in WEIGHTS.items()))


def fit_difference(right: dict[str, float], left: dict[str, float]) -> dict[str, float]:
    """Evidence for the right hand's fit less that for the left hand's; all measures are there."""
    of_right, of_left = evidence(right), evidence(left)
    return {name: of_right[name] - of_left[name] for name in of_right}


def limited(log_odds: float) -> float:
    """Within what one frame can tell."""
    return max(-LIMIT, min(LIMIT, log_odds))


def side_confidence(log_odds: float) -> float:
    """How sure the likelier side is, 0 (undecided) to 1."""
    return 2 / (1 + math.exp(-abs(log_odds))) - 1
