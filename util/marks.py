"""Finger tips marked by eye on real frames that nobody labelled, and how far predictions lie from them.

A file of marks is CSV: `file,joint,u,v,depth_mm`, a row a visible joint. `file` is relative to the data set's folder;
u v are pixels of the image as stored (pixel i covers [i, i + 1)), fractions allowed; depth_mm is what the sensor read
there, empty until it is looked up. A frame in which nothing could be marked has one row, with the joint `none`.
"""

import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from util.errors import UserError
from util.files import write_text
from util.joints import MANO21, SHREC22
from util.predictions import LARGEST, CameraNumbers, read_predictions
from util.reading import checked_name, is_plain, read_text, readable

TIPS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")
"""The finger tips; errors of tips are of these alone."""
JOINTS = (*TIPS, "wrist")
"""What can be marked."""
NOTHING = "none"
"""Stands for a joint where a frame was looked at and nothing could be marked."""
COLUMNS = ("file", "joint", "u", "v", "depth_mm")
NEAR_PX = 3.0
"""A mark without a reading of its own takes the nearest one within this."""
WITHIN_MM = 10.0
"""Tips this near their mark are counted."""


@dataclass(frozen=True)
class Marks:
    """n marks, in the order of their file."""

    files: tuple[str, ...]
    """Frame of each mark."""
    joints: tuple[str, ...]
    """One of `JOINTS` for each mark."""
    uv: Float[np.ndarray, "n 2"]
    """Pixels of the image as stored."""
    depth_mm: Float[np.ndarray, " n"]
    """Depth that the sensor read at each mark; NaN where it was not looked up."""
    empty: tuple[str, ...] = ()
    """Frames in which nothing could be marked."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def frames(self) -> tuple[str, ...]:
        """Every frame that was looked at: those with marks in their order, then those without."""
        return (*dict.fromkeys(self.files), *self.empty)

    def of(self, frames: Collection[str]) -> "Marks":
        """What is known of some frames alone."""
        kept = [row for row, file in enumerate(self.files) if file in frames]
        return Marks(
            tuple(self.files[row] for row in kept),
            tuple(self.joints[row] for row in kept),
            self.uv[kept],
            self.depth_mm[kept],
            tuple(file for file in self.empty if file in frames),
        )

    def with_depths(self, depth_mm: Float[np.ndarray, " n"]) -> "Marks":
        """The same with depths."""
        return replace(self, depth_mm=depth_mm)


@dataclass(frozen=True)
class TipErrors:
    """Distances of n predicted joints from their marks."""

    joints: tuple[str, ...]
    """Which joint each is."""
    px: Float[np.ndarray, " n"]
    """In the image, pixels."""
    mm: Float[np.ndarray, " n"]
    """In the plane of the image at the depth of the mark, mm."""

    def summary(self) -> dict:
        """n, median_px, mean_px, median_mm, mean_mm and within_10 (a share) of the tips; the same under "wrist".

        Where n is 0, the others are None.
        What a wrist keypoint is differs between hands and markers by more than a tip's error: it is told apart.
        """
        tips = np.array([joint in TIPS for joint in self.joints], bool)
        return self._of(tips) | {"wrist": self._of(~tips)}

    def _of(self, chosen: np.ndarray) -> dict:
        px, mm = self.px[chosen], self.mm[chosen]
        if not len(px):
            return {"n": 0} | dict.fromkeys(("median_px", "mean_px", "median_mm", "mean_mm", "within_10"))
        return {
            "n": len(px),
            "median_px": float(np.median(px)),
            "mean_px": float(px.mean()),
            "median_mm": float(np.median(mm)),
            "mean_mm": float(mm.mean()),
            "within_10": float((mm <= WITHIN_MM).mean()),
        }


def read_marks(path: Path) -> Marks:
    """Read a file of marks.

    Raises:
        UserError: the file is missing or has other columns; a row names an unknown joint, marks one twice, or marks a
            joint of a frame that has none; a place or depth is no number.
    """
    if not is_plain(path):
        raise UserError(f"{readable(path)} does not exist: check the path.")
    text = read_text(path, "take a fresh copy")
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text)), 1) if row]
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}): take a fresh copy.") from error
    if not rows or tuple(rows[0][1]) != COLUMNS:
        raise UserError(f"{path} does not begin with the line {','.join(COLUMNS)}: write it above the marks.")
    places: dict[tuple[str, str], tuple[float, float, float]] = {}
    empty: dict[str, int] = {}
    for number, row in rows[1:]:
        where = f"{path} line {number}"
        if len(row) != len(COLUMNS):
            raise UserError(f"{where} has {len(row)} columns, not {len(COLUMNS)}: write {','.join(COLUMNS)}.")
        file, joint = checked_name(row[0], where, "mend or remove the line"), row[1]
        if joint not in (*JOINTS, NOTHING):
            raise UserError(f"{where} names the joint '{readable(joint)}': choose {', '.join((*JOINTS, NOTHING))}.")
        if (file, joint) in places or file in empty:
            raise UserError(f"{where} marks {joint} of {file} a second time, or beside none: remove one of the rows.")
        if joint == NOTHING:
            if any(marked == file for marked, _ in places):
                raise UserError(f"{where} says none of {file}, which has marks: remove the row, or them.")
            empty[file] = number
            continue
        u, v, depth_mm = (_number(word, where) for word in row[2:])
        if math.isnan(u) or math.isnan(v):
            raise UserError(f"{where} has no u or no v: give both in pixels, or remove the row.")
        places[file, joint] = (u, v, depth_mm)
    values = np.array(list(places.values()), np.float64).reshape(-1, 3)
    return Marks(
        tuple(file for file, _ in places),
        tuple(joint for _, joint in places),
        values[:, :2],
        values[:, 2],
        tuple(empty),
    )


def write_marks(path: Path, marks: Marks, order: Sequence[str] = ()) -> None:
    """Write a file of marks, whole or not at all; frames in the given order, or in that of `marks.frames`.

    Raises:
        UserError: the folder cannot be written to.
    """
    of_frame: dict[str, list[tuple[str, ...]]] = {frame: [] for frame in order or marks.frames}
    for file, joint, (u, v), depth_mm in zip(marks.files, marks.joints, marks.uv, marks.depth_mm, strict=True):
        of_frame[file].append((file, joint, f"{u:g}", f"{v:g}", "" if math.isnan(depth_mm) else f"{depth_mm:g}"))
    for file in marks.empty:
        of_frame[file].append((file, NOTHING, "", "", ""))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rows in of_frame.values():
        writer.writerows(rows)
    write_text(path, text.getvalue())


def depth_at(depth_mm: Float[np.ndarray, "h w"], u: float, v: float) -> float:
    """Depth that an image (mm, 0 = no reading) has at a place: of its pixel, else the nearest reading within `NEAR_PX`.

    The nearest is told by the centres of pixels; NaN where there is none.
    """
    height, width = depth_mm.shape
    column, row = math.floor(u), math.floor(v)
    if 0 <= row < height and 0 <= column < width and depth_mm[row, column] > 0:
        return float(depth_mm[row, column])
    rows, columns = np.nonzero(depth_mm > 0)
    if not len(rows):
        return math.nan
    away = np.hypot(columns + 0.5 - u, rows + 0.5 - v)
    nearest = int(away.argmin())
    return float(depth_mm[rows[nearest], columns[nearest]]) if away[nearest] <= NEAR_PX else math.nan


def tip_errors(
    marks: Marks, files: Sequence[str], joints_uvd: Float[np.ndarray, "frames 21 3"], camera: CameraNumbers
) -> TipErrors:
    """Distances of predicted keypoints from marks.

    Args:
        marks: with depths.
        files: name of each predicted frame; those with marks must be among them.
        joints_uvd: the 21 keypoints of the hand model (`MANO21`), in pixels of the image as stored; d is not used.
        camera: focal lengths and principal point, pixels.
    """
    row_of = {file: row for row, file in enumerate(files)}
    rows = np.array([row_of[file] for file in marks.files], np.int64)
    columns = np.array([MANO21.names.index(joint) for joint in marks.joints], np.int64)
    off_px = joints_uvd[rows, columns, :2] - marks.uv
    off_mm = off_px * marks.depth_mm[:, None] / np.abs(camera[:2])
    return TipErrors(marks.joints, np.linalg.norm(off_px, axis=-1), np.linalg.norm(off_mm, axis=-1))


def score_predictions(folder: Path, marks: Path, allow_missing: bool = False) -> dict[str, dict]:
    """Errors at marks of all that the phase `test` wrote into `predictions` of a run folder.

    Args:
        folder: with frames.txt and, for each branch, NAME_uvd.txt and NAME_xyz.txt.
        marks: a file of marks of the same data set.
        allow_missing: score the marked frames that are there, where some are not.

    Returns:
        NAME (such as after_stage2_model) -> `TipErrors.summary`.

    Raises:
        UserError: a file is missing or damaged, marks have no depth, marked frames were not predicted, or none was.
    """
    known = read_marks(marks)
    if np.isnan(known.depth_mm).any():
        raise UserError(f"{marks} has marks without a depth: add them with python bench/mark.py fill {marks} FOLDER.")
    listed = folder / "frames.txt"
    if not listed.is_file():
        raise UserError(f"{listed} does not exist: point at the folder predictions of a run that was tested.")
    files = read_text(listed, "run the test once more").splitlines()
    marked = dict.fromkeys(known.files)
    absent = marked.keys() - set(files)
    if absent and (not allow_missing or len(absent) == len(marked)):
        raise UserError(
            f"{listed} lacks {len(absent)} of the {len(marked)} marked frames, such as {min(absent)}: test on the data "
            "set's own test split, or score those that are there with --allow-missing."
        )
    known = known.of(set(files))
    paths = sorted(folder.glob("*_uvd.txt"))
    if not paths:
        raise UserError(f"{folder} holds no *_uvd.txt: point at the folder predictions of a run that was tested.")
    return {path.stem.removesuffix("_uvd"): _score(path, known, files) for path in paths}


def spread(first: Marks, second: Marks, focal: float) -> dict:
    """How far tips lie apart that were marked twice, on the frames that are in both.

    Returns:
        frames, n (tips marked both times), median_px, p90_px, median_mm, p90_mm, and shared: n over the number of
        tips marked at least once.
    """
    both = set(first.frames) & set(second.frames)
    places = [
        {(f, j): (*uv, z) for f, j, uv, z in zip(m.files, m.joints, m.uv, m.depth_mm, strict=True) if j in TIPS}
        for m in (first.of(both), second.of(both))
    ]
    shared, either = places[0].keys() & places[1].keys(), places[0].keys() | places[1].keys()
    one, two = (np.array([place[key] for key in sorted(shared)], np.float64).reshape(-1, 3) for place in places)
    px = np.linalg.norm(one[:, :2] - two[:, :2], axis=-1)
    result: dict = {"frames": len(both), "n": len(px)}
    for unit, distances in (("px", px), ("mm", px * one[:, 2] / focal)):
        for name, q in (("median", 50), ("p90", 90)):
            result[f"{name}_{unit}"] = float(np.percentile(distances, q)) if len(px) else math.nan
    return result | {"shared": len(shared) / len(either) if either else math.nan}


def _score(path: Path, marks: Marks, files: Sequence[str]) -> dict:
    """Summary of one branch."""
    first = read_text(path, "run the test once more").partition("\n")[0]
    joints = SHREC22 if len(first.split()) == 3 * len(SHREC22) else MANO21
    uvd = read_predictions(path, len(joints)).values
    xyz_path = path.with_name(f"{path.stem.removesuffix('_uvd')}_xyz.txt")
    xyz = read_predictions(xyz_path, len(joints)).values
    for file, values in ((path, uvd), (xyz_path, xyz)):
        if len(values) != len(files):
            raise UserError(f"{file} has {len(values):,} frames and frames.txt {len(files):,}: run the test once more.")
    order = [joints.names.index(name) for name in MANO21.names]
    return tip_errors(marks, files, uvd[:, order], _camera(uvd, xyz)).summary()


def _camera(uvd: Float[np.ndarray, "frames joints 3"], xyz_mm: Float[np.ndarray, "frames joints 3"]) -> CameraNumbers:
    """The camera that leads from one to the other: u = fx x / z + cx, likewise v, fitted to all of them."""
    fitted = [np.polyfit((xyz_mm[..., k] / xyz_mm[..., 2]).ravel(), uvd[..., k].ravel(), 1) for k in (0, 1)]
    (fx, cx), (fy, cy) = ((float(focal), float(principal)) for focal, principal in fitted)
    return fx, fy, cx, cy


def _number(word: str, where: str) -> float:
    """A number of a row; NaN where it is left out."""
    if not word.strip():
        return math.nan
    try:
        value = float(word)
    except ValueError:
        value = math.inf
    if not abs(value) <= LARGEST:
        raise UserError(f"{where} holds '{readable(word[:20])}' where a number belongs: mend it.")
    return value
