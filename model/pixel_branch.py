"""Pixel branch (pixel-wise estimation): offset maps off decoder features, joints off the maps."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.backbone import Decoder


class PixelBranch(nn.Module):
    """Up-sampling decoder, then 1x1 convolutions to 63 offset and 21 closeness channels."""

    def __init__(self, channels_in: int, decoder_widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.decoder = Decoder(channels_in, decoder_widths)
        self.offsets = nn.Conv2d(self.decoder.channels_out, 63, 1)
        self.closeness = nn.Conv2d(self.decoder.channels_out, 21, 1)
        for head in (self.offsets, self.closeness):
            nn.init.normal_(head.weight, std=0.001)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(
        self, features: Float[Tensor, "b c h8 w8"]
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b 84 h w"]]:
        """Decoder features; maps, offsets before closeness."""
        decoded = self.decoder(features)
        # The two heads at once; checkpoints keep them apart.
        weight = torch.cat([self.offsets.weight, self.closeness.weight])
        bias = torch.cat([self.offsets.bias, self.closeness.bias])  # type: ignore[list-item]  (both have one)
        return decoded, F.conv2d(decoded, weight, bias)
