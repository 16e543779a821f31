"""Points read off crops, and the box cut, against the published numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.camera import Camera
from dataloader.crop import HandCrop, empty_crop
from dataloader.points import all_points_xyz, box_cut, in_joint_box, points_from_crop, sample_indices


def _crops() -> HandCrop:
    """Three crops: a slanted patch of 400 samples, one of 60, and nothing at all."""
    centre = torch.tensor([[-30.0, 10.0, 600.0], [40.0, 0.0, 450.0], [0.0, 0.0, 500.0]])
    window = empty_crop(Camera.of(470.0, 460.0, 320.0, 240.0), centre, torch.full((3, 3), 250.0))
    depth = torch.zeros(3, 128, 128)
    depth[0, 40:60, 30:50] = 590 + torch.arange(20.0)
    depth[1, 100:110, 20:26] = 440
    return window.with_depth_mm(depth)


def test_whole_image_as_points_equals_the_slow_way() -> None:
    crop = _crops()
    steps = torch.arange(128.0) / 64 - 1
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    uvd = torch.stack([u.expand(3, -1, -1), v.expand(3, -1, -1), crop.depth[:, 0]], dim=-1).flatten(1, 2)
    assert torch.allclose(all_points_xyz(crop), crop.xyz_from_uvd(uvd), atol=2e-6)


def test_points_are_drawn_without_replacement() -> None:
    crop = _crops()
    points, valid = points_from_crop(crop, 300, torch.Generator().manual_seed(0))
    assert valid.tolist() == [True, True, False]
    assert len(torch.unique(points[0], dim=0)) == 300
    everything = all_points_xyz(crop)[0][crop.foreground[0].flatten()]
    nearest = (points[0][:, None] - everything[None]).norm(dim=-1).min(dim=1).values
    assert (nearest < 1e-5).all()


def test_too_few_points_are_repeated_whole() -> None:
    points, _ = points_from_crop(_crops(), 300, torch.Generator().manual_seed(0))
    different, times = torch.unique(points[1], dim=0, return_counts=True)
    assert len(different) == 60 and (times == 5).all()


def test_no_points_are_zeros_and_not_valid() -> None:
    points, valid = points_from_crop(_crops(), 50, torch.Generator().manual_seed(0))
    assert not valid[2] and not points[2].any()


def test_a_mask_limits_the_points() -> None:
    crop = _crops()
    mask = torch.zeros(3, 1, 128, 128, dtype=torch.bool)
    mask[0, 0, :50] = True
    points, valid = points_from_crop(crop, 500, torch.Generator().manual_seed(0), mask)
    assert valid.tolist() == [True, False, False] and len(torch.unique(points[0], dim=0)) == 200


def test_the_same_generator_state_draws_the_same_places() -> None:
    mask = torch.rand(4, 1000, generator=torch.Generator().manual_seed(3)) > 0.5
    first, second = (sample_indices(mask, 64, torch.Generator().manual_seed(4))[0] for _ in range(2))
    assert torch.equal(first, second) and mask.gather(1, first).all()


@pytest.fixture
def published(shared: Path) -> tuple[np.lib.npyio.NpzFile, HandCrop, torch.Tensor]:
    """The published arrays, our crops of them, and every sample as a point on *their* stretched grid 2 j / 127 - 1."""
    known = np.load(shared / "reference/coordinates.npz")
    camera = Camera.of(588.03, 587.07, 320.0, 240.0)
    window = empty_crop(camera, torch.from_numpy(known["center_mm"]), torch.from_numpy(known["cube_mm"]))
    crop = window.with_depth(torch.from_numpy(known["image"]))
    steps = 2 * torch.arange(128.0) / 127 - 1
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    uvd = torch.stack([u.expand(4, -1, -1), v.expand(4, -1, -1), crop.depth[:, 0]], dim=-1).flatten(1, 2)
    return known, crop, crop.xyz_from_uvd(uvd)


def test_points_agree_with_the_published_ones(published: tuple) -> None:
    known, crop, points = published
    for index in range(2):
        ours = points[index][crop.foreground[index].flatten()]
        assert torch.allclose(ours, torch.from_numpy(known[f"points_{index}"]), atol=1e-5)


def test_box_cut_agrees_with_the_published_one(published: tuple) -> None:
    known, crop, points = published
    joints = torch.from_numpy(known["joints_for_crop"])
    inside = in_joint_box(points, joints, crop.cube_mm).view(crop.depth.shape) & crop.foreground
    assert torch.equal(inside, torch.from_numpy(known["cropped"]) < 0.99)
    on_our_grid = box_cut(crop, joints)
    assert ((on_our_grid != inside).sum(dim=(1, 2, 3)) < 60).all(), "our grid differs by less than a sample"
