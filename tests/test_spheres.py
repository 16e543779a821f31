"""Spheres, penetration and part labels against numbers of the published implementation."""

import numpy as np
import torch

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


def test_gradient_in_float64():
    spheres = HandSpheres(HandLayer(load_hand_model()))
    centres = (0.02 * torch.randn(1, 66, 3, dtype=torch.float64)).requires_grad_()
    radii = (0.01 + 0.001 * torch.rand(1, 66, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(spheres.penetration, (centres, radii))


def test_pairs_and_weights():
    mask, weights = pair_mask(), sphere_weights()
    assert torch.equal(mask, mask.T) and not mask.diagonal().any()
    assert torch.allclose(weights.sum(1), torch.ones(66, dtype=torch.float64))
