"""Sequences: skeletons in every format that they come in, labels, splits by subject, batches, augmentation, points."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from config_gesture import GestureAugmentConfig, GestureDataConfig
from dataloader.datasets import dhg, shrec
from dataloader.datasets.gestures import CAMERA, Gesture
from gesture.augment import Augmentation
from gesture.bank import UNIT_MM, SequenceBank, skeleton_bank
from gesture.clouds import point_bank, read_points
from gesture.skeletons import FILES, find_file, interpolated, read_skeletons
from gesture.splits import GESTURES, class_names, label, make_split
from predicting.output.tables import write_predictions_json, write_predictions_npz
from predicting.prediction import HandPrediction, no_hand
from tests.gestures import write_world
from tests.recordings import EMPTY, hand_image, write_recording
from util.errors import UserError
from util.joints import MANO21, SHREC22, JointSet
from util.predictions import write_predictions

GESTURE = Gesture(3, 2, 5, 1, 3)


def _walk(frames: int, joints: int = 22, seed: int = 0) -> np.ndarray:
    """(frames, joints, 3) mm in front of the camera."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(frames, joints, 3)) * 30 + (10.0, -20.0, 400.0)


def _shrec(root: Path, subjects: range, frames: int = 5, which: str = "train") -> None:
    """Two gestures of each subject, in SHREC'17's layout, with skeletons."""
    rows = []
    for subject in subjects:
        for g in (1, 14):
            gesture = Gesture(g, 1, subject, 1, frames)
            write_world(root, shrec.LAYOUT, gesture, _walk(frames, seed=subject))
            rows.append(f"{g} 1 {subject} 1 {gesture.label14} {gesture.label28} {frames}\n")
    (root / shrec.LISTS[which]).write_text("".join(rows))


def _dhg(root: Path, subjects: range) -> None:
    """A recording of six frames of each subject, of which 1 to 4 are the gesture, in DHG's layout."""
    for subject in subjects:
        write_world(root, dhg.LAYOUT, Gesture(2, 2, subject, 1, 6), _walk(6, seed=subject))
    (root / dhg.TRIMMING).write_text("".join(f"2 2 {subject} 1 1 4\n" for subject in subjects))


def test_a_data_sets_own_skeletons_are_millimetres(tmp_path: Path) -> None:
    joints_mm = _walk(4)
    folder = write_world(tmp_path, shrec.LAYOUT, GESTURE, joints_mm)
    read = read_skeletons(find_file(folder), GESTURE, SHREC22)
    assert read.path.name == "skeletons_world.txt" and read.filled == 0 and not read.empty
    assert np.allclose(read.joints_mm, joints_mm[:3], atol=1e-3), "as many rows as the gesture has frames"
    kept = read_skeletons(find_file(folder), GESTURE, MANO21).joints_mm
    assert kept.shape == (3, 21, 3) and np.allclose(kept[:, 20], joints_mm[:3, 5], atol=1e-3), "the thumb's tip"


def test_trimmed_gestures_are_found_in_their_recording(tmp_path: Path) -> None:
    joints_mm, trimmed = _walk(6), replace(GESTURE, first=2)
    path = find_file(write_world(tmp_path, dhg.LAYOUT, trimmed, joints_mm))
    assert path.name == "skeleton_world.txt"
    assert np.allclose(read_skeletons(path, trimmed, SHREC22).joints_mm, joints_mm[2:5], atol=1e-3)
    write_world(tmp_path, dhg.LAYOUT, trimmed, joints_mm[2:5])  # or the file holds the gesture alone
    assert np.allclose(read_skeletons(path, trimmed, SHREC22).joints_mm, joints_mm[2:5], atol=1e-3)


def _prediction(name: str, joints_mm: np.ndarray) -> HandPrediction:
    return replace(no_hand(name, 250.0), status="ok", joints_mm=joints_mm.astype(np.float32))


@pytest.mark.parametrize("name", ["predictions.npz", "predictions.json"])
def test_predictions_of_this_project_are_read(tmp_path: Path, name: str) -> None:
    joints_mm = _walk(12, 21)
    rows = [_prediction(f"depth_{k}.png", joints_mm[k]) for k in range(12)]
    rows[5] = no_hand("depth_5.png", 250.0)
    order = sorted(range(12), key=str)  # 10 before 2, as other programs sort
    write = write_predictions_npz if name.endswith("npz") else write_predictions_json
    write(tmp_path / name, [rows[k] for k in order])
    read = read_skeletons(find_file(tmp_path), replace(GESTURE, n_frames=12), SHREC22)
    assert read.filled == 1
    expected = joints_mm.copy()
    expected[5] = (joints_mm[4] + joints_mm[6]) / 2
    assert np.allclose(read.joints_mm[:, 1], expected.mean(1), atol=2e-2), "the palm is the mean of the keypoints"
    assert np.allclose(read.joints_mm[:, 0], expected[:, 0], atol=2e-2)
    assert np.allclose(read.joints_mm[:, 5], expected[:, 20], atol=2e-2), "the thumb's tip"


