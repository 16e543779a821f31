"""Crops of several places at once are those of each place alone."""

import numpy as np
import torch

from dataloader.camera import Camera
from dataloader.crop import crop_frame
from predicting.views import Attempt, View, crops_of, stacked


def test_crops_of_many_places_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    attempts = []
    for k in range(12):
        height, width = int(rng.integers(60, 200)), int(rng.integers(60, 200))
        depth = rng.uniform(300, 900, (height, width)).astype(np.float32)
        depth[rng.random(depth.shape) < 0.1] = 0
        camera = (float(rng.uniform(80, 400)), float(rng.uniform(80, 400)), width / 2 + 3.3, height / 2 - 5.1)
        centre = (float(rng.normal(0, 150)), float(rng.normal(0, 150)), float(rng.uniform(250, 900)))
        attempts.append(Attempt(k, View(depth, camera, "right"), centre, rng.random(depth.shape) < 0.5, False))
    crop, observed = crops_of(attempts, 240.0)
    cube = torch.full((3,), 240.0)
    alone, seen = [], []
    for attempt in attempts:
        camera, centre = Camera.of(*attempt.view.camera), torch.tensor(attempt.centre_mm)
        depth = attempt.view.depth_mm
        alone.append(crop_frame(depth, camera, centre, cube))
        seen.append(crop_frame(np.where(attempt.observed, depth, 0), camera, centre, cube).foreground)
    plain = stacked(alone)
    assert observed.any() and torch.equal(observed, torch.stack(seen))
    for ours, theirs in ((crop.depth, plain.depth), (crop.crop_from_image, plain.crop_from_image)):
        assert torch.equal(ours, theirs)
    assert torch.equal(crop.camera.focal, plain.camera.focal) and torch.equal(crop.cube_mm, plain.cube_mm)
    assert torch.equal(crop.camera.principal, plain.camera.principal) and torch.equal(crop.centre_mm, plain.centre_mm)
