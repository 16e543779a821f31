"""Frames to learn from and to test on, by the name of their data set."""

from dataclasses import replace
from typing import Literal

import torch

from config import Experiment
from dataloader.datasets.benchmark import load_benchmark
from dataloader.datasets.catalogue import list_split
from dataloader.datasets.demo import load_demo
from dataloader.prepare import prepare
from dataloader.store import FrameStore
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.processes import first_then_others

HELD_OUT_SHARE = 0.05
"""Share of the training frames that only choose the best checkpoint."""


def held_out_split(frames: FrameStore, most: int) -> tuple[FrameStore, FrameStore]:
    """Frames to train on, and up to `most` to check on, spread over the last part of the data set's order."""
    n = max(1, int(len(frames) * HELD_OUT_SHARE))
    train = frames.subset(range(len(frames) - n))
    return train, frames.subset(torch.linspace(len(train), len(frames) - 1, min(most, n)).long())


def load_frames(experiment: Experiment, split: Literal["train", "test"]) -> FrameStore:
    """Frames of one split of the experiment's data set.

    The benchmark's training frames come without labels, so that nothing can read them, unless the experiment learns
    from labels.

    Raises UserError when the data set needs a folder and none is given, it cannot be read, or no frame of it is usable.
    """
    if experiment.data.name == "demo":  # in memory, in every process
        return load_demo(experiment.demo, HandLayer(load_hand_model(experiment.hand)), split)
    if experiment.data.name == "benchmark":
        store = first_then_others(lambda: load_benchmark(experiment.benchmark, experiment.data, split, experiment.hand))
        hidden = split == "train" and experiment.source != "labelled"
        return replace(store, joints_mm=None, vertices_mm=None) if hidden else store
    return first_then_others(lambda: prepare(list_split(experiment.data, split), experiment.data))
