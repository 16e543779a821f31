"""HPEV: 3-D convolutions on a volume of the hand's postures, finger tips beside it, 2-D ones on a map of its movements.

Liu, Liu, Wang, Prinet, Xiang, Pan, "Decoupled Representation Learning for Skeleton-Based Gesture Recognition", CVPR
2020: the hand posture evolution volume (HPEV) with fingertip relative position vectors (FRPV), and the hand movement
map (HMM) behind the co-occurrence layers of Li et al., "Co-occurrence Feature Learning", IJCAI 2018. The two streams'
predictions are averaged.

Each frame's joints are centred in its own cube, whose edge is the sequence's largest hand (the paper: the data set's).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gesture.bottleneck import Bottleneck
from util.joints import FINGER_COLOURS, JointSet

WIDTHS = (128, 128, 256, 512)
"""Channels of the four bottlenecks of either stream."""
STEM = 64
"""Channels of the first 3-D convolution."""


class Hpev(nn.Module):
    """Joints -> logarithm of the probabilities of classes."""

    def __init__(
        self,
        classes: int,
        joint_set: JointSet,
        frames: int = 60,
        dropout: float = 0.1,
        volume: int = 32,
        step: int = 3,
        widths: tuple[int, int, int, int] = WIDTHS,
        stem: int = STEM,
    ) -> None:
        super().__init__()
        self.volume, self.step = volume, step
        self.tips = [joint_set.names.index(f"{finger}_tip") for finger in FINGER_COLOURS]
        first, second, third, fourth = widths
        self.postures = nn.Sequential(
            nn.Conv3d(1, stem, (7, 3, 3), padding=(3, 1, 1), bias=False),
            nn.BatchNorm3d(stem),
            nn.ReLU(),
            nn.MaxPool3d((4, 2, 2), ceil_mode=True),
            Bottleneck(3, stem, first),
            Bottleneck(3, first, second),
            nn.MaxPool3d((4, 2, 2), ceil_mode=True),
            Bottleneck(3, second, third),
            nn.MaxPool3d((4, 2, 2), ceil_mode=True),
            Bottleneck(3, third, fourth),
        )
        self.tip_vectors = nn.Sequential(nn.Linear(12 * frames, fourth // 2), nn.ReLU(), nn.Dropout(dropout))
        self.movements = _Movements(widths)
        self.by_posture = nn.Linear(fourth + fourth // 2, classes)
        self.by_movement = nn.Linear(fourth, classes)

    def forward(self, joints: Float[Tensor, "b frames joints 3"]) -> Float[Tensor, "b classes"]:
        """Logarithm of the mean of both streams' probabilities, which serves as scores before a softmax."""
        tips = joints[:, :, self.tips]
        relative = self.tip_vectors((tips[:, :, 1:] - tips[:, :, :1]).flatten(1))
        postures = self.postures(posture_volume(joints, self.volume, self.step).unsqueeze(1)).mean((2, 3, 4))
        by_posture = self.by_posture(torch.cat([postures, relative], -1)).log_softmax(-1)
        by_movement = self.by_movement(self.movements(movement_map(joints, tips))).log_softmax(-1)
        return torch.logaddexp(by_posture, by_movement) - math.log(2)


class _Movements(nn.Module):
    """Convolutions along time for each of hand and tips; then hand and tips as channels."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.alone = nn.Sequential(
            nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 32, (3, 1), padding=(1, 0))
        )
        first, second, third, fourth = widths
        self.together = nn.Sequential(
            nn.Conv2d(6, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            Bottleneck(2, 32, first),
            Bottleneck(2, first, second),
            nn.MaxPool2d(2, ceil_mode=True),
            Bottleneck(2, second, third),
            nn.MaxPool2d(2, ceil_mode=True),
            Bottleneck(2, third, fourth),
        )

    def forward(self, movements: Float[Tensor, "b 3 frames 6"]) -> Float[Tensor, "b width"]:
        return self.together(self.alone(movements).permute(0, 3, 2, 1)).mean((2, 3))


def posture_volume(
    joints: Float[Tensor, "b frames joints 3"], size: int, step: int
) -> Float[Tensor, "b length size size"]:
    """1 where a joint is, frame t's cube of size^3 voxels beginning at voxel t x step of the first axis (x)."""
    b, frames = joints.shape[:2]
    low, high = joints.amin(2, keepdim=True), joints.amax(2, keepdim=True)
    edge = (high - low).amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
    centred = (joints - (low + high) / 2) / edge
    voxel = ((centred + 0.5) * size).floor().long().clamp(0, size - 1)
    x = voxel[..., 0] + step * torch.arange(frames, device=joints.device).unsqueeze(1)
    length = size + step * (frames - 1)
    volume = joints.new_zeros(b, length * size * size)
    place = (x * size + voxel[..., 1]) * size + voxel[..., 2]
    return volume.scatter_(1, place.flatten(1), 1.0).view(b, length, size, size)


def movement_map(
    joints: Float[Tensor, "b frames joints 3"], tips: Float[Tensor, "b frames 5 3"]
) -> Float[Tensor, "b 3 frames 6"]:
    """How far the hand's middle and each tip have moved since the first frame."""
    followed = torch.cat([joints.mean(2, keepdim=True), tips], 2)
    return (followed - followed[:, :1]).permute(0, 3, 1, 2)
