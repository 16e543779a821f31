"""HANDS 2017 (Hands in the Million challenge): 957,032 training frames and 295,510 test frames of single hands.

Accepted in the data set's folder, as it was handed out and as others lay it out:

- Training: training/Training_Annotation.txt (or train/..., or without a folder), lines `name` and 63 numbers, xyz in mm
  of 21 joints, y down; images in the folder `images` beside it.
- Test: frame/BoundingBox.txt (or test/...), lines `name left top right bottom` in pixels; images in `images` beside it.
  Labels were handed out after the challenge: test_annotation_frame.txt, beside it or in the data set's folder, with
  lines as in training (names may have folders in front). Test frames are those of the boxes; without boxes, of labels.
- center_train_refined.txt and center_test_refined.txt in the data set's folder, where present: one line a frame, xyz in
  mm, y down, or `invalid`.
- hands20/posePara_lm_collosion/hands-*.txt is a library of poses for the hand sampler; its lines belong to no frames.

Images are 16-bit PNG, 640x480, mm, of right hands and not flipped. Sequences of the tracking task are not read.

Centres: the file's. Without one, or where it says `invalid`, a training frame's is the mean of its joints, as published
loaders have it, since no hand box says which of the bodies and objects in view is the hand. A test frame's is never
taken from its labels: the hand is located in its box.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader import frame
from dataloader.datasets.root import data_root
from dataloader.frame import read_depth_png
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.tables import LARGEST, read_centres, read_named_table
from util.benchmarks import BENCHMARKS
from util.errors import UserError
from util.joints import HANDS17
from util.reading import checked_name, open_plain

TITLE = "HANDS 2017"
SIZE = BENCHMARKS["hands17"].size
"""Width and height of every frame."""
CAMERA: Intrinsics = BENCHMARKS["hands17"].camera
"""fx, fy, cx, cy in pixels."""
CUBE_MM = 200.0
"""Edge of the cube around a hand, unless data.cube_mm says otherwise."""
NO_BOX = "no hand box"
"""Why frames are left out: the box is empty, or lies outside the image."""
POSES = Path("hands20/posePara_lm_collosion/hands")
"""The pose library, as the sampler's pose_files takes it, in the data set's folder."""
REMEDY = f"unpack {TITLE} again, or point data.root at its folder"


def read_image(path: Path) -> np.ndarray:
    """(480, 640) uint16 depth, mm.

    Raises:
        UserError: the image is missing, damaged, or not 640x480 with 16 bits.
    """
    return read_depth_png(path, SIZE)


@dataclass(frozen=True)
class _Frames:
    """Frames of a split as their files list them."""

    images: Path
    """Folder of the images."""
    names: list[str]
    """Of the images."""
    joints: np.ndarray | None = None
    """(n, 21, 3) labels, mm."""
    boxes: np.ndarray | None = None
    """(n, 4) int64, left top right bottom."""
    notices: tuple[str, ...] = ()


def list_hands17(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames to learn from or to test on.

    Raises:
        UserError: no root, a file is missing or damaged, a frame is listed twice, a test frame has no line in the file
            of labels, or its box is empty (unless `config.drop_empty`).
    """
    root = data_root(config, TITLE)
    found = _train_frames(root) if split == "train" else _test_frames(root)
    if len(set(found.names)) < len(found.names):
        name = Counter(found.names).most_common(1)[0][0]
        raise UserError(f"{root} lists {name} twice in the {split} split: {REMEDY}.")
    notices = [*found.notices]
    path = root / f"center_{split}_refined.txt"
    centres = None
    if path.is_file():
        centres = read_centres(path, len(found.names), f"take the centres of this split, or remove {path.name}")
    else:
        how = "they are the means of the labelled joints" if split == "train" else "hands are located by their depth"
        notices.append(f"{root} has no {path.name} with centres: {how}.")
    if split == "train" and found.joints is not None:
        means = found.joints.mean(axis=1)
        centres = means if centres is None else np.where(np.isnan(centres), means, centres)
    if (root / f"{POSES}-pose.txt").is_file():
        notices.append(f"{root / POSES}-*.txt is a library of poses: rendered hands take them from it as pose_files.")
    kept = _boxed(found, config.drop_empty)
    names = [name for name, keep in zip(found.names, kept, strict=True) if keep]
    images = found.images.relative_to(root).as_posix()
    dropped = len(kept) - len(names)
    return Listing(
        data_set="hands17",
        split=split,
        root=root,
        files=tuple(f"{images}/{name}" for name in names),
        read=read_image,
        camera=CAMERA,
        cubes_mm=np.full((len(names), 3), CUBE_MM if config.cube_mm is None else config.cube_mm),
        centres_mm=None if centres is None else centres[kept],
        boxes=None if found.boxes is None else found.boxes[kept],
        joint_set=HANDS17.name,
        joints_mm=None if found.joints is None else found.joints[kept],
        labelled=True,
        dropped={NO_BOX: dropped} if dropped else {},
        notices=tuple(notices),
        rules=(Path(__file__), Path(frame.__file__)),
    )


