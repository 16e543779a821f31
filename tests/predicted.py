"""Frames of a rendered hand that turns before a wall, with the truth as prediction: what the output is tested on."""

from functools import cache

import numpy as np
import torch

from dataloader.camera import Camera
from dataloader.frame import DepthFrame
from predicting.prediction import HandPrediction, no_hand
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from render.rasterise import rasterise

WIDTH, HEIGHT = 200, 150
CAMERA = Camera.of(200.0, 200.0, 100.0, 75.0)
HAND_MM, WALL_MM, CUBE_MM = 500.0, 1200.0, 250.0
WITHOUT_HAND = 2
"""The frame that shows the wall alone."""


@cache
def sequence(n: int = 6) -> tuple[tuple[DepthFrame, ...], tuple[HandPrediction, ...]]:
    """Frames and predictions: right hands, frame WITHOUT_HAND with none, the last one mirrored (a left hand)."""
    layer = HandLayer(load_hand_model())
    frames, predictions = [], []
    for i in range(n):
        name = f"take/frame{i + 8}.png"  # names whose natural order is not that of their letters
        if i == WITHOUT_HAND:
            frames.append(DepthFrame(np.full((HEIGHT, WIDTH), WALL_MM, np.float32), CAMERA, name))
            predictions.append(no_hand(name, CUBE_MM))
            continue
        side = "left" if i == n - 1 else "right"
        turn = torch.tensor([[0.0, 0.0, -1.2 + 2.0 * i / n]])
        params = HandParams(
            turn, torch.full((1, 45), 0.02 * i), torch.zeros(1, 10), torch.ones(1, 1), torch.zeros(1, 3)
        )
        mesh = layer(params.rotation, params.pose, params.shape)
        centre = torch.tensor([10.0 * i, -20.0, HAND_MM])
        middle = mesh.vertices_m.mean(1, keepdim=True)
        vertices_mm, joints_mm = ((points - middle) * 1000 + centre for points in (mesh.vertices_m, mesh.joints_m))
        mirror = torch.tensor([-1.0 if side == "left" else 1.0, 1.0, 1.0])
        vertices_mm, joints_mm, centre = vertices_mm * mirror, joints_mm * mirror, centre * mirror
        pixels = CAMERA.project(vertices_mm)
        pixels[..., :2] -= 0.5  # the rasteriser's samples stand at whole numbers, a sensor's pixels half a one further
        depth_mm = rasterise(pixels, layer.faces, (HEIGHT, WIDTH))[0].numpy()
        frames.append(DepthFrame(np.where(depth_mm > 0, depth_mm, np.float32(WALL_MM)), CAMERA, name))
        predictions.append(
            HandPrediction(
                frame=name,
                status="poor fit" if i == 1 else "ok",
                confidence=0.3 if i == 1 else 0.9,
                side=side,
                joints_mm=joints_mm[0].numpy(),
                vertices_mm=vertices_mm[0, :778].numpy(),
                params=params.vector()[0].numpy(),
                centre_mm=centre.numpy(),
                cube_mm=CUBE_MM,
                measures={"surface_mm": 1.5 + i, "iou": 0.9} if i else {"surface_mm": 1.5},
            )
        )
    return tuple(frames), tuple(predictions)
