"""Frames without labels, to learn from and to test on, by the name of their data set."""

from typing import Literal

from config import Experiment
from dataloader.datasets.demo import load_demo
from dataloader.datasets.shrec import load_shrec_split
from dataloader.store import FrameStore
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.errors import UserError


def load_frames(experiment: Experiment, split: Literal["train", "test"]) -> FrameStore:
    """Frames of one split of the experiment's data set.

    Raises UserError when the data set needs a folder and none is given, or it cannot be read.
    """
    data = experiment.data
    if data.name == "demo":
        layer = HandLayer(load_hand_model(experiment.hand))
        store = load_demo(experiment.demo, layer, split)
    else:
        store = load_shrec_split(data, split)
    if len(store) == 0:
        raise UserError(f"The {split} split of {data.name} has no usable frame: check --data.root and its subjects.")
    return store
