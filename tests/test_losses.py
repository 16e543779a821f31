"""Loss terms: values against the reference, gradients on real crops, and what each term is for."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from config import EXPERIMENTS, DataConfig, UnlabelledConfig
from dataloader.camera import Camera
from dataloader.crop import empty_crop
from dataloader.datasets.shrec import list_shrec
from dataloader.prepare import prepare
from model.model_branch import HandEstimate
from model.network import DualBranchNetwork, StageOutput
from model.offset_maps import Cells
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from render.spheres import HandSpheres
from tests.shared import REFERENCE, SHARED, needs_reference
from training.branches import render_crop
from training.observation import observe
from training.selfsupervise import SelfSupervision
from training.setup import make_rendered
from training.supervised import smooth_l1, supervised_terms
from training.unlabelled import Fit, PosePrior, fitting_joints, part_means, robust

SMOKE = EXPERIMENTS["smoke"]
SETTINGS = ("robust", "points", "teach_empty_parts", "looseness", "ramp", "prior_floor")
ELSEWHERE = ("fit_", "teacher_")
"""Limits; and terms that take more than a crop and its outputs (test_teacher.py)."""
EVERY_TERM = {
    f.name: 1.0 for f in fields(UnlabelledConfig) if f.name not in SETTINGS and not f.name.startswith(ELSEWHERE)
}
"""Every weight set to 1."""


@needs_reference
def test_smooth_l1_agrees_with_the_published_one():
    data = np.load(REFERENCE / "smooth_l1.npz")
    ours = smooth_l1(torch.tensor(data["x"]) - torch.tensor(data["y"])).mean()
    assert abs(float(ours) - float(data["loss"])) < 1e-7


def test_losses_have_their_gradient_in_float64():
    x = torch.tensor([0.004, -0.02, 0.3, 0.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smooth_l1, (x,))
    squared = torch.tensor([1e-5, 1e-3, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(robust, (squared,))
    poses = 0.3 * torch.randn(200, 45, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prior = PosePrior(poses, 0.1)
    assert torch.autograd.gradcheck(prior, (poses[:2].clone().requires_grad_(),))


@pytest.fixture(scope="module")
def real_crops(tmp_path_factory):
    """Eight real crops of SHREC'17, unpacked into a temporary folder."""
    script = SHARED / "data" / "shrec17" / "unpack.py"
    if not script.is_file():
        pytest.skip("../shared/data/shrec17 is not at hand")
    root = tmp_path_factory.mktemp("shrec")
    subprocess.run([sys.executable, str(script), str(root), "--limit", "2"], check=True, capture_output=True)
    data = DataConfig(name="shrec", root=root, test_subjects=(), workers=1)
    store = prepare(list_shrec(data, "train"), data)
    return store.batch(range(0, len(store), max(1, len(store) // 8)))


def test_every_term_has_a_gradient_on_real_crops(real_crops):
    config = replace(UnlabelledConfig(), **EVERY_TERM, fit_depth=10.0, fit_squared=10.0, fit_iou=0.0, fit_outside=10.0)
    experiment = replace(SMOKE, unlabelled=replace(config, teach_empty_parts=True, ramp=1))
    layer = HandLayer(load_hand_model())
    torch.manual_seed(0)
    network = DualBranchNetwork(experiment.network, layer)
    for k in range(2):  # joints all over the image, as an untrained head would not read them
        torch.nn.init.normal_(network.stage(k).pixel.offsets.weight, std=0.3)
    supervision = SelfSupervision(experiment, layer, make_rendered(experiment))
    outputs = network(real_crops.crop)
    terms = supervision.unlabelled_terms(real_crops.crop, outputs, 0, torch.Generator().manual_seed(0))
    assert {name.rpartition("/")[2] for name in terms} == set(EVERY_TERM)
    weighted = supervision.weighted(terms, 0)
    assert len(weighted) == len(terms)
    for name, value in weighted.items():
        assert torch.isfinite(value), name
        gradients = torch.autograd.grad(value, list(network.parameters()), retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0, name


def test_one_stage_networks_have_no_teaching_terms(real_crops):
    experiment = replace(SMOKE, network=replace(SMOKE.network, stages=1))
    layer = HandLayer(load_hand_model())
    network = DualBranchNetwork(experiment.network, layer)
    supervision = SelfSupervision(experiment, layer, make_rendered(experiment))
    terms = supervision.unlabelled_terms(real_crops.crop, network(real_crops.crop), 0, torch.Generator().manual_seed(0))
    assert not any(name.startswith(("stage1/", "teach")) for name in terms)


def perfect(side_px: int = 128) -> tuple:
    """A rendered open hand with the answer that explains it exactly."""
    layer = HandLayer(load_hand_model())
    camera = Camera.of(475.0, 475.0, 320.0, 240.0).expand(1)
    mesh = layer(torch.tensor([[0.0, 0.0, 1.2]]), torch.zeros(1, 45), torch.zeros(1, 10))
    vertices_mm = mesh.vertices_m * 1000 + torch.tensor([0.0, 0.0, 600.0])
    centre = vertices_mm.mean(1)
    crop = empty_crop(camera, centre, torch.full((1, 3), 250.0), side_px)
    vertices_xyz, joints_xyz = (
        crop.xyz_from_mm(vertices_mm),
        crop.xyz_from_mm(mesh.joints_m * 1000 + torch.tensor([0.0, 0, 600])),
    )
    crop = render_crop(crop, vertices_xyz, layer.faces)
    cells = Cells.of(crop.depth, 32)
    zeros = torch.zeros(1, 45), torch.zeros(1, 10), torch.ones(1, 1), torch.zeros(1, 3)
    hand = HandEstimate(torch.tensor([[0.0, 0.0, 1.2]]), *zeros)
    rows = torch.zeros(len(cells.seen), 84)
    output = StageOutput(rows, cells, crop.uvd_from_xyz(joints_xyz), joints_xyz, hand, vertices_xyz, joints_xyz)
    return layer, crop, output


def test_a_hand_that_explains_the_image_costs_nothing_and_may_teach():
    layer, crop, output = perfect()
    config = UnlabelledConfig()
    observation = observe(crop, output, HandSpheres(layer), config, torch.Generator().manual_seed(0))
    fit = Fit.of(observation, output, layer)
    assert float(fit.squared.max()) < 1e-6 and float(fit.part_squared.mean()) < 1e-3
    taught = fitting_joints(observation, output, fit, config, 1.0)
    assert taught[0, 0] and taught.float().mean() > 0.7
    moved = output._replace(vertices_xyz=output.vertices_xyz + torch.tensor([0.3, 0.0, 0.0]))
    assert not fitting_joints(observation, moved, Fit.of(observation, moved, layer), config, 1.0).any()


def test_part_means_count_empty_parts_as_zero():
    layer, crop, output = perfect()
    observation = observe(crop, output, HandSpheres(layer), UnlabelledConfig(), torch.Generator().manual_seed(0))
    means, counts = part_means(observation, torch.ones_like(observation.points_xyz[..., 0]))
    assert torch.equal(means, (counts > 0).float())
    assert counts.shape == (1, 15) and counts.sum() <= observation.labels.shape[1]


def test_supervised_terms_name_both_stages_and_need_labels():
    layer, _, output = perfect()
    rendered = make_rendered(SMOKE).batch(2, torch.Generator().manual_seed(0))
    network = DualBranchNetwork(SMOKE.network, layer)
    terms = supervised_terms(network(rendered.crop), rendered, layer, SMOKE.supervised)
    assert {name.partition("/")[0] for name in terms} == {"stage1", "stage2"}
    assert all(torch.isfinite(value) for value in terms.values())
    with pytest.raises(ValueError, match="rendered"):
        supervised_terms([output], replace(rendered, joints_mm=None), layer, SMOKE.supervised)
