"""Joint sets as named objects: what each data set calls a joint, how joints hang together, and the maps between sets.

Every set is told in terms of the 21 keypoints of the hand model, `MANO21`: wrist; index, middle, pinky, ring, thumb
with three joints each from the knuckle outwards; then the tips in the same order of fingers.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # shapes are checked all the same; commands that only need names start without torch's second

Colour = tuple[int, int, int]

FINGER_COLOURS: dict[str, Colour] = {
    "thumb": (230, 80, 60),
    "index": (240, 180, 40),
    "middle": (90, 190, 80),
    "ring": (60, 150, 230),
    "pinky": (170, 100, 220),
}
"""RGB of each finger, in every picture of the project."""

PALM_COLOUR: Colour = (150, 150, 150)

MANO_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
"""Fingers in the order of the hand model's joints and tips."""


@dataclass(frozen=True)
class JointSet:
    """The joints of one data set.

    Attributes:
        name: what the set is called.
        names: of the joints, in the data set's order; a finger's joints begin with its name.
        parents: for each joint the one it hangs from, -1 for the root.
        twins: for each joint the keypoints of `MANO21` whose mean it is; empty where it is no mean of any.
        offsets: (joint, keypoint, from, to, share) of a joint that lies beside a keypoint, where no keypoint is:
            keypoint + share (to - from). A keypoint is a fixed combination of the surface's vertices (a row of the
            hand model's joint regressor, or a tip), and so is such a joint, on every model of the layout.
    """

    name: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    twins: tuple[tuple[int, ...], ...]
    offsets: tuple[tuple[int, int, int, int, float], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) of each bone."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @property
    def colours(self) -> tuple[Colour, ...]:
        """RGB of each joint, and of the bone that ends in it."""
        return tuple(FINGER_COLOURS.get(name.split("_")[0], PALM_COLOUR) for name in self.names)

    def from_mano21(self, keypoints: Float[Tensor, "*batch 21 dim"]) -> Float[Tensor, "*batch joints dim"]:
        """The set's joints from the hand model's 21 keypoints, in a frame with straight lines (`_mm`, `_xyz`).

        NaN where the keypoints do not give a joint.
        """
        import torch

        missing = torch.full_like(keypoints[..., 0, :], math.nan)
        joints = [keypoints[..., list(t), :].mean(dim=-2) if t else missing for t in self.twins]
        for joint, beside, start, end, share in self.offsets:
            joints[joint] = keypoints[..., beside, :] + share * (keypoints[..., end, :] - keypoints[..., start, :])
        return torch.stack(joints, dim=-2)

    def to_mano21(self, joints: Float[Tensor, "*batch joints dim"]) -> Float[Tensor, "*batch 21 dim"]:
        """The hand model's 21 keypoints from the set's joints; NaN for a keypoint that is no joint of the set."""
        import torch

        source = {twins[0]: joint for joint, twins in enumerate(self.twins) if len(twins) == 1}
        index = torch.tensor([source.get(keypoint, 0) for keypoint in range(len(MANO_NAMES))], device=joints.device)
        missing = [keypoint for keypoint in range(len(MANO_NAMES)) if keypoint not in source]
        keypoints = joints.index_select(-2, index)
        return keypoints.index_fill(-2, torch.tensor(missing, dtype=torch.long, device=joints.device), math.nan)


MANO_NAMES = (
    "wrist",
    *(f"{finger}_{joint}" for finger in MANO_FINGERS for joint in (1, 2, 3)),
    *(f"{finger}_tip" for finger in MANO_FINGERS),
)
_MANO_PARENTS = (
    -1,
    *(parent for k in range(5) for parent in (0, 3 * k + 1, 3 * k + 2)),
    *(3 * k + 3 for k in range(5)),
)


def _of_mano(name: str, keypoints: tuple[int, ...], parents: tuple[int, ...]) -> JointSet:
    """A set each of whose joints is one keypoint of the hand model, under its name."""
    return JointSet(name, tuple(MANO_NAMES[k] for k in keypoints), parents, tuple((k,) for k in keypoints))


def _chains(roots: int, fingers: int, joints: int) -> tuple[int, ...]:
    """Parents of fingers that hang from joint 0, knuckle first, one after the other, behind `roots` palm joints."""
    first = range(roots, roots + fingers * joints, joints)
    return tuple(0 if step == 0 else start + step - 1 for start in first for step in range(joints))


