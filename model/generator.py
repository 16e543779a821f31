"""Image translation: what a generator is, and the published kind of it.

A residual generator with instance normalisation (Johnson et al., ECCV 2016; Zhu et al., CycleGAN, ICCV 2017). Modules
stand where published state dicts count them, so that these load as they are.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from util.published import GeneratorSize


class Generator(nn.Module, ABC):
    """Crops of one appearance -> the same crops in the other, depth in [-1, 1] on both sides."""

    def __init__(self, size: GeneratorSize) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 s s"]:
        """depth: crops whose side is a multiple of 4; bf16: autocast of all convolutions but the last."""


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


class ResidualGenerator(Generator):
    """The published one, with residual blocks and instance normalisation.

    Args:
        filters: channels at full resolution; twice and four times as many at half and at a quarter of it.
        blocks: residual blocks at a quarter of the resolution.
    """

    def __init__(self, filters: int = GeneratorSize().filters, blocks: int = GeneratorSize().blocks) -> None:
        super().__init__(GeneratorSize(filters, blocks))
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


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU()
