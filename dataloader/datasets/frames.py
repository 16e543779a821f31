"""A folder of one's own depth frames, with a small file about the camera.

- camera.json, in the folder: {"fx": 475.0, "fy": 475.0, "cx": 320.0, "cy": 240.0}, in pixels of the images as stored.
  Where they are not as here, also "unit_mm": 1.0 (millimetres a stored unit), "mirrored": false (whether images are
  flipped left to right), "side": "right" (the hand that they show), "width" and "height" (else the first image's).
- Images in it and its sub-folders, in natural order of names: *.png and *.tif(f) of 16 bits (TIFF also floats), *.npy
  of (h, w) whole numbers or floats. 0, negative, NaN, infinite, or beyond a kilometre are no reading. Hidden
  folders are left alone.
- boxes.txt, if there is one: lines `name left top right bottom`, pixels in which the hand is looked for. An empty box
  says that a frame shows no hand: it is left out, and counted. A frame without a line has no box.
- centres.txt, if there is one: lines `name x y z`, the hand's centre in mm, x right, y down. Frames without a line, or
  all without the file: the hand is located by its depth, in its box or as the nearest thing of a hand's size.
- test.txt, if there is one: names of images or sub-folders to test on, one a line; the others are learned from. Without
  it every frame is in both splits: learning takes no labels from them, and its measures describe these frames.

Names are relative to the folder, with slashes. Boxes and centres are those of the images as stored. Images that are
mirrored, or show left hands, but not both, are flipped on load, with boxes, centres and camera.
"""

import os
import re
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader.datasets.camera_file import read_camera
from dataloader.frame import decode_image, depth_from
from dataloader.listing import Listing
from dataloader.tables import NEAREST_MM, numbers, read_lines
from util.arrays import read_npy
from util.errors import UserError
from util.reading import inside, readable

CUBE_MM = 250.0
"""Edge of the cube around a hand, unless data.cube_mm says otherwise."""
NO_BOX = "no hand box"
"""Why frames are left out: the box is empty, or lies outside the image."""
ENDINGS = (".png", ".tif", ".tiff", ".npy")
"""Of images."""


def read_stored(path: Path) -> np.ndarray:
    """(h, w) numbers of an image or .npy file, as stored.

    Raises:
        UserError: the file is missing, damaged, or holds no depth.
    """
    remedy = "write it again, or remove it"
    stored = read_npy(path, remedy) if path.suffix.lower() == ".npy" else decode_image(path, remedy)
    deep = stored.dtype.kind == "f" or (stored.dtype.kind in "ui" and stored.dtype.itemsize >= 2)
    if stored.ndim != 2 or not deep or not stored.size:
        what = f"{stored.dtype} numbers in {'x'.join(map(str, stored.shape)) or 'no'} places"
        raise UserError(f"{path} holds {what}, not rows of 16-bit or float depth: move it out of the folder.")
    return stored


def read_image(path: Path, size: tuple[int, int], unit_mm: float, flip: bool) -> np.ndarray:
    """(h, w) depth, mm, 0 = no reading: uint16 as stored where that is the same, otherwise float32.

    Args:
        path: the file.
        size: width and height that it must have.
        unit_mm: millimetres a stored unit.
        flip: whether to flip it left to right.

    Raises:
        UserError: the file is missing, damaged, no depth, or of another size.
    """
    stored = read_stored(path)
    height, width = stored.shape
    if (width, height) != size:
        raise UserError(f"{path} is {width}x{height}, not {size[0]}x{size[1]}: frames of a folder share a camera.")
    stored = depth_from(stored, unit_mm)
    return np.ascontiguousarray(stored[:, ::-1]) if flip else stored


