"""Image translation between rendered and real appearance: the generator, and the crop that comes of its answer.

A residual generator with instance normalisation (Johnson et al., ECCV 2016; Zhu et al., CycleGAN, ICCV 2017). Modules
stand where published state dicts count them, so that these load as they are.

Two things its answer lacks are put right by `translate`, for published generators too. Background is exactly 1 in a
crop, and tanh never gets there: what comes out at 0.95 or above, in the last fortieth of the cube, is background. And
instance normalisation forgets how deep a hand lies: a crop I and another one, 1 - a (1 - I), which is I with the hand
pushed towards the cube's back, look the same after the first layer. That single factor is taken from the source again
(`anchored_to`).
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dataloader.crop import FOREGROUND_BELOW
from util.checkpoint import fill_module, read_generator
from util.published import GeneratorSize

BACKGROUND = 0.95
"""From here on a generator's answer means that nothing is there: tanh gets to 0.99 late, and hardly moves there."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Crops of one appearance -> the same crops in the other, depth in [-1, 1] on both sides.

    Args:
        filters: channels at full resolution; twice and four times as many at half and at a quarter of it.
        blocks: residual blocks at a quarter of the resolution.
    """

    def __init__(self, filters: int = GeneratorSize().filters, blocks: int = GeneratorSize().blocks) -> None:
        super().__init__()
        self.filters, self.blocks = filters, blocks
        f = filters
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *_normalised(nn.Conv2d(1, f, 7)),
            *_normalised(nn.Conv2d(f, 2 * f, 3, 2, 1)),
            *_normalised(nn.Conv2d(2 * f, 4 * f, 3, 2, 1)),
            *(ResidualBlock(4 * f) for _ in range(blocks)),
            *_normalised(nn.ConvTranspose2d(4 * f, 2 * f, 3, 2, 1, output_padding=1)),
            *_normalised(nn.ConvTranspose2d(2 * f, f, 3, 2, 1, output_padding=1)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(f, 1, 7),
            nn.Tanh(),
        )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 s s"]:
        """depth: crops whose side is a multiple of 4; bf16: autocast of all convolutions but the last, which writes
        millimetres."""
        with torch.autocast(depth.device.type, torch.bfloat16, enabled=bf16):
            features = self.model[:-3](depth)
        return self.model[-3:](features.to(depth.dtype))


def translate(
    generator: Generator, depth: Float[Tensor, "b 1 s s"], anchored: bool = True, bf16: bool = False
) -> Float[Tensor, "b 1 s s"]:
    """Crops in the other appearance: in [-1, 1], background exactly 1; gradients pass as if nothing was set to 1.

    Args:
        generator: in channels_last it is several times as fast on a CPU.
        depth: crops whose side is a multiple of 4.
        anchored: put the mean depth back to the source's.
        bf16: autocast of convolutions.
    """
    answer = generator(depth.contiguous(memory_format=torch.channels_last), bf16)
    if anchored:
        answer = anchored_to(depth, answer)
    with torch.no_grad():
        finished = torch.where(answer < BACKGROUND, answer.clamp_min(-1.0), 1.0)
    return answer + (finished - answer).detach()


def anchored_to(source: Float[Tensor, "b 1 s s"], answer: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
    """An answer whose distance from the cube's back is, on average over what both show, the source's.

    The factor is between 1/2 and 2; it is 1 where the two show nothing in common.
    """
    common = (source < FOREGROUND_BELOW) & (answer < BACKGROUND)
    wanted, found = (((1 - depth) * common).sum((1, 2, 3), keepdim=True) for depth in (source, answer))
    factor = torch.where(found > 0, wanted / found.clamp_min(1e-6), 1.0).clamp(0.5, 2.0)
    return 1 - factor * (1 - answer)


def load_generator(path: Path) -> Generator:
    """The generator in a published file or in one of ours, on the CPU, ready for use.

    Raises UserError when the file is absent, damaged, or holds anything else.
    """
    checkpoint = read_generator(path)
    generator = Generator(*(checkpoint.generator or GeneratorSize()))
    fill_module(generator, checkpoint.state, path)
    return generator.eval()


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU()
