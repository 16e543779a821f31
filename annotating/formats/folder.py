"""A folder of depth frames: predictions.npz and predictions.json, as predict.py writes them.

A frame without a hand keeps its row, with NaN (.npz) or null (.json). Joints and surfaces are in the camera of the
images as stored; hand parameters are those of a right hand, of the mirrored frame where the hand is a left one.
"""

from pathlib import Path

import numpy as np

from annotating.annotations import Annotations
from annotating.choices import Choices
from annotating.formats.tables import write_parameters
from annotating.place import Place
from annotating.source import Source
from dataloader.sources import frames_of
from predicting.output.tables import write_predictions_json, write_predictions_npz
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model

NAME = "frames"
"""Of the one recording, and of the files of hand parameters."""


def open_folder(choices: Choices) -> list[Source]:
    """One source, one recording, one person's hand.

    Raises:
        UserError: there is no frame, or no camera for them.
    """
    assert choices.root is not None
    frames = frames_of(str(choices.root), choices.camera or choices.sensor, choices.unit)
    n = len(frames)
    return [
        Source(
            name=NAME,
            root=choices.root,
            files=tuple(frames.names),
            sequences=(NAME,) * n,
            subjects=("subject",) * n,
            joint_set="mano21",
            frames=frames,
            listed=np.arange(n, dtype=np.int64),
            why="",
            asked=np.ones(n, bool),
        )
    ]


def write_folder(source: Source, found: Annotations, place: Place, hand: Path | None = None) -> None:
    """Predictions and hand parameters."""
    predictions = found.predictions(source.files, HandLayer(load_hand_model(hand)), range(len(source)))
    write_predictions_npz(place.path("predictions.npz"), predictions)
    write_predictions_json(place.path("predictions.json"), predictions)
    write_parameters(place, NAME, found)
