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


OFFSETS_MM: dict[str, tuple[tuple[float, float, float], ...]] = {}
