"""The rasteriser against analytic surfaces, its twin, its own gradient and the published renderer's image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.rasterise import Backend, rasterise
from render.rasterise_pytorch3d import screen_to_ndc
from util.errors import UserError

BACKENDS: tuple[Backend, ...] = ("warp", "torch")
FOCAL, PRINCIPAL, SIZE = 200.0, 63.3, 128


def project(points_mm: Tensor) -> Tensor:
    """Pinhole projection to (u, v, z)."""
    return torch.cat((FOCAL * points_mm[..., :2] / points_mm[..., 2:] + PRINCIPAL, points_mm[..., 2:]), dim=-1)


def rays(size: int = SIZE) -> Tensor:
    """(size, size, 3) directions through the samples, z = 1."""
    step = (torch.arange(size, dtype=torch.float64) - PRINCIPAL) / FOCAL
    v, u = torch.meshgrid(step, step, indexing="ij")
    return torch.stack((u, v, torch.ones_like(u)), dim=-1)


def sphere(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Unit sphere: vertices (v, 3) and faces (f, 3), the poles' triangles degenerate."""
    theta = torch.linspace(0, torch.pi, rows, dtype=torch.float64)
    phi = torch.arange(columns, dtype=torch.float64) * (2 * torch.pi / columns)
    ring = torch.stack((phi.cos(), phi.sin()), dim=-1)
    vertices = torch.cat(
        (theta.sin()[:, None, None] * ring, theta.cos()[:, None, None].expand(-1, columns, 1)), dim=-1
    ).reshape(-1, 3)
    ids = torch.arange(rows * columns).view(rows, columns)
    a, b = ids[:-1], ids.roll(-1, 1)[:-1]
    c, d = ids[1:], ids.roll(-1, 1)[1:]
    return vertices, torch.cat((torch.stack((a, b, c), -1), torch.stack((b, d, c), -1))).reshape(-1, 3)


@pytest.fixture(scope="module")
def hands() -> tuple[Tensor, Tensor]:
    """Six posed hands in front of a camera, (6, 779, 3) in pixels and mm, and their faces."""
    layer = HandLayer(load_hand_model())
    generator = torch.Generator().manual_seed(3)
    turn = 1.5 * torch.randn(6, 3, generator=generator)
    mesh = layer(turn, 0.6 * torch.randn(6, 45, generator=generator), torch.zeros(6, 10))
    vertices_mm = 1000 * mesh.vertices_m
    vertices_mm = vertices_mm - vertices_mm.mean(1, keepdim=True) + torch.tensor((0.0, 0.0, 330.0))
    return project(vertices_mm), layer.faces


@pytest.mark.parametrize("backend", BACKENDS)
def test_tilted_plane_has_its_analytic_depth(backend: Backend) -> None:
    # All points with normal . p = 400: the ray (x, y, 1) z meets it at z = 400 / (normal . ray).
    normal = torch.tensor((0.3, -0.5, 1.0), dtype=torch.float64)
    corners = torch.tensor(((-300.0, -300.0), (300.0, -300.0), (300.0, 300.0), (-300.0, 300.0)), dtype=torch.float64)
    z = 400 - (corners * normal[:2]).sum(-1, keepdim=True)
    points = torch.cat((corners, z), dim=-1) * 0.25
    faces = torch.tensor(((0, 1, 2), (0, 2, 3)))
    depth = rasterise(project(points)[None], faces, SIZE, backend)[0]
    covered = depth > 0
    assert covered.double().mean() > 0.6
    torch.testing.assert_close(depth[covered], (100 / (rays() @ normal))[covered], rtol=1e-9, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sphere_has_its_analytic_depth_and_outline(backend: Backend) -> None:
    radius, centre = 40.0, torch.tensor((5.0, -8.0, 300.0), dtype=torch.float64)
    vertices, faces = sphere(90, 120)
    depth = rasterise(project(radius * vertices + centre)[None], faces, SIZE, backend)[0]
    direction = rays()
    square, along = direction.square().sum(-1), direction @ centre
    inside = along.square() - square * (centre.square().sum() - radius**2)
    exact = (along - inside.clamp(min=0).sqrt()) / square
    # Facets lie at most radius (1 - cos(half a step)) inside the sphere; towards the outline rays meet them obliquely.
    sagitta = radius * (1 - np.cos(torch.pi / 89))
    slope = (inside.clamp(min=0).sqrt() / radius).clamp(min=1e-9)
    clear = inside > 0.1 * inside.max()
    assert (depth[clear] > 0).all()
    assert ((depth - exact)[clear] >= -1e-9).all()
    assert ((depth - exact)[clear] <= (3 * sagitta / slope)[clear]).all()
    assert ((depth > 0) & (inside <= 0)).sum() == 0
    assert ((depth > 0) ^ (inside > 0)).sum() < 0.02 * (inside > 0).sum()


def test_kernel_and_twin_agree_on_hands(hands: tuple[Tensor, Tensor]) -> None:
    vertices_uvz, faces = hands
    for size in (128, (96, 160)):
        kernel, twin = (rasterise(vertices_uvz, faces, size, backend) for backend in BACKENDS)
        covered = kernel > 0
        assert 0.05 < covered.float().mean() < 0.6
        assert torch.equal(covered, twin > 0)
        assert (kernel - twin).abs().max() < 0.01
        assert kernel.shape[1:] == ((size, size) if isinstance(size, int) else size)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), snap=st.booleans(), stretch=st.sampled_from((1.0, 30.0, 1e5, 1e30)))
