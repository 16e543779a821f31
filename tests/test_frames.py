"""A folder of one's own depth frames: camera file, images, boxes, centres, frames to hold out; and what is wrong."""

import json
import pickle
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from config import DataConfig
from dataloader.datasets.frames import NO_BOX, find_images, list_frames
from dataloader.listing import Listing
from dataloader.prepare import prepare
from util.errors import UserError

CAMERA: dict[str, object] = {"fx": 300.0, "fy": 310, "cx": 100.0, "cy": 60.5}


def _camera(root: Path, **entries: object) -> None:
    (root / "camera.json").write_text(json.dumps({**CAMERA, **entries}))


def _hand(left: int = 40) -> np.ndarray:
    """(120, 160) uint16: a hand-sized square at 450 mm, 60 px wide from `left` on, before a wall."""
    depth = np.full((120, 160), 1500, np.uint16)
    depth[30:100, left : left + 60] = 450
    return depth


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frames 2 and 10 in the folder, frame 1 in each of two sub-folders; a hidden folder with something else."""
    root = tmp_path / "own"
    for name in ("10.png", "2.png", "ann/1.png", "bob x/1.png", ".prepared/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), _hand())
    (root / "notes.md").write_text("not an image")
    _camera(root)
    return root


def _list(root: Path, split: Literal["train", "test"] = "train", cube_mm: float | None = None) -> Listing:
    return list_frames(DataConfig(name="frames", root=root, cube_mm=cube_mm), split)


def test_every_image_is_listed_in_natural_order(root: Path) -> None:
    listing = _list(root)
    assert listing.files == ("2.png", "10.png", "ann/1.png", "bob x/1.png") == _list(root, "test").files
    assert listing.camera == (300.0, 310, 100.0, 60.5) and listing.cubes_mm.tolist() == [[250.0] * 3] * 4
    assert listing.groups == (".", ".", "ann", "bob x") and not listing.labelled
    assert listing.boxes is None and listing.centres_mm is None and listing.joints_mm is None
    assert "has no test.txt" in listing.notices[0]
    assert _list(root, cube_mm=200).cubes_mm[0].tolist() == [200.0] * 3
    (root / "3.TIFF").write_bytes((root / "2.png").read_bytes())
    np.save(root / "ann/b20.npy", _hand())
    np.save(root / "ann/b3.npy", _hand())
    assert find_images(root) == ["2.png", "3.TIFF", "10.png", "ann/1.png", "ann/b3.npy", "ann/b20.npy", "bob x/1.png"]


@pytest.mark.parametrize("cache", [None, "kept"])
def test_prepared_frames_are_not_taken_for_images(root: Path, cache: str | None) -> None:
    config = DataConfig(name="frames", root=root, cache=root / cache if cache else None, workers=1, min_pixels=100)
    before = list_frames(config, "train").files
    prepare(list_frames(config, "train"), config)
    assert list((root / (cache or ".prepared")).iterdir())
    assert list_frames(config, "train").files == before


def test_the_hand_is_located(root: Path) -> None:
    store = prepare(_list(root), DataConfig(name="frames", keep=False, workers=1, min_pixels=100))
    assert len(store) == 4 and np.allclose(store.centres_mm, [-30 / 300 * 450, 4.5 / 310 * 450, 450], atol=4.0)


@pytest.mark.parametrize(
    ("ending", "stored"),
    [("png", "uint16"), ("tif", "uint16"), ("tiff", "float32"), ("npy", "int32"), ("npy", "float64")],
)
def test_kinds_of_images(root: Path, ending: str, stored: str) -> None:
    path = root / f"0.{ending}"
    depth = (_hand() * 4).astype(stored)
    depth[0, :3] = 0
    if stored != "uint16":
        depth[1, 0] = -5
    if stored.startswith("float"):
        depth[1, 1:3] = np.nan, np.inf
    np.save(path, depth) if ending == "npy" else cv2.imwrite(str(path), depth)
    _camera(root, unit_mm=0.25)
    listing = _list(root)
    read = listing.read(path)
    expected = _hand().astype(np.float32)
    expected[0, :3] = 0
    if stored != "uint16":
        expected[1, 0] = 0
    if stored.startswith("float"):
        expected[1, 1:3] = 0
    assert listing.path(0) == path and read.dtype == np.float32 and np.array_equal(read, expected)
    # other processes call the same reader
    assert np.array_equal(pickle.loads(pickle.dumps(listing.read))(path), read)


def test_whole_millimetres_stay_as_stored(root: Path) -> None:
    listing = _list(root)
    assert listing.read(listing.path(0)).dtype == np.uint16


@pytest.mark.parametrize(
    ("entries", "flipped"),
    [
        ({"mirrored": True}, True),
        ({"side": "left"}, True),
        ({"side": "left", "mirrored": True}, False),
        ({"side": "right", "mirrored": False}, False),
    ],
)
def test_what_would_show_a_left_hand_is_flipped(root: Path, entries: dict[str, object], flipped: bool) -> None:
    _camera(root, **entries)
    (root / "boxes.txt").write_text("2.png 30.5 20 110 100\nbob x/1.png -3 -3 20 999\n")
    (root / "centres.txt").write_text("10.png -45 6 450\n")
    listing = _list(root)
    depth = listing.read(listing.path(0))
    assert np.array_equal(depth, _hand()[:, ::-1] if flipped else _hand()) and depth.flags.c_contiguous
    assert listing.camera == ((300.0, 310, 60.0, 60.5) if flipped else (300.0, 310, 100.0, 60.5))
    assert listing.boxes is not None and listing.centres_mm is not None
    first, last = ([50, 20, 130, 100], [140, 0, 160, 120]) if flipped else ([30, 20, 110, 100], [0, 0, 20, 120])
    assert listing.boxes.tolist() == [first, [0, 0, 160, 120], [0, 0, 160, 120], last]
    assert listing.centres_mm[1].tolist() == [45.0 if flipped else -45.0, 6.0, 450.0]
    assert np.isnan(listing.centres_mm[[0, 2, 3]]).all()
    assert listing.mirrored_width == (160 if flipped else 0)
    # box, centre and pixels still meet: the hand's square is inside its box
    left, top, right, bottom = listing.boxes[0]
    assert (depth[top:bottom, left:right] == 450).sum() == 70 * 60


def test_a_frame_with_an_empty_box_is_left_out(root: Path) -> None:
    (root / "boxes.txt").write_text("ann/1.png 0 0 0 0\n10.png 170 0 200 50\n")
    (root / "centres.txt").write_text("bob x/1.png 1 2 500\n")
    listing = _list(root)
    assert listing.files == ("2.png", "bob x/1.png") and listing.dropped == {NO_BOX: 2}
    assert listing.centres_mm is not None and listing.centres_mm[1].tolist() == [1, 2, 500]
    assert (
        listing.boxes is not None
        and len(listing.boxes) == len(listing.cubes_mm) == 2
        and listing.groups == (".", "bob x")
    )


def test_frames_are_held_out_by_name_or_folder(root: Path) -> None:
    (root / "test.txt").write_text("2.png\n\nbob x/\n")
    train, test = _list(root, "train"), _list(root, "test")
    assert test.files == ("2.png", "bob x/1.png") and train.files == ("10.png", "ann/1.png")
    assert train.notices == () and train.groups == (".", "ann")
    (root / "test.txt").write_text("2.png\nbo\n")
    with pytest.raises(UserError, match=r"test\.txt line 2 names bo, which is no image or sub-folder"):
        _list(root, "test")
    (root / "test.txt").write_text("2.png\n10.png\nann\nbob x\n")
    with pytest.raises(UserError, match=r"test\.txt leaves no frame for the train split"):
        _list(root, "train")
    (root / "test.txt").write_text("\n")
    with pytest.raises(UserError, match=r"test\.txt leaves no frame for the test split"):
        _list(root, "test")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, r'camera\.json is missing: .* such as \{"fx": 475\.0'),
        ("{", r"camera\.json is not valid JSON"),
        ("[1, 2]", r"camera\.json holds no entries"),
        ('{"fx": 300, "fy": 300, "cx": 80}', r"camera\.json does not say cy"),
        ({"focal": 300}, r"unknown entry 'focal': choose from fx, fy, cx, cy, unit_mm, width"),
        ({"fx": float("nan")}, r"says fx is nan: give it as a number above 0"),
        ({"fy": -300}, r"says fy is -300: give it as a number above 0"),
        ({"unit_mm": 0}, r"says unit_mm is 0: give it as a number above 0"),
        ({"cx": float("inf")}, r"says cx is inf: give it as a number of pixels"),
        ({"cy": "60"}, r"says cy is '60': give it as a number of pixels"),
        ({"cy": True}, r"says cy is True: give it as a number of pixels"),
        ({"width": 160.5}, r"says width is 160\.5: give it as a whole number of pixels above 0"),
        ({"mirrored": "yes"}, r"says mirrored is 'yes': give it as true or false"),
        ({"side": "both"}, r"says side is 'both': give it as \"right\" or \"left\""),
    ],
)
def test_a_wrong_camera_file_is_one_sentence(root: Path, text: str | dict[str, object] | None, named: str) -> None:
    if isinstance(text, dict):
        _camera(root, **text)
    else:
        (root / "camera.json").unlink() if text is None else (root / "camera.json").write_text(text)
    with pytest.raises(UserError, match=named):
        _list(root)


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("boxes.txt", "2.png 1 2 3\n", r"boxes\.txt line 1 has 3 numbers, not 4"),
        ("boxes.txt", "\n5.png 1 2 3 4\n", r"boxes\.txt line 2 names 5\.png, which is no image of the folder"),
        ("boxes.txt", "2.png 1 2 nan 4\n", r"boxes\.txt line 1 holds a number that is not finite"),
        ("boxes.txt", "2.png 1 2 3 4\n2.png 1 2 3 4\n", r"boxes\.txt line 2 names 2\.png a second time"),
        ("centres.txt", "2.png 1 2 x\n", r"centres\.txt line 1 holds something else than numbers"),
        ("centres.txt", "2.png 1 2 -450\n", r"centres\.txt has a centre that is not before the camera"),
    ],
)
def test_wrong_lines_are_one_sentence(root: Path, file: str, text: str, named: str) -> None:
    (root / file).write_text(text)
    with pytest.raises(UserError, match=named):
        _list(root)


def test_damaged_images_are_one_sentence(root: Path) -> None:
    listing = _list(root)
    whole = (root / "2.png").read_bytes()
    tiff, array = root / "a.tif", root / "a.npy"
    noise = np.random.default_rng(0).integers(0, 60000, (120, 160)).astype(np.uint16)
    cv2.imwrite(str(tiff), noise)
    np.save(array, noise)
    for path in (root / "2.png", tiff, array):
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError, match=rf"{path.name} is no readable (image|array)"):
            listing.read(path)
        path.write_bytes(b"")
        with pytest.raises(UserError, match=rf"{path.name} is no readable (image|array)"):
            listing.read(path)
    (root / "2.png").write_bytes(whole)
    for depth, named in (
        (_hand()[:100], "10.png is 160x100, not 160x120"),
        (_hand().astype(np.uint8), "10.png holds uint8 numbers in 120x160 places"),
        (np.repeat(_hand()[..., None], 3, axis=2), "10.png holds uint16 numbers in 120x160x3 places"),
    ):
        cv2.imwrite(str(root / "10.png"), depth)
        with pytest.raises(UserError, match=named):
            listing.read(root / "10.png")
    (root / "10.png").unlink()
    with pytest.raises(UserError, match=r"10\.png is missing"):
        listing.read(root / "10.png")
    np.save(array, np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"a\.npy is no readable array"):
        listing.read(array)


def test_wrong_places_are_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is not set"):
        list_frames(DataConfig(name="frames"), "train")
    with pytest.raises(UserError, match="nowhere is no folder"):
        _list(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    _camera(tmp_path / "empty")
    with pytest.raises(UserError, match="empty has no image"):
        _list(tmp_path / "empty")
