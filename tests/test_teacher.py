"""The averaged teacher, and what its pupil does not get to see."""

from dataclasses import replace

import pytest
import torch

from config import EXPERIMENTS, AugmentConfig, DemoConfig
from dataloader.augment import Augmentation
from dataloader.datasets.demo import load_demo
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from training.teacher import taught_batch, teacher_terms, with_discs_cut_out

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def layer() -> HandLayer:
    return HandLayer(load_hand_model())


@pytest.fixture(scope="module")
def frames(layer: HandLayer) -> FrameStore:
    return load_demo(DemoConfig(train_frames=4, test_frames=4), layer, "train")


@pytest.fixture(scope="module")
def network(layer: HandLayer) -> DualBranchNetwork:
    return DualBranchNetwork(EXPERIMENTS["smoke"].network, layer).eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_pupil_who_says_the_same_of_the_same_crop_has_nothing_to_learn(
    network: DualBranchNetwork, frames: FrameStore
):
    nothing = Augmentation(AugmentConfig(weights=(0.0, 0.0, 0.0, 1.0)))
    sample, sure = taught_batch(network, frames, torch.tensor([2, 0]), generator(), nothing, CPU)
    assert sure.shape == (2, 21) and bool(((sure >= 0) & (sure <= 1)).all())
    plain = frames.batch([2, 0]).crop
    with torch.no_grad():
        terms = teacher_terms(sample, sure, network(plain)[-1])
    assert all(float(value) < 1e-6 for value in terms.values())
    with torch.no_grad():
        other = network(frames.batch([1, 3]).crop)[-1]
    sure = torch.ones_like(sure)
    assert all(float(value) > 1e-4 for value in teacher_terms(sample, sure, other).values())


def test_each_branch_is_pulled_by_its_own_term(network: DualBranchNetwork, frames: FrameStore):
    sample, sure = taught_batch(network, frames, torch.tensor([0, 1]), generator(), Augmentation(AugmentConfig()), CPU)
    terms = teacher_terms(sample, torch.ones_like(sure), network(frames.batch([1, 3]).crop)[-1])
    stage = network.stage(1)
    pulled = {
        name: [
            float(g.abs().sum()) > 0 if g is not None else False
            for g in torch.autograd.grad(
                value,
                [stage.pixel.offsets.weight, *list(stage.head.parameters())[-1:]],
                retain_graph=True,
                allow_unused=True,
            )
        ]
        for name, value in terms.items()
    }
    assert pulled["teacher_pixel"][0] and not pulled["teacher_pixel"][1]
    assert pulled["teacher_surface"][1]


def test_what_the_teacher_says_turns_with_the_crop(network: DualBranchNetwork, frames: FrameStore):
    turning = Augmentation(AugmentConfig(weights=(1.0, 0.0, 0.0, 0.0)))
    sample, _ = taught_batch(network, frames, torch.tensor([0, 1]), generator(), turning, CPU)
    with torch.no_grad():
        plain = frames.batch([0, 1]).crop
        told_mm = plain.mm_from_xyz(network(plain)[-1].pixel_xyz)
    change = turning.draw(2, generator())
    assert sample.joints_mm is not None
    assert torch.allclose(sample.joints_mm, change.turned(told_mm), atol=1e-2)
    assert not torch.allclose(sample.joints_mm, told_mm, atol=1.0)


def test_what_it_is_unsure_of_does_not_count(network: DualBranchNetwork, frames: FrameStore):
    sample, sure = taught_batch(network, frames, torch.tensor([0]), generator(), Augmentation(AugmentConfig()), CPU)
    with torch.no_grad():
        other = network(frames.batch([1]).crop)[-1]
    assert all(float(value) == 0 for value in teacher_terms(sample, torch.zeros_like(sure), other).values())


def test_crops_without_labels_are_refused(network: DualBranchNetwork, frames: FrameStore):
    sample = frames.batch([0])
    with torch.no_grad():
        output = network(sample.crop)[-1]
    with pytest.raises(ValueError, match="missing"):
        teacher_terms(replace(sample, joints_mm=None), torch.ones(1, 21), output)


def test_discs_hide_parts_of_what_is_there_and_nothing_else(frames: FrameStore):
    depth = frames.batch([0, 1, 2, 3]).crop.depth
    config = AugmentConfig(discs=3, disc_radius=0.3)
    cut = with_discs_cut_out(depth, config, generator(1))
    gone = (cut == 1) & (depth < 1)
    assert bool((cut == torch.where(gone, 1.0, depth)).all())
    assert int(gone.flatten(1).any(1).sum()) >= 2
    assert bool((gone.flatten(1).sum(1) <= 3 * 3.2 * (0.3 * depth.shape[-1] / 2) ** 2).all())
    assert torch.equal(cut, with_discs_cut_out(depth, config, generator(1)))
    assert torch.equal(depth, with_discs_cut_out(depth, AugmentConfig(), generator(1)))
    empty = torch.ones(1, 1, 32, 32)
    assert torch.equal(with_discs_cut_out(empty, config, generator()), empty)
