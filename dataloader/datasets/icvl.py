"""ICVL: depth of one hand at a time, 16 labelled joints; two test sequences, training frames also turned in the plane.

Two layouts are read: the published one, Depth/ with train.txt, test_seq_1.txt and test_seq_2.txt beside it, and the
data set's own, Training/ with Depth/ and labels.txt, Testing/ with Depth/, test_seq_1.txt and test_seq_2.txt. A label
line is `name` of a 320x240 16-bit PNG under Depth/, then u v d (pixels, mm) of 16 joints. Beside them, where a user has
put them, centres center_{train,test}_refined.txt, mm, y down, or `invalid`: one for each label line that is not blank.
Frames are stored mirrored: they are flipped on load (u' = 320 - u), and then show right hands.
"""

from array import array
from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader import frame
from dataloader.datasets.root import data_root
from dataloader.frame import read_depth_png
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.tables import numbers, read_centres, read_lines
from util.benchmarks import BENCHMARKS
from util.errors import UserError
from util.reading import checked_name

SIZE = BENCHMARKS["icvl"].size
"""Width and height of every frame."""
CAMERA: Intrinsics = BENCHMARKS["icvl"].camera
"""fx, fy, cx, cy in pixels; symmetric, so mirrored frames have the same."""
CUBE_MM = 200.0
"""Edge of a hand's cube."""
JOINTS = 16
PUBLISHED_TEST_FRAMES = 1_596
LONGEST_ANGLE = 6
"""Frames turned in the plane lie in folders named by the angle (`-112-5` is 112.5); longer names are dates."""
INVALID = "invalid in the file of centres"
REMEDY = "unpack ICVL again"


def list_icvl(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames of one split in the order of the label files; those whose centre is `invalid` are left out and counted.

    Raises:
        UserError: data.root, a label file or the file of centres is missing, damaged or of another length.
    """
    root = data_root(config, "ICVL hand posture")
    files, groups, lines, joints_uvz = [], [], [], array("d")
    line = 0
    for sequence, (path, folder) in enumerate(label_files(root, split), start=1):
        for number, text in read_lines(path, REMEDY):
            name, *rest = text.split(maxsplit=1)
            checked_name(name, f"{path} line {number}", REMEDY)
            # sequences are chosen before numbers are read: of 331,006 training lines, most are turned copies
            if split == "test" or config.icvl.sub_sequences == "all" or as_recorded(name):
                joints_uvz.extend(numbers(" ".join(rest).split(), 3 * JOINTS, f"{path} line {number}", REMEDY))
                files.append(f"{folder}/{name}")
                groups.append(f"sequence {sequence}")
                lines.append(line)
            line += 1
    if not files:
        copies = ", or read turned copies with --data.icvl.sub-sequences all" if line else ""
        raise UserError(f"{root} lists no {split} frame that is not turned in the plane: {REMEDY}{copies}.")
    notices = []
    if split == "test" and len(files) != PUBLISHED_TEST_FRAMES:
        notices.append(f"{root} lists {len(files):,} test frames; the published split has {PUBLISHED_TEST_FRAMES:,}.")
    uvz = np.frombuffer(joints_uvz).reshape(-1, JOINTS, 3)
    centres_mm = None
    kept = np.arange(len(files))
    path = root / f"center_{split}_refined.txt"
    if path.is_file():
        remedy = "take the file with a line for every label line, or move it away"
        centres_mm = read_centres(path, line, remedy, lines) * (-1.0, 1.0, 1.0)
        kept = np.flatnonzero(np.isfinite(centres_mm).all(axis=1))
        centres_mm = centres_mm[kept]
    else:
        notices.append(f"{path} is absent: hands are located by the depth in front of the camera.")
    dropped = len(files) - len(kept)
    return Listing(
        data_set="icvl",
        split=split,
        root=root,
        files=tuple(files[i] for i in kept),
        read=read_icvl_png,
        camera=CAMERA,
        cubes_mm=np.full((len(kept), 3), config.cube_mm or CUBE_MM),
        centres_mm=centres_mm,
        mirrored_width=SIZE[0],
        joint_set="icvl16",
        joints_mm=mirrored_joints(uvz[kept]),
        groups=tuple(groups[i] for i in kept) if split == "test" else (),
        labelled=True,
        dropped={INVALID: dropped} if dropped else {},
        notices=tuple(notices),
        rules=(Path(__file__), Path(frame.__file__)),
    )


def read_icvl_png(path: Path) -> np.ndarray:
    """Depth of one frame, flipped left to right, (240, 320) uint16, mm, 0 = no reading.

    Raises:
        UserError: the file is missing, truncated, no 16-bit grey PNG, or of another size.
    """
    return np.ascontiguousarray(read_depth_png(path, SIZE)[:, ::-1])


def label_files(root: Path, split: str) -> list[tuple[Path, str]]:
    """Label files of a split, each with the folder (relative to the root) that its names are in.

    Raises:
        UserError: there is no such file in either layout.
    """
    names = ("train.txt",) if split == "train" else ("test_seq_1.txt", "test_seq_2.txt")
    own, own_names = ("Training", ("labels.txt",)) if split == "train" else ("Testing", names)
    if not (root / names[0]).is_file() and (root / own / own_names[0]).is_file():
        return [(root / own / name, f"{own}/Depth") for name in own_names]
    if not (root / names[0]).is_file():
        raise UserError(
            f"{root / names[0]} is missing, and so is {own}/{own_names[0]}: point data.root at the folder that holds "
            "one of them."
        )
    return [(root / name, "Depth") for name in names]


def as_recorded(name: str) -> bool:
    """Whether a training frame is one of sub-sequence 0, not turned in the plane."""
    return len(name.split("/")[0]) > LONGEST_ANGLE


def mirrored_joints(joints_uvz: np.ndarray) -> np.ndarray:
    """(n, joints, 3) labels u v d of the images as stored -> camera frame of the flipped ones, mm."""
    fx, fy, cx, cy = CAMERA
    u, v, z = np.moveaxis(joints_uvz, -1, 0)
    return np.stack([(SIZE[0] - u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)
