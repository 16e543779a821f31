"""Whether a crop shows a hand at all, by its looks: balls, heads, boxes and bare arms can be fitted well by some fist.

A network of its own (model/looks.py), trained on rendered hands and on random solids (bench/train_presence.py), looks
at the crop as the pose network sees it. Its odds are evidence among others (predicting/judge.py).
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from config import WEIGHTS
from model.folded import without_norms
from predicting.looks import load_looks

SHIPPED_PRESENCE = WEIGHTS / "presence.safetensors"
"""The weights that tell hands from other things."""


class PresenceReader:
    """Log odds that crops show a hand, by their looks; on the CPU, in float32."""

    def __init__(self, weights: Path = SHIPPED_PRESENCE) -> None:
        """Load weights. Raises UserError: the file is absent, damaged, or of something else."""
        self.network = without_norms(load_looks(weights, "presence"))

    @torch.inference_mode()
    def __call__(self, depth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, " b"]:
        """depth: crops scaled to [-1, 1], background 1. Both sides have hands: a flipped crop has the same odds."""
        score, flipped = self.network(torch.cat([depth, depth.flip(-1)])).chunk(2)
        return (score + flipped) / 2
