"""A frame as the network wants to see it: hands in it look like right ones.

A right hand's view is the frame as given, a left hand's the frame flipped left to right, with the camera that would
have taken it. In camera coordinates the flip is x -> -x, so answers are carried back by a sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from dataloader.camera import Camera
from dataloader.crop import HandCrop, crop_samples, crop_window, empty_crop
from dataloader.frame import DepthFrame
from dataloader.locate import Intrinsics

Hand = Literal["right", "left"]
SIZE = 128
"""Samples a side of the crops that a network reads."""

MIRROR = np.array([-1, 1, 1], np.float32)
"""Points of a camera frame to those of the flipped image's, whose camera is flipped with it."""


@dataclass(frozen=True)
class View:
    """One frame, turned so that hands of one side look like right hands."""

    depth_mm: Float32[np.ndarray, "h w"]
    """0 = no reading."""
    camera: Intrinsics
    """fx, fy, cx, cy."""
    side: Hand
    """Whose view it is."""

    @staticmethod
    def of(frame: DepthFrame, side: Hand) -> "View":
        """The frame for hands of this side."""
        turned = frame if side == "right" else frame.mirrored()
        (fx, fy), (cx, cy) = turned.camera.focal.tolist(), turned.camera.principal.tolist()
        return View(np.asarray(turned.depth_mm, np.float32), (fx, fy, cx, cy), side)

    def carried_back(self, points_mm: Float32[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
        """Points of this view's camera frame in that of the frame as given."""
        return points_mm if self.side == "right" else points_mm * MIRROR


@dataclass(frozen=True)
class Attempt:
    """A place of a view that is read as a hand."""

    frame: int
    """Which frame of a batch it is of."""
    view: View
    centre_mm: tuple[float, float, float]
    """Centre of the cube, in the view's camera frame."""
    observed: Bool[np.ndarray, "h w"]
    """Pixels on the hand itself, fixed before any prediction."""
    touches_border: bool
    """Whether the frame's border cuts it."""
    looks_right: float = 0.0
    """Log odds that the frame's hand is a right one, by the looks of this place; 0 where that was not asked."""


def crops_of(attempts: Sequence[Attempt], cube_mm: float) -> tuple[HandCrop, Bool[Tensor, "b 1 s s"]]:
    """Crops of attempts as one batch, and their samples on the hand itself."""
    optics = torch.tensor([attempt.view.camera for attempt in attempts], dtype=torch.float32)
    camera = Camera(optics[:, :2], optics[:, 2:])
    centre_mm = torch.tensor([attempt.centre_mm for attempt in attempts], dtype=torch.float32)
    cube = torch.full_like(centre_mm, cube_mm)
    windows = crop_window(camera, centre_mm, cube, SIZE).each()
    views = [(attempt.view.depth_mm, attempt.observed) for attempt in attempts]
    samples = [crop_samples(view, window, SIZE) for view, window in zip(views, windows, strict=True)]
    depth_mm, observed = torch.from_numpy(np.stack(samples)).unbind(1)
    crop = empty_crop(camera, centre_mm, cube, SIZE).with_depth_mm(depth_mm)
    return crop, (observed > 0).unsqueeze(1) & crop.foreground


def stacked(crops: Sequence[HandCrop]) -> HandCrop:
    """Crops without a batch axis as a batch."""
    return HandCrop(
        torch.stack([crop.depth for crop in crops]),
        Camera(
            torch.stack([crop.camera.focal for crop in crops]), torch.stack([crop.camera.principal for crop in crops])
        ),
        torch.stack([crop.centre_mm for crop in crops]),
        torch.stack([crop.cube_mm for crop in crops]),
        torch.stack([crop.crop_from_image for crop in crops]),
    )
