"""HANDS 2017 in its own layout: tiny files of the real format, whole and damaged."""

import shutil
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from config import DataConfig
from dataloader.datasets.hands17 import CAMERA, NO_BOX, list_hands17, read_annotations
from dataloader.listing import Listing
from dataloader.prepare import prepare
from dataloader.tables import read_named_table
from util.errors import UserError

NAMES = [f"image_D{i:08d}.png" for i in (1, 2, 3)]
JOINTS = np.random.default_rng(0).normal((0, 0, 450), 30, (3, 21, 3)).round(4)
BOXES = "{}\t300\t200\t400\t330\n{}\t280.5\t190.5\t390.2\t320.7\n{}\t600\t-5\t700\t100\n"


def _lines(names: list[str], joints: np.ndarray = JOINTS) -> str:
    """Labels as the data set writes them: tabs between, one behind the last."""
    rows = joints.reshape(len(joints), -1)
    return "".join(
        "\t".join([name, *(f"{x:.4f}" for x in row)]) + "\t\n" for name, row in zip(names, rows, strict=True)
    )


def _write_hand(path: Path) -> None:
    """A frame with a hand-sized square at 450 mm around (350, 265), before a wall."""
    image = np.full((480, 640), 1500, np.uint16)
    image[205:325, 305:395] = 450
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training frames and three test frames, without labels for these and without centres."""
    for name in NAMES:
        _write_hand(tmp_path / "training/images" / name)
        _write_hand(tmp_path / "frame/images" / name)
    (tmp_path / "training/Training_Annotation.txt").write_text(_lines(NAMES) + "\n")
    (tmp_path / "frame/BoundingBox.txt").write_text(BOXES.format(*NAMES))
    return tmp_path


def _list(root: Path, split: Literal["train", "test"], cube_mm: float | None = None, drop: bool = False) -> Listing:
    return list_hands17(DataConfig(name="hands17", root=root, cube_mm=cube_mm, drop_empty=drop), split)


def test_training_frames_are_centred_on_their_joints(root: Path) -> None:
    listing = _list(root, "train")
    assert listing.files == tuple(f"training/images/{name}" for name in NAMES)
    assert listing.joint_set == "hands17" and listing.joints_mm is not None and listing.centres_mm is not None
    assert np.allclose(listing.joints_mm, JOINTS, atol=1e-4) and listing.labelled
    assert np.allclose(listing.centres_mm, JOINTS.mean(axis=1), atol=1e-4) and listing.boxes is None
    assert listing.camera == CAMERA and listing.cubes_mm.tolist() == [[200.0] * 3] * 3
    assert "means of the labelled joints" in listing.notices[0]
    assert _list(root, "train", cube_mm=220).cubes_mm[0].tolist() == [220.0] * 3


def test_test_frames_have_boxes_and_no_labels(root: Path) -> None:
    listing = _list(root, "test")
    assert listing.files == tuple(f"frame/images/{name}" for name in NAMES)
    assert listing.boxes is not None and listing.boxes.dtype == np.int64
    assert listing.boxes.tolist() == [[300, 200, 400, 330], [280, 190, 391, 321], [600, 0, 640, 100]]
    assert listing.centres_mm is None and listing.joints_mm is None
    # one by one: a benchmark's frames are never left out for showing little
    assert listing.labelled
    assert [notice.split(" has no ")[1].split()[0].rstrip(":") for notice in listing.notices] == [
        "test_annotation_frame.txt",
        "center_test_refined.txt",
    ]


def test_the_hand_is_located_in_its_box(root: Path) -> None:
    (root / "frame/BoundingBox.txt").write_text("".join(f"{name} 300 200 400 330\n" for name in NAMES))
    store = prepare(_list(root, "test"), DataConfig(name="hands17", keep=False, workers=1))
    fx, fy, cx, cy = CAMERA
    expected = [(350 - cx) / fx * 450, (265 - cy) / fy * 450, 450]
    assert len(store) == 3 and np.allclose(store.centres_mm, expected, atol=1.0)


def test_labels_of_test_frames_are_found_by_name(root: Path) -> None:
    names = [f"frame\\images\\{name}" for name in reversed(NAMES)]
    (root / "test_annotation_frame.txt").write_text(_lines(names, JOINTS[::-1]))
    listing = _list(root, "test")
    assert listing.joints_mm is not None and np.allclose(listing.joints_mm, JOINTS, atol=1e-4)
    assert listing.centres_mm is None, "labels of test frames do not say where the hand is"
    (root / "test_annotation_frame.txt").write_text(_lines(names[1:], JOINTS[:2]))
    with pytest.raises(UserError, match=r"test_annotation_frame\.txt has no line for image_D00000003\.png"):
        _list(root, "test")
    (root / "frame/BoundingBox.txt").unlink()
    listing = _list(root, "test")
    assert listing.files == tuple(f"frame/images/{name}" for name in (NAMES[1], NAMES[0])) and listing.boxes is None


def test_other_layouts_are_read_too(root: Path) -> None:
    train, test = _list(root, "train"), _list(root, "test")
    shutil.move(root / "training/images", root / "images")
    shutil.move(root / "training/Training_Annotation.txt", root)
    shutil.move(root / "frame", root / "test")
    assert _list(root, "train").files == tuple(f"images/{name}" for name in NAMES)
    assert _list(root, "test").files == tuple(f"test/images/{name}" for name in NAMES)
    assert np.array_equal(_list(root, "train").joints_mm, train.joints_mm)  # type: ignore[arg-type]
    assert np.array_equal(_list(root, "test").boxes, test.boxes)  # type: ignore[arg-type]
    assert _list(root, "train").read(_list(root, "train").path(0)).shape == (480, 640)


def test_centre_files_are_used_where_they_say_something(root: Path) -> None:
    for split in ("train", "test"):
        (root / f"center_{split}_refined.txt").write_text("1 2 450\ninvalid\n-3 4.5 500\n")
    train, test = _list(root, "train"), _list(root, "test")
    assert train.centres_mm is not None and test.centres_mm is not None
    assert train.centres_mm[[0, 2]].tolist() == test.centres_mm[[0, 2]].tolist() == [[1, 2, 450], [-3, 4.5, 500]]
    assert np.allclose(train.centres_mm[1], JOINTS[1].mean(axis=0), atol=1e-4) and np.isnan(test.centres_mm[1]).all()
    assert train.notices == () and len(test.notices) == 1
    (root / "center_test_refined.txt").write_text("1 2 450\n")
    with pytest.raises(UserError, match=r"center_test_refined\.txt has 1 lines for 3 frames"):
        _list(root, "test")


def test_an_empty_box_is_an_error_or_left_out(root: Path) -> None:
    lines = BOXES.format(*NAMES).splitlines()
    (root / "frame/BoundingBox.txt").write_text("\n".join([lines[0], f"{NAMES[1]} 0 0 0 0", lines[2]]))
    with pytest.raises(UserError, match=r"BoundingBox\.txt has an empty box for image_D00000002\.png"):
        _list(root, "test")
    listing = _list(root, "test", drop=True)
    assert listing.dropped == {NO_BOX: 1} and len(listing) == len(listing.cubes_mm) == 2
    assert listing.files[1].endswith(NAMES[2]) and listing.boxes is not None and listing.boxes[1, 0] == 600


def test_the_pose_library_is_pointed_out(root: Path) -> None:
    library = root / "hands20/posePara_lm_collosion"
    library.mkdir(parents=True)
    (library / "hands-pose.txt").write_text("0 " * 45)
    listing = _list(root, "train")
    assert listing.parameters is None and f"{library / 'hands'}-*.txt" in listing.notices[-1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, r"training/Training_Annotation\.txt is missing: unpack HANDS 2017 again"),
        (_lines(NAMES)[:-20], r"Training_Annotation\.txt line 3 has 6\d numbers, not 63"),
        (_lines(NAMES).replace("\t\n", "\t1.0\n", 1), r"Training_Annotation\.txt line 1 has 64 numbers, not 63"),
        (_lines(NAMES) + "image_D00000004.png\n", r"Training_Annotation\.txt line 4 has 0 numbers, not 63"),
        (
            _lines(NAMES).replace(f"{JOINTS[1, 0, 0]:.4f}", "nan"),
            r"Training_Annotation\.txt line 2 holds .* not finite",
        ),
        (_lines(NAMES).replace(f"{JOINTS[1, 0, 0]:.4f}", "x"), r"Training_Annotation\.txt line 2 holds something else"),
        (_lines([NAMES[0], NAMES[1], NAMES[0]]), "lists image_D00000001.png twice in the train split"),
    ],
)
def test_damaged_labels_are_one_sentence(root: Path, text: str | None, named: str) -> None:
    path = root / "training/Training_Annotation.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=named):
        _list(root, "train")


def test_damaged_boxes_and_images_are_one_sentence(root: Path) -> None:
    listing = _list(root, "test")
    listing.path(1).write_bytes(listing.path(1).read_bytes()[:-300])
    with pytest.raises(UserError, match=r"image_D00000002\.png is no readable image"):
        listing.read(listing.path(1))
    (root / "frame/BoundingBox.txt").write_text(f"{NAMES[0]} 1 2 3\n")
    with pytest.raises(UserError, match=r"BoundingBox\.txt line 1 has 3 numbers, not 4"):
        _list(root, "test")
    (root / "frame/BoundingBox.txt").unlink()
    with pytest.raises(UserError, match=r"frame/BoundingBox\.txt is missing"):
        _list(root, "test")


def test_labels_are_those_of_the_reader_that_names_lines(root: Path) -> None:
    path = root / "training/Training_Annotation.txt"
    names, joints = read_annotations(path)
    slow_names, table = read_named_table(path, 63, "")
    assert names == slow_names and np.array_equal(joints, table.reshape(-1, 21, 3).astype(np.float32))
