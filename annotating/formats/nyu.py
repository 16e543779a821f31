"""NYU: joint_data.mat with `joint_xyz` (mm, y up) and `joint_uvd` (pixels, mm) of 3 views x frames x 36 x 3.

A frame without a hand has zeros, and is `invalid` in the file of centres; a view that was not annotated is NaN
throughout, which the loader refuses. Of the 36 joints

- 21 are the keypoints of the hand model (NYU36_OF_MANO21),
- 2 are those of the 14 evaluated ones that lie beside keypoints (wrist_2 and palm, util/joints.py),
- 9 lie on a bone between two keypoints, and are their middle (IN_BETWEEN),
- 4 in palm and ball of the thumb have no stand-in that is known to be right (ASIDE): no benchmark reads them.
"""

import io

import numpy as np
from scipy.io import savemat

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.tables import centres_of, write_centres, write_parameters
from annotating.place import Place
from annotating.source import Source
from config import DataConfig, NyuConfig
from dataloader.datasets.catalogue import Split
from dataloader.datasets.nyu import LABELLED, SIZE, list_nyu
from util.files import write_whole
from util.joints import MANO_NAMES, NYU36_OF_MANO21, NYU36_OF_NYU14

VIEWS = 3
BESIDE = (11, 13)
"""Which of the 14 evaluated joints are no keypoint: wrist_2 and palm."""
IN_BETWEEN = {
    first + 2 * k: (f"{finger}_{3 - k}", f"{finger}_{2 - k}")
    for finger, first in (("pinky", 2), ("ring", 8), ("middle", 14), ("index", 20), ("thumb", 26))
    for k in range(1 if finger == "thumb" else 2)
}
"""Joint and the keypoints that it lies between."""
ASIDE = {29: ("thumb_1", "wrist"), 33: ("wrist", "middle_1"), 34: ("wrist", "middle_1"), 35: ("wrist", "middle_1")}
"""Joint and the keypoints in whose middle it is put, so that all 36 are there."""


def open_nyu(choices: Choices) -> list[Source]:
    """A source a split, its views one after the other.

    Raises:
        UserError: see `list_nyu`.
    """
    assert choices.root is not None
    splits: tuple[Split, ...] = ("train", "test") if choices.split == "all" else (choices.split,)
    there: list[Split] = [split for split in splits if (choices.root / split / "joint_data.mat").is_file()]
    found = []
    for split in there or list(splits[:1]):
        config = DataConfig(name="nyu", root=choices.root, cube_mm=choices.cube_mm, nyu=NyuConfig(views=choices.views))
        listing = list_nyu(config, split)
        of_view = len(listing) // len(choices.views)
        sequences = [f"{split}/view {view}" for view in choices.views for _ in range(of_view)]
        subjects = listing.groups or ("subject 1",) * len(listing)
        found.append(Source.of_listing(f"nyu-{split}", listing, listing.files, sequences, subjects, SIZE))
    return found


def write_nyu(source: Source, found: Annotations, place: Place) -> None:
    """joint_data.mat of a split, centres and hand parameters of each view."""
    split = source.name.removeprefix("nyu-")
    joints_mm = nyu36(found)
    sound = found.seen[:, None, None]
    xyz = np.where(sound, joints_mm * np.array([1.0, -1.0, 1.0]), 0.0)
    uvd = np.where(sound, source.pixels(joints_mm), 0.0)
    by_view = {name: np.array(rows) for name, rows in source.rows_of().items()}
    frames = len(next(iter(by_view.values())))
    whole = {name: np.full((VIEWS, frames, LABELLED, 3), np.nan) for name in ("joint_xyz", "joint_uvd")}
    centres_mm = centres_of(found)
    for name, rows in by_view.items():
        view = int(name.rpartition(" ")[2])
        whole["joint_xyz"][view], whole["joint_uvd"][view] = xyz[rows], uvd[rows]
        write_centres(place, f"{split}/center_{split}_{view}_refined.txt", centres_mm[rows])
        write_parameters(place, f"nyu-{split}-{view}", found, rows)
    content = io.BytesIO()
    savemat(content, whole, do_compression=True)
    write_whole(place.path(f"{split}/joint_data.mat"), content.getvalue())


def nyu36(found: Annotations) -> np.ndarray:
    """(n, 36, 3) joints in the camera, y down; NaN where there is no hand."""
    keypoints, evaluated = found.joints_of("mano21"), found.joints_of("nyu14")
    joints_mm = np.full((len(found), LABELLED, 3), np.nan)
    joints_mm[:, list(NYU36_OF_MANO21)] = keypoints
    for column in BESIDE:
        joints_mm[:, NYU36_OF_NYU14[column]] = evaluated[:, column]
    for number, (start, end) in {**IN_BETWEEN, **ASIDE}.items():
        joints_mm[:, number] = (keypoints[:, MANO_NAMES.index(start)] + keypoints[:, MANO_NAMES.index(end)]) / 2
    return joints_mm
