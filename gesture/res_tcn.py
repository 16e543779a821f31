"""Res-TCN: residual 1-D convolutions in time over all coordinates of a frame.

Kim, Reiter, "Interpretable 3D Human Action Analysis with Temporal Convolutional Networks", CVPR workshops 2017, in the
size that Hou et al. give it for hands ("Spatial-Temporal Attention Res-TCN for Skeleton-Based Dynamic Hand Gesture
Recognition", ECCV workshops 2018).
"""

from jaxtyping import Float
from torch import Tensor, nn

from util.joints import JointSet

KERNEL = 8
"""Frames that a convolution spans."""
WIDTHS = (64, 128, 256)
"""Channels of the stages, of three units each; the second and third halve the number of frames."""


class ResTcn(nn.Module):
    """Joints -> scores of classes."""

    def __init__(
        self, classes: int, joint_set: JointSet, dropout: float = 0.1, widths: tuple[int, int, int] = WIDTHS
    ) -> None:
        super().__init__()
        self.stem = stem(joint_set, widths[0])
        self.units = residual_units(widths, dropout)
        self.classify = Classifier(widths[-1], classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        return self.classify(self.units(self.stem(rows(joints))))


class Classifier(nn.Module):
    """Mean over time, then one linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "b width frames"]) -> Float[Tensor, "b classes"]:
        return self.linear(self.norm(features).relu().mean(-1))


class ResidualUnit(nn.Module):
    """Batch norm, ReLU, convolution, added to the input; a 1-wide convolution brings that to the right shape."""

    def __init__(self, before: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(before)
        self.dropout = nn.Dropout(dropout)
        self.convolve = _convolution(before, width, stride)
        same = before == width and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv1d(before, width, 1, stride)

    def forward(self, features: Float[Tensor, "b before frames"]) -> Float[Tensor, "b width fewer"]:
        return self.shortcut(features) + self.convolve(self.dropout(self.norm(features).relu()))


def residual_units(widths: tuple[int, int, int], dropout: float) -> nn.Sequential:
    """Three units a stage, from the stem's widths[0] channels on."""
    units, before = [], widths[0]
    for stage, width in enumerate(widths):
        for k in range(3):
            units.append(ResidualUnit(before, width, 2 if stage and k == 0 else 1, dropout))
            before = width
    return nn.Sequential(*units)


def stem(joint_set: JointSet, width: int) -> nn.Module:
    """The first convolution."""
    return _convolution(3 * len(joint_set), width)


def rows(joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b coordinates frames"]:
    """All coordinates of a frame as channels."""
    return joints.flatten(2).transpose(1, 2)


def _convolution(before: int, width: int, stride: int = 1) -> nn.Module:
    """Keeps the number of frames, or halves it (rounded up): of the 7 more frames that it needs, 3 come first."""
    return nn.Sequential(nn.ConstantPad1d((3, 4), 0.0), nn.Conv1d(before, width, KERNEL, stride))
