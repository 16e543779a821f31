"""Augmentation moves pixels and points alike, and stays within its limits."""

import numpy as np
import pytest
import torch

from config import AugmentConfig
from dataloader.augment import KINDS, Augmentation, Change
from dataloader.camera import Camera
from dataloader.patch import cut_patch
from dataloader.store import FrameStore

CAMERA = (470.0, 440.0, 320.0, 250.0)
CENTRE = (60.0, -30.0, 520.0)


def _only(kind: str, **settings) -> Augmentation:
    weights = [float(name == kind) for name in KINDS]
    return Augmentation(AugmentConfig(weights=(weights[0], weights[1], weights[2], weights[3]), **settings))


def _bumps(n: int = 32) -> tuple[FrameStore, np.ndarray]:
    """A frame with 21 discs at known points, each at its own depth; fx and fy differ on purpose."""
    rng = np.random.default_rng(0)
    fx, fy, cx, cy = CAMERA
    offsets = [rng.uniform(-70, 70, 21), rng.uniform(-70, 70, 21), np.linspace(-60, 60, 21)]
    points = np.array(CENTRE) + np.stack(offsets, axis=1)
    points = points[np.argsort(-points[:, 2])]
    v, u = np.mgrid[:480, :640] + 0.5
    depth = np.zeros((480, 640), np.float32)
    for x, y, z in points:
        depth[np.hypot(u - fx * x / z - cx, v - fy * y / z - cy) < 7] = z
    frame = cut_patch(depth, CAMERA, CENTRE, (250.0, 250.0, 250.0), "bumps", depth > 0, points.astype(np.float32))
    return FrameStore.from_frames([frame] * n), points


@pytest.mark.parametrize("kind", KINDS)
def test_labels_stay_on_their_pixels(kind: str) -> None:
    store, _ = _bumps()
    sample = store.batch(range(32), torch.Generator().manual_seed(1), _only(kind))
    assert sample.joints_mm is not None and sample.observed is None
    pixels = sample.crop.pixels_from_mm(sample.joints_mm)
    j, i = pixels[..., 0].round().long().clamp(0, 127), pixels[..., 1].round().long().clamp(0, 127)
    seen = sample.crop.depth_mm[:, 0][torch.arange(32)[:, None], i, j]
    inside = ((pixels[..., :2] > 1) & (pixels[..., :2] < 126)).all(dim=-1)
    # a disc may be hidden by a nearer one, as it is in the frame itself; depth is stored in steps of 0.1 mm
    met = ((seen - pixels[..., 2]).abs() < 0.1) | (seen < pixels[..., 2])
    assert (met | ~inside).all()
    assert (((seen - pixels[..., 2]).abs() < 0.1) & inside).float().mean() > 0.6


def test_rotation_is_the_camera_turned_about_its_axis() -> None:
    camera = Camera.of(*CAMERA, torch.float64).expand(5)
    change = Change(torch.linspace(-3, 3, 5), torch.zeros(5, 3), torch.ones(5))
    points = torch.rand(5, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100 + 300
    turned = camera.project(change.turned(points))
    back = torch.cat([turned[..., :2], torch.ones(5, 9, 1, dtype=torch.float64)], -1)
    back = back @ change.image_from_turned(camera).transpose(-1, -2)
    assert torch.allclose(back[..., :2], camera.project(points)[..., :2])
    assert torch.allclose(back[..., 2], torch.ones(5, 9, dtype=torch.float64)), "the map of the image stays affine"
    assert torch.allclose(change.turned(points).norm(dim=-1), points.norm(dim=-1))


def test_geometry_of_an_augmented_crop_is_consistent() -> None:
    store, _ = _bumps()
    crop = store.batch(range(32), torch.Generator().manual_seed(2), Augmentation(AugmentConfig())).crop
    points = torch.rand(32, 6, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    assert torch.allclose(crop.xyz_from_uvd(crop.uvd_from_xyz(points)), points, atol=1e-5)


def test_draws_keep_to_their_limits_and_weights() -> None:
    config = AugmentConfig(weights=(1, 2, 1, 0), rotation_deg=90, shift_mm=7, cube_factor=(0.9, 1.3))
    change = Augmentation(config).draw(4000, torch.Generator().manual_seed(0))
    turned, shifted, sized = change.angle != 0, (change.shift_mm != 0).any(dim=1), change.cube_factor != 1
    assert (turned.int() + shifted.int() + sized.int() == 1).all()
    assert abs(shifted.float().mean() - 0.5) < 0.05
    assert 1.5 < change.angle.abs().max() <= np.pi / 2
    assert 6.5 < change.shift_mm.abs().max() <= 7
    assert change.cube_factor[sized].min() < 0.92 and 1.27 < change.cube_factor.max() <= 1.3


def test_the_same_seed_gives_the_same_crops() -> None:
    store, _ = _bumps(4)
    first, second, other = (
        store.batch(range(4), torch.Generator().manual_seed(seed), _only("rotate")).crop.depth for seed in (5, 5, 6)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_augmentation_without_a_generator_is_refused() -> None:
    store, _ = _bumps(1)
    with pytest.raises(ValueError, match="generator"):
        store.batch([0], None, _only("shift"))
