"""One thing that is said of a crop by its looks: whether it shows a hand, or which one (predicting/looks.py).

It is the front of a pose network's encoder, whose weights it starts from, and two layers that give a score. Training
leaves the first residual layers as they were: what they make of a crop can be kept and looked at many times.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from config import LooksConfig
from model.backbone import BasicBlock, Stem

JOINTS = 21
KEPT = 2
"""Residual layers that stay as they were learned with the pose."""
POSE = {"stem.": "stem.", "stages.0.encoder.layers.": "layers."}
"""What names of a pose network's tensors start with, and the names that they get here."""


class LooksOutput(NamedTuple):
    """What the network says of crops."""

    score: Float[Tensor, " b"]
    """How much each looks like a hand, as log odds; or like a right one: less the flipped crop's it is the log odds."""
    joints_uvd: Float[Tensor, "b 21 3"]
    """Where its joints are, roughly: learned along with the side, and of no other use."""


class LooksNetwork(nn.Module):
    """Stem, residual layers of two blocks each, and two layers off a grid of 4 x 4 places."""

    def __init__(self, config: LooksConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = Stem(widths[0], 2)
        self.layers = nn.ModuleList(
            nn.Sequential(BasicBlock(narrow, wide, 2 if level else 1), BasicBlock(wide, wide, 1))
            for level, (narrow, wide) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.places = nn.Sequential(
            nn.Conv2d(widths[-1], config.squeezed, 1, bias=False),
            nn.BatchNorm2d(config.squeezed),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(
            nn.Linear(16 * config.squeezed, config.hidden), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.score = nn.Linear(config.hidden, 1)
        self.joints = nn.Linear(config.hidden, 3 * JOINTS)

    def early(self, depth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b c n n"]:
        """What the layers that stay make of crops as the pose network sees them: scaled to [-1, 1], background 1."""
        x = self.stem(depth.to(memory_format=torch.channels_last))
        for layer in self.layers[:KEPT]:
            x = layer(x)
        return x

    def late(self, x: Float[Tensor, "b c n n"]) -> LooksOutput:
        """The answer, from there on."""
        for layer in self.layers[KEPT:]:
            x = layer(x)
        hidden = self.hidden(self.places(x))
        return LooksOutput(self.score(hidden)[:, 0].float(), self.joints(hidden).float().unflatten(1, (JOINTS, 3)))

    def forward(self, depth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, " b"]:
        """The score of each crop."""
        return self.late(self.early(depth)).score

    def start_from(self, pose: Mapping[str, Tensor]) -> None:
        """Take over what there is in the state of a pose network of the same widths."""
        own = self.state_dict()
        named = {
            new + name.removeprefix(old): t
            for old, new in POSE.items()
            for name, t in pose.items()
            if name.startswith(old)
        }
        own.update({name: tensor.float() for name, tensor in named.items() if name in own})
        self.load_state_dict(own)
