"""Image translation: a discriminator that judges patches of 70x70 samples (Isola et al., CVPR 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Crops -> one number for each of many overlapping patches: near 1 genuine, near 0 a translation (least squares).

    Args:
        filters: channels of the first layer; two, four and eight times as many follow.
    """

    def __init__(self, filters: int = 64) -> None:
        super().__init__()
        f = filters
        layers: list[nn.Module] = [nn.Conv2d(1, f, 4, 2, 1), nn.LeakyReLU(0.2)]
        for channels_in, channels_out, stride in ((f, 2 * f, 2), (2 * f, 4 * f, 2), (4 * f, 8 * f, 1)):
            layers.append(nn.Conv2d(channels_in, channels_out, 4, stride, 1))
            layers += [nn.InstanceNorm2d(channels_out), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Conv2d(8 * f, 1, 4, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 patches patches"]:
        """depth: crops of at least 32 x 32 samples; bf16: autocast of all convolutions but the last."""
        with torch.autocast(depth.device.type, torch.bfloat16, enabled=bf16):
            features = self.features(depth.contiguous(memory_format=torch.channels_last))
        return self.verdict(features.to(depth.dtype))
