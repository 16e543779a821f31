"""SHREC'17 in its own layout: small recordings, damaged ones, and a few real ones where they are at hand."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from config import DataConfig
from config_data import ShrecConfig
from dataloader.datasets.gestures import CAMERA, NO_BOX, Gesture
from dataloader.datasets.shrec import LAYOUT, list_shrec, read_gestures
from dataloader.listing import Listing
from dataloader.prepare import prepare
from tests.recordings import EMPTY, hand_image, write_recording, write_skeleton
from util.errors import UserError

FIRST = "gesture_1/finger_1/subject_2/essai_1"


def _write(root: Path, gesture: int, subject: int, frames: list[tuple[np.ndarray, str]], which: str = "train") -> Path:
    with (root / f"{which}_gestures.txt").open("a") as file:
        file.write(f"{gesture} 1 {subject} 1 {gesture} {2 * gesture - 1} {len(frames)}\n")
    return write_recording(root, LAYOUT, f"{gesture} 1 {subject} 1", frames)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three subjects: one with three frames, one with a frame, one without box and one beside the image, one listed
    for testing."""
    root = tmp_path / "shrec"
    root.mkdir()
    # the first column is a time here, an index there: it must not matter
    good = [(hand_image(200 + 10 * i, 150), f"{977000 + 5 * i} {200 + 10 * i} 150 150 120") for i in range(3)]
    _write(root, 1, 2, good)
    _write(root, 3, 7, [(hand_image(300, 200), "0 300 200 150 120"), (EMPTY, "1 0 0 0 0"), (EMPTY, "2 700 100 50 50")])
    _write(root, 14, 9, [(hand_image(300, 200), "0 -20 400 150 120")], "test")
    return root


def _list(root: Path, split: Literal["train", "test"] = "train", **settings: object) -> Listing:
    return list_shrec(DataConfig(name="shrec", root=root, **settings), split)  # type: ignore[arg-type]


def test_boxes_are_those_of_flipped_images_and_cut_at_their_borders(root: Path) -> None:
    listing = _list(root, "test")
    assert listing.files == (
        *(f"{FIRST}/{i}_depth.png" for i in range(3)),
        "gesture_14/finger_1/subject_9/essai_1/0_depth.png",
    )
    assert listing.boxes is not None and listing.boxes.dtype == np.int64
    # x 200 w 150 -> 290..440 from the right; x -20 w 150 -> 510..660, cut at 640; y 400 h 120 is cut at 480
    assert listing.boxes.tolist() == [
        [290, 150, 440, 270],
        [280, 150, 430, 270],
        [270, 150, 420, 270],
        [510, 400, 640, 480],
    ]
    assert listing.groups == ("subject 2",) * 3 + ("subject 9",)
    assert listing.cubes_mm.tolist() == [[250.0] * 3] * 4 and _list(root, cube_mm=200).cubes_mm.tolist() == [
        [200.0] * 3
    ]
    assert not listing.labelled and listing.camera == CAMERA and listing.mirrored_width == 640
    depth = listing.read(listing.path(0))
    left, top, right, bottom = listing.boxes[0]
    inside = np.zeros(depth.shape, bool)
    inside[top:bottom, left:right] = True
    assert ((depth < 1000) <= inside).all() and (depth[top:bottom, left:right] < 1000).any()
    assert depth.flags.c_contiguous and pickle.loads(pickle.dumps(listing.read)) is listing.read


def test_frames_without_a_box_are_left_out_and_counted(root: Path) -> None:
    listing = _list(root)
    assert listing.files == ("gesture_3/finger_1/subject_7/essai_1/0_depth.png",)
    assert listing.dropped == {NO_BOX: 2}
    assert _list(root, "test").dropped == {}


