"""Joint sets: names, trees and maps say the same thing."""

import pytest
import torch

from util.joints import JOINT_SETS, MANO21, NYU14, NYU36_OF_MANO21, NYU36_OF_NYU14, SHREC22, JointSet

SIZES = {"mano21": 21, "nyu14": 14, "icvl16": 16, "msra21": 21, "shrec22": 22, "hands17": 21}


def numbered() -> torch.Tensor:
    """Keypoints whose coordinates are their own number."""
    return torch.arange(21.0)[:, None].expand(21, 3)


@pytest.mark.parametrize("joint_set", JOINT_SETS.values(), ids=lambda s: s.name)
def test_a_set_is_one_tree_of_named_joints(joint_set: JointSet) -> None:
    assert len(joint_set) == SIZES[joint_set.name] == len(set(joint_set.names))
    assert len(joint_set.parents) == len(joint_set.twins) == len(joint_set.colours) == len(joint_set)
    assert len(joint_set.bones) == len(joint_set) - 1
    for joint in range(len(joint_set)):
        steps = 0
        while joint_set.parents[joint] >= 0:
            joint, steps = joint_set.parents[joint], steps + 1
            assert steps < len(joint_set), "the parents run in a circle"


@pytest.mark.parametrize("joint_set", JOINT_SETS.values(), ids=lambda s: s.name)
def test_a_joint_and_its_twin_are_of_one_finger(joint_set: JointSet) -> None:
    for name, twins in zip(joint_set.names, joint_set.twins, strict=True):
        finger = name.split("_")[0]
        if len(twins) == 1 and finger not in ("wrist", "palm"):
            assert MANO21.names[twins[0]].split("_")[0] == finger
            assert name.endswith("tip") <= MANO21.names[twins[0]].endswith("tip")


@pytest.mark.parametrize("joint_set", JOINT_SETS.values(), ids=lambda s: s.name)
def test_a_round_trip_keeps_what_both_sets_know(joint_set: JointSet) -> None:
    keypoints = torch.randn(2, 4, 21, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    back = joint_set.to_mano21(joint_set.from_mano21(keypoints))
    known = ~back.isnan()
    assert torch.equal(back[known], keypoints[known])
    assert known[0, 0, :, 0].sum() == sum(len(twins) == 1 for twins in joint_set.twins)


def test_columns_are_those_of_the_published_files() -> None:
    assert JOINT_SETS["msra21"].from_mano21(numbered())[:6, 0].tolist() == [0, 1, 2, 3, 16, 4]
    assert JOINT_SETS["icvl16"].from_mano21(numbered())[:4, 0].tolist() == [0, 13, 14, 15]
    assert JOINT_SETS["hands17"].from_mano21(numbered())[:6, 0].tolist() == [0, 13, 1, 4, 10, 7]
    nyu = NYU14.from_mano21(numbered())[:, 0]
    assert nyu[:11].tolist() == [18, 8, 19, 11, 17, 5, 16, 2, 20, 15, 14]
    assert nyu[12] == 0
    assert nyu.isnan().nonzero().flatten().tolist() == [11, 13]
    assert [joint for joint in range(14) if joint not in NYU14.known] == [11, 13]


def test_the_palm_of_shrec_is_the_middle_of_the_keypoints() -> None:
    assert SHREC22.from_mano21(numbered())[1, 0] == 10


def test_an_unknown_keypoint_spoils_only_its_own_joint() -> None:
    keypoints = numbered().clone()
    keypoints[16] = torch.nan
    assert JOINT_SETS["msra21"].from_mano21(keypoints).isnan().any(dim=-1).nonzero().flatten().tolist() == [4]


def test_both_ways_from_nyu36_agree() -> None:
    labels = torch.arange(36.0)[:, None].expand(36, 3)
    via_mano = NYU14.from_mano21(labels[list(NYU36_OF_MANO21)])[:, 0]
    direct = labels[list(NYU36_OF_NYU14)][:, 0]
    # The published list of twins takes the nearest keypoint of the model, which is not always the evaluated joint.
    tips_and_wrist = [0, 2, 4, 6, 8, 12]
    assert torch.equal(via_mano[tips_and_wrist], direct[tips_and_wrist])


def test_fingers_keep_their_colour_across_sets() -> None:
    for joint_set in JOINT_SETS.values():
        thumbs = {c for name, c in zip(joint_set.names, joint_set.colours, strict=True) if name.startswith("thumb")}
        assert len(thumbs) == 1
        assert thumbs == {MANO21.colours[MANO21.names.index("thumb_1")]}