def _train_frames(root: Path) -> _Frames:
    annotations = _first(root, ("training", "train", ""), "Training_Annotation.txt")
    if annotations is None:
        raise UserError(f"{root / 'training/Training_Annotation.txt'} is missing: {REMEDY}.")
    return _Frames(annotations.parent / "images", *read_annotations(annotations))


def _test_frames(root: Path) -> _Frames:
    """The test frames; their labels, which came later, are taken where they are."""
    boxed = _first(root, ("frame", "test"), "BoundingBox.txt")
    labelled = _first(root, ("frame", "test", ""), "test_annotation_frame.txt")
    if boxed is not None:
        names, boxes = read_boxes(boxed)
        if labelled is not None:
            return _Frames(boxed.parent / "images", names, _labels_of(names, labelled), boxes)
        notice = f"{root} has no test_annotation_frame.txt: its test frames have no labels."
        return _Frames(boxed.parent / "images", names, boxes=boxes, notices=(notice,))
    if labelled is not None:
        images = root / ("test" if (root / "test/images").is_dir() else "frame") / "images"
        notice = f"{root} has no frame/BoundingBox.txt: hands are looked for in whole frames."
        return _Frames(images, *read_annotations(labelled), notices=(notice,))
    raise UserError(f"{root / 'frame/BoundingBox.txt'} is missing: {REMEDY}.")


def _boxed(frames: _Frames, drop_empty: bool) -> np.ndarray:
    """(n,) bool: frames whose box, if they have one, holds at least a pixel."""
    if frames.boxes is None:
        return np.ones(len(frames.names), bool)
    kept = (frames.boxes[:, 2] > frames.boxes[:, 0]) & (frames.boxes[:, 3] > frames.boxes[:, 1])
    if not (kept.all() or drop_empty):
        path = frames.images.parent / "BoundingBox.txt"
        name = frames.names[int(np.argmin(kept))]
        raise UserError(f"{path} has an empty box for {name}: {REMEDY}, or leave such frames out (--data.drop-empty).")
    return kept


def read_annotations(path: Path) -> tuple[list[str], np.ndarray]:
    """Image names without folders, and (n, 21, 3) float32 joints, mm, of a file of labels.

    Raises:
        UserError: a line is no name with 63 finite numbers; the sentence names it.
    """
    names: list[str] = []

    def numbers() -> Iterator[str]:
        with open_plain(path, REMEDY) as stored, TextIOWrapper(stored, "utf-8") as file:
            for line in filter(str.strip, file):
                name, *rest = line.split(maxsplit=1)
                names.append(name)
                yield rest[0]

    try:
        # a million lines are read by numpy's own reader, in seconds; what it cannot read is read again to say where
        table = np.loadtxt(numbers(), np.float32, comments=None, ndmin=2)
        whole = table.shape[1] == 63 and bool((np.abs(table) <= LARGEST).all())
    except (ValueError, IndexError, UnicodeDecodeError):
        table, whole = np.zeros((0, 63)), False
    if not whole:
        names, table = read_named_table(path, 63, REMEDY)
    return _image_names(names, path), table.reshape(-1, 21, 3).astype(np.float32)


def read_boxes(path: Path) -> tuple[list[str], np.ndarray]:
    """Image names and (n, 4) int64 boxes left top right bottom, whole pixels, cut at the image's borders.

    Raises:
        UserError: a line is no name with four finite numbers; the sentence names it.
    """
    names, table = read_named_table(path, 4, REMEDY)
    corners = np.concatenate([np.floor(table[:, :2]).clip(0), np.ceil(table[:, 2:]).clip(max=SIZE)], axis=1)
    return _image_names(names, path), corners.astype(np.int64)


def _labels_of(names: list[str], annotations: Path) -> np.ndarray:
    """(n, 21, 3) joints of these frames, which the file may hold in another order."""
    labelled, joints = read_annotations(annotations)
    if labelled == names:
        return joints
    row_of = {name: row for row, name in enumerate(labelled)}
    for name in names:
        if name not in row_of:
            raise UserError(f"{annotations} has no line for {name}: {REMEDY}, or remove it to test without labels.")
    return joints[[row_of[name] for name in names]]


def _first(root: Path, folders: tuple[str, ...], name: str) -> Path | None:
    """The first of the places where a file is looked for."""
    return next((root / folder / name for folder in folders if (root / folder / name).is_file()), None)


def _image_names(names: list[str], path: Path) -> list[str]:
    """Names of images without the folders, with whichever slashes, that they stand with in a file."""
    bare = [name.replace("\\", "/").rsplit("/", maxsplit=1)[-1] for name in names]
    for name in bare:
        checked_name(name, str(path), REMEDY)
    return bare
