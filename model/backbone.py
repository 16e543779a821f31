"""Residual encoder and up-sampling decoder of one stage (He et al., CVPR 2016; DSF, Ren et al., TIP 2022)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut, four times as wide at the end."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(channels_in, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class NarrowShortcut(nn.Conv2d):
    """A 1x1 convolution with a stride that drops samples first: the same numbers, and no crash.

    torch 2.13 (oneDNN) writes beyond its memory in the gradient of such a convolution with 8 channels, in
    channels_last, where a CPU has more threads than the batch has images.
    """

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv2d(input[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)


NARROW = 16
"""Channels from which on such convolutions are sound."""


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    convolution = NarrowShortcut if channels_in < NARROW else nn.Conv2d
    return nn.Sequential(convolution(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


BLOCKS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""Block type and number of blocks a layer, by name."""


class Stem(nn.Sequential):
    """5x5 convolution, batch norm, ReLU, 3x3 max pool: a crop to features at half its size / stride."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, 5, stride, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )


class Encoder(nn.Module):
    """Four residual layers, each halving the resolution but the first."""

    def __init__(self, name: str, channels_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        block, counts = BLOCKS[name]
        self.layers = nn.ModuleList()
        for level, (count, width) in enumerate(zip(counts, widths, strict=True)):
            blocks = []
            for k in range(count):
                blocks.append(block(channels_in, width, 2 if k == 0 and level else 1))
                channels_in = width * block.expansion
            self.layers.append(nn.Sequential(*blocks))
        self.channels_out = channels_in

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h8 w8"]:
        for layer in self.layers:
            x = layer(x)
        return x


class Decoder(nn.Sequential):
    """Three 4x4 stride-2 transposed convolutions back to the stem's resolution."""

    def __init__(self, channels_in: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.ConvTranspose2d(channels_in, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels_in = width
        super().__init__(*layers)
        self.channels_out = channels_in


def initialise(module: nn.Module) -> None:
    """He initialisation for convolutions, N(0, 0.001) for linear and transposed layers, unit batch norms."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, (nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=0.001)
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
