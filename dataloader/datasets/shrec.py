"""SHREC'17 Track: real depth of hand gestures, 14 gestures by 28 subjects; recordings as in gestures.py.

Images are {i}_depth.png from 0, boxes general_informations.txt, joints skeletons_image.txt and skeletons_world.txt
(where present). train_gestures.txt, and test_gestures.txt if there is one, list `g f subject essai label14 label28
frames`. Split by subjects (2, 9, 16 and 25 are tested on unless data.test_subjects says otherwise) or by the two lists.
"""

from pathlib import Path
from typing import Literal

from config import DataConfig
from dataloader.datasets.gestures import Gesture, Layout, list_gestures, of_subjects, read_whole
from dataloader.datasets.root import data_root
from dataloader.listing import Listing
from util.errors import UserError

LAYOUT = Layout(
    data_set="shrec",
    title="SHREC'17",
    image="{}_depth.png",
    first_image=0,
    boxes="general_informations.txt",
    joints_image="skeletons_image.txt",
    joints_world="skeletons_world.txt",
    test_subjects=(2, 9, 16, 25),
)
LISTS = {"train": "train_gestures.txt", "test": "test_gestures.txt"}


def read_gestures(path: Path) -> list[Gesture]:
    """The gestures of a list, in its order.

    Raises:
        UserError: the list is missing, or a row of it is short or holds something else than whole numbers.
    """
    rows = read_whole(path, 7, LAYOUT.remedy)
    return [Gesture(g, f, s, e, n) for g, f, s, e, _, _, n in rows.tolist()]


def list_shrec(config: DataConfig, split: Literal["train", "test"]) -> Listing:
    """Frames to learn from or to test on.

    Raises:
        UserError: no root, a file is missing or damaged, subjects are unknown, in both splits, or given although the
            lists decide.
    """
    root = data_root(config, LAYOUT.title)
    if config.shrec.split == "lists":
        if config.test_subjects is not None or config.train_subjects:
            raise UserError("data.shrec.split is lists and subjects are given: leave out one of them.")
        return list_gestures(read_gestures(root / LISTS[split]), LAYOUT, root, config, split, (Path(__file__),))
    everything = read_gestures(root / LISTS["train"])
    if (root / LISTS["test"]).is_file():
        everything += read_gestures(root / LISTS["test"])
    chosen = of_subjects(everything, config, split, LAYOUT)
    return list_gestures(chosen, LAYOUT, root, config, split, (Path(__file__),))
