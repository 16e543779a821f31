"""Image translation for CPUs: a generator that corrects a crop's depth instead of drawing the crop anew.

What a sensor adds to a depth image is small, local and random: its reading belongs to a place a few samples beside the
ray, the same for a whole block where it compares windows of an image; it errs by a few millimetres; or nothing is read
at all. So for each sample this generator chooses among readings: the crop's own, readings of places drawn at random for
each sample or for each block of two, four or six samples, and none, lost alone or with its block. Noise of the same
blocks chooses by the chances that the network gives (Gumbel-max; the gradient is that of the chances, Jang et al.,
Categorical reparameterization with Gumbel-softmax, ICLR 2017). What is read then moves along the ray by a correction
and by noise of three sizes whose strength the network says.

No reading is drawn from nothing, so labels stay true from the first step on; all that a sensor does is there from the
first step on, too, and becomes more or less frequent: a discriminator cannot say of no noise whether more would help.
Randomness is a function of the crop itself: the same crop is always translated the same way. Upsampling is bilinear,
because transposed convolutions leave a checkerboard that is stronger than a sensor's noise; details pass by shortcuts
(Ronneberger et al., U-Net, MICCAI 2015).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dataloader.crop import FOREGROUND_BELOW
from model.generator import Generator
from util.published import GeneratorSize

GRAINS = (1, 2, 4)
"""Sides of the squares over which noise along the ray is the same, samples."""
BLOCKS = (1, 2, 4, 6)
"""Sides of the blocks that read the same place."""
GAPS = (1, 2, 6)
"""Sides of the blocks that are lost together."""
WANDER = 2
"""How far beside a block's centre the place that it reads may lie, samples."""
REACH = WANDER + max(BLOCKS) // 2
"""How far from a surface readings may appear."""
FIRST_SCORES = (1.0, *[-0.5] * len(BLOCKS), *[-4.0] * len(GAPS))
"""Scores of the crop's own readings, of blocks' and of gaps at first: 52, 47 and 1 % of the readings."""
FIRST_SPREAD = 0.015
"""How strongly noise of each size moves readings at first, half cubes."""


class CorrectingGenerator(Generator):
    """Crops of one appearance -> the same crops, corrected to the other one.

    Args:
        filters: channels at full resolution; twice and four times as many at half and at a quarter of it.
        blocks: residual blocks at a quarter of the resolution.
    """

    def __init__(self, filters: int = 12, blocks: int = 3) -> None:
        super().__init__(GeneratorSize(filters, blocks, correcting=True))
        f = filters
        self.first = nn.Conv2d(1 + len(BLOCKS), f, 3, 1, 1)
        self.halve = nn.Conv2d(f, 2 * f, 3, 2, 1)
        self.quarter = nn.Conv2d(2 * f, 4 * f, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * f, 4 * f, 3, 1, 1), nn.ReLU(), nn.Conv2d(4 * f, 4 * f, 3, 1, 1))
            for _ in range(blocks)
        )
        self.to_half = nn.Conv2d(4 * f, 2 * f, 3, 1, 1)
        self.to_full = nn.Conv2d(2 * f, f, 3, 1, 1)
        self.mixed = nn.Conv2d(f, f, 3, 1, 1)
        self.answer = nn.Conv2d(f, 1 + len(GRAINS) + len(FIRST_SCORES), 3, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for block in self.blocks:
            nn.init.normal_(block[2].weight, std=0.01)  # type: ignore[index]
        nn.init.normal_(self.answer.weight, std=1e-3)
        with torch.no_grad():
            spread, scores = self.answer.bias[1:].split([len(GRAINS), len(FIRST_SCORES)])  # type: ignore[index]
            spread.fill_(FIRST_SPREAD)
            scores.copy_(torch.tensor(FIRST_SCORES))

    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 s s"]:
        """depth: crops whose side is a multiple of 4; bf16: autocast of all convolutions but the last, which writes
        millimetres."""
        displaced = torch.cat([_displaced(depth, side) for side in BLOCKS], 1)
        with torch.autocast(depth.device.type, torch.bfloat16, enabled=bf16):
            full = F.relu(self.first(torch.cat([depth, displaced], 1)))
            half = F.relu(self.halve(full))
            deep = F.relu(self.quarter(half))
            for block in self.blocks:
                deep = deep + block(deep)
            half = F.relu(self.to_half(_twice(deep)) + half)
            full = F.relu(self.to_full(_twice(half)) + full)
            full = F.relu(self.mixed(full))
        answer = self.answer(full.to(depth.dtype))
        change, spread, scores = answer.split([1, len(GRAINS), len(FIRST_SCORES)], 1)
        readings = torch.cat([depth, displaced, torch.ones_like(depth).expand(-1, len(GAPS), -1, -1)], 1)
        read = (_chosen(scores, depth) * readings).sum(1, keepdim=True)
        noise = torch.cat([_blocks_of_noise(depth, side, kind=side) for side in GRAINS], 1)
        moved = read + change + (spread * noise).sum(1, keepdim=True)
        return torch.where(read < FOREGROUND_BELOW, moved, read)


def _chosen(scores: Float[Tensor, "b n s s"], depth: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b n s s"]:
    """1 for the reading that is chosen and 0 for the others, with the gradient of its chances."""
    sides = (1, *BLOCKS, *GAPS)
    drawn = torch.cat([_blocks_of_noise(depth, side, kind=100 + k) for k, side in enumerate(sides)], 1)
    uniform = (drawn / 2 + 0.5).clamp(1e-6, 1 - 1e-6)
    scores = scores - (-uniform.log()).log()
    chances = scores.softmax(1)
    chosen = torch.zeros_like(chances).scatter_(1, scores.argmax(1, keepdim=True), 1.0)
    return chosen + (chances - chances.detach())


@torch.no_grad()
def _displaced(depth: Float[Tensor, "b 1 s s"], side: int) -> Float[Tensor, "b 1 s s"]:
    """What blocks of this side read if each reads one place near its centre."""
    size = depth.shape[-1]
    place = torch.arange(size, device=depth.device)
    centre = place // side * side + side // 2
    row, column = (
        (along + (_blocks_of_noise(depth, side, kind=kind) * (WANDER + 0.499)).round().long()).clamp(0, size - 1)
        for along, kind in ((centre[:, None], 10 * side + 1), (centre, 10 * side + 2))
    )
    return depth.flatten(2).gather(2, (row * size + column).flatten(2)).view_as(depth)


def _blocks_of_noise(depth: Float[Tensor, "b 1 s s"], side: int, kind: int) -> Float[Tensor, "b 1 s s"]:
    """Noise in [-1, 1] that is the same in each block."""
    size = depth.shape[-1]
    noise = grain(depth, -(-size // side), kind)
    return noise.repeat_interleave(side, -1).repeat_interleave(side, -2)[..., :size, :size]


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


def _twice(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