def test_subjects_are_split_and_never_shared(root: Path) -> None:
    everyone = {"subject 2", "subject 7", "subject 9"}
    for tested in ((7,), (2, 9)):
        train, test = (_list(root, split, test_subjects=tested) for split in ("train", "test"))
        assert set(test.groups) == {f"subject {subject}" for subject in tested}
        assert set(train.groups) == everyone - set(test.groups)
    assert set(_list(root, train_subjects=(7,), test_subjects=(2,)).groups) == {"subject 7"}
    # of the subjects that are tested on unless set, only 2 and 9 are here
    assert set(_list(root, "test").groups) == {"subject 2", "subject 9"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"train_subjects": (7,), "test_subjects": (7,)}, "Subject 7 is in data.train_subjects and tested on"),
        ({"train_subjects": (2,)}, "Subject 2 is in data.train_subjects and tested on"),
        ({"test_subjects": (2, 5)}, "has no subject 5: choose from 2, 7, 9"),
        ({"train_subjects": (5,)}, "has no subject 5: choose from 2, 7, 9"),
        ({"test_subjects": (2, 7, 9)}, "has no subject for the train split"),
        ({"shrec": ShrecConfig("lists"), "test_subjects": (2,)}, "data.shrec.split is lists and subjects are given"),
    ],
)
def test_wrong_subjects_are_one_sentence(root: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        _list(root, "train", **settings)


def test_its_own_lists_are_a_split_too(root: Path) -> None:
    lists = ShrecConfig("lists")
    assert set(_list(root, "train", shrec=lists).groups) == {"subject 2", "subject 7"}
    assert set(_list(root, "test", shrec=lists).groups) == {"subject 9"}
    (root / "test_gestures.txt").unlink()
    assert set(_list(root, "test").groups) == {"subject 2"}
    with pytest.raises(UserError, match=r"test_gestures\.txt is missing"):
        _list(root, "test", shrec=lists)


def test_a_gesture_knows_its_labels(root: Path) -> None:
    assert read_gestures(root / "train_gestures.txt") == [Gesture(1, 1, 2, 1, 3), Gesture(3, 1, 7, 1, 3)]
    assert [Gesture(g, f, 1, 1, 1).label28 for g in range(1, 15) for f in (1, 2)] == list(range(1, 29))
    assert Gesture(14, 2, 1, 1, 1).label14 == 14


def test_skeletons_give_joints_and_centres_where_they_are(root: Path) -> None:
    uvz = np.tile([250, 220, 0.47], (3, 22, 1))
    uvz[0, :, 0] += np.arange(22)
    uvz[1, 4, 2] = 0
    write_skeleton(root / FIRST, LAYOUT, uvz)
    listing = _list(root, "test")
    assert listing.joint_set == "shrec22" and listing.joints_mm is not None and listing.centres_mm is not None
    assert listing.joints_mm.shape == (4, 22, 3)
    expected = [(640 - 250 - 320) / CAMERA[0] * 470, (220 - 240) / CAMERA[0] * 470, 470]
    assert np.allclose(listing.joints_mm[2], expected) and np.allclose(listing.centres_mm[2], expected)
    assert np.allclose(listing.joints_mm[0, :, 0], (640 - 250 - np.arange(22) - 320) / CAMERA[0] * 470)
    assert np.allclose(listing.centres_mm[0], listing.joints_mm[0].mean(axis=0))
    # a joint at no depth, and a recording without these files: not known
    assert np.isnan(listing.joints_mm[[1, 3]]).all() and np.isnan(listing.centres_mm[[1, 3]]).all()
    assert listing.notices[0].startswith("1 of 2 gestures have no skeletons_image.txt")
    unlabelled = _list(root)
    assert unlabelled.joints_mm is None and unlabelled.centres_mm is None
    assert unlabelled.notices[0].startswith("No gesture has")


def test_the_skeletons_centre_is_kept_when_frames_are_prepared(root: Path) -> None:
    write_skeleton(root / FIRST, LAYOUT, np.tile([250, 220, 0.47], (3, 22, 1)))
    store = prepare(_list(root, "test", test_subjects=(2,)), DataConfig(name="shrec", keep=False, workers=1))
    expected = [(640 - 250 - 320) / CAMERA[0] * 470, (220 - 240) / CAMERA[0] * 470, 470]
    assert len(store) == 3 and np.allclose(store.centres_mm, expected, atol=1e-3)
    assert store.joints_mm is not None and store.joints_mm.shape == (3, 22, 3)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


IMAGE = f"{FIRST}/1_depth.png"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.unlink(), r"1_depth\.png is missing"),
        (_cut, r"1_depth\.png is no readable image"),
        (lambda path: path.write_bytes(b""), r"1_depth\.png is no readable image"),
        (lambda path: cv2.imwrite(str(path), EMPTY.astype(np.uint8)), r"1_depth\.png is not a 16-bit"),
        (lambda path: cv2.imwrite(str(path), EMPTY[:240, :320]), r"1_depth\.png is 320x240, not 640x480"),
    ],
)
def test_a_damaged_image_is_one_sentence(root: Path, damage: Callable[[Path], object], named: str) -> None:
    damage(root / IMAGE)
    listing = _list(root, "test")
    with pytest.raises(UserError, match=named):
        listing.read(listing.path(1))


