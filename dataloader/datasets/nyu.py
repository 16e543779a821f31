"""NYU Hand Pose: three Kinects around one person at a time, 36 labelled joints; 72,757 frames to train, 8,252 to test.

Layout: {train,test}/depth_{view + 1}_{n + 1:07d}.png (640x480 colour PNG, depth in mm = blue + 256 green; rendered
frames are synthdepth_...), {train,test}/joint_data.mat with `joint_xyz` of 3 views x n x 36 x 3, mm, y up. Beside them,
where a user has put them: centres {split}/center_{split}_{view}_refined.txt, mm, and hand parameters
posePara_lm_collosion/nyu-{split}-{view}-*.txt.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from config import DataConfig
from dataloader import frame
from dataloader.datasets.root import data_root
from dataloader.frame import decode_image
from dataloader.listing import Listing
from dataloader.locate import Intrinsics
from dataloader.mat_file import read_mat_array
from dataloader.tables import LARGEST, read_centres
from util.benchmarks import BENCHMARKS
from util.errors import UserError
from util.joints import NYU36_OF_MANO21, NYU36_OF_NYU14
from util.reading import is_plain

SIZE = BENCHMARKS["nyu"].size
"""Width and height of every frame."""
CAMERA: Intrinsics = BENCHMARKS["nyu"].camera
"""fx, fy, cx, cy in pixels, of all three cameras."""
CUBE_MM = 250.0
"""Edge of a hand's cube."""
SECOND_SUBJECT = BENCHMARKS["nyu"].part_frames[0][0]
"""First test frame of the second person, whose hand is smaller."""
SECOND_CUBE = 5 / 6
"""Edge of that person's cube over the others'."""
PUBLISHED_FRAMES = {"train": 72_757, "test": sum(BENCHMARKS["nyu"].part_frames[0])}
JOINTS = {"nyu14": NYU36_OF_NYU14, "mano21": NYU36_OF_MANO21}
"""Which of the 36 labelled joints a joint set takes."""
LABELLED = 36
FAR_MM = 150.0
"""Centres further than this from the joints, in the median, are another view's."""


