"""The surface distance against exact cases, its twin, its own gradient and the published loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch import Tensor

from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.surface import Backend, part_surface_distance, surface_distance
from render.surface_clusters import LANES, Clusters
from render.surface_torch import closest_weights

BACKENDS: tuple[Backend, ...] = ("warp", "torch")


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_hand_model())


@pytest.fixture(scope="module")
def cloud(layer: HandLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Three posed hands in millimetres far from the origin, 60 points about each, and a part label a point."""
    generator = torch.Generator().manual_seed(5)
    turn = 1.5 * torch.randn(3, 3, generator=generator)
    mesh = layer(turn, 0.6 * torch.randn(3, 45, generator=generator), torch.zeros(3, 10))
    vertices = 1000 * mesh.vertices_m + torch.tensor((-60.0, 90.0, 750.0))
    nearby = vertices.gather(1, torch.randint(0, 779, (3, 60, 1), generator=generator).expand(-1, -1, 3))
    spread = torch.tensor((2.0, 10.0, 100.0)).repeat(20).unsqueeze(-1)
    points = nearby + spread * torch.randn(3, 60, 3, generator=generator)
    return points, vertices, torch.randint(0, 16, (3, 60), generator=generator)


@pytest.mark.parametrize("backend", BACKENDS)
def test_vertex_edge_and_face_of_one_triangle(backend: Backend) -> None:
    triangle = torch.tensor((((0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (0.0, 4.0, 0.0)),))
    points, expected = zip(
        ((1.0, 1.0, 3.0), 9.0),  # above the face
        ((1.0, 1.0, 0.0), 0.0),  # on it
        ((-3.0, -4.0, 0.0), 25.0),  # a corner, and the two others
        ((6.0, 0.0, 1.0), 5.0),
        ((-1.0, 6.0, 0.0), 5.0),
        ((2.0, -3.0, 0.0), 9.0),  # an edge, and the two others
        ((-2.0, 1.0, 1.0), 5.0),
        ((4.0, 4.0, 1.0), 9.0),
        strict=True,
    )
    distance = surface_distance(torch.tensor((points,)), triangle, torch.tensor(((0, 1, 2),)), backend)
    torch.testing.assert_close(distance[0], torch.tensor(expected))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), flat=st.floats(0, 1))
def test_closest_place_beats_every_other_place_of_the_triangle(seed: int, flat: float) -> None:
    # `flat` squeezes the triangle towards a line and a point, where quotients of nothing by nothing lurk.
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randn(50, 1, 3, 3, generator=generator, dtype=torch.float64)
    corners[:, :, 2] = corners[:, :, 1] + flat**4 * corners[:, :, 2]
    points = 2 * torch.randn(50, 1, 3, generator=generator, dtype=torch.float64)
    weights = closest_weights(points, corners)
    assert (weights >= -1e-9).all() and (weights <= 1 + 1e-9).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    other = torch.rand(50, 200, 3, generator=generator, dtype=torch.float64)
    other = other / other.sum(-1, keepdim=True)
    distances = [(points - (w.unsqueeze(-1) * corners).sum(-2)).square().sum(-1) for w in (weights, other)]
    assert (distances[0] <= distances[1] + 1e-9).all()


