"""Crops against the published implementation's numbers and against what they promise."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dataloader.camera import Camera
from dataloader.crop import HandCrop, crop_frame, crop_geometry, empty_crop

NYU = (588.03, 587.07, 320.0, 240.0)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


def _windows(dtype: torch.dtype = torch.float64) -> HandCrop:
    centre = torch.tensor([[-38.0, 15.3, 683.0], [120.0, -80.0, 402.0], [0.0, 0.0, 950.0]], dtype=dtype)
    cube = torch.tensor([[250.0, 250.0, 250.0], [200.0, 180.0, 220.0], [300.0, 300.0, 300.0]], dtype=dtype)
    return empty_crop(Camera.of(463.9, 470.0, 320.0, 240.0, dtype), centre, cube)


def test_frames_agree_with_the_published_numbers(shared: Path) -> None:
    known = np.load(shared / "reference/coordinates.npz")
    crop = empty_crop(Camera.of(*NYU), _tensor(known["center_mm"]), _tensor(known["cube_mm"]))
    assert torch.allclose(crop.crop_from_image, _tensor(known["crop_from_image"]), rtol=1e-6, atol=1e-5)
    assert torch.allclose(crop.xyz_from_uvd(_tensor(known["uvd"])), _tensor(known["xyz"]), atol=1e-5)
    assert torch.allclose(crop.uvd_from_xyz(_tensor(known["xyz"])), _tensor(known["uvd_back"]), atol=1e-5)


def test_joints_of_the_published_render(shared: Path) -> None:
    known = np.load(shared / "reference/render.npz")
    fx, fy, cx, cy = (float(value) for value in known["camera"])
    camera = Camera.of(fx, fy, cx, cy)
    crop = empty_crop(camera, _tensor(known["center_mm"]), _tensor(known["cube_mm"]))
    assert torch.allclose(crop.crop_from_image, _tensor(known["crop_from_image"]), rtol=1e-6, atol=1e-5)
    assert torch.allclose(crop.uvd_from_xyz(_tensor(known["joint_xyz"])), _tensor(known["joint_uvd"]), atol=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_real_frame_crop_as_published(shared: Path, index: int) -> None:
    folder = shared / "reference/datasets/nyu"
    known = np.load(folder / "expected_test_view0.npz")
    stored = np.asarray(cv2.imread(str(folder / f"test/depth_1_{index + 1:07d}.png")), np.float32)
    depth = stored[..., 0] + 256 * stored[..., 1]
    crop = crop_frame(depth, Camera.of(*NYU), _tensor(known["center_mm"][index]), _tensor(known["cube_mm"][index]))
    different = (crop.depth - _tensor(known["image"][index])).abs() > 1e-4
    assert different.float().mean() <= 0.005
    assert torch.allclose(crop.crop_from_image, _tensor(known["crop_from_image"][index]), rtol=1e-6, atol=1e-4)


def test_every_conversion_has_its_inverse() -> None:
    crop = _windows()
    generator = torch.Generator().manual_seed(0)
    points_mm = crop.mm_from_xyz(2 * torch.rand(3, 50, 3, generator=generator, dtype=torch.float64) - 1)
    assert torch.allclose(crop.mm_from_uvd(crop.uvd_from_mm(points_mm)), points_mm)
    assert torch.allclose(crop.mm_from_xyz(crop.xyz_from_mm(points_mm)), points_mm)
    assert torch.allclose(crop.mm_from_pixels(crop.pixels_from_mm(points_mm)), points_mm)
    uvd = crop.uvd_from_mm(points_mm)
    assert torch.allclose(crop.uvd_from_xyz(crop.xyz_from_uvd(uvd)), uvd)
    assert torch.allclose(crop.pixels_from_mm(points_mm)[..., :2], (uvd[..., :2] + 1) * 64)


def test_conversions_have_gradients() -> None:
    crop = _windows()
    points = torch.rand(3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(crop.uvd_from_xyz, (points,))
    assert torch.autograd.gradcheck(crop.xyz_from_uvd, (points,))


def test_window_is_rounded_to_whole_pixels() -> None:
    # reach 463 * 250 / (2 * 500) = 115.75: left floor(100 - 115.75 + .5) = -16, right floor(100 + 115.75 + .5) = 216
    matrix = crop_geometry(
        Camera.of(463.0, 463.0, 100.0, 100.0), torch.tensor([0.0, 0.0, 500.0]), torch.full((3,), 250.0)
    )
    scale = 128 / 232
    assert torch.allclose(matrix, torch.tensor([[scale, 0, 16 * scale], [0, scale, 16 * scale], [0, 0, 1.0]]))


def test_a_narrow_window_is_padded_in_front() -> None:
    camera, centre = Camera.of(400.0, 400.0, 100.0, 100.0), torch.tensor([0.0, 0.0, 400.0])
    cube = torch.tensor([100.0, 200.0, 200.0])
    crop = crop_frame(np.full((200, 200), 400.0, np.float32), camera, centre, cube)
    seen = crop.foreground[0]
    assert seen[:, 32:96].all() and not seen[:, :32].any() and not seen[:, 96:].any()
    assert torch.equal(crop.uvd_from_mm(centre[None]), torch.zeros(1, 3))


def test_depth_is_scaled_clamped_and_dropped_as_stated() -> None:
    depth = np.full((240, 320), 500.0, np.float32)
    depth[:, :100] = 0
    depth[:120, 160:] = 300
    depth[120:, 200:] = 640
    crop = crop_frame(
        depth, Camera.of(300.0, 300.0, 160.0, 120.0), torch.tensor([0, 0, 500.0]), torch.full((3,), 250.0)
    )
    values = crop.depth[0]
    assert values[64, 10] == 1, "no reading is background"
    assert values[10, 100] == -1, "nearer than the cube is clamped, not dropped"
    assert values[100, 120] == 1, "beyond the cube is background"
    assert values[100, 60] == 0
    assert crop.depth_mm[0, 100, 60] == 500 and crop.depth_mm[0, 64, 10] == 0


def test_outside_the_image_is_background() -> None:
    crop = crop_frame(
        np.full((100, 100), 500.0, np.float32),
        Camera.of(300.0, 300.0, 50.0, 50.0),
        torch.tensor([-80.0, 0.0, 500.0]),
        torch.full((3,), 250.0),
    )
    assert not crop.foreground[0, :, 0].any() and crop.foreground[0, 64, 64]


def test_a_render_put_into_the_window_keeps_the_frames() -> None:
    crop = _windows(torch.float32)
    depth = torch.zeros(3, 128, 128)
    depth[:, 40:80, 40:80] = crop.centre_mm[:, 2, None, None] + 50
    filled = crop.with_depth_mm(depth)
    assert torch.equal(filled.foreground.sum(dim=(1, 2, 3)), torch.full((3,), 1600))
    assert torch.allclose(filled.depth_mm[filled.foreground].view(3, -1), (crop.centre_mm[:, 2:] + 50).expand(3, 1600))


def test_selected_crops_keep_their_own_geometry() -> None:
    crop = _windows()
    chosen = crop.select(torch.tensor([2, 0]))
    points = torch.rand(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    both = crop.uvd_from_xyz(torch.stack([points[1], points[1], points[0]]))
    assert torch.allclose(chosen.uvd_from_xyz(points), both[[2, 0]])
    assert chosen.to(torch.float32).depth.dtype == torch.float32


def test_a_centre_behind_the_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="in front of the camera"):
        empty_crop(Camera.of(300.0, 300.0, 50.0, 50.0), torch.tensor([[0.0, 0.0, -5.0]]), torch.full((1, 3), 250.0))
