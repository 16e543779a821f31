"""Frames to learn from and to test on, by the name of their data set."""

from typing import Literal

from config import Experiment
from dataloader.datasets.catalogue import list_split
from dataloader.datasets.demo import load_demo
from dataloader.prepare import prepare
from dataloader.store import FrameStore
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model


def load_frames(experiment: Experiment, split: Literal["train", "test"]) -> FrameStore:
    """Frames of one split of the experiment's data set.

    Raises UserError when the data set needs a folder and none is given, it cannot be read, or no frame of it is usable.
    """
    if experiment.data.name == "demo":
        return load_demo(experiment.demo, HandLayer(load_hand_model(experiment.hand)), split)
    return prepare(list_split(experiment.data, split), experiment.data)
