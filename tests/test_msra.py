"""MSRA in its own layout: the published loader's numbers, tiny files in the real format, and damaged ones."""

import struct
from pathlib import Path

import numpy as np
import pytest

from config import DataConfig
from dataloader.datasets.msra import (
    CUBES_MM,
    POSTURES,
    PUBLISHED_FRAMES,
    list_msra,
    parameter_rows,
    read_joints,
    read_msra_bin,
)
from tests.crops import assert_as_published
from tests.shared import REFERENCE, needs_reference
from util.errors import UserError

PUBLISHED = REFERENCE / "datasets/msra"


def _frames(subject: int, posture: str) -> int:
    """Frames of the tiny data set: one or two, so that no two subjects can be confused by their number."""
    return 1 + (POSTURES.index(posture) < subject)


def _joint(subject: int, posture: str, i: int) -> float:
    """A number that no other frame has."""
    return 100 * subject + POSTURES.index(posture) + i / 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All nine subjects and 17 postures; subject k has 17 + k frames. No images, no centres."""
    for subject in range(9):
        for posture in POSTURES:
            folder = tmp_path / f"P{subject}/{posture}"
            folder.mkdir(parents=True)
            n = _frames(subject, posture)
            rows = (f"{_joint(subject, posture, i):.4f} 2 -300 " * 21 for i in range(n))
            (folder / "joint.txt").write_text("\n".join([str(n), *rows]) + "\n")
    return tmp_path


def _config(root: Path, tested: tuple[int, ...] | None = None, trained: tuple[int, ...] = ()) -> DataConfig:
    return DataConfig(name="msra", root=root, test_subjects=tested, train_subjects=trained)


def _write_centres(root: Path, name: str, subjects: list[int]) -> None:
    """Centres, y up, whose x is the frame's own number."""
    xs = [_joint(s, posture, i) for s in subjects for posture in POSTURES for i in range(_frames(s, posture))]
    (root / name).write_text("".join(f"{x} 5 300\n" for x in xs))


def _write_parameters(root: Path, lines: int) -> None:
    """Hand parameters whose first rotation angle is the line's number."""
    folder = root / "posePara_lm_collosion"
    folder.mkdir(exist_ok=True)
    for part, columns in (("pose", 45), ("glb", 3), ("shape", 10)):
        rows = np.zeros((lines, columns))
        rows[:, 0] = np.arange(lines)
        np.savetxt(folder / f"msra-{part}.txt", rows, "%g")


def _bin(header: tuple[int, ...], depth_mm: np.ndarray) -> bytes:
    return struct.pack("<6I", *header) + depth_mm.astype("<f4").tobytes()


@needs_reference
def test_crops_and_joints_as_published() -> None:
    listing = list_msra(_config(PUBLISHED), "test")
    assert_as_published(listing, PUBLISHED / "expected_test_p0.npz")
    assert set(listing.groups) == {"subject 0"} and listing.joint_set == "msra21"
    params = listing.read_parameters()
    assert params is not None and params.pose.shape == (17, 45)
    [notice] = listing.notices
    assert "lacks subjects 1, 2, 3, 4, 5, 6, 7, 8" in notice