def list_nyu(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames of one split, view after view in the order of data.nyu.views.

    Hand parameters are listed when one view is asked for: each view has files of its own.

    Raises:
        UserError: data.root, joint_data.mat or a file of centres is missing, damaged or of another size.
    """
    root = data_root(config, "NYU hand pose")
    views = config.nyu.views
    if not views or len(set(views)) < len(views) or not set(views) <= {0, 1, 2}:
        raise UserError(f"data.nyu.views is {views}: choose among the cameras 0, 1 and 2, each once.")
    labels = root / split / "joint_data.mat"
    joints_mm = read_joints(labels, views)
    frames = joints_mm.shape[1]
    notices = []
    if frames != PUBLISHED_FRAMES[split]:
        notices.append(f"{labels} has {frames:,} frames; the published {split} split has {PUBLISHED_FRAMES[split]:,}.")
    centres = []
    for view, view_joints in zip(views, joints_mm, strict=True):
        path = centre_file(root, split, view)
        if path is None:
            named = root / split / f"center_{split}_{view}_refined.txt"
            notices.append(f"{named} is absent: hands of view {view} are located by the depth in front of the camera.")
        centres.append(np.full((frames, 3), np.nan) if path is None else _read_centres(path, view_joints))
    cubes_mm = np.full((frames, 3), config.cube_mm or CUBE_MM)
    second = np.arange(frames) >= SECOND_SUBJECT
    groups: tuple[str, ...] = ()
    if split == "test":
        cubes_mm[second] *= SECOND_CUBE
        groups = tuple("subject 2" if late else "subject 1" for late in second) * len(views)
    centres_mm = np.concatenate(centres)
    parameters = root / "posePara_lm_collosion" / f"nyu-{split}-{views[0]}"
    prefix = "synthdepth" if config.nyu.synthetic else "depth"
    return Listing(
        data_set="nyu",
        split=split,
        root=root,
        files=tuple(f"{split}/{prefix}_{view + 1}_{n + 1:07d}.png" for view in views for n in range(frames)),
        read=read_nyu_png,
        camera=CAMERA,
        cubes_mm=np.tile(cubes_mm, (len(views), 1)),
        centres_mm=None if np.isnan(centres_mm).all() else centres_mm,
        joint_set=config.nyu.joints,
        joints_mm=joints_mm[:, :, list(JOINTS[config.nyu.joints])].reshape(-1, len(JOINTS[config.nyu.joints]), 3),
        groups=groups,
        labelled=True,
        parameters=parameters if len(views) == 1 and Path(f"{parameters}-pose.txt").is_file() else None,
        notices=tuple(notices),
        rules=(Path(__file__), Path(frame.__file__)),
    )


def read_nyu_png(path: Path) -> np.ndarray:
    """Depth of one frame, (480, 640) uint16, mm, 0 = no reading.

    Raises:
        UserError: the file is missing, truncated, no 8-bit colour PNG, or of another size.
    """
    image = decode_image(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{path} is not an 8-bit colour PNG with depth in it: check that it belongs to NYU.")
    height, width, _ = image.shape
    if (width, height) != SIZE:
        raise UserError(f"{path} is {width}x{height}, not {SIZE[0]}x{SIZE[1]}: check that it belongs to NYU.")
    # blue and green, first of three channels, are the low and the high byte of a number
    return np.ascontiguousarray(image[..., :2]).view("<u2")[..., 0]


def read_joints(path: Path, views: tuple[int, ...]) -> np.ndarray:
    """(views, n, 36, 3) labels of a joint_data.mat in our camera frame (y down), mm.

    Raises:
        UserError: the file is missing or damaged, of another MATLAB format, or lacks frames, joints or finite numbers.
    """
    remedy = "take the joint_data.mat that is unpacked with the frames"
    if not is_plain(path):
        raise UserError(f"{path} is missing: point data.root at the folder that holds NYU's train and test folders.")
    # one array of the two: each has 190 MB in the published training split
    stored = read_mat_array(path, "joint_xyz", remedy)
    if stored is None:
        raise UserError(f"{path} has no joint_xyz in it: {remedy}.")
    if stored.ndim != 4 or stored.shape[2:] != (LABELLED, 3) or not stored.shape[1]:
        raise UserError(f"{path} has joint_xyz of shape {stored.shape}, not views x frames x {LABELLED} x 3: {remedy}.")
    if max(views) >= len(stored):
        raise UserError(f"{path} has {len(stored)} views: leave view {max(views)} out of data.nyu.views.")
    joints_mm = stored[list(views)].astype(np.float64) * (1.0, -1.0, 1.0)
    damaged = ~(np.abs(joints_mm) <= LARGEST).all(axis=(0, 2, 3))
    if damaged.any():
        where = f"in frame {int(damaged.argmax()) + 1}"
        raise UserError(f"{path} has a joint that is not finite, or a kilometre off, {where}: {remedy}.")
    return joints_mm


def centre_file(root: Path, split: str, view: int) -> Path | None:
    """Where the hand's centres of a view stand; a file without the view's number is of view 0."""
    names = [f"center_{split}_{view}_refined.txt", *([f"center_{split}_refined.txt"] if view == 0 else [])]
    return next((root / split / name for name in names if (root / split / name).is_file()), None)


def _read_centres(path: Path, joints_mm: np.ndarray) -> np.ndarray:
    """(n, 3) centres with y down, by the (n, 36, 3) joints they must lie among: files circulate in either sign."""
    centres_mm = read_centres(path, len(joints_mm), "take the file that was made for these frames, or move it away")
    if np.isnan(centres_mm).all():
        return centres_mm
    middle = joints_mm.mean(axis=1)
    readings = [centres_mm, centres_mm * (1.0, -1.0, 1.0)]
    apart = [float(np.nanmedian(np.linalg.norm(reading - middle, axis=-1))) for reading in readings]
    if min(apart) > FAR_MM:
        raise UserError(f"{path} lies {min(apart):.0f} mm from the labelled hands: take the file of this view.")
    return readings[int(apart[1] < apart[0])]
