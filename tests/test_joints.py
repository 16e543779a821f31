"""Joint sets: names, trees and maps say the same thing."""

import numpy as np
import pytest
import torch

from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from tests.shared import SHARED, needs_reference
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
    assert NYU14.to_mano21(torch.arange(14.0)[:, None])[0] == 12, "the wrist is wrist_1, whatever else is made of it"


def test_nyu_joints_beside_the_keypoints() -> None:
    keypoints = torch.zeros(21, 3)
    keypoints[[0, 1, 4, 10]] = torch.tensor([[0.0, 0, 0], [90, 20, 0], [92, 0, 0], [86, -19, 4]])
    nyu = NYU14.from_mano21(keypoints)
    torch.testing.assert_close(nyu[11], torch.tensor([-4 / 3, -13, 4 / 3]))
    torch.testing.assert_close(nyu[13], torch.tensor([67.0, 0.25, 1]))
    torch.testing.assert_close(NYU14.from_mano21(keypoints + 7), nyu + 7)


@needs_reference
def test_nyu_wrist_and_palm_are_as_far_apart_as_annotated() -> None:
    rows = np.loadtxt(SHARED / "data/benchmarks/nyu/test_groundtruth.txt").reshape(-1, 14, 3)
    mm = np.concatenate([(rows[..., :2] - (320, 240)) * rows[..., 2:] / (588.03, 587.07), rows[..., 2:]], axis=-1)
    layer = HandLayer(load_hand_model())
    hand = layer(torch.zeros(3), torch.zeros(45), torch.zeros(10)).joints_m * 1000
    ours = NYU14.from_mano21(hand).numpy()
    fingers = slice(0, 8)  # tips and roots of four fingers say how large the hands are
    size = [
        np.median(np.linalg.norm(j[:, fingers] - j[:, fingers].mean(1, keepdims=True), axis=-1))
        for j in (mm, ours[None])
    ]
    for start, end in ((11, 13), (11, 1), (11, 7), (13, 1), (13, 3), (13, 5), (13, 7)):
        annotated = np.median(np.linalg.norm(mm[:, start] - mm[:, end], axis=-1))
        assert np.linalg.norm(ours[start] - ours[end]) * size[0] / size[1] == pytest.approx(annotated, rel=0.15)


@pytest.mark.parametrize("joint_set", JOINT_SETS.values(), ids=lambda s: s.name)
def test_every_joint_is_known(joint_set: JointSet) -> None:
    keypoints = torch.randn(5, 21, 3, generator=torch.Generator().manual_seed(0))
    assert joint_set.from_mano21(keypoints).isfinite().all()


def test_a_joint_without_a_twin_is_unknown() -> None:
    pair = JointSet("pair", ("wrist", "elbow"), (-1, 0), ((0,), ()))
    assert pair.from_mano21(numbered())[:, 0].isnan().tolist() == [False, True]


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
