"""Listings become stores of frames once: what is left out, what is kept on disk, and when it is made anew."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from config import DataConfig
from dataloader import packing, prepare as preparing
from dataloader.datasets.gestures import CAMERA, NO_BOX
from dataloader.datasets.shrec import LAYOUT, list_shrec
from dataloader.frame import read_depth_png
from dataloader.listing import Listing
from dataloader.prepare import EMPTY as EMPTY_CROP, NO_HAND, TOO_SMALL, prepare
from dataloader.store import FrameStore
from tests.recordings import EMPTY, hand_image, write_recording
from util.errors import UserError


def _write(root: Path, gesture: int, subject: int, frames: Sequence[tuple[np.ndarray, str]]) -> None:
    write_recording(root, LAYOUT, f"{gesture} 1 {subject} 1", frames)
    with (root / "train_gestures.txt").open("a") as file:
        file.write(f"{gesture} 1 {subject} 1 {gesture} {2 * gesture - 1} {len(frames)}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """SHREC'17 with two subjects: 2 with three good frames, 7 with a good, an empty, a boxless and a tiny one."""
    root = tmp_path / "shrec"
    root.mkdir()
    tiny = EMPTY.copy()
    tiny[200:215, 300:315] = 450
    _write(root, 1, 2, [(hand_image(200 + 10 * i, 150), f"{i} {200 + 10 * i} 150 150 120") for i in range(3)])
    mixed = [(hand_image(300, 200), "0 300 200 150 120"), (EMPTY, "1 100 100 50 50"), (EMPTY, "2 0 0 0 0")]
    _write(root, 3, 7, [*mixed, (tiny, "3 290 190 40 40")])
    return root


def _prepared(root: Path, subject: int = 2, **settings: object) -> FrameStore:
    config = DataConfig(name="shrec", root=root, test_subjects=(subject,), **settings)  # type: ignore[arg-type]
    return prepare(list_shrec(config, "test"), config)


def test_frames_are_mirrored_cropped_and_masked(root: Path) -> None:
    store = _prepared(root)
    assert len(store) == 3 and not store.dropped
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
    store = _prepared(root, subject=7)
    assert len(store) == 1
    assert dict(store.dropped) == {NO_BOX: 1, NO_HAND: 1, TOO_SMALL: 1}
    with pytest.raises(UserError, match=r"shrec has no frame to test on \("):
        _prepared(root, min_pixels=99999)


def test_the_second_run_reads_the_prepared_frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in (None, root / "cache"):
        first = _prepared(root, subject=7, cache=cache)
        with monkeypatch.context() as patched:
            patched.setattr(preparing, "prepare_frame", None)
            again = _prepared(root, subject=7, cache=cache)
        assert torch.equal(first.batch([0]).crop.depth, again.batch([0]).crop.depth)
        assert dict(again.dropped) == dict(first.dropped) and list((cache or root / ".prepared").iterdir())


def test_nothing_is_kept_unless_wanted(root: Path) -> None:
    assert len(_prepared(root, keep=False)) == 3
    assert not (root / ".prepared").exists()


def test_changed_files_and_settings_are_prepared_anew(root: Path) -> None:
    before = np.array(_prepared(root).centres_mm)
    cv2.imwrite(str(root / "gesture_1/finger_1/subject_2/essai_1/0_depth.png"), hand_image(200, 150, z=600))
    after = _prepared(root)
    assert abs(after.centres_mm[0, 2] - before[0, 2]) > 100 and np.array_equal(after.centres_mm[1:], before[1:])
    assert _prepared(root, cube_mm=200.0).cubes_mm[0].tolist() == [200, 200, 200]
    boxes = root / "gesture_1/finger_1/subject_2/essai_1/general_informations.txt"
    boxes.write_text(boxes.read_text().replace("1 210 150 150 120", "1 0 0 0 0"))
    assert len(_prepared(root)) == 2


def test_processes_prepare_the_same_as_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _prepared(root, subject=7, workers=1, cache=root / "one")
    monkeypatch.setattr(preparing, "FEW_FRAMES", 1)
    monkeypatch.setattr(preparing, "CHUNK", 2)
    both = _prepared(root, subject=7, workers=2, cache=root / "two")
    assert np.array_equal(alone.pixels, both.pixels) and dict(alone.dropped) == dict(both.dropped)


def test_a_damaged_image_stops_preparing_with_its_name(root: Path) -> None:
    path = root / "gesture_1/finger_1/subject_2/essai_1/1_depth.png"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"essai_1/1_depth\.png is no readable image"):
        _prepared(root)
    assert not list((root / ".prepared").glob("*")), "what is not whole is not left behind"


def _labelled(root: Path) -> Listing:
    """Two labelled frames with centres, the second of which shows nothing inside its cube."""
    for name, image in (("0.png", hand_image(300, 200)), ("1.png", EMPTY + 900)):
        cv2.imwrite(str(root / name), image)
    centre = np.array([25.0, 20.0, 450.0])
    joints_mm = np.tile(centre, (2, 14, 1)) + np.arange(14)[:, None]
    cubes_mm = np.full((2, 3), 250.0)
    return Listing(
        *("nyu", "test", root, ("0.png", "1.png"), read_depth_png, CAMERA, cubes_mm, np.tile(centre, (2, 1))),
        joint_set="nyu14",
        joints_mm=joints_mm,
        labelled=True,
    )


def test_an_empty_crop_of_a_benchmark_is_one_sentence_unless_dropped(tmp_path: Path) -> None:
    listing = _labelled(tmp_path)
    with pytest.raises(UserError, match=r"1\.png has nothing inside the cube: .*--data\.drop-empty"):
        prepare(listing, DataConfig())
    assert not list((tmp_path / ".prepared").iterdir())
    store = prepare(listing, DataConfig(drop_empty=True))
    assert store.names.tolist() == ["0.png"] and dict(store.dropped) == {EMPTY_CROP: 1}
    sample = store.batch([0])
    assert sample.joint_set == "nyu14" and sample.joints_mm is not None
    assert np.allclose(sample.joints_mm[0], listing.joints_mm[0])  # type: ignore[index]


def test_the_data_sets_own_centre_is_kept_and_the_hand_is_looked_for_around_it(tmp_path: Path) -> None:
    store = prepare(_labelled(tmp_path), DataConfig(drop_empty=True))
    assert store.centres_mm[0].tolist() == [25.0, 20.0, 450.0]
    sample = store.batch([0])
    assert sample.observed is not None and sample.observed.sum() > 2000
    assert not (sample.observed & ~sample.crop.foreground).any()


def test_a_full_disk_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "_write", full)
    with pytest.raises(UserError, match=r"cannot be written to .*No space left.*--data\.cache"):
        _prepared(root)
    assert not list((root / ".prepared").iterdir())