def test_kernel_and_twin_agree_on_triangle_soup(seed: int, snap: bool, stretch: float) -> None:
    # Vertices on whole and half pixels put samples exactly on edges and corners; equal depths meet there as well.
    # Stretched triangles reach far out of the image; some of their edges are as good as level.
    generator = torch.Generator().manual_seed(seed)
    vertices = 30 * torch.rand(3, 20, 3, generator=generator) - torch.tensor((3.0, 3.0, -100.0))
    vertices[:, ::3, 0] = stretch * (vertices[:, ::3, 0] - 12)
    vertices[1:, 1::3, 1] = stretch * (vertices[1:, 1::3, 1] - 12)
    if snap:
        vertices = (2 * vertices).round() / 2
    faces = torch.randint(0, 20, (40, 3), generator=generator)
    kernel, twin = (rasterise(vertices, faces, (24, 22), backend) for backend in BACKENDS)
    assert torch.equal(kernel, twin)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_kernel_and_twin_agree_on_hands(hands: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
    # The kernel has it in closed form, the twin from torch.
    vertices_uvz, faces = hands
    weight = torch.randn(6, 96, 128, generator=torch.Generator().manual_seed(5), dtype=dtype)
    gradients = []
    for backend in BACKENDS:
        at = vertices_uvz.detach().to(dtype, copy=True).requires_grad_()
        (rasterise(at, faces, (96, 128), backend) * weight).sum().backward()
        assert at.grad is not None and at.grad.dtype == dtype
        gradients.append(at.grad)
    scale = gradients[1].abs().amax(1, keepdim=True)
    assert ((gradients[0] - gradients[1]) / scale).abs().max() < {torch.float32: 1e-5, torch.float64: 1e-9}[dtype]


def test_threads_and_stacked_batches_change_nothing(hands: tuple[Tensor, Tensor]) -> None:
    vertices_uvz, faces = hands
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4, 7):
            torch.set_num_threads(threads)
            at = vertices_uvz.detach().clone().requires_grad_()
            depth = rasterise(at.view(2, 3, -1, 3), faces, 64)
            assert depth.shape == (2, 3, 64, 64)
            depth.sum().backward()
            found.append((depth.view(6, 64, 64), at.grad))
    finally:
        torch.set_num_threads(before)
    one = torch.stack([rasterise(mesh, faces, 64) for mesh in vertices_uvz])
    for depth, grad in found:
        assert grad is not None and torch.equal(depth, one) and torch.equal(grad, found[0][1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbours_leave_no_crack_and_no_sample_of_a_closed_fan_is_lost(backend: Backend) -> None:
    # A fan about a point that is a sample itself, its spokes running through other samples.
    angle = torch.arange(16) * (torch.pi / 8)
    rim = torch.stack((20 + 40 * angle.cos(), 20 + 40 * angle.sin(), torch.full((16,), 200.0)), dim=-1)
    vertices = torch.cat((torch.tensor(((20.0, 20.0, 200.0),)), rim))[None]
    ids = torch.arange(1, 17)
    faces = torch.stack((torch.zeros_like(ids), ids, ids.roll(-1)), dim=-1)
    depth = rasterise(vertices, faces, 41, backend)
    torch.testing.assert_close(depth, torch.full((1, 41, 41), 200.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_matches_finite_differences(backend: Backend) -> None:
    # Triangles that overlap and cut through each other; the small step changes nowhere who is in front.
    generator = torch.Generator().manual_seed(11)
    vertices = torch.rand(2, 8, 3, generator=generator, dtype=torch.float64)
    vertices = (vertices * torch.tensor((12.0, 12.0, 60.0)) + torch.tensor((-1.0, -1.0, 200.0))).requires_grad_()
    faces = torch.stack([torch.randperm(8, generator=generator)[:3] for _ in range(7)])
    assert (rasterise(vertices, faces, (9, 10), backend) > 0).double().mean() > 0.3
    assert torch.autograd.gradcheck(lambda v: rasterise(v, faces, (9, 10), backend), (vertices,), eps=1e-6, atol=1e-4)


def test_gradient_of_closed_form_equals_that_of_the_plane_equation() -> None:
    # One big triangle: q = 1 / z solved from its three corners by autograd's own means.
    corners = torch.tensor(((-9.0, -5.0, 300.0), (60.0, 2.0, 420.0), (3.0, 70.0, 250.0)), dtype=torch.float64)
    weight = torch.rand(32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def by_solving(vertices: Tensor) -> Tensor:
        matrix = torch.cat((vertices[:, :2], vertices.new_ones(3, 1)), dim=1)
        plane = torch.linalg.solve(matrix, 1 / vertices[:, 2])
        row, column = torch.meshgrid(*[torch.arange(32, dtype=vertices.dtype)] * 2, indexing="ij")
        return 1 / (plane[0] * column + plane[1] * row + plane[2])

    ours, theirs = corners.clone().requires_grad_(), corners.clone().requires_grad_()
    depth = rasterise(ours[None], torch.tensor(((0, 1, 2),)), 32)[0]
    covered = depth > 0
    expected = by_solving(theirs)
    torch.testing.assert_close(depth[covered], expected[covered], rtol=1e-12, atol=0)
    (depth * weight).sum().backward()
    (expected * covered * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unusable_triangles_are_left_out_with_zero_gradient(backend: Backend) -> None:
    flat = torch.tensor(((2.0, 2.0, 150.0), (14.0, 2.0, 150.0), (2.0, 14.0, 150.0)))
    spoiled = torch.stack(
        [
            flat * torch.tensor((1.0, 1.0, 0.5 / 150)),
            torch.where(torch.eye(3, dtype=torch.bool), torch.nan, flat * torch.tensor((1.0, 1.0, 0.3))),
            torch.where(torch.eye(3, dtype=torch.bool), torch.inf, flat * torch.tensor((1.0, 1.0, 0.3))),
            flat[:1].expand(3, 3) * torch.tensor((1.0, 1.0, 0.3)),
        ]
    )
    vertices = torch.cat((flat[None], spoiled)).reshape(1, -1, 3).requires_grad_()
    depth = rasterise(vertices, torch.arange(15).view(5, 3), 16, backend)
    assert (depth[depth > 0] == 150).all() and (depth > 0).sum() == 91
    depth.sum().backward()
    assert vertices.grad is not None
    assert vertices.grad.isfinite().all() and vertices.grad[0, 3:].abs().max() == 0 < vertices.grad[0, :3].abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_image_and_dtype(backend: Backend) -> None:
    behind = torch.tensor((((0.0, 0.0, -5.0), (9.0, 0.0, -5.0), (0.0, 9.0, -5.0)),), requires_grad=True)
    faces = torch.tensor(((0, 1, 2),), dtype=torch.int32)
    depth = rasterise(behind, faces, (4, 6), backend)
    depth.sum().backward()
    assert depth.shape == (1, 4, 6) and depth.dtype == torch.float32 and depth.max() == 0
    assert behind.grad is not None and behind.grad.abs().max() == 0
    for dtype in (torch.float64, torch.bfloat16):
        assert rasterise(behind.detach().to(dtype), faces, 4, backend).dtype == dtype


def test_unknown_back_end_and_bad_faces_are_refused() -> None:
    vertices = torch.ones(1, 3, 3)
    with pytest.raises(RuntimeError, match="out of"):
        rasterise(vertices, torch.tensor(((0, 1, 3),)), 8)
    with pytest.raises(Exception, match="vulkan"):
        rasterise(vertices, torch.tensor(((0, 1, 2),)), 8, "vulkan")  # type: ignore[arg-type]


def test_published_renderings_are_met(shared: Path) -> None:
    data = np.load(shared / "reference" / "render.npz")
    faces = torch.from_numpy(np.load(shared / "reference" / "hand_layer.npz")["faces"]).long()
    half_cube, centre = torch.from_numpy(data["cube_mm"])[:, None] / 2, torch.from_numpy(data["center_mm"])[:, None]
    vertices_mm = torch.from_numpy(data["mesh_xyz"]) * half_cube + centre
    fx, fy, cx, cy = (float(value) for value in data["camera"])
    x, y, z = vertices_mm.unbind(-1)
    sensor = torch.stack((fx * x / z + cx, fy * y / z + cy, torch.ones_like(z)), dim=-1)
    crop = sensor @ torch.from_numpy(data["crop_from_image"]).transpose(1, 2)
    depth = rasterise(torch.cat((crop[..., :2], z.unsqueeze(-1)), dim=-1), faces, 128)
    ours = torch.where(depth > 0, (depth - centre[..., 2:]) / half_cube[..., 2:], 1.0)
    theirs = torch.from_numpy(data["image"])[:, 0]
    for our, their, half in zip(ours, theirs, half_cube[:, 0, 2], strict=True):
        both, either = (our < 0.99) & (their < 0.99), (our < 0.99) | (their < 0.99)
        assert both.sum() / either.sum() >= 0.97
        assert ((our - their)[both].abs().median() * half) <= 0.5


def test_pytorch3d_coordinates_follow_its_documentation() -> None:
    # The corner of the corner pixel lies half a pixel outside our sample 0: top left is (+1, +1) on the shorter side.
    corners = torch.tensor(((-0.5, -0.5, 7.0), (159.5, 95.5, 7.0), (79.5, 47.5, 7.0)))
    expected = torch.tensor(((160 / 96, 1.0, 7.0), (-160 / 96, -1.0, 7.0), (0.0, 0.0, 7.0)))
    torch.testing.assert_close(screen_to_ndc(corners, 96, 160), expected)


def test_pytorch3d_agrees_or_says_what_is_missing(hands: tuple[Tensor, Tensor]) -> None:
    vertices_uvz, faces = hands
    try:
        import pytorch3d._C  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(UserError, match="pytorch3d"):
            rasterise(vertices_uvz, faces, 128, "pytorch3d")
        pytest.skip("pytorch3d is not installed")
    ours, theirs = (rasterise(vertices_uvz, faces, (96, 160), backend) for backend in ("warp", "pytorch3d"))
    both = (ours > 0) & (theirs > 0)
    assert ((ours > 0) ^ (theirs > 0)).sum() < 0.002 * both.sum()
    assert (ours - theirs)[both].abs().median() < 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch_gives_no_images(backend: Backend) -> None:
    assert rasterise(torch.ones(0, 3, 3), torch.tensor(((0, 1, 2),)), 8, backend).shape == (0, 8, 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_faces_give_empty_images(backend: Backend) -> None:
    vertices = torch.ones(2, 3, 3, requires_grad=True)
    depth = rasterise(vertices, torch.zeros(0, 3, dtype=torch.long), 8, backend)
    depth.sum().backward()
    assert depth.shape == (2, 8, 8) and depth.abs().max() == 0
    assert vertices.grad is not None and vertices.grad.abs().max() == 0
