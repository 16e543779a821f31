"""STA-Res-TCN: Res-TCN, each of whose features at each time is weighted by a branch of attention.

Hou, Wang, Chen, Xue, Zhu, Yang, "Spatial-Temporal Attention Res-TCN for Skeleton-Based Dynamic Hand Gesture
Recognition", ECCV workshops 2018. The mask branch is as the main one, behind the same first convolution, and ends in a
sigmoid; its last batch norm keeps the sigmoid where it has a slope.
"""

from jaxtyping import Float
from torch import Tensor, nn

from gesture.res_tcn import WIDTHS, Classifier, residual_units, rows, stem
from util.joints import JointSet


class StaResTcn(nn.Module):
    """Joints -> scores of classes."""

    def __init__(
        self, classes: int, joint_set: JointSet, dropout: float = 0.1, widths: tuple[int, int, int] = WIDTHS
    ) -> None:
        super().__init__()
        self.stem = stem(joint_set, widths[0])
        self.units = residual_units(widths, dropout)
        self.mask = nn.Sequential(*residual_units(widths, dropout), nn.BatchNorm1d(widths[-1]), nn.Sigmoid())
        self.classify = Classifier(widths[-1], classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        first = self.stem(rows(joints))
        return self.classify(self.units(first) * self.mask(first))
