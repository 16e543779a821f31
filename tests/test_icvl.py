"""ICVL in both of its layouts: the published loader's numbers, tiny files in the real format, and damaged ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from config import DataConfig
from config_data import IcvlConfig
from dataloader.datasets.icvl import CAMERA, INVALID, as_recorded, list_icvl, read_icvl_png
from tests.crops import assert_as_published
from tests.shared import REFERENCE, SHARED, needs_reference
from util.errors import UserError

PUBLISHED = REFERENCE / "datasets/icvl"

TRAIN = ("201403121135/image_0000.png", "22-5/image_0000.png", "-112-5/image_0001.png", "201403121140/image_0002.png")


def _label(name: str, u: float, v: float = 120, z: float = 400) -> str:
    """A label line as the data set writes it, every joint in one place, with a blank behind it."""
    return " ".join([name, *[f"{u:.4f} {v:.4f} {z:.4f}"] * 16]) + " \n"


def _write_depth(path: Path, depth_mm: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), depth_mm.astype(np.uint16))


def _config(root: Path, cube_mm: float | None = None, all_frames: bool = False) -> DataConfig:
    return DataConfig(name="icvl", root=root, cube_mm=cube_mm, icvl=IcvlConfig("all" if all_frames else "0"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Published layout: four training frames, of which two are turned copies, and two test sequences of 2 and 1."""
    (tmp_path / "train.txt").write_text("\n" + "\n".join(_label(name, 100 + i) for i, name in enumerate(TRAIN)))
    (tmp_path / "test_seq_1.txt").write_text(_label("test_seq_1/a.png", 10) + "\n" + _label("test_seq_1/b.png", 11))
    (tmp_path / "test_seq_2.txt").write_text(_label("test_seq_2/a.png", 200) + "\n\n")
    ramp = np.arange(320 * 240).reshape(240, 320) % 60_000
    _write_depth(tmp_path / "Depth/test_seq_1/a.png", ramp)
    return tmp_path


@needs_reference
def test_crops_and_joints_as_published() -> None:
    listing = list_icvl(_config(PUBLISHED), "test")
    assert_as_published(listing, PUBLISHED / "expected_test.npz")
    assert listing.groups == ("sequence 1", "sequence 1", "sequence 2", "sequence 2")
    [notice] = listing.notices
    assert "4 test frames" in notice and "1,596" in notice


def test_the_published_test_split_is_read_whole(tmp_path: Path) -> None:
    labels = SHARED / "data/benchmarks/icvl/test_groundtruth.txt"
    if not labels.is_file():
        pytest.skip("../shared/data/benchmarks is not at hand")
    rows = labels.read_text().splitlines()
    for sequence, part in ((1, rows[:702]), (2, rows[702:])):
        lines = (f"test_seq_{sequence}/image_{i:04d}.png {row}\n" for i, row in enumerate(part))
        (tmp_path / f"test_seq_{sequence}.txt").write_text("".join(lines))
    listing = list_icvl(_config(tmp_path), "test")
    assert len(listing) == 1596 and listing.groups.count("sequence 1") == 702
    [notice] = listing.notices
    assert "center_test_refined.txt is absent" in notice
    joints_mm = listing.joints_mm
    assert joints_mm is not None
    fx, fy, cx, cy = CAMERA
    u = 320 - (joints_mm[..., 0] / joints_mm[..., 2] * fx + cx)
    v = joints_mm[..., 1] / joints_mm[..., 2] * fy + cy
    stored = np.loadtxt(labels).reshape(1596, 16, 3)
    assert np.allclose(np.stack([u, v, joints_mm[..., 2]], -1), stored)


def test_frames_are_flipped(root: Path) -> None:
    depth_mm = read_icvl_png(root / "Depth/test_seq_1/a.png")
    stored = np.arange(320 * 240).reshape(240, 320) % 60_000
    assert depth_mm.dtype == np.uint16 and np.array_equal(depth_mm, stored[:, ::-1])


def test_joints_are_those_of_the_flipped_image(root: Path) -> None:
    listing = list_icvl(_config(root), "test")
    assert listing.files == ("Depth/test_seq_1/a.png", "Depth/test_seq_1/b.png", "Depth/test_seq_2/a.png")
    assert listing.groups == ("sequence 1", "sequence 1", "sequence 2") and listing.joint_set == "icvl16"
    assert listing.mirrored_width == 320
    assert listing.joints_mm is not None and listing.joints_mm.shape == (3, 16, 3)
    # u = 10 becomes 310: 150 px right of the middle, at 400 mm
    assert np.allclose(listing.joints_mm[0, 5], [150 / 240.99 * 400, 0, 400])
    assert np.allclose(listing.joints_mm[2, 0], [-40 / 240.99 * 400, 0, 400])
    assert (listing.cubes_mm == 200).all() and (list_icvl(_config(root, 180), "test").cubes_mm == 180).all()


def test_turned_copies_are_left_out_unless_asked_for(root: Path) -> None:
    listing = list_icvl(_config(root), "train")
    assert listing.files == (f"Depth/{TRAIN[0]}", f"Depth/{TRAIN[3]}") and listing.groups == ()
    assert len(list_icvl(_config(root, all_frames=True), "train")) == 4
    assert as_recorded("201403121135/image_0000.png") and not as_recorded("-157-5/image_0000.png")