@pytest.mark.parametrize("name", ["joints_xyz.npz", "joints_xyz.txt", "mine_uvd.npz", "mine_uvd.txt"])
@pytest.mark.parametrize("joint_set", [MANO21, SHREC22], ids=lambda joint_set: joint_set.name)
def test_files_of_joints_are_read(tmp_path: Path, name: str, joint_set: JointSet) -> None:
    joints_mm = _walk(3, len(joint_set))
    write_predictions(tmp_path / name, joints_mm, CAMERA, names=joint_set.names)
    path = find_file(tmp_path, None if name in FILES else name)
    assert np.allclose(read_skeletons(path, GESTURE, joint_set).joints_mm, joints_mm, atol=1e-3)


def test_frames_without_a_hand_are_interpolated() -> None:
    joints_mm = _walk(6)
    gaps = joints_mm.copy()
    gaps[[0, 3, 5]] = np.nan
    gaps[5, 0, 0] = 0.0
    whole, filled = interpolated(gaps)
    assert filled == 3 and np.allclose(whole[[1, 2, 4]], joints_mm[[1, 2, 4]])
    assert np.allclose(whole[3], (joints_mm[2] + joints_mm[4]) / 2)
    assert np.allclose(whole[0], joints_mm[1]) and np.allclose(whole[5], joints_mm[4])
    assert interpolated(np.full((2, 21, 3), np.nan)) == (pytest.approx(np.zeros((2, 21, 3))), 2)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("name", "damage", "named"),
    [
        ("skeletons_world.txt", _text("0 0 0.4\n"), r"line 1 has 3 numbers, not 66"),
        ("skeletons_world.txt", _text("0.1 " * 66 + "\n"), r"has 1 rows for 3 frames"),
        ("skeletons_world.txt", _text("x " * 66 + "\n"), r"line 1 holds something else than numbers"),
        ("predictions.npz", _text("no archive"), r"cannot be read as an \.npz file"),
        ("predictions.npz", lambda path: np.savez(path, joints=np.zeros(3)), r"neither of joints_mm and joints_uvd"),
        ("predictions.npz", lambda path: np.savez(path, joints_mm=np.zeros((3, 14, 3))), r"shape \(3, 14, 3\)"),
        (
            "predictions.npz",
            lambda path: np.savez(path, joints_mm=np.zeros((3, 21, 3)), frame=np.array(["a"])),
            r"names 1 frames and has 3 rows",
        ),
        ("predictions.json", _text("{}"), r"is no list of rows with joints_mm"),
        ("predictions.json", _text("[1"), r"is not valid JSON"),
        ("predictions.json", _text('[{"joints_mm": [[1, 2], [3]]}]'), r"not all 21 or 22 times x y z"),
        ("joints_xyz.txt", _text("1 2 3\n"), r"line 1 has 3 numbers, not 63"),
    ],
)
def test_damaged_files_are_one_sentence(
    tmp_path: Path, name: str, damage: Callable[[Path], object], named: str
) -> None:
    damage(tmp_path / name)
    with pytest.raises(UserError, match=named) as error:
        read_skeletons(find_file(tmp_path), GESTURE, SHREC22)
    assert str(tmp_path / name) in str(error.value)


def test_missing_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no skeletons"):
        find_file(tmp_path)
    with pytest.raises(UserError, match=r"mine\.npz is missing"):
        find_file(tmp_path, "mine.npz")


def test_labels_are_shrecs_own() -> None:
    assert label(Gesture(1, 1, 1, 1, 1), 14) == label(Gesture(1, 1, 1, 1, 1), 28) == 0
    assert label(Gesture(2, 2, 1, 1, 1), 14) == 1 and label(Gesture(2, 2, 1, 1, 1), 28) == 3
    assert [label(Gesture(g, f, 1, 1, 1), 28) for g in range(1, 15) for f in (1, 2)] == list(range(28))
    assert class_names(14) == list(GESTURES) and len(class_names(28)) == 28
    assert class_names(28)[3] == "tap (2)" and len(set(class_names(28))) == 28


