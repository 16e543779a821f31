"""DG-STA: spatial, then temporal masked attention over the joints of 8 frames.

Chen, Zhao, Peng, Yuan, Metaxas, "Construct Dynamic Graphs for Hand Gesture Recognition via Spatial-Temporal Attention",
BMVC 2019.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gesture.masked_attention import Domain, spatial_attention, temporal_attention
from util.joints import JointSet


class DgSta(nn.Module):
    """Joints -> scores of classes."""

    def __init__(
        self,
        classes: int,
        joint_set: JointSet,
        frames: int = 8,
        dropout: float = 0.1,
        width: int = 128,
        heads: int = 8,
        head_width: int = 32,
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(dropout))
        self.spatial = _Attention("spatial", len(joint_set), width, heads, head_width, dropout)
        self.temporal = _Attention("temporal", frames, width, heads, head_width, dropout)
        self.classify = nn.Linear(width, classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        return self.classify(self.temporal(self.spatial(self.embed(joints))).mean((1, 2)))


class _Attention(nn.Module):
    """Heads of attention in one domain, behind a code of the place in it (the joint, or the frame)."""

    code: Tensor

    def __init__(self, domain: Domain, places: int, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.domain, self.heads = domain, heads
        inner = heads * head_width
        self.query = nn.Sequential(nn.Linear(width, inner), nn.Dropout(dropout))
        self.key = nn.Sequential(nn.Linear(width, inner), nn.Dropout(dropout))
        self.value = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(dropout))
        self.join = nn.Sequential(nn.Linear(inner, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(dropout))
        code = place_code(places, width)
        self.register_buffer("code", code if domain == "spatial" else code.unsqueeze(1), persistent=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, nodes: Float[Tensor, "b frames joints width"]) -> Float[Tensor, "b frames joints width"]:
        coded = nodes + self.code
        # (b, frames, joints, heads, d) -> (b, heads, frames, joints, d)
        query, key, value = (
            layer(coded).unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 2, 4)
            for layer in (self.query, self.key, self.value)
        )
        attend = spatial_attention if self.domain == "spatial" else temporal_attention
        return self.join(attend(query, key, value).permute(0, 2, 3, 1, 4).flatten(-2))


def place_code(places: int, width: int) -> Float[Tensor, "places width"]:
    """Sines and cosines of a place at `width` / 2 wavelengths (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(places).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
