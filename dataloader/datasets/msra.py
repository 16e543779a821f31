"""MSRA hand gestures: 9 subjects, 17 postures, 21 labelled joints; tested on a subject that training leaves out.

Layout: P{0-8}/{posture}/{i:06d}_depth.bin, six uint32 (width height left top right bottom) and then the float32 depth,
mm, of that box of a 320x240 image; P{0-8}/{posture}/joint.txt, a count, then 63 numbers a frame, mm, y up, z negative.
Beside them, where a user has put them: centres center_{train,test}_{subject}_refined.txt (mm, y up; the train file of a
subject is for all frames but that subject's) and hand parameters of all frames, posePara_lm_collosion/msra-*.txt.
"""

import struct
from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader.datasets.root import data_root
from dataloader.frame import depth_from
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.tables import LARGEST, numbers, read_centres, read_lines
from util.benchmarks import BENCHMARKS
from util.errors import UserError
from util.reading import open_plain

SIZE = BENCHMARKS["msra"].size
"""Width and height of every frame."""
CAMERA: Intrinsics = BENCHMARKS["msra"].camera
"""fx, fy, cx, cy in pixels."""
CUBES_MM = (200.0, 200.0, 200.0, 180.0, 180.0, 180.0, 170.0, 160.0, 150.0)
"""Edge of a hand's cube, by subject."""
POSTURES = (*map(str, range(1, 10)), "I", "IP", "L", "MP", "RP", "T", "TIP", "Y")
"""Folders of a subject, in the order of centre and parameter files."""
JOINTS = 21
PUBLISHED_FRAMES, _OTHER_VERSION = BENCHMARKS["msra"].part_frames
"""Frames a subject, 76,391 in all."""
OTHER_PUBLISHED_FRAMES = sum(_OTHER_VERSION)
"""Frames in all of the other version that circulates."""
HEADER = struct.Struct("<6I")
REMEDY = "unpack MSRA again"


