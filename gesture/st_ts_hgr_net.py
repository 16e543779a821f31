"""ST-TS-HGR-NET: Gaussians of joints over fingers and sub-sequences as SPD matrices, joined into one.

Nguyen, Brun, Lezoray, Bougleux, "A Neural Network Based on SPD Manifold Learning for Skeleton-Based Hand Gesture
Recognition", CVPR 2019. Joints get 9 features from their bones; a sequence, its halves and its thirds are 6
sub-sequences. For each finger and sub-sequence one 56 x 56 matrix comes from space first (Gaussians of a finger's
joints around a frame, then of their logarithms over time), another from time first (Gaussians of one joint over a part
of the sub-sequence, then over joints and parts). The 60 matrices X_k are joined as the sum of W_k X_k W_k', each W_k
200 x 56 with orthonormal columns (geoopt's Stiefel manifold), and the result's logarithm is classified.

Sequences are read at 36 frames, where the paper takes 500 and 15 parts: no more is known of recordings of 16 frames.
"""

from typing import Any

import geoopt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gesture.spd import as_vector, gaussian, rectified_log
from gesture.st_gcn import partitions
from util.joints import FINGER_COLOURS, JointSet

PARTS = 6
"""Parts of a sub-sequence whose Gaussians are over time."""
REACH = 1
"""Frames on either side that a finger's Gaussian takes in."""


class StTsHgrNet(nn.Module):
    """Joints -> scores of classes."""

    graph: Tensor

    def __init__(
        self, classes: int, joint_set: JointSet, dropout: float = 0.0, features: int = 9, joined: int = 200
    ) -> None:
        super().__init__()
        self.fingers = [
            [k for k, name in enumerate(joint_set.names) if name.startswith(finger)] for finger in FINGER_COLOURS
        ]
        self.register_buffer("graph", partitions(joint_set), persistent=False)
        self.convolve = nn.Parameter(torch.randn(3, 3, features) * 3**-0.5)
        inner = (features + 1) * (features + 2) // 2 + 1
        number = 2 * len(self.fingers) * len(_sub_sequences(6))
        start = torch.linalg.qr(torch.randn(number, joined, inner)).Q
        stiefel: Any = geoopt.Stiefel  # geoopt's own types call it abstract
        parameter: Any = geoopt.ManifoldParameter
        self.join = parameter(start, manifold=stiefel())
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(joined * (joined + 1) // 2, classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Scores before the softmax."""
        features = torch.einsum("btjc,pij,pcd->btid", joints, self.graph, self.convolve)
        matrices = torch.stack([*self._space_first(features), *self._time_first(features)], 1)
        joined = (self.join @ matrices @ self.join.mT).sum(1)
        return self.classify(self.dropout(as_vector(rectified_log(joined))))

    def _space_first(self, features: Float[Tensor, "b frames joints d"]) -> list[Tensor]:
        """A matrix for each finger and sub-sequence."""
        frames = features.shape[1]
        near = torch.arange(-REACH, REACH + 1, device=features.device)
        window = (torch.arange(frames, device=features.device).unsqueeze(1) + near).clamp(0, frames - 1)
        around = features[:, window]  # (b, frames, window, joints, d)
        vectors = [as_vector(rectified_log(gaussian(around[..., f, :].flatten(2, 3)))) for f in self.fingers]
        return [gaussian(v[:, first:end]) for v in vectors for first, end in _sub_sequences(frames)]

    def _time_first(self, features: Float[Tensor, "b frames joints d"]) -> list[Tensor]:
        """A matrix for each sub-sequence and finger."""
        matrices = []
        for first, end in _sub_sequences(features.shape[1]):
            parts = features[:, first:end].transpose(1, 2).tensor_split(min(PARTS, (end - first) // 2), 2)
            vectors = torch.stack([as_vector(rectified_log(gaussian(part))) for part in parts], 2)
            matrices += [gaussian(vectors[:, f].flatten(1, 2)) for f in self.fingers]
        return matrices


def _sub_sequences(frames: int) -> list[tuple[int, int]]:
    """(first, end) of the whole, its halves and its thirds."""
    return [(frames * k // n, frames * (k + 1) // n) for n in (1, 2, 3) for k in range(n)]