def _parts(config: GestureDataConfig, select: str = "validation") -> list[set[int]]:
    return [set(subjects) for subjects in make_split(config, select).subjects().values()]


@pytest.mark.parametrize("protocol", ["folds", "leave-one-out"])
def test_splits_never_share_subjects(tmp_path: Path, protocol: str) -> None:
    _shrec(tmp_path, range(3, 13))
    config = GestureDataConfig(root=tmp_path, protocol=protocol)  # type: ignore[arg-type]
    tested: list[int] = []
    for fold in range(5 if protocol == "folds" else 10):
        train, validation, test = _parts(replace(config, fold=fold))
        assert not (train & validation or train & test or validation & test)
        assert train | validation | test == set(range(3, 13)) and len(validation) == 3
        assert test == ({3 + fold, 8 + fold} if protocol == "folds" else {3 + fold}), "sorted ids, index modulo folds"
        tested += test
        assert _parts(replace(config, fold=fold), "test") == [train | validation, set(), test]
    assert sorted(tested) == list(range(3, 13)), "each subject is tested on once"


def test_shrecs_own_lists_are_a_split(tmp_path: Path) -> None:
    _shrec(tmp_path, range(1, 6))
    _shrec(tmp_path, range(20, 22), which="test")
    config = GestureDataConfig(root=tmp_path, protocol="lists", validation_subjects=2)
    assert _parts(config) == [{1, 3, 5}, {2, 4}, {20, 21}]
    _shrec(tmp_path, range(5, 7), which="test")
    with pytest.raises(UserError, match=r"Subject 5 is in both .*train_gestures\.txt and test_gestures\.txt"):
        make_split(config)


def test_dhg_leaves_one_subject_out_and_is_trimmed(tmp_path: Path) -> None:
    _dhg(tmp_path, range(1, 7))
    config = GestureDataConfig(name="dhg", root=tmp_path, protocol="leave-one-out", fold=2, classes=28)
    split = make_split(config)
    assert split.subjects()["test"] == [3] and len(split.train) == 2 and len(split.validation) == 3
    bank = skeleton_bank(config, split.test, learn=False)
    assert bank.lengths.tolist() == [4] and bank.labels.tolist() == [3]
    expected = _walk(6, seed=3)[1:5]
    assert np.allclose(bank.values.numpy(), (expected - expected[0].mean(0)) / UNIT_MM, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"root": None}, r"--data\.root is not set"),
        ({"root": Path("nowhere")}, r"nowhere is no folder"),
        ({"fold": 5}, r"data\.fold 5 is none of 5 folds of 10 subjects: choose 0 to 4"),
        ({"folds": 11}, r"none of 11 folds of 10 subjects"),
        ({"validation_subjects": 8}, r"data\.validation_subjects 8 leaves nobody"),
        ({"validation_subjects": 0}, r"data\.validation_subjects 0 leaves nobody"),
        ({"protocol": "lists"}, r"test_gestures\.txt is missing"),
        ({"protocol": "lists", "name": "dhg"}, r"data\.protocol lists is SHREC'17's own"),
        ({"name": "dhg"}, r"informations_troncage_sequences\.txt is missing"),
    ],
)
def test_wrong_splits_are_one_sentence(tmp_path: Path, settings: dict, named: str) -> None:
    _shrec(tmp_path, range(1, 11))
    with pytest.raises(UserError, match=named):
        make_split(replace(GestureDataConfig(root=tmp_path), **settings))


def test_other_labels_are_refused(tmp_path: Path) -> None:
    _shrec(tmp_path, range(1, 11))
    (tmp_path / shrec.LISTS["train"]).write_text("2 2 1 1 2 16 5\n")  # g + 14 (f - 1)
    with pytest.raises(UserError, match="gesture 2, finger 2 the labels 2 and 16, where 2 and 4 belong"):
        make_split(GestureDataConfig(root=tmp_path))


def test_sequences_are_read_at_even_times() -> None:
    ramp = torch.arange(5.0).view(5, 1, 1).expand(5, 2, 3) * UNIT_MM
    bank = SequenceBank.of([ramp, ramp[:2]], [0, 1])
    read = bank.joints(torch.tensor([1, 0]), 3)
    assert torch.allclose(read[:, :, 0, 0], torch.tensor([[0.0, 0.5, 1.0], [0.0, 2.0, 4.0]]))
    assert torch.allclose(bank.joints(torch.tensor([1]), 1), torch.zeros(1, 1, 2, 3))
    assert bank.points(torch.tensor([0]), 3, 1)[0, :, 0, 0].tolist() == [0, 2, 4], "points of whole frames"


