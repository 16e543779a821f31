"""Model branch (model-parameter estimation): pooled features -> parameters of the hand model."""

from typing import NamedTuple

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from render.hand_layer import HandLayer, HandParams


class HandEstimate(NamedTuple):
    """Hand parameters as a branch predicts them: the global rotation may be a matrix, which has no singularities."""

    rotation: Float[Tensor, "b ..."]
    """Axis-angle or rotation matrix."""
    pose: Float[Tensor, "b 45"]
    """Pose coefficients."""
    shape: Float[Tensor, "b 10"]
    """Shape coefficients."""
    scale: Float[Tensor, "b 1"]
    """Size factor."""
    translation: Float[Tensor, "b 3"]
    """Crop-normalised xyz."""

    def params(self) -> HandParams:
        """The 62 numbers, without gradients (the axis of a half turn has none)."""
        rotation = self.rotation.detach()
        if rotation.ndim == 3:
            rotation = roma.rotmat_to_rotvec(rotation)
        rest = (self.pose, self.shape, self.scale, self.translation)
        return HandParams(rotation, *(value.detach() for value in rest))

    def mesh_xyz(self, layer: HandLayer, unit_mm: float | Float[Tensor, "b 1"]) -> tuple[Tensor, Tensor]:
        """(vertices_xyz (b, 779, 3), joints_xyz (b, 21, 3)) in half cubes; unit_mm: millimetres of a parameter unit."""
        mesh = layer(self.rotation, self.pose, self.shape)
        return mesh.placed(self.scale, self.translation, unit_mm)


class LinearHead(nn.Module):
    """62 parameters by one linear layer, as published."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, 62)
        nn.init.normal_(self.linear.weight, std=0.001)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Float[Tensor, "b c"], joints_xyz: Float[Tensor, "b 21 3"]) -> HandEstimate:
        """joints_xyz is not used: this head sees pooled features alone."""
        return HandEstimate(*self.linear(pooled).split([3, 45, 10, 1, 3], -1))


class JointsHead(nn.Module):
    """Parameters from pooled features and from the pixel branch's joints, held fixed: inverse kinematics, learned.

    The rotation is given by two columns, orthonormalised (Zhou et al., CVPR 2019); the scale is exp(.), and the
    translation counts from the joints' mean.
    """

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, 65)
        hidden = (nn.Linear(channels_in + 63, width), nn.Linear(width, width))
        self.layers = nn.Sequential(hidden[0], nn.ReLU(), hidden[1], nn.ReLU(), last)
        for layer in hidden:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(last.weight, std=0.001)
        with torch.no_grad():
            last.bias.zero_()
            last.bias[:6] = torch.eye(3)[:, :2].flatten()

    def forward(self, pooled: Float[Tensor, "b c"], joints_xyz: Float[Tensor, "b 21 3"]) -> HandEstimate:
        """joints_xyz: the pixel branch's joints in half cubes."""
        joints = joints_xyz.detach()
        numbers = self.layers(torch.cat([pooled, joints.flatten(1)], -1))
        columns, pose, shape, size, shift = numbers.split([6, 45, 10, 1, 3], -1)
        rotation = roma.special_gramschmidt(columns.unflatten(-1, (3, 2)))
        return HandEstimate(rotation, pose, shape, size.exp(), joints.mean(1) + shift)
