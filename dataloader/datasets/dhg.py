"""DHG-14/28: real depth of hand gestures, 14 gestures, 20 subjects, 5 times each; recordings as in gestures.py.

Names are in the singular and images count from 1: depth_{i}.png, general_information.txt (its first column is a time in
1e-7 s), skeleton_image.txt, skeleton_world.txt. informations_troncage_sequences.txt in the data set's folder says where
in its recording each gesture lies, `g f subject essai start end`: frames from 0, the last one included, so that frame k
is depth_{k + 1}.png. Frames outside are not read. There is no list of labels: of the two conventions in use for 28
classes, g + 14 (f - 1) and 2 (g - 1) + f, ours is the second (`Gesture.label28`), as in SHREC'17.

The protocol leaves one subject out, in 20 folds: fold k is data.test_subjects k, 1 unless set.
"""

from pathlib import Path
from typing import Literal

from config import DataConfig
from dataloader.datasets.gestures import Gesture, Layout, list_gestures, of_subjects, read_whole
from dataloader.datasets.root import data_root
from dataloader.listing import Listing
from util.errors import UserError

LAYOUT = Layout(
    data_set="dhg",
    title="DHG-14/28",
    image="depth_{}.png",
    first_image=1,
    boxes="general_information.txt",
    joints_image="skeleton_image.txt",
    joints_world="skeleton_world.txt",
    test_subjects=(1,),
)
TRIMMING = "informations_troncage_sequences.txt"


def read_gestures(path: Path) -> list[Gesture]:
    """The gestures of a trimming file, in its order.

    Raises:
        UserError: the file is missing, a row is short or holds something else than whole numbers, or ends before it
            starts.
    """
    gestures = []
    for g, f, s, e, start, end in read_whole(path, 6, LAYOUT.remedy).tolist():
        if end < start:
            raise UserError(f"{path} ends gesture {g} {f} {s} {e} at {end}, before its start {start}: {LAYOUT.remedy}.")
        gestures.append(Gesture(g, f, s, e, end - start + 1, start))
    return gestures


def list_dhg(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames to learn from or to test on.

    Raises:
        UserError: no root, a file is missing or damaged, or subjects are unknown or in both splits.
    """
    root = data_root(config, LAYOUT.title)
    chosen = of_subjects(read_gestures(root / TRIMMING), config, split, LAYOUT)
    return list_gestures(chosen, LAYOUT, root, config, split, (Path(__file__),))