@pytest.mark.parametrize("unit_mm", [1.0, 125.0])
def test_kernel_and_twin_agree(cloud: tuple[Tensor, Tensor, Tensor], layer: HandLayer, unit_mm: float) -> None:
    points, vertices, labels = cloud
    points, vertices = points / unit_mm, vertices / unit_mm
    kernel, twin = (surface_distance(points, vertices, layer.faces, backend) for backend in BACKENDS)
    assert (kernel.sqrt() - twin.sqrt()).abs().max() * unit_mm < 0.01
    kernel, twin = (
        part_surface_distance(points, labels, vertices, layer.faces, layer.part_faces, backend) for backend in BACKENDS
    )
    assert (kernel.sqrt() - twin.sqrt()).abs().max() * unit_mm < 0.01
    assert torch.equal(kernel == 0, labels == 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_are_measured_to_their_own_triangles(
    cloud: tuple[Tensor, Tensor, Tensor], layer: HandLayer, backend: Backend
) -> None:
    points, vertices, _ = cloud
    for part in (1, 8, 15):
        labels = torch.full(points.shape[:2], part)
        ours = part_surface_distance(points, labels, vertices, layer.faces, layer.part_faces, backend)
        alone = surface_distance(points, vertices, layer.faces[layer.part_faces[part - 1]], backend)
        assert (ours.sqrt() - alone.sqrt()).abs().max() < 0.01


@settings(max_examples=25, deadline=None)
@example(seed=0, flat=0.078125, size=0.003)  # narrow triangles, which rounding once made near
@given(seed=st.integers(0, 10**6), flat=st.floats(0, 1), size=st.sampled_from((0.003, 1.0, 300.0)))
def test_kernel_and_twin_agree_on_any_triangles(seed: int, flat: float, size: float) -> None:
    # Soups of triangles of one to three blocks, `flat` ones as well: towards lines, and some of them points.
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 3 * LANES**3, (), generator=generator))
    corners = torch.randn(2, count, 1, 3, generator=generator) + 0.2 * torch.randn(2, count, 3, 3, generator=generator)
    corners[:, ::2, 2] = corners[:, ::2, 1] + flat**4 * (corners[:, ::2, 2] - corners[:, ::2, 1])
    corners[:, ::5] = corners[:, ::5, :1]
    vertices, faces = size * corners.flatten(1, 2), torch.arange(3 * count).view(count, 3)
    points = size * torch.randn(2, 30, 3, generator=generator)
    points[:, :5] = vertices[:, :1]
    kernel, twin = (surface_distance(points, vertices, faces, backend).sqrt() for backend in BACKENDS)
    assert (kernel - twin).abs().max() < 2e-5 * size
    parts = [torch.randint(0, count, (n,), generator=generator) for n in (1, LANES, 70)]
    labels = torch.randint(0, 4, (2, 30), generator=generator)
    kernel, twin = (part_surface_distance(points, labels, vertices, faces, parts, b).sqrt() for b in BACKENDS)
    assert (kernel - twin).abs().max() < 2e-5 * size


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_the_batch(cloud: tuple[Tensor, Tensor, Tensor], layer: HandLayer, threads: int) -> None:
    points, vertices, _ = cloud
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = surface_distance(points, vertices, layer.faces)
    finally:
        torch.set_num_threads(before)
    alone = [surface_distance(points[i : i + 1], vertices[i : i + 1], layer.faces) for i in range(len(points))]
    assert torch.equal(together, torch.cat(alone))
    # in whatever order the numbers lie
    turned, posed = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (points, vertices))
    assert torch.equal(surface_distance(turned, posed, layer.faces), together)


def test_clusters_hold_each_face_once_and_are_remembered(
    cloud: tuple[Tensor, Tensor, Tensor], layer: HandLayer
) -> None:
    vertices = cloud[1]
    clusters = Clusters.of(vertices, layer.faces, layer.part_faces)
    rows = clusters.faces.unflatten(0, (-1, LANES**2))
    for first, last, ids in zip(
        clusters.first_block[:-1].tolist(), clusters.first_block[1:].tolist(), layer.part_faces, strict=True
    ):
        own = rows[first:last].flatten()
        assert torch.equal(own[own >= 0].sort().values.long(), ids.sort().values)
    found = clusters.faces >= 0
    assert torch.equal(clusters.corners[found].long(), layer.faces[clusters.faces[found].long()])
    # near each other: the boxes of full clusters are much smaller than a hand
    corners = vertices[0][clusters.corners[found.all(-1)].long()].flatten(1, 2)
    sides = corners.amax(1) - corners.amin(1)
    assert sides.amax(-1).median() < 25.0
    assert Clusters.of(2 * vertices, layer.faces, layer.part_faces) is clusters
    assert Clusters.of(vertices, layer.faces, ()) is not clusters
    assert Clusters.of(vertices, layer.faces.clone(), layer.part_faces) is not clusters


