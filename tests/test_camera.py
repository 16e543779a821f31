"""Pinhole camera: pixels and millimetres."""

import torch
from hypothesis import given, settings, strategies as st

from dataloader.camera import Camera


def test_a_point_on_the_axis_falls_on_the_principal_point() -> None:
    camera = Camera.of(500.0, 510.0, 320.0, 240.0)
    assert torch.equal(camera.project(torch.tensor([[0.0, 0.0, 700.0]])), torch.tensor([[320.0, 240.0, 700.0]]))


def test_right_is_positive_u_and_down_positive_v() -> None:
    camera = Camera.of(500.0, -510.0, 320.0, 240.0)
    pixel = camera.project(torch.tensor([[10.0, 20.0, 1000.0]]))
    assert torch.allclose(pixel, torch.tensor([[325.0, 250.2, 1000.0]]))


@settings(max_examples=20, deadline=None)
@given(st.floats(-400, 400), st.floats(-400, 400), st.floats(50, 3000))
def test_unproject_undoes_project(x: float, y: float, z: float) -> None:
    camera = Camera.of(463.9, 470.1, 310.0, 250.0, torch.float64).expand(2)
    points = torch.tensor([[[x, y, z]], [[y, x, z]]], dtype=torch.float64)
    assert torch.allclose(camera.unproject(camera.project(points)), points, atol=1e-9)


def test_matrix_projects_like_the_camera() -> None:
    camera = Camera.of(463.9, 470.1, 310.0, 250.0, torch.float64)
    points = torch.tensor([[10.0, -70.0, 500.0], [80.0, 40.0, 300.0]], dtype=torch.float64)
    pixels = points @ camera.matrix().T
    assert torch.allclose(pixels[:, :2] / pixels[:, 2:], camera.project(points)[:, :2])


def test_mirrored_camera_sees_the_mirrored_scene_in_the_mirrored_image() -> None:
    camera = Camera.of(463.9, 470.1, 310.0, 250.0)
    points = torch.tensor([[10.0, -70.0, 500.0], [80.0, 40.0, 300.0]])
    seen = camera.project(points)
    mirrored = camera.mirrored(640).project(points * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.allclose(mirrored[:, 0], 640 - seen[:, 0])
    assert torch.equal(mirrored[:, 1:], seen[:, 1:])
    twice = camera.mirrored(640).mirrored(640)
    assert torch.equal(twice.principal, camera.principal)


def test_select_and_to_keep_the_numbers() -> None:
    camera = Camera(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    chosen = camera.select(torch.tensor([1])).to(torch.float64)
    assert chosen.focal.tolist() == [[3.0, 4.0]] and chosen.principal.tolist() == [[7.0, 8.0]]
    assert chosen.focal.dtype == torch.float64
