"""Image translation for CPUs: a generator that corrects a crop's depth instead of drawing the crop anew.

What a sensor adds to a depth image is small, local and random; so this generator answers with its source plus what it
changes, and begins close to the identity: labels are true from the first step on, and no normalisation forgets how deep
the hand lies. A second output says which readings are lost to the background, for holes and frayed edges. Within a few
samples of a surface, where there was none, a reading may appear at that surface's depth, so that edges wander and holes
close; everything further away stays empty. Randomness comes from `grain`, noise in three sizes that is a function of
the crop itself: the same crop is always translated the same way. How strongly noise of each size moves a reading, and
how easily it loses one, is said for each sample; both begin above nothing, since a discriminator cannot say of no noise
whether more would help: to first order, either sign is the same to it. A copy of the crop in blocks, which is how a
coarse sensor sees it, is there to choose from. Details pass by shortcuts (Ronneberger et al., U-Net, MICCAI 2015);
upsampling is bilinear, because transposed convolutions leave a checkerboard that is stronger than a sensor's noise.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dataloader.crop import FOREGROUND_BELOW
from model.generator import Generator
from util.published import GeneratorSize

GRAINS = (1, 2, 4)
"""Sides of the squares over which noise is the same, samples."""
BLOCK = 2
"""Side of the copy's blocks."""
REACH = 4
"""How far from a surface readings may appear, samples."""
LOSS_OFFSET = 1.5
"""How far from being lost readings on a surface begin, and from being there those beside it."""
FIRST_SPREAD, FIRST_FRAY = 0.03, 0.6
"""How strongly noise of each size moves readings at first, half cubes, and how much it adds to their being lost."""


class CorrectingGenerator(Generator):
    """Crops of one appearance -> the same crops, corrected to the other one.

    Args:
        filters: channels at full resolution; twice and four times as many at half and at a quarter of it.
        blocks: residual blocks at a quarter of the resolution.
    """

    def __init__(self, filters: int = 12, blocks: int = 3) -> None:
        super().__init__(GeneratorSize(filters, blocks, correcting=True))
        f = filters
        self.first = nn.Conv2d(2 + len(GRAINS), f, 3, 1, 1)
        self.halve = nn.Conv2d(f, 2 * f, 3, 2, 1)
        self.quarter = nn.Conv2d(2 * f, 4 * f, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * f, 4 * f, 3, 1, 1), nn.ReLU(), nn.Conv2d(4 * f, 4 * f, 3, 1, 1))
            for _ in range(blocks)
        )
        self.to_half = nn.Conv2d(4 * f, 2 * f, 3, 1, 1)
        self.to_full = nn.Conv2d(2 * f, f, 3, 1, 1)
        self.mixed = nn.Conv2d(f, f, 3, 1, 1)
        self.answer = nn.Conv2d(f, 2 + 2 * len(GRAINS), 3, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for block in self.blocks:
            nn.init.normal_(block[2].weight, std=0.01)  # type: ignore[index]
        nn.init.normal_(self.answer.weight, std=1e-3)
        with torch.no_grad():
            spread, fray = self.answer.bias[2:].chunk(2)  # type: ignore[index]
            spread.fill_(FIRST_SPREAD)
            fray.fill_(FIRST_FRAY)

    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 s s"]:
        """depth: crops whose side is a multiple of 4; bf16: autocast of all convolutions but the last, which writes
        millimetres."""
        with torch.autocast(depth.device.type, torch.bfloat16, enabled=bf16):
            blocks = _enlarged(depth[..., ::BLOCK, ::BLOCK], BLOCK)
            grains = torch.cat(
                [_enlarged(grain(depth, depth.shape[-1] // side, kind=side), side) for side in GRAINS], 1
            )
            full = F.relu(self.first(torch.cat([depth, blocks, grains], 1)))
            half = F.relu(self.halve(full))
            deep = F.relu(self.quarter(half))
            for block in self.blocks:
                deep = deep + block(deep)
            half = F.relu(self.to_half(_twice(deep)) + half)
            full = F.relu(self.to_full(_twice(half)) + full)
            full = F.relu(self.mixed(full))
        n = len(GRAINS)
        change, lost, spread, fray = self.answer(full.to(depth.dtype)).split([1, 1, n, n], 1)
        change = change + (spread * grains).sum(1, keepdim=True)
        lost = lost + (fray * grains).sum(1, keepdim=True)
        near, nearest = depth < FOREGROUND_BELOW, -F.max_pool2d(-depth, 2 * REACH + 1, 1, REACH)
        lost = torch.sigmoid(lost + torch.where(near, -LOSS_OFFSET, LOSS_OFFSET))
        lost = lost + ((lost > 0.5).to(lost.dtype) - lost).detach()  # lost or not, with the sigmoid's gradient
        reading = torch.where(near, depth, nearest) + change
        return torch.where(nearest < FOREGROUND_BELOW, reading + lost * (1 - reading), depth)


@torch.no_grad()
def grain(depth: Float[Tensor, "b 1 s s"], side: int, kind: int = 0) -> Float[Tensor, "b 1 n n"]:
    """Noise in [-1, 1], uniform, independent from place to place, and another one for each crop and kind.

    The fractional part of a large sine, as shaders make noise, of a place and of all that the crop shows.

    Args:
        depth: the crops.
        side: n, of the noise.
        kind: for several that do not depend on each other.
    """
    place = torch.arange(side, device=depth.device, dtype=torch.float64)
    crop = depth.double().mean((1, 2, 3), keepdim=True)
    phase = 12.9898 * place[:, None] + 78.233 * place + 37.719 * (1e3 * crop + kind)
    return ((torch.sin(phase) * 43758.5453).remainder(1.0) * 2 - 1).to(depth.dtype)


def _enlarged(x: Float[Tensor, "b 1 n n"], factor: int) -> Float[Tensor, "b 1 s s"]:
    return x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _twice(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