def test_faces_changed_in_place_are_noticed() -> None:
    vertices = torch.tensor((((0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (0.0, 4.0, 0.0), (0.0, 0.0, 9.0)),))
    faces, point = torch.tensor(((0, 1, 2),)), torch.tensor((((0.0, 0.0, 9.0),),))
    assert surface_distance(point, vertices, faces).item() == 81.0
    faces[0, 2] = 3
    assert surface_distance(point, vertices, faces).item() == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_matches_finite_differences(backend: Backend) -> None:
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    vertices = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64).requires_grad_()
    faces = torch.randint(0, 7, (14, 3), generator=generator)
    faces = faces[(faces != faces.roll(1, -1)).all(-1)]
    parts = [torch.arange(0, 4), torch.arange(2, len(faces))]
    labels = torch.randint(0, 3, (2, 5), generator=generator)
    assert torch.autograd.gradcheck(lambda p, v: surface_distance(p, v, faces, backend), (points, vertices))
    assert torch.autograd.gradcheck(
        lambda p, v: part_surface_distance(p, labels, v, faces, parts, backend), (points, vertices)
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_finite_is_left_out(
    cloud: tuple[Tensor, Tensor, Tensor], layer: HandLayer, backend: Backend
) -> None:
    points, vertices, _ = (t[:2, :20].clone() if t.shape[1] == 60 else t[:2].clone() for t in cloud)
    whole = layer.faces[~(layer.faces == 333).any(-1)]
    expected = surface_distance(points, vertices, whole, backend)
    vertices[0, 333], vertices[1] = torch.nan, torch.inf
    points[0, :2, 1] = torch.tensor((torch.nan, -torch.inf))
    points.requires_grad_()
    vertices.requires_grad_()
    distance = surface_distance(points, vertices, layer.faces, backend)
    assert distance[0, :2].isnan().all() and distance[1].isnan().all()
    torch.testing.assert_close(distance[0, 2:], expected[0, 2:])
    distance[0, 2:].sum().backward()
    assert points.grad is not None and vertices.grad is not None
    assert points.grad.isfinite().all() and vertices.grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_points_and_no_faces(layer: HandLayer, backend: Backend) -> None:
    vertices = torch.rand(1, 779, 3, generator=torch.Generator().manual_seed(0))
    assert surface_distance(torch.empty(1, 0, 3), vertices, layer.faces, backend).shape == (1, 0)
    with pytest.raises(ValueError, match="No faces"):
        surface_distance(torch.zeros(1, 2, 3), vertices, layer.faces[:0], backend)
    with pytest.raises(ValueError, match="No faces"):
        parts = [layer.part_faces[0], layer.part_faces[1][:0]]
        part_surface_distance(torch.zeros(1, 2, 3), torch.ones(1, 2).long(), vertices, layer.faces, parts, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_losses_are_met(shared: Path, layer: HandLayer, backend: Backend) -> None:
    data = {name: torch.from_numpy(array) for name, array in np.load(shared / "reference" / "losses.npz").items()}
    if backend == "torch":  # brute force: one hand is enough
        data = {name: array[:1] if len(array.shape) > 1 else array for name, array in data.items()}
    faces = torch.from_numpy(np.load(shared / "reference" / "hand_layer.npz")["faces"]).long()
    weights = torch.cat((layer.weights[:778], layer.weights.new_zeros(1, 16)))
    parts = [(weights[faces, joint].amax(-1) > 0.1).nonzero().squeeze(-1) for joint in range(1, 16)]
    assert [len(ids) for ids in parts] == data["n_part_faces"].tolist()
    points, vertices, labels = data["points"], data["verts"], data["segment"]
    whole = surface_distance(points, vertices, faces, backend).mean(1)
    torch.testing.assert_close(whole, data["surface"][: len(whole)], rtol=0, atol=1e-5)
    distance = part_surface_distance(points, labels, vertices, faces, parts, backend)
    for part in range(1, 16):
        own = labels == part
        mean = (distance * own).sum(1) / own.sum(1).clamp(min=1)
        torch.testing.assert_close(mean, data["part_surface"][:, part - 1], rtol=0, atol=1e-5)