def list_msra(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames of data.test_subjects (unset: 0), or of all other subjects (or data.train_subjects), in order.

    Raises:
        UserError: data.root, a joint.txt or a file of centres is missing, damaged or of another length; or a subject
            is unknown or in both splits.
    """
    root = data_root(config, "MSRA hand gesture")
    tested = (0,) if config.test_subjects is None else config.test_subjects
    subjects = split_subjects(tested, config.train_subjects, split)
    files, joints, counts = [], [], installed_frames(root)
    for subject in subjects:
        for posture in POSTURES:
            folder = f"P{subject}/{posture}"
            rows = read_joints(root / folder / "joint.txt")
            files += [f"{folder}/{i:06d}_depth.bin" for i in range(len(rows))]
            joints.append(rows)
    if not files:
        raise UserError(f"{root} has no frame of {_named(subjects)}: {REMEDY}.")
    notices = []
    if len(counts) == len(CUBES_MM) and sum(counts.values()) not in (sum(PUBLISHED_FRAMES), OTHER_PUBLISHED_FRAMES):
        notices.append(
            f"{root} has {sum(counts.values()):,} frames; versions of {sum(PUBLISHED_FRAMES):,} and "
            f"{OTHER_PUBLISHED_FRAMES:,} circulate."
        )
    if len(counts) < len(CUBES_MM):
        missing = sorted(set(range(len(CUBES_MM))) - set(counts))
        notices.append(f"{root} lacks {_named(missing)}.")
    if split == "test":
        centres_mm, told = _test_centres(root, subjects, counts)
    else:
        centres_mm, told = _train_centres(root, tested, subjects, counts)
    rows, not_matched = parameter_rows(root, subjects, counts)
    of_frame = np.repeat(subjects, [counts[subject] for subject in subjects])
    edges = np.asarray(CUBES_MM)[of_frame] if config.cube_mm is None else np.full(len(of_frame), config.cube_mm)
    return Listing(
        data_set="msra",
        split=split,
        root=root,
        files=tuple(files),
        read=read_msra_bin,
        camera=CAMERA,
        cubes_mm=np.repeat(edges[:, None], 3, axis=1),
        centres_mm=centres_mm,
        joint_set="msra21",
        joints_mm=np.concatenate(joints),
        groups=tuple(f"subject {subject}" for subject in of_frame),
        labelled=True,
        parameters=None if rows is None else root / "posePara_lm_collosion/msra",
        parameter_rows=rows,
        notices=(*notices, *told, *not_matched),
        rules=(Path(__file__),),
    )


def read_msra_bin(path: Path) -> np.ndarray:
    """Depth of one frame, its box in an otherwise empty image, (240, 320) float32, mm, 0 = no reading.

    Raises:
        UserError: the file is missing, its sizes are not those of an MSRA frame, or its depth is short or no depth.
    """
    with open_plain(path, REMEDY) as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            raise UserError(f"{path} ends after {len(header)} bytes, within its header: {REMEDY}.")
        width, height, left, top, right, bottom = HEADER.unpack(header)
        if (width, height) != SIZE:
            raise UserError(f"{path} says it is {width}x{height}, not {SIZE[0]}x{SIZE[1]}: {REMEDY}.")
        if not (left <= right <= width and top <= bottom <= height):
            raise UserError(f"{path} has a box {left} {top} {right} {bottom} that is not in its image: {REMEDY}.")
        # one byte more than there may be shows a longer file without reading it all
        expected = 4 * (right - left) * (bottom - top)
        stored = file.read(expected + 1)
    if len(stored) != expected:
        found = f"only {len(stored)}" if len(stored) < expected else "more"
        raise UserError(f"{path} holds {found} bytes of depth where its box has {expected}: {REMEDY}.")
    box_mm = np.frombuffer(stored, "<f4").reshape(bottom - top, right - left)
    if not (np.abs(box_mm) <= LARGEST).all():
        raise UserError(f"{path} holds a depth that is not finite, or beyond {LARGEST:,.0f} mm: {REMEDY}.")
    depth_mm = np.zeros(SIZE[::-1], np.float32)
    depth_mm[top:bottom, left:right] = depth_from(box_mm, 1.0)
    return depth_mm


def read_joints(path: Path) -> np.ndarray:
    """(n, 21, 3) labels of a joint.txt in our camera frame (y down, z forward), mm.

    Raises:
        UserError: the file is missing, a row is damaged, or there are more or fewer rows than its first line says.
    """
    count, lines = _count(path), read_lines(path, REMEDY)[1:]
    if len(lines) != count:
        raise UserError(f"{path} has {len(lines)} lines of joints and its first line says {count}: {REMEDY}.")
    rows = [numbers(line.split(), 3 * JOINTS, f"{path} line {n}", REMEDY) for n, line in lines]
    return np.array(rows, np.float64).reshape(-1, JOINTS, 3) * (1.0, -1.0, -1.0)


def installed_frames(root: Path) -> dict[int, int]:
    """Frames of each subject that has a folder, as its joint.txt files count them.

    Raises:
        UserError: a joint.txt is missing or does not begin with a count.
    """
    present = [subject for subject in range(len(CUBES_MM)) if (root / f"P{subject}").is_dir()]
    return {s: sum(_count(root / f"P{s}" / posture / "joint.txt") for posture in POSTURES) for s in present}


def _count(path: Path) -> int:
    """Frames that the first line of a joint.txt says."""
    with open_plain(path, f"{REMEDY}, and point data.root at the folder that holds P0 to P8") as file:
        first = file.readline(64).strip()
    if not first.isdigit():
        raise UserError(f"{path} does not begin with the number of its frames: {REMEDY}.")
    return int(first)


def split_subjects(tested: tuple[int, ...], trained: tuple[int, ...], split: str) -> list[int]:
    """Subjects of a split, in order; training takes all that are not tested on, unless it names its own.

    Raises:
        UserError: a subject is unknown or in both splits, or none is left.
    """
    everyone = range(len(CUBES_MM))
    if unknown := sorted({*tested, *trained} - set(everyone)):
        raise UserError(f"MSRA has no subject {unknown[0]}: choose from 0 to 8 in data.test_subjects and the like.")
    if both := sorted(set(tested) & set(trained)):
        raise UserError(f"subject {both[0]} is in data.train_subjects and in data.test_subjects: leave it in one.")
    chosen = set(tested) if split == "test" else set(trained) or set(everyone) - set(tested)
    if not chosen:
        raise UserError(f"no subject of MSRA is left to {split} on: change data.test_subjects.")
    return sorted(chosen)


def _test_centres(root: Path, subjects: list[int], counts: dict[int, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Centres from each tested subject's own file, and what to tell of subjects without one."""
    parts, notices = [], []
    for subject in subjects:
        path = root / f"center_test_{subject}_refined.txt"
        if path.is_file():
            parts.append(_centres(path, counts[subject]))
        else:
            parts.append(np.full((counts[subject], 3), np.nan))
            notices.append(f"{path} is absent: hands of subject {subject} are located by the depth alone.")
    centres_mm = np.concatenate(parts)
    return None if np.isnan(centres_mm).all() else centres_mm, tuple(notices)


def _train_centres(
    root: Path, tested: tuple[int, ...], subjects: list[int], counts: dict[int, int]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Centres from the file of the one subject left out, which has the frames of all others in order; else a notice."""
    if len(tested) != 1:
        return None, (f"files of centres in {root} leave one subject out, not {len(tested)}: hands are located.",)
    path = root / f"center_train_{tested[0]}_refined.txt"
    if not path.is_file():
        return None, (f"{path} is absent: hands are located by the depth in front of the camera.",)
    others = [subject for subject in counts if subject != tested[0]]
    centres_mm = _centres(path, sum(counts[subject] for subject in others))
    of_line = np.repeat(others, [counts[subject] for subject in others])
    return centres_mm[np.isin(of_line, subjects)], ()


def _centres(path: Path, frames: int) -> np.ndarray:
    """(frames, 3) centres of a file, turned y down; NaN where it says `invalid`."""
    remedy = "take the file of this version of MSRA with all its subjects unpacked, or move it away"
    return read_centres(path, frames, remedy) * (1.0, -1.0, 1.0)


def parameter_rows(
    root: Path, subjects: list[int], counts: dict[int, int]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Line of each frame in the hand-parameter files, which hold every frame of a version; None, and why, without them.

    Files with as many lines as frames are installed go by the installed counts. Files of the published version go by
    its counts, for subjects that have as many frames here as there.
    """
    path = root / "posePara_lm_collosion/msra-pose.txt"
    if not path.is_file():
        return None, ()
    with open_plain(path, REMEDY) as file:
        lines = sum(1 for line in file if line.strip())
    if lines == sum(counts.values()):
        of_version = counts
    elif lines == sum(PUBLISHED_FRAMES) and all(counts[s] == PUBLISHED_FRAMES[s] for s in subjects):
        of_version = dict(enumerate(PUBLISHED_FRAMES))
    else:
        of_frames = f"{path} has {lines:,} lines and {sum(counts.values()):,} frames are unpacked"
        return None, (f"{of_frames}: hand parameters of {_named(subjects)} cannot be told apart and are left out.",)
    starts = {s: sum(n for other, n in of_version.items() if other < s) for s in subjects}
    return np.concatenate([starts[s] + np.arange(counts[s]) for s in subjects]), ()


def _named(subjects: list[int]) -> str:
    """For a sentence: `subject 0`, or `subjects 1, 2`."""
    return f"subject{'s' * (len(subjects) > 1)} {', '.join(map(str, subjects))}"
