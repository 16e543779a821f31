"""DHG-14/28 in its own layout: small recordings of the real format, and damaged ones."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from config import DataConfig
from dataloader.datasets.dhg import LAYOUT, TRIMMING, list_dhg, read_gestures
from dataloader.datasets.gestures import CAMERA, NO_BOX, Gesture
from dataloader.listing import Listing
from tests.recordings import EMPTY, hand_image, write_recording, write_skeleton
from util.errors import UserError

FIRST = "gesture_2/finger_2/subject_1/essai_5"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects: a recording of five frames of which 1 to 3 are the gesture, and one of two that is all gesture."""
    frames = [
        (hand_image(200, 150, 400 + 10 * i), f"1305307{i}331567 {200 + i}.0000 150.0000 150.0000 120.0000")
        for i in range(5)
    ]
    write_skeleton(write_recording(tmp_path, LAYOUT, "2 2 1 5", frames), LAYOUT, _skeleton(5))
    other = [(hand_image(100, 100), "1305307 100 100 150 120"), (EMPTY, "1305308 0 0 0 0")]
    write_skeleton(write_recording(tmp_path, LAYOUT, "14 1 20 1", other), LAYOUT, _skeleton(2))
    (tmp_path / TRIMMING).write_text("2 2 1 5 1 3\n14 1 20 1 0 1\n")
    return tmp_path


def _skeleton(n: int) -> np.ndarray:
    """(n, 22, 3) u v and metres; frame i lies at u = 100 + i."""
    uvz = np.tile([100, 240, 0.4], (n, 22, 1))
    uvz[..., 0] += np.arange(n)[:, None]
    return uvz


def _list(root: Path, split: Literal["train", "test"] = "test", tested: tuple[int, ...] | None = None) -> Listing:
    return list_dhg(DataConfig(name="dhg", root=root, test_subjects=tested), split)


def test_frame_k_is_image_k_plus_1_and_row_k(root: Path) -> None:
    listing = _list(root)
    assert listing.files == tuple(f"{FIRST}/depth_{k}.png" for k in (2, 3, 4))
    assert listing.boxes is not None and listing.joints_mm is not None and listing.centres_mm is not None
    assert listing.boxes.tolist() == [[640 - 350 - k, 150, 640 - 200 - k, 270] for k in (1, 2, 3)]
    assert [int(listing.read(listing.path(i)).min()) for i in range(3)] == [390, 400, 410]
    assert np.allclose(listing.joints_mm[:, 0, 0], [(640 - 100 - k - 320) / CAMERA[0] * 400 for k in (1, 2, 3)])
    assert np.allclose(listing.centres_mm, listing.joints_mm.mean(axis=1))
    assert listing.cubes_mm.tolist() == [[250.0] * 3] * 3 and listing.notices == () and not listing.labelled


def test_one_subject_is_left_out(root: Path) -> None:
    train, test = _list(root, "train"), _list(root, "test")
    assert set(test.groups) == {"subject 1"} and set(train.groups) == {"subject 20"}
    assert train.dropped == {NO_BOX: 1} and train.files == ("gesture_14/finger_1/subject_20/essai_1/depth_1.png",)
    assert set(_list(root, "test", (20,)).groups) == {"subject 20"} and _list(root, "train", (20,)).files == test.files
    with pytest.raises(UserError, match="has no subject 3: choose from 1, 20"):
        _list(root, "test", (3,))


def test_gestures_know_where_they_begin(root: Path) -> None:
    first, second = read_gestures(root / TRIMMING)
    assert first == Gesture(2, 2, 1, 5, 3, first=1) and (first.label14, first.label28) == (2, 4)
    assert second == Gesture(14, 1, 20, 1, 2) and (second.label14, second.label28) == (14, 27)


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        (TRIMMING, None, "informations_troncage_sequences.txt is missing: unpack DHG-14/28 again"),
        (TRIMMING, "2 2 1 5 1\n", "informations_troncage_sequences.txt line 1 has 5 numbers, not 6"),
        (TRIMMING, "2 2 1 5 3 1\n", "ends gesture 2 2 1 5 at 1, before its start 3"),
        (TRIMMING, "2 2 1 5 0.5 1\n", "holds 0.5 where a count or index belongs"),
        (TRIMMING, "2 2 1 5 1 6\n", "general_information.txt has 5 rows for 7 frames"),
        (TRIMMING, "2 2 1 4 1 3\n", "essai_4/general_information.txt is missing"),
        (f"{FIRST}/skeleton_world.txt", "", "skeleton_world.txt has 0 rows for 4 frames"),
        (f"{FIRST}/skeleton_image.txt", "1 nan\n", "skeleton_image.txt line 1 has 2 numbers, not 44"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(root: Path, file: str, text: str | None, named: str) -> None:
    (root / file).unlink() if text is None else (root / file).write_text(text)
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        _list(root)


def test_a_truncated_image_is_one_sentence(root: Path) -> None:
    listing = _list(root)
    listing.path(0).write_bytes(listing.path(0).read_bytes()[:-100])
    with pytest.raises(UserError, match=r"depth_2\.png is no readable image"):
        listing.read(listing.path(0))
