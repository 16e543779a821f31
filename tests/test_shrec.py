"""SHREC'17 in its own layout: small synthetic sequences, damaged ones, and a few real ones where they are at hand."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from config import DataConfig
from dataloader.datasets import shrec
from dataloader.datasets.shrec import CAMERA, NO_BOX, NO_HAND, TOO_SMALL, load_shrec, load_shrec_split
from util.errors import UserError


def _hand_image(left: int, top: int, z: int = 450) -> np.ndarray:
    """(480, 640) a thumb-like bar on the stored image's right of a palm, before a wall."""
    image = np.full((480, 640), 1400, np.uint16)
    image[top : top + 120, left : left + 90] = z
    image[top + 60 : top + 85, left + 90 : left + 150] = z - 20
    return image


def _write(root: Path, gesture: int, subject: int, frames: list[tuple[np.ndarray, str]]) -> Path:
    folder = root / f"gesture_{gesture}/finger_1/subject_{subject}/essai_1"
    folder.mkdir(parents=True)
    for i, (image, _) in enumerate(frames):
        cv2.imwrite(str(folder / f"{i}_depth.png"), image)
    (folder / "general_informations.txt").write_text("".join(f"{row}\n" for _, row in frames))
    with (root / "train_gestures.txt").open("a") as file:
        file.write(f"{gesture} 1 {subject} 1 {gesture} {2 * gesture - 1} {len(frames)}\n")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects: one with three good frames, one with a good, an empty, a boxless and a tiny one."""
    root = tmp_path / "shrec"
    empty = np.zeros((480, 640), np.uint16)
    tiny = empty.copy()
    tiny[200:215, 300:315] = 450
    # the first column is a time here, an index there: it must not matter
    good = [(_hand_image(200 + 10 * i, 150), f"{977000 + 5 * i} {200 + 10 * i} 150 150 120") for i in range(3)]
    _write(root, 1, 2, good)
    mixed = [(_hand_image(300, 200), "0 300 200 150 120"), (empty, "1 100 100 50 50"), (empty, "2 0 0 0 0")]
    _write(root, 3, 7, [*mixed, (tiny, "3 290 190 40 40")])
    return root


def test_frames_are_mirrored_cropped_and_masked(root: Path) -> None:
    store = load_shrec(root, [2])
    assert len(store) == 3 and store.dropped == ()
    sample = store.batch(range(3))
    assert sample.frames[1] == "gesture_1/finger_1/subject_2/essai_1/1_depth.png"
    # stored centre of the palm's columns is u = 245 + 10 i, so 395 - 10 i after mirroring, and the bar reaches left
    u = torch.from_numpy(store.centres_mm[:, 0] / store.centres_mm[:, 2]) * CAMERA[0] + CAMERA[2]
    assert torch.allclose(u, 640 - torch.tensor([265.0, 275.0, 285.0]), atol=15)
    assert sample.observed is not None and (sample.observed.sum(dim=(1, 2, 3)) > 600).all()
    bar = sample.crop.depth_mm < 440
    bar &= sample.crop.foreground
    assert bar.nonzero()[:, 3].float().mean() < sample.crop.foreground.nonzero()[:, 3].float().mean()
    assert (store.centres_mm[:, 2] > 430).all() and (store.centres_mm[:, 2] < 455).all()


def test_useless_frames_are_dropped_and_counted(root: Path) -> None:
    store = load_shrec(root, [7])
    assert len(store) == 1
    assert dict(store.dropped) == {NO_BOX: 1, NO_HAND: 1, TOO_SMALL: 1}


def test_the_second_run_reads_the_prepared_frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_shrec(root, cache=root / "cache")
    monkeypatch.setattr(shrec, "read_sequence", None)
    again = load_shrec(root, cache=root / "cache")
    assert torch.equal(first.batch(range(4)).crop.depth, again.batch(range(4)).crop.depth)
    assert again.dropped == first.dropped


def test_changed_files_and_settings_are_prepared_anew(root: Path) -> None:
    before = load_shrec(root, [2])
    cv2.imwrite(str(root / "gesture_1/finger_1/subject_2/essai_1/0_depth.png"), _hand_image(200, 150, z=600))
    after = load_shrec(root, [2])
    assert abs(after.centres_mm[0, 2] - before.centres_mm[0, 2]) > 100
    assert load_shrec(root, [2], cube_mm=200.0).cubes_mm[0].tolist() == [200, 200, 200]


def test_processes_prepare_the_same_as_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = load_shrec(root, workers=1, cache=root / "one")
    monkeypatch.setattr(shrec, "FEW_SEQUENCES", 1)
    both = load_shrec(root, workers=2, cache=root / "two")
    assert np.array_equal(alone.pixels, both.pixels) and alone.dropped == both.dropped


def test_subjects_are_split_and_never_shared(root: Path) -> None:
    config = DataConfig(name="shrec", root=root, test_subjects=(7,))
    train, test = load_shrec_split(config, "train"), load_shrec_split(config, "test")
    assert all("subject_2/" in name for name in train.names) and all("subject_7/" in name for name in test.names)
    with pytest.raises(UserError, match="subject 7 is in"):
        load_shrec_split(DataConfig(name="shrec", root=root, train_subjects=(7,), test_subjects=(7,)), "train")
    with pytest.raises(UserError, match=r"data\.root is not set"):
        load_shrec_split(DataConfig(name="shrec"), "train")


def test_skeleton_files_give_the_centre_where_they_are(root: Path) -> None:
    folder = root / "gesture_1/finger_1/subject_2/essai_1"
    (folder / "skeletons_image.txt").write_text("\n".join(" ".join(["250 220"] * 22) for _ in range(3)))
    (folder / "skeletons_world.txt").write_text("\n".join(" ".join(["0 0 0.47"] * 22) for _ in range(3)))
    store = load_shrec(root, [2])
    expected = [(640 - 250 - 320) / CAMERA[0] * 470, (220 - 240) / CAMERA[0] * 470, 470]
    assert np.allclose(store.centres_mm, expected, atol=1e-3)


def _break(root: Path, what: str) -> None:
    folder = root / "gesture_1/finger_1/subject_2/essai_1"
    information = folder / "general_informations.txt"
    match what:
        case "frame":
            (folder / "1_depth.png").unlink()
        case "png":
            (folder / "1_depth.png").write_bytes(b"\x89PNG cut off")
        case "empty png":
            (folder / "1_depth.png").write_bytes(b"")
        case "8 bit":
            cv2.imwrite(str(folder / "1_depth.png"), np.zeros((480, 640), np.uint8))
        case "size":
            cv2.imwrite(str(folder / "1_depth.png"), np.zeros((240, 320), np.uint16))
        case "information":
            information.unlink()
        case "short row":
            information.write_text("0 200 150 150 120\n1 200 150\n2 200 150 150 120\n")
        case "few rows":
            information.write_text("0 200 150 150 120\n")
        case "word":
            information.write_text("0 200 150 x 120\n")
        case "list":
            (root / "train_gestures.txt").unlink()


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("frame", r"1_depth\.png is missing"),
        ("png", r"1_depth\.png is no readable image"),
        ("empty png", r"1_depth\.png is no readable image"),
        ("8 bit", r"1_depth\.png is not a 16-bit"),
        ("size", r"1_depth\.png is 320x240, not 640x480"),
        ("information", r"general_informations\.txt is missing"),
        ("short row", r"general_informations\.txt has 3 numbers in row 2, not 5"),
        ("few rows", r"general_informations\.txt has 1 rows for 3 frames"),
        ("word", r"general_informations\.txt holds something else than numbers in row 1"),
        ("list", r"train_gestures\.txt is missing"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(root: Path, what: str, named: str) -> None:
    _break(root, what)
    with pytest.raises(UserError, match=named):
        load_shrec(root, [2])


def test_wrong_places_and_subjects_are_one_sentence(root: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        load_shrec(root / "nowhere")
    with pytest.raises(UserError, match="has no subject 5: choose from 2, 7"):
        load_shrec(root, [2, 5])
    with pytest.raises(UserError, match="no frame with 99999 hand pixels"):
        load_shrec(root, [2], min_pixels=99999)


def test_real_sequences(shared: Path, tmp_path: Path) -> None:
    script = shared / "data/shrec17/unpack.py"
    if not script.is_file():
        pytest.skip("../shared/data/shrec17 is absent")
    subprocess.run([sys.executable, str(script), str(tmp_path), "--limit", "4"], check=True, capture_output=True)
    store = load_shrec(tmp_path)
    assert len(store) + sum(number for _, number in store.dropped) == 64
    sample = store.batch(range(len(store)))
    assert sample.observed is not None
    area = sample.observed.sum(dim=(1, 2, 3)) * (250 / 128) ** 2
    assert 4_000 < area.median() < 18_000, "mm2, between a fist and an open hand"
    # in most frames nothing but the hand is in the box, and little of it is cut off as forearm
    assert (sample.observed.sum(dim=(1, 2, 3)) / sample.crop.foreground.sum(dim=(1, 2, 3))).median() > 0.8