@pytest.mark.parametrize("all_frames", [False, True])
def test_centres_have_a_line_for_every_label_line(root: Path, all_frames: bool) -> None:
    (root / "center_train_refined.txt").write_text("1 2 400\n3 4 401\n5 6 402\n7 8 403\n")
    listing = list_icvl(_config(root, all_frames=all_frames), "train")
    stored = np.array([[1, 2, 400], [3, 4, 401], [5, 6, 402], [7, 8, 403]]) * (-1.0, 1.0, 1.0)
    assert listing.centres_mm is not None and np.array_equal(
        listing.centres_mm, stored if all_frames else stored[[0, 3]]
    )
    assert listing.notices == () and listing.dropped == {}


def test_frames_with_an_invalid_centre_are_dropped_and_counted(root: Path) -> None:
    (root / "center_test_refined.txt").write_text("invalid\n-10 20 390\n11 21 391\n")
    listing = list_icvl(_config(root), "test")
    assert listing.files == ("Depth/test_seq_1/b.png", "Depth/test_seq_2/a.png")
    assert listing.dropped == {INVALID: 1} and listing.groups == ("sequence 1", "sequence 2")
    assert listing.centres_mm is not None and np.array_equal(listing.centres_mm, [[10, 20, 390], [-11, 21, 391]])
    assert listing.joints_mm is not None and len(listing.joints_mm) == len(listing.cubes_mm) == 2
    assert np.allclose(listing.joints_mm[1, 0], [-40 / 240.99 * 400, 0, 400])
    # a frame that is not read anyway is not counted
    (root / "center_train_refined.txt").write_text("1 2 400\ninvalid\n5 6 402\n7 8 403\n")
    assert list_icvl(_config(root), "train").dropped == {}


def test_the_data_set_s_own_layout_is_read(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.mktemp("own")
    for folder in ("Training", "Testing"):
        (own / folder).mkdir()
    (root / "train.txt").rename(own / "Training/labels.txt")
    for name in ("test_seq_1.txt", "test_seq_2.txt"):
        (root / name).rename(own / "Testing" / name)
    (root / "Depth").rename(own / "Testing/Depth")
    train, test = (list_icvl(_config(own), split) for split in ("train", "test"))
    assert train.files[0] == f"Training/Depth/{TRAIN[0]}"
    assert test.files[0] == "Testing/Depth/test_seq_1/a.png" and test.read(test.path(0)).shape == (240, 320)


def test_damaged_labels_are_told(root: Path) -> None:
    lines = (root / "test_seq_1.txt").read_text()
    for text, sentence in (
        (
            lines.replace("test_seq_1/b.png 11.0000", "test_seq_1/b.png"),
            r"test_seq_1\.txt line 3 has 47 numbers, not 48",
        ),
        (lines + "test_seq_1/c.png\n", r"test_seq_1\.txt line 4 has 0 numbers, not 48: unpack"),
        (lines.replace("10.0000", "nan", 1), r"test_seq_1\.txt line 1 holds a number that is not finite"),
        (lines.replace("10.0000", "ten", 1), r"test_seq_1\.txt line 1 holds something else than numbers"),
    ):
        (root / "test_seq_1.txt").write_text(text)
        with pytest.raises(UserError, match=sentence):
            list_icvl(_config(root), "test")
    (root / "test_seq_1.txt").write_text(lines)
    (root / "test_seq_2.txt").unlink()
    with pytest.raises(UserError, match=r"test_seq_2\.txt is missing: unpack ICVL again"):
        list_icvl(_config(root), "test")
    for name in ("test_seq_1.txt", "test_seq_2.txt"):
        (root / name).write_text("\n")
    with pytest.raises(UserError, match=r"lists no test frame .*: unpack ICVL again\.$"):
        list_icvl(_config(root), "test")
    (root / "train.txt").write_text(_label("22-5/image_0000.png", 3))
    with pytest.raises(UserError, match=r"lists no train frame that is not turned .*sub-sequences all"):
        list_icvl(_config(root), "train")
    (root / "train.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt is missing, and so is Training/labels\.txt: point data\.root"):
        list_icvl(_config(root), "train")


def test_a_label_line_that_is_missing_is_told_by_the_centres(root: Path) -> None:
    (root / "center_test_refined.txt").write_text("1 2 400\n3 4 401\n5 6 402\n")
    (root / "test_seq_1.txt").write_text(_label("test_seq_1/a.png", 10))
    with pytest.raises(UserError, match=r"center_test_refined\.txt has 3 lines for 2 frames: take the file"):
        list_icvl(_config(root), "test")


def test_damaged_images_are_told(root: Path) -> None:
    path = root / "Depth/test_seq_1/a.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.png is no readable image: unpack it again"):
        read_icvl_png(path)
    _write_depth(path, np.ones((480, 640)))
    with pytest.raises(UserError, match=r"a\.png is 640x480, not 320x240"):
        read_icvl_png(path)
    with pytest.raises(UserError, match=r"b\.png is missing"):
        read_icvl_png(path.with_name("b.png"))


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is not set: point it at the folder of the unpacked ICVL"):
        list_icvl(DataConfig(name="icvl"), "test")
    with pytest.raises(UserError, match=r"gone is no folder: point data\.root"):
        list_icvl(_config(tmp_path / "gone"), "train")
