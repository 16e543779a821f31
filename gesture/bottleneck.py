"""Bottleneck residual blocks in two or three dimensions (He et al. 2016, section 4.1)."""

from typing import Literal

from torch import Tensor, nn

CONVOLUTIONS = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}


class Bottleneck(nn.Module):
    """1-wide, 3-wide, 1-wide convolutions, the middle one with a quarter of the channels, added to the input."""

    def __init__(self, dimensions: Literal[2, 3], before: int, width: int) -> None:
        super().__init__()
        convolution, norm = CONVOLUTIONS[dimensions]
        inner = width // 4
        self.layers = nn.Sequential(
            convolution(before, inner, 1, bias=False),
            norm(inner),
            nn.ReLU(),
            convolution(inner, inner, 3, padding=1, bias=False),
            norm(inner),
            nn.ReLU(),
            convolution(inner, width, 1, bias=False),
            norm(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != width:
            self.shortcut = nn.Sequential(convolution(before, width, 1, bias=False), norm(width))

    def forward(self, features: Tensor) -> Tensor:
        """(b, before, ...) -> (b, width, ...)."""
        return (self.layers(features) + self.shortcut(features)).relu()
