"""Old and new skeletons side by side on the depth, frame after frame: the data set's own, ours, and our hand's surface.

Frames are drawn as they are read: right hands, also where a data set stores them mirrored.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from annotating.annotations import Annotations
from annotating.source import Source
from dataloader.camera import Camera
from dataloader.crop import crop_frame
from dataloader.frame import DepthFrame
from dataloader.sources import StoredFrames
from predicting.output.drawing import SIZE, Surface, even_choice, headed, view_hand
from predicting.output.pictures import write_film
from predicting.prediction import HandPrediction
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.draw import PAPER, Picture, depth_picture, draw_skeleton, draw_text
from util.joints import JOINT_SETS

ZOOM = 2
MOST = 200
"""Frames of an animation where nothing else is said."""
INK = (235, 235, 235)
LETTERS = 30
"""Of a frame's name above it."""


def write_animation(
    path: Path,
    source: Source,
    found: Annotations,
    rows: Sequence[int],
    hand: Path | None,
    chosen: tuple[int, int] | None,
    frames_per_second: float,
) -> None:
    """A GIF of a recording.

    Args:
        path: .gif.
        source: of the recording.
        found: its annotations.
        rows: of the recording, in order; frames without an image to show are pictures of nothing.
        hand: hand model file, None = the open hand.
        chosen: first and last frame, from 0; None = all, `MOST` evenly spread.
        frames_per_second: of the film.
    """
    picked = [rows[k] for k in even_choice(len(rows), MOST)] if chosen is None else rows[chosen[0] : chosen[1] + 1]
    model = load_hand_model(hand)
    surface, hands = Surface.of(model), found.predictions(source.files, HandLayer(model), picked)
    write_film(
        path,
        (_picture(source, row, own, surface) for row, own in zip(picked, hands, strict=True)),
        frames_per_second,
    )


def _picture(source: Source, row: int, hand: HandPrediction, surface: Surface) -> Picture:
    """A frame: own labels, new skeleton, new surface."""
    frame = _frame(source, row)
    view = None if frame is None else view_hand(frame, hand, surface)
    nothing = np.full((ZOOM * SIZE, ZOOM * SIZE, 3), PAPER, np.uint8)
    panels = [_own(source, row, frame, hand)]
    panels += [nothing.copy(), nothing.copy()] if view is None else [view.skeleton(ZOOM), view.mesh(ZOOM)]
    known = source.labels_mm is not None and np.isfinite(source.labels_mm[row]).all()
    for panel, title in zip(panels, ("labels" if known else "no labels", "new", "new surface"), strict=True):
        draw_text(panel, title, (6, ZOOM * SIZE - 8), 0.45, INK)
    return headed(np.concatenate(panels, axis=1), hand, LETTERS, 0.4)


def _own(source: Source, row: int, frame: DepthFrame | None, hand: HandPrediction) -> Picture:
    """The crop with the data set's own skeleton, around our hand, or around the labels where there is none."""
    labels_mm = None if source.labels_mm is None else source.labels_mm[row]
    labels_mm = None if labels_mm is None or np.isnan(labels_mm).any() else labels_mm.astype(np.float32)
    centre_mm = hand.centre_mm
    if not np.isfinite(centre_mm).all() and labels_mm is not None:
        centre_mm = labels_mm.mean(axis=0)
    if frame is None or not centre_mm[2] > 0:
        return np.full((ZOOM * SIZE, ZOOM * SIZE, 3), PAPER, np.uint8)
    cube_mm = torch.full((3,), float(hand.cube_mm))
    crop = crop_frame(frame.depth_mm, frame.camera, torch.from_numpy(centre_mm), cube_mm, SIZE)
    picture = depth_picture(crop.depth[0], ZOOM)
    if labels_mm is None:
        return picture
    return draw_skeleton(picture, crop.uvd_from_mm(torch.from_numpy(labels_mm)), JOINT_SETS[source.joint_set], ZOOM)


def _frame(source: Source, row: int) -> DepthFrame | None:
    """A frame as it is read; None for one that the data set leaves out."""
    if source.listed[row] < 0:
        return None
    if isinstance(source.frames, StoredFrames):
        return source.frames[row]
    depth_mm = source.frames.depth(int(source.listed[row]))
    return DepthFrame(depth_mm, Camera.of(*source.frames.camera), source.files[row])