BOXES = f"{FIRST}/general_informations.txt"


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        (BOXES, None, r"general_informations\.txt is missing"),
        (BOXES, "0 200 150 150 120\n1 200 150\n", r"general_informations\.txt line 2 has 3 numbers, not 5"),
        (BOXES, "0 200 150 150 120\n", r"general_informations\.txt has 1 rows for 3 frames"),
        (BOXES, "0 200 150 x 120\n", r"general_informations\.txt line 1 holds something else than numbers"),
        ("train_gestures.txt", None, r"train_gestures\.txt is missing"),
        ("train_gestures.txt", "1 1 2 1 1 1\n", r"train_gestures\.txt line 1 has 6 numbers, not 7"),
        ("train_gestures.txt", "1 1 2 1 1 1 -3\n", r"train_gestures\.txt holds -3 where a count or index belongs"),
        (f"{FIRST}/skeletons_world.txt", "0 0 0.4\n", r"skeletons_world\.txt line 1 has 3 numbers, not 66"),
        (f"{FIRST}/skeletons_image.txt", "1 2 " * 22 + "\n", r"skeletons_image\.txt has 1 rows for 3 frames"),
    ],
)
def test_damaged_tables_are_one_sentence(root: Path, file: str, text: str | None, named: str) -> None:
    write_skeleton(root / FIRST, LAYOUT, np.ones((3, 22, 3)))
    (root / file).unlink() if text is None else (root / file).write_text(text)
    with pytest.raises(UserError, match=named):
        _list(root, "test", test_subjects=(2,))


def test_wrong_places_are_one_sentence(root: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        _list(root / "nowhere")
    with pytest.raises(UserError, match=r"data\.root is not set"):
        list_shrec(DataConfig(name="shrec"), "train")


def test_real_sequences(shared: Path, tmp_path: Path) -> None:
    script = shared / "data/shrec17/unpack.py"
    if not script.is_file():
        pytest.skip("../shared/data/shrec17 is absent")
    subprocess.run([sys.executable, str(script), str(tmp_path), "--limit", "4"], check=True, capture_output=True)
    listing = list_shrec(DataConfig(name="shrec", root=tmp_path, shrec=ShrecConfig("lists")), "train")
    store = prepare(listing, DataConfig(name="shrec", keep=False, workers=1))
    assert len(store) + sum(number for _, number in store.dropped) == 64
    sample = store.batch(range(len(store)))
    assert sample.observed is not None
    area = sample.observed.sum(dim=(1, 2, 3)) * (250 / 128) ** 2
    assert 4_000 < area.median() < 18_000, "mm2, between a fist and an open hand"
    # in most frames nothing but the hand is in the box, and little of it is cut off as forearm
    assert (sample.observed.sum(dim=(1, 2, 3)) / sample.crop.foreground.sum(dim=(1, 2, 3))).median() > 0.8