MANO21 = _of_mano("mano21", tuple(range(21)), _MANO_PARENTS)
"""The hand model's keypoints."""

NYU14 = JointSet(
    "nyu14",
    (
        *("pinky_tip", "pinky_root", "ring_tip", "ring_root", "middle_tip", "middle_root", "index_tip", "index_root"),
        *("thumb_tip", "thumb_middle", "thumb_root", "wrist_2", "wrist_1", "palm"),
    ),
    (1, 13, 3, 13, 5, 13, 7, 13, 9, 10, 13, 13, 13, -1),
    ((18,), (8,), (19,), (11,), (17,), (5,), (16,), (2,), (20,), (15,), (14,), (), (0,), (0, 1, 4, 10)),
    ((11, 0, 1, 10, 1 / 3),),
)
"""The 14 evaluated joints of NYU (its joints 0 3 6 9 12 15 18 21 24 25 27 30 31 32).

Two of them are no joint of a hand: wrist_2 and wrist_1 are 30 to 35 mm apart, on the little finger's side and on the
thumb's, and make an isosceles triangle with the palm (67 to 81 mm) that never changes. They lie inside the hand, midway
between palm and back. Ours, by the joints that the keypoints do give:

- wrist_2 = wrist + (ring_1 - index_1) / 3: from the wrist's middle towards the little finger, across the palm.
- palm = mean of wrist, index_1, middle_1 and ring_1.
- wrist_1 = wrist, as published, although the wrist of a hand model lies between the two.

Open hands fitted to the other columns of 260 test annotations, 130 a subject, with the triangle rigid in the hand's own
frame, put the annotated wrist_2 3.3 mm (median) from ours and the palm 4.7 mm, when the wrist lies between wrist_1 and
wrist_2; 5.8 and 6.0 mm when nothing is said about the wrist; wrist_1 17 to 22 mm.
"""

ICVL16 = JointSet(
    "icvl16",
    ("palm", *(f"{finger}_{joint}" for finger in ("thumb", "index", "middle", "ring", "pinky") for joint in "RMT")),
    (-1, *_chains(1, 5, 3)),
    tuple((k,) for k in (0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9)),
)
"""ICVL: the palm, and root, middle and tip of each finger, which lie nearest the model's inner joints."""

MSRA21 = _of_mano(
    "msra21",
    (0, 1, 2, 3, 16, 4, 5, 6, 17, 10, 11, 12, 19, 7, 8, 9, 18, 13, 14, 15, 20),
    (-1, *_chains(1, 5, 4)),
)
"""MSRA: wrist, then index, middle, ring, pinky, thumb, each from the knuckle to the tip."""

SHREC22 = JointSet(
    "shrec22",
    (
        *("wrist", "palm"),
        *(f"{f}_{joint}" for f in ("thumb", "index", "middle", "ring", "pinky") for joint in ("1", "2", "3", "tip")),
    ),
    (-1, 0, *_chains(2, 5, 4)),
    (
        *((0,), tuple(range(21))),
        *((k,) for k in (13, 14, 15, 20, 1, 2, 3, 16, 4, 5, 6, 17, 10, 11, 12, 19, 7, 8, 9, 18)),
    ),
)
"""SHREC'17 and DHG-14/28: wrist, palm (the mean of the keypoints), then thumb, index, middle, ring, pinky."""

HANDS17 = _of_mano(
    "hands17",
    (0, 13, 1, 4, 10, 7, 14, 15, 20, 2, 3, 16, 5, 6, 17, 11, 12, 19, 8, 9, 18),
    (-1, 0, 0, 0, 0, 0, 1, 6, 7, 2, 9, 10, 3, 12, 13, 4, 15, 16, 5, 18, 19),
)
"""HANDS 2017: wrist, the five knuckles, then the outer joints of thumb, index, middle, ring, pinky."""

JOINT_SETS: dict[str, JointSet] = {s.name: s for s in (MANO21, NYU14, ICVL16, MSRA21, SHREC22, HANDS17)}
"""All of them by name."""

NYU36_OF_NYU14 = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""Which of NYU's 36 labelled joints are the 14 evaluated ones."""

NYU36_OF_MANO21 = (31, 23, 21, 19, 17, 15, 13, 5, 3, 1, 11, 9, 7, 28, 27, 25, 18, 12, 0, 6, 24)
"""Which of NYU's 36 labelled joints is each keypoint of the model."""