def test_the_box_is_put_into_the_image(tmp_path: Path) -> None:
    box_mm = 300 + np.arange(6.0).reshape(2, 3)
    (tmp_path / "a.bin").write_bytes(_bin((320, 240, 317, 10, 320, 12), box_mm))
    depth_mm = read_msra_bin(tmp_path / "a.bin")
    assert depth_mm.shape == (240, 320) and depth_mm.dtype == np.float32
    assert np.array_equal(depth_mm[10:12, 317:], box_mm) and np.count_nonzero(depth_mm) == 6
    (tmp_path / "a.bin").write_bytes(_bin((320, 240, 5, 5, 5, 5), np.zeros(0)))
    assert not read_msra_bin(tmp_path / "a.bin").any()


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (b"", "ends after 0 bytes, within its header"),
        (bytes(20), "ends after 20 bytes, within its header"),
        (_bin((320, 240, 0, 0, 4, 4), np.zeros(15)), "holds only 60 bytes of depth where its box has 64"),
        (_bin((320, 240, 0, 0, 4, 4), np.zeros(17)), "holds more bytes of depth where its box has 64"),
        (_bin((320, 240, 100, 0, 321, 4), np.zeros(4)), "has a box 100 0 321 4 that is not in its image"),
        (_bin((320, 240, 9, 0, 5, 4), np.zeros(4)), "has a box 9 0 5 4 that is not in its image"),
        (_bin((2**32 - 1, 2**32 - 1, 0, 0, 2**32 - 1, 2**32 - 1), np.zeros(4)), "says it is 4294967295x4294967295"),
        (_bin((640, 480, 0, 0, 2, 2), np.zeros(4)), "says it is 640x480, not 320x240"),
        (_bin((320, 240, 0, 0, 2, 2), np.array([1, 2, np.nan, 3])), "holds a depth that is not finite"),
    ],
    ids=["empty", "half a header", "short", "long", "wide box", "turned box", "huge", "other camera", "not finite"],
)
def test_damaged_images_are_told(tmp_path: Path, stored: bytes, sentence: str) -> None:
    path = tmp_path / "000000_depth.bin"
    path.write_bytes(stored)
    with pytest.raises(UserError, match=rf"000000_depth\.bin {sentence}.*: unpack MSRA again\.$"):
        read_msra_bin(path)
    path.unlink()
    with pytest.raises(UserError, match=r"000000_depth\.bin is missing"):
        read_msra_bin(path)


def test_one_subject_is_left_out(root: Path) -> None:
    test, train = (list_msra(_config(root), split) for split in ("test", "train"))
    assert len(test) == 17 and set(test.groups) == {"subject 0"}
    assert len(train) == sum(17 + k for k in range(1, 9)) and not set(train.groups) & set(test.groups)
    assert test.files[:2] == ("P0/1/000000_depth.bin", "P0/2/000000_depth.bin")
    assert train.files[:3] == ("P1/1/000000_depth.bin", "P1/1/000001_depth.bin", "P1/2/000000_depth.bin")
    assert train.joints_mm is not None and np.allclose(train.joints_mm[1], [100.1, -2, 300])
    for subject, edge in enumerate(CUBES_MM):
        of_subject = list_msra(_config(root, (subject,)), "test")
        assert (of_subject.cubes_mm == edge).all() and len(of_subject) == 17 + subject
    wide = list_msra(DataConfig(name="msra", root=root, cube_mm=250), "train")
    assert (wide.cubes_mm == 250).all()


def test_training_may_name_its_subjects(root: Path) -> None:
    assert set(list_msra(_config(root, (0,), (3, 2)), "train").groups) == {"subject 2", "subject 3"}
    for config, sentence in (
        (_config(root, (9,)), "no subject 9"),
        (_config(root, (0,), (0, 1)), r"subject 0 is in data\.train_subjects and in data\.test_subjects"),
        (_config(root, tuple(range(9))), "no subject of MSRA is left to train on"),
        (_config(root, ()), "no subject of MSRA is left to test on"),
    ):
        with pytest.raises(UserError, match=sentence):
            list_msra(config, "train" if "train" in sentence else "test")


def test_centres_of_test_and_training_frames(root: Path) -> None:
    _write_centres(root, "center_test_4_refined.txt", [4])
    _write_centres(root, "center_train_4_refined.txt", [0, 1, 2, 3, 5, 6, 7, 8])
    one_out = _config(root, (4,))
    for listing in (
        list_msra(one_out, "test"),
        list_msra(one_out, "train"),
        list_msra(_config(root, (4,), (5, 2)), "train"),
    ):
        assert listing.centres_mm is not None and listing.joints_mm is not None
        assert np.allclose(listing.centres_mm[:, 0], listing.joints_mm[:, 0, 0])
        assert (listing.centres_mm[:, 1:] == (-5, 300)).all()
        assert not any("absent" in notice for notice in listing.notices)


def test_centres_that_are_not_there_are_said(root: Path) -> None:
    _write_centres(root, "center_test_4_refined.txt", [4])
    both = list_msra(_config(root, (4, 5)), "test")
    assert both.centres_mm is not None
    assert np.isnan(both.centres_mm).any(axis=1).tolist() == [group == "subject 5" for group in both.groups]
    assert any("center_test_5_refined.txt is absent" in notice for notice in both.notices)
    train = list_msra(_config(root, (4, 5)), "train")
    assert train.centres_mm is None and any("leave one subject out, not 2" in notice for notice in train.notices)
    alone = list_msra(_config(root, (3,)), "train")
    assert alone.centres_mm is None and any("center_train_3_refined.txt is absent" in n for n in alone.notices)
    assert list_msra(_config(root, (3,)), "test").centres_mm is None


