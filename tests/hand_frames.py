"""Frames of a small sensor with a rendered hand in each, whose joints are known."""

from functools import cache

import numpy as np

from config import RenderedConfig, SamplerConfig, SensorConfig
from dataloader.camera import Camera
from dataloader.frame import DepthFrame
from dataloader.rendered import RenderedHands
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from util.streams import stream


@cache
def rendered_frames(n: int = 6) -> tuple[tuple[DepthFrame, ...], np.ndarray]:
    """Frames of 128 x 128 pixels, and (n, 21, 3) joints in their camera, mm.

    A crop is an image of a smaller camera: its sample j becomes the pixel j, whose centre lies at j + 0.5.
    """
    hands = RenderedHands(
        HandLayer(load_hand_model()), SamplerConfig(), SensorConfig(), RenderedConfig(cube_scale=(1.1, 1.3))
    )
    sample = hands.batch(n, stream("frames for tests"))
    crop, frames = sample.crop, []
    for k in range(n):
        matrix = (crop.crop_from_image[k] @ crop.camera.matrix()[k]).tolist()
        camera = Camera.of(matrix[0][0], matrix[1][1], matrix[0][2] + 0.5, matrix[1][2] + 0.5)
        frames.append(DepthFrame(crop.depth_mm[k, 0].numpy().round().astype(np.uint16), camera, f"{k}.png"))
    assert sample.joints_mm is not None
    return tuple(frames), sample.joints_mm.numpy()
