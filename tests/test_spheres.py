"""Spheres, penetration and part labels against numbers of the published implementation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.spheres import HandSpheres, pair_mask, sphere_weights
from tests.shared import REFERENCE, needs_reference


@needs_reference
def test_agrees_with_the_published_implementation():
    spheres = HandSpheres(HandLayer(load_hand_model(REFERENCE / "MANO_RIGHT.pkl")))
    collision = np.load(REFERENCE / "collision.npz")
    assert np.array_equal(spheres.pair_mask, collision["pair_mask"])
    joints, vertices = torch.tensor(collision["joints"]), torch.tensor(collision["verts"])
    centres, radii = spheres.centres(joints), spheres.radii(joints, vertices, 125.0)
    assert np.abs(centres - collision["sphere_centre"]).max() < 1e-5
    assert np.abs(radii - collision["sphere_radius"]).max() < 1e-5
    assert np.abs(spheres.penetration(centres, radii) - collision["penetration_each"]).max() < 1e-5
    losses = np.load(REFERENCE / "losses.npz")
    joints, vertices = torch.tensor(losses["joints"]), torch.tensor(losses["verts"])
    labels = spheres.label_points(
        torch.tensor(losses["points"]), spheres.centres(joints), spheres.radii(joints, vertices, 125.0)
    )
    assert np.array_equal(labels, losses["segment"])


def test_radii_do_not_depend_on_the_unit():
    layer = HandLayer(load_hand_model())
    spheres = HandSpheres(layer)
    mesh = layer(torch.zeros(3), torch.zeros(45), torch.zeros(10))
    in_mm = spheres.radii(mesh.joints_m * 1000, mesh.vertices_m * 1000, 1.0)
    in_cubes = spheres.radii(mesh.joints_m * 8, mesh.vertices_m * 8, 125.0)
    assert torch.allclose(in_mm, in_cubes * 125, atol=1e-3)
    assert in_mm.min() > 4 and in_mm.max() < 20


def slow_radii(layer: HandLayer, joints: Tensor, vertices: Tensor, unit_mm: float) -> Tensor:
    """Joint by joint: the mean of the ten least distances to its ring, the tips' from the last joints'."""
    own = []
    for joint, row in enumerate(layer.joint_regressor):
        distance = (vertices[:, row.nonzero().squeeze(1)] - joints[:, joint : joint + 1]).norm(dim=-1)
        own.append(distance.sort(-1).values[:, :10].mean(-1))
    own += [own[joint + 2] / 1.5 for joint in (1, 4, 7, 10, 13)]
    own[0] = own[0] - 6.25 / unit_mm
    return torch.stack(own, -1).clamp(1.25 / unit_mm, 50 / unit_mm) @ sphere_weights().to(joints).T


@pytest.mark.parametrize("ring", [20, 4])
def test_radii_equal_the_slow_ones(ring):
    layer = HandLayer(load_hand_model())
    layer.joint_regressor[3] = 0  # one joint with a ring of its own size
    layer.joint_regressor[3, 100 : 100 + ring] = 1 / ring
    generator = torch.Generator().manual_seed(0)
    joints = (0.1 * torch.randn(2, 21, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    vertices = (0.1 * torch.randn(2, 779, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    unit = torch.full((2, 1), 125.0, dtype=torch.float64)
    ours, slow = HandSpheres(layer).radii(joints, vertices, unit), slow_radii(layer, joints, vertices, 125.0)
    assert torch.allclose(ours, slow, atol=1e-9)
    push = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    gradients = (torch.autograd.grad(radii, (joints, vertices), push) for radii in (ours, slow))
    for mine, its in zip(*gradients, strict=True):
        assert torch.allclose(mine, its, atol=1e-9)


def test_gradient_in_float64():
    spheres = HandSpheres(HandLayer(load_hand_model()))
    centres = (0.02 * torch.randn(1, 66, 3, dtype=torch.float64)).requires_grad_()
    radii = (0.01 + 0.001 * torch.rand(1, 66, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(spheres.penetration, (centres, radii))


def test_pairs_and_weights():
    mask, weights = pair_mask(), sphere_weights()
    assert torch.equal(mask, mask.T) and not mask.diagonal().any()
    assert torch.allclose(weights.sum(1), torch.ones(66, dtype=torch.float64))