def test_augmentation_keeps_to_its_settings() -> None:
    still = GestureAugmentConfig(1.0, 0.0, 0.0, 0.0, 0.0)
    bank = SequenceBank.of([torch.randn(9, 5, 3) * UNIT_MM for _ in range(64)], [0] * 64)
    every, plain = torch.arange(64), bank.joints(torch.arange(64), 4)

    def moved(config: GestureAugmentConfig) -> torch.Tensor:
        return bank.joints(every, 4, Augmentation(config, torch.Generator().manual_seed(1)))

    assert moved(still).equal(plain) and moved(replace(GestureAugmentConfig(), chance=0.0)).equal(plain)
    size = moved(replace(still, scale=0.2)) / plain
    assert torch.allclose(size, size[:, :1, :1, :1].expand_as(size), atol=1e-3)
    assert 0.8 <= size.min() < 0.85 and 1.15 < size.max() <= 1.2001
    shift = (moved(replace(still, shift_mm=50.0)) - plain) * UNIT_MM
    assert torch.allclose(shift, shift[:, :1, :1].expand_as(shift), atol=1e-3) and 40 < shift.abs().max() <= 50.01
    noise = (moved(replace(still, noise_mm=5.0)) - plain) * UNIT_MM
    assert 4.5 < noise.std() < 5.5 and noise.mean().abs() < 0.5
    half = (moved(replace(still, shift_mm=50.0, chance=0.5)) != plain).flatten(1).any(1).float().mean()
    assert 0.3 < half < 0.7
    time = Augmentation(replace(still, time=0.5), torch.Generator().manual_seed(1)).jitter(64, 4)
    assert 0.4 < time.abs().max() <= 0.5
    at = bank.times(every, 4, time)
    assert (at.diff(dim=1) >= 0).all() and at.min() >= 0 and at.max() <= 8


def test_points_come_from_depth_in_the_hand_box(tmp_path: Path) -> None:
    frames = [(hand_image(200, 150), "0 200 150 150 120"), (EMPTY, "1 0 0 0 0")]
    write_recording(tmp_path, shrec.LAYOUT, "1 1 2 1", frames)
    gesture = Gesture(1, 1, 2, 1, 2)
    points_mm = read_points(tmp_path, gesture, shrec.LAYOUT, 64)
    assert points_mm.shape == (2, 64, 3) and np.allclose(points_mm[1], points_mm[0]), "nothing is seen in the second"
    u, v = (points_mm[0, :, k] / points_mm[0, :, 2] * CAMERA[k] + CAMERA[k + 2] for k in (0, 1))
    # pixels of the image as stored: a palm of 90 pixels and a thumb before the wall, which is left out
    assert u.min() >= 200 and u.max() <= 350 and v.min() >= 150 and v.max() <= 270
    assert set(points_mm[0, :, 2].tolist()) == {450.0, 430.0} and (points_mm[0][u > 291, 2] == 430).all()

    (tmp_path / shrec.LISTS["train"]).write_text("1 1 2 1 1 1 2\n")
    config = GestureDataConfig(root=tmp_path, points=64)
    bank = point_bank(config, [gesture], learn=True)
    (tmp_path / gesture.folder / "0_depth.png").unlink()
    again = point_bank(config, [gesture], learn=True)  # they are kept
    assert bank.values.equal(again.values) and bank.values.shape == (2, 64, 3)
    expected = (points_mm - points_mm[0].mean(0)) / UNIT_MM
    assert np.allclose(bank.values.numpy(), expected, atol=1e-3)
    kept = next((tmp_path / ".prepared").rglob("*.npy"))
    kept.write_bytes(kept.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"gesture_1-finger_1-subject_2-essai_1\.npy cannot be read"):
        point_bank(config, [gesture], learn=True)


def test_a_recording_without_a_hand_is_tested_on_and_not_learned_from(tmp_path: Path) -> None:
    gestures = [Gesture(1, 1, 2, essai, 3) for essai in (1, 2)]
    write_world(tmp_path, shrec.LAYOUT, gestures[0], _walk(3))
    folder = tmp_path / gestures[1].folder
    folder.mkdir(parents=True)
    rows = [{"frame": f"{k}.png", "joints_mm": None} for k in range(3)]
    (folder / "predictions.json").write_text(json.dumps(rows))
    config = GestureDataConfig(root=tmp_path)
    assert len(skeleton_bank(config, gestures, learn=True)) == 1
    tested = skeleton_bank(config, gestures, learn=False)
    assert len(tested) == 2 and tested.empty == 1 and tested.joints(torch.tensor([1]), 4).eq(0).all()
