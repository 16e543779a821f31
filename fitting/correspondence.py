"""What a data set's joints are on the hand model: combinations of its keypoints, and constant offsets beside them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from util.joints import ICVL16, JOINT_SETS, MANO21, MSRA21, NYU14, SHREC22, JointSet

FITTED = {joints.name: joints for joints in (NYU14, ICVL16, MSRA21, MANO21, SHREC22)}
"""The joint sets that hands are fitted to."""
NOT_SHARED = {"nyu14": (11, 13), "icvl16": (0,), "shrec22": (1,)}
"""Joints that the two skeletons do not define alike: they guide a fit, and are no part of its residual."""

OTHERS_SHARE = 0.3
"""How much such a joint counts in a fit, against 1."""


@dataclass(frozen=True)
class Correspondence:
    """One data set's joints in terms of the hand model."""

    joints: JointSet
    combinations: Float[Tensor, "m 21"]
    """Each joint as a weighted sum of the 21 keypoints."""
    bones: Int[Tensor, " m"]
    """The joint (0 the palm, 1-15) in whose frame its offset stands."""
    offsets_mm: Float[Tensor, "m 3"]
    """Forward, towards the thumb, towards the back; for a hand of size 1."""
    shared: tuple[int, ...]
    """Joints that count as residual."""

    def share(self) -> Float[Tensor, " m"]:
        """How much each label counts in a fit."""
        share = torch.full((len(self.joints),), OTHERS_SHARE)
        share[list(self.shared)] = 1.0
        return share

    @staticmethod
    def of(name: str, offsets: bool = True) -> "Correspondence":
        """The correspondence of a joint set's name, without the constant offsets on demand."""
        joints = JOINT_SETS[name]
        keypoints = torch.eye(len(MANO21), dtype=torch.float64)
        combinations = joints.from_mano21(keypoints)
        bones = [_bone(twins) for twins in joints.twins]
        beside = OFFSETS_MM.get(name) if offsets else None
        return Correspondence(
            joints,
            combinations,
            torch.tensor(bones),
            torch.zeros(len(joints), 3) if beside is None else torch.tensor(beside),
            tuple(k for k in range(len(joints)) if k not in NOT_SHARED.get(name, ())),
        )


def _bone(twins: tuple[int, ...]) -> int:
    """The joint that a keypoint turns with; what is the mean of several, or of none, goes with the palm."""
    if len(twins) != 1:
        return 0
    keypoint = twins[0]
    return keypoint if keypoint < 16 else 3 * (keypoint - 16) + 3


OFFSETS_MM: dict[str, tuple[tuple[float, float, float], ...]] = {
    "nyu14": (
        (1.2, -2.0, -0.5),  # pinky_tip
        (3.6, 2.8, -1.7),  # pinky_root
        (1.2, 1.9, 0.3),  # ring_tip
        (4.2, -1.1, -6.4),  # ring_root
        (1.2, 0.3, 0.5),  # middle_tip
        (12.3, -1.3, -3.4),  # middle_root
        (-1.0, -0.8, -0.4),  # index_tip
        (11.1, -2.6, -3.1),  # index_root
        (-0.7, 0.5, -0.4),  # thumb_tip
        (14.4, -1.6, -0.6),  # thumb_middle
        (7.3, -8.7, 0.4),  # thumb_root
        (15.2, 9.6, 5.3),  # wrist_2
        (12.4, 25.0, 3.8),  # wrist_1
        (13.9, 1.7, 2.9),  # palm
    ),
    "icvl16": (
        (55.8, 6.8, -9.8),  # palm
        (25.3, -4.7, -12.5),  # thumb_R
        (8.5, -9.0, -1.1),  # thumb_M
        (7.9, -9.8, 3.9),  # thumb_T
        (22.6, 3.1, 1.0),  # index_R
        (18.0, 2.6, -7.0),  # index_M
        (15.7, 8.1, -2.4),  # index_T
        (28.4, 1.6, -5.4),  # middle_R
        (22.0, 3.7, -6.6),  # middle_M
        (16.4, 3.8, -5.8),  # middle_T
        (21.4, 1.5, -5.9),  # ring_R
        (12.7, 4.7, -5.9),  # ring_M
        (10.8, 4.2, -2.1),  # ring_T
        (11.4, -1.2, -1.5),  # pinky_R
        (6.2, -1.3, 0.4),  # pinky_M
        (10.1, -5.8, -6.6),  # pinky_T
    ),
}
"""Where each joint of a data set lies from the keypoint of its name: forward, towards the thumb, towards the back of
the bone, mm for a hand of size 1. Learned by bench/fit_offsets.py (docs/fitting.md has the commands) from 192 frames of
each subject of NYU's and each sequence of ICVL's test annotations; the other joint sets are taken as the keypoints."""