def list_frames(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """The frames of a folder.

    Raises:
        UserError: no root, the camera file is missing or wrong, there is no image, or a list names what is not there.
    """
    root = config.root
    if root is None or not root.is_dir():
        what = "data.root is not set" if root is None else f"{root} is no folder"
        raise UserError(f"{what}: point data.root at the folder of your own depth frames.")
    camera = read_camera(root / "camera.json")
    names, notices = find_images(root, follow_links=config.follow_links), []
    if not names:
        raise UserError(f"{root} has no image ({', '.join(ENDINGS)}): point data.root at your own depth frames.")
    boxes, centres = _read_named(root / "boxes.txt", 4, names), _read_named(root / "centres.txt", 3, names)
    width, height = camera.width, camera.height
    if width is None or height is None:
        height, width = read_stored(root / names[0]).shape
    chosen = _split(root / "test.txt", names, split)
    if not (root / "test.txt").is_file():
        notices.append(f"{root} has no test.txt, which names frames to hold out: all are learned from and tested on.")
    if centres is not None and (centres[:, 2] < NEAREST_MM).any():
        raise UserError(f"{root / 'centres.txt'} has a centre that is not before the camera: give z in mm, above 0.")
    if centres is not None and camera.flip:
        centres[:, 0] *= -1
    dropped = 0
    if boxes is not None:
        boxes = _whole_boxes(boxes, width, height, camera.flip)
        shown = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        dropped = int((~shown[chosen]).sum())
        chosen = chosen[shown[chosen]]
    files = tuple(names[index] for index in chosen)
    folders = tuple(name.rpartition("/")[0] or "." for name in files)
    return Listing(
        data_set="frames",
        split=split,
        root=root,
        files=files,
        read=partial(read_image, size=(width, height), unit_mm=camera.unit_mm, flip=camera.flip),
        camera=(camera.fx, camera.fy, width - camera.cx if camera.flip else camera.cx, camera.cy),
        cubes_mm=np.full((len(files), 3), CUBE_MM if config.cube_mm is None else config.cube_mm),
        centres_mm=None if centres is None else centres[chosen],
        mirrored_width=width if camera.flip else 0,
        boxes=None if boxes is None else boxes[chosen],
        groups=folders if len(set(folders)) > 1 else (),
        dropped={NO_BOX: dropped} if dropped else {},
        notices=tuple(notices),
        rules=(Path(__file__), root / "camera.json"),
    )


def find_images(root: Path, endings: tuple[str, ...] = ENDINGS, follow_links: bool = False) -> list[str]:
    """Images of a folder and of its sub-folders, relative to it, in natural order; nothing that is hidden.

    A folder that several links lead to is looked into once.

    Raises:
        UserError: without `follow_links`, a link to a folder or an image leads out of the root; or a name is no text in
            UTF-8.
    """
    names, seen = [], {os.path.realpath(root)}
    for folder, subfolders, files in os.walk(root, followlinks=True):
        place, kept = Path(folder).relative_to(root), []
        images = [file for file in files if file.lower().endswith(endings) and not file.startswith(".")]
        for name in [name for name in sorted(subfolders) if not name.startswith(".")]:
            if (path := Path(folder, name)).is_symlink():
                _check_link(root, path, follow_links)
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                kept.append(name)
        subfolders[:] = kept
        for name in images:
            if (path := Path(folder, name)).is_symlink():
                _check_link(root, path, follow_links)
            names.append((place / name).as_posix())
    for name in names:
        if name != name.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(f"{root} has an image {name!a}, whose name is no text in UTF-8: rename it.")
    return sorted(names, key=natural_order)


def _check_link(root: Path, path: Path, follow_links: bool) -> None:
    if not (follow_links or inside(root, path)):
        raise UserError(
            f"{path} is a link that leads out of {root}: put the files themselves there, name the folder they are in, "
            "or add --data.follow-links for a data set."
        )


def natural_order(name: str) -> list[list[tuple[int, int, str]]]:
    """A sorting key of paths with slashes: folder by folder, 2 before 10."""
    return [_natural(part) for part in name.split("/")]


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts runs of digits by their value, before letters."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def _read_named(path: Path, columns: int, names: list[str]) -> np.ndarray | None:
    """(n, columns) numbers that a file gives to images, NaN where it has no line for one; None without the file.

    Names may hold blanks.
    """
    if not path.is_file():
        return None
    row_of = {name: row for row, name in enumerate(names)}
    table = np.full((len(names), columns), np.nan)
    remedy = f"write lines of a name and {columns} numbers"
    for number, line in read_lines(path, remedy):
        name, *words = line.rsplit(maxsplit=columns)
        where = f"{path} line {number}"
        row = numbers(words, columns, where, remedy)
        if name not in row_of:
            raise UserError(f"{where} names {readable(name)}, which is no image of the folder: mend it.")
        if not np.isnan(table[row_of[name]]).all():
            raise UserError(f"{where} names {readable(name)} a second time: remove the line.")
        table[row_of[name]] = row
    return table


def _whole_boxes(boxes: np.ndarray, width: int, height: int, flip: bool) -> np.ndarray:
    """(n, 4) int64 boxes, cut at the borders of the image; the whole image for frames without a line."""
    whole = np.where(np.isnan(boxes), np.array([0, 0, width, height]), boxes)
    left, top, right, bottom = (*np.floor(whole[:, :2]).clip(0).T, *np.ceil(whole[:, 2:]).clip(max=(width, height)).T)
    if flip:
        left, right = width - right, width - left
    return np.stack([left, top, right, bottom], axis=-1).astype(np.int64)


def _split(path: Path, names: list[str], split: str) -> np.ndarray:
    """Images of a split, in order: those that the file names, or whose folder it names, are tested on."""
    if not path.is_file():
        return np.arange(len(names))
    entries = {line.rstrip("/"): number for number, line in read_lines(path, "name a frame or sub-folder a line")}
    unused, tested = set(entries), np.zeros(len(names), bool)
    for index, name in enumerate(names):
        parts = name.split("/")
        places = {"/".join(parts[: k + 1]) for k in range(len(parts))} & entries.keys()
        tested[index] = bool(places)
        unused -= places
    if unused:
        first = min(unused, key=lambda entry: entries[entry])
        where = f"{path} line {entries[first]}"
        raise UserError(f"{where} names {readable(first)}, which is no image or sub-folder with images: mend it.")
    chosen = np.flatnonzero(tested == (split == "test"))
    if not len(chosen):
        raise UserError(f"{path} leaves no frame for the {split} split: name other frames in it.")
    return chosen
