"""ST-GCN: graph convolutions over the hand's bones and convolutions in time, in turn.

Yan, Xiong, Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018, with
the spatial partition: what a joint sees of itself, of the neighbour nearer to the root and of those farther from it has
weights of its own.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from util.joints import JointSet

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Channels of the blocks; where they grow, the number of frames halves."""
TIME = 9
"""Frames that a convolution in time spans."""


class StGcn(nn.Module):
    """Joints -> scores of classes."""

    def __init__(
        self, classes: int, joint_set: JointSet, dropout: float = 0.1, widths: tuple[int, ...] = WIDTHS
    ) -> None:
        super().__init__()
        graph = partitions(joint_set)
        self.norm = nn.BatchNorm1d(3 * len(joint_set))
        before = (3, *widths)
        self.blocks = nn.Sequential(
            *(
                _Block(old, new, 2 if k and new > old else 1, graph, dropout, residual=k > 0)
                for k, (old, new) in enumerate(zip(before, widths, strict=False))
            )
        )
        self.classify = nn.Linear(widths[-1], classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        b, frames, n, _ = joints.shape
        normed = self.norm(joints.permute(0, 2, 3, 1).flatten(1, 2))
        return self.classify(self.blocks(normed.view(b, n, 3, frames).transpose(1, 2).mT).mean((-2, -1)))


class _Block(nn.Module):
    """A graph convolution, then one in time, added to the input."""

    graph: Tensor

    def __init__(
        self,
        before: int,
        width: int,
        stride: int,
        graph: Float[Tensor, "3 joints joints"],
        dropout: float,
        residual: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("graph", graph, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(graph))
        self.gather = nn.Conv2d(before, len(graph) * width, 1)
        self.time = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, (TIME, 1), (stride, 1), (TIME // 2, 0)),
            nn.BatchNorm2d(width),
            nn.Dropout(dropout),
        )
        self.shortcut: nn.Module | None = None
        if residual and before == width and stride == 1:
            self.shortcut = nn.Identity()
        elif residual:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, (stride, 1)), nn.BatchNorm2d(width))

    def forward(self, features: Float[Tensor, "b before frames joints"]) -> Float[Tensor, "b width fewer joints"]:
        seen = self.gather(features).unflatten(1, (len(self.graph), -1))
        moved = self.time(torch.einsum("bpctj,pij->bcti", seen, self.graph * self.importance))
        return (moved if self.shortcut is None else moved + self.shortcut(features)).relu()


def partitions(joint_set: JointSet) -> Float[Tensor, "3 joints joints"]:
    """What joint i (row) sees of joint j: itself, its parent, its children; rows sum to 1 over all three."""
    n = len(joint_set)
    graph = torch.zeros(3, n, n)
    graph[0] = torch.eye(n)
    for parent, child in joint_set.bones:
        graph[1, child, parent] = graph[2, parent, child] = 1.0
    return graph / graph.sum((0, 2)).unsqueeze(-1)