def test_centres_of_another_version_are_told(root: Path) -> None:
    _write_centres(root, "center_test_0_refined.txt", [1])
    _write_centres(root, "center_train_0_refined.txt", [2, 3])
    with pytest.raises(UserError, match=r"center_test_0_refined\.txt has 18 lines for 17 frames: take the file"):
        list_msra(_config(root), "test")
    with pytest.raises(UserError, match=r"center_train_0_refined\.txt has 39 lines for 172 frames: take the file"):
        list_msra(_config(root), "train")


def test_parameters_go_by_the_installed_counts(root: Path) -> None:
    _write_parameters(root, sum(17 + k for k in range(9)))
    params = list_msra(_config(root, (2, 5)), "test").read_parameters()
    assert params is not None
    second, fifth = 17 + 18, 17 + 18 + 19 + 20 + 21
    assert params.rotation[:, 0].tolist() == [*range(second, second + 19), *range(fifth, fifth + 22)]


def test_parameters_of_another_version_are_left_out_with_a_notice(root: Path) -> None:
    _write_parameters(root, 30)
    listing = list_msra(_config(root), "test")
    assert listing.parameters is None and listing.read_parameters() is None
    assert any("msra-pose.txt has 30 lines and 189 frames are unpacked" in notice for notice in listing.notices)


def test_parameters_of_the_published_version_serve_subjects_that_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "posePara_lm_collosion"
    folder.mkdir()
    (folder / "msra-pose.txt").write_text("0\n" * sum(PUBLISHED_FRAMES))
    counts = dict(enumerate(PUBLISHED_FRAMES)) | {4: 8484}
    assert sum(counts.values()) == 76_375
    rows, notices = parameter_rows(tmp_path, [2, 5], counts)
    assert rows is not None and notices == () and len(rows) == 8406 + 8497
    assert (rows[0], rows[8405], rows[8406]) == (8499 + 8499, 8499 + 8499 + 8405, 8499 + 8499 + 8406 + 8498 + 8500)
    rows, notices = parameter_rows(tmp_path, [4], counts)
    assert rows is None and "76,391 lines and 76,375 frames are unpacked" in notices[0]
    rows, _ = parameter_rows(tmp_path, [8], {8: 8496})
    assert rows is not None and rows[-1] == 76_390


def test_damaged_labels_are_told(root: Path) -> None:
    path = root / "P0/IP/joint.txt"
    row = " ".join(["1"] * 63)
    for text, sentence in (
        (f"2\n{row}\n", r"joint\.txt has 1 lines of joints and its first line says 2"),
        (f"1\n{row}\n{row}\n", r"joint\.txt has 2 lines of joints and its first line says 1"),
        (f"1\n{row} 1\n", r"joint\.txt line 2 has 64 numbers, not 63"),
        (f"1\n{row[:-1]}nan\n", r"joint\.txt line 2 holds a number that is not finite"),
        (f"{row}\n{row}\n", r"joint\.txt does not begin with the number of its frames"),
        ("", r"joint\.txt does not begin with the number of its frames"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=sentence) as told:
            list_msra(_config(root), "test")
        assert str(path) in str(told.value) and "\n" not in str(told.value)
    path.write_text(f"1\n\n{row}\n\n")
    assert read_joints(path).shape == (1, 21, 3)
    path.unlink()
    with pytest.raises(UserError, match=r"joint\.txt is missing: unpack MSRA again"):
        list_msra(_config(root), "test")


def test_counts_that_circulate_need_no_notice(root: Path) -> None:
    [notice] = [n for n in list_msra(_config(root), "test").notices if "versions of" in n]
    assert "189 frames" in notice and "76,391" in notice and "76,375" in notice


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is not set: point it at the folder of the unpacked MSRA"):
        list_msra(DataConfig(name="msra"), "test")
    with pytest.raises(UserError, match=r"gone is no folder: point data\.root"):
        list_msra(_config(tmp_path / "gone"), "train")
    with pytest.raises(UserError, match=r"P0/1/joint\.txt is missing: .* that holds P0 to P8"):
        list_msra(_config(tmp_path), "test")
