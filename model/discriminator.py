"""Image translation: a discriminator that judges patches (Isola et al., CVPR 2017).

A sensor's noise is a hundredth of a crop's range of depth. So that it is not overlooked, the discriminator can be shown
it enlarged, as a channel of its own.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Crops -> one number for each of many overlapping patches: near 1 genuine, near 0 a translation (least squares).

    Args:
        filters: channels of the first layer; two, four and eight times as many follow.
        halvings: layers that halve the resolution: 3 judge patches of 70x70 samples, 2 of 34x34.
        detail: gain of the difference to the mean of 3x3 samples that it is shown as well; 0 leaves that away.
        spectral: spectral normalisation (Miyato et al., ICLR 2018) instead of instance normalisation: its verdicts then
            change no faster than the image does, and how strong a noise is gets through to them.
    """

    def __init__(self, filters: int = 64, halvings: int = 3, detail: float = 0.0, spectral: bool = False) -> None:
        super().__init__()
        f, self.detail = filters, detail
        layers: list[nn.Module] = [nn.Conv2d(1 + (detail > 0), f, 4, 2, 1), nn.LeakyReLU(0.2)]
        steps = [(f << k, f << k + 1, 2) for k in range(halvings - 1)]
        for channels_in, channels_out, stride in (*steps, (f << halvings - 1, f << halvings, 1)):
            layers.append(nn.Conv2d(channels_in, channels_out, 4, stride, 1))
            layers += [nn.LeakyReLU(0.2)] if spectral else [nn.InstanceNorm2d(channels_out), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Conv2d(f << halvings, 1, 4, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                if spectral:
                    spectral_norm(layer)

    def forward(self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False) -> Float[Tensor, "b 1 patches patches"]:
        """depth: crops of at least 32 x 32 samples; bf16: autocast of all convolutions but the last."""
        return self.judged(depth, bf16)[0]

    def judged(
        self, depth: Float[Tensor, "b 1 s s"], bf16: bool = False
    ) -> tuple[Float[Tensor, "b 1 patches patches"], list[Tensor]]:
        """Verdicts, and the activations (b, c, h, w) of each layer that led to them."""
        if self.detail:
            fine = (depth - F.avg_pool2d(depth, 3, 1, 1, count_include_pad=False)) * self.detail
            depth = torch.cat([depth, fine.clamp(-1, 1)], 1)
        activations: list[Tensor] = []
        with torch.autocast(depth.device.type, torch.bfloat16, enabled=bf16):
            seen = depth.contiguous(memory_format=torch.channels_last)
            for layer in self.features:
                seen = layer(seen)
                if isinstance(layer, nn.LeakyReLU):
                    activations.append(seen)
        return self.verdict(seen.to(depth.dtype)), activations
