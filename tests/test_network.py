"""Networks against numbers of the published implementation, and what each variant promises."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.reference_weights import seeded_state
from config import COMPACT, FULL
from dataloader.camera import Camera
from dataloader.crop import HandCrop, empty_crop
from model.network import DualBranchNetwork, map_images
from model.offset_maps import Cells, read_maps, read_rows, write_maps
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from tests.shared import REFERENCE, needs_reference
from util.published import our_name


def layer() -> HandLayer:
    return HandLayer(load_hand_model())


def crops(n: int) -> HandCrop:
    camera = Camera.of(475.0, 475.0, 320.0, 240.0).expand(n)
    crop = empty_crop(camera, torch.tensor([[0.0, 10, 600]]).expand(n, 3), torch.full((n, 3), 250.0))
    generator = torch.Generator().manual_seed(0)
    depth = torch.ones(n, 1, 128, 128)
    depth[..., 30:100, 40:90] = torch.rand(n, 1, 70, 50, generator=generator) - 0.5
    return crop.with_depth(depth)


@needs_reference
def test_offset_maps_agree_with_the_published_implementation():
    data = np.load(REFERENCE / "offset_maps.npz")
    cells = Cells.of(torch.tensor(data["image"]), 64)
    maps = write_maps(torch.tensor(data["joint_uvd"]), cells)
    images = maps.transpose(1, 2).unflatten(-1, (64, 64))
    assert np.abs(images[..., ::4, ::4] - data["maps"]).max() < 1e-5
    assert np.abs(read_maps(maps, cells) - data["decoded"]).max() < 1e-5
    noisy = torch.tensor(data["noisy_maps"]).float().flatten(2).transpose(1, 2)
    assert np.abs(read_maps(noisy, cells) - data["decoded_noisy"]).max() < 1e-3


@needs_reference
def test_full_network_agrees_with_the_published_implementation():
    network = DualBranchNetwork(replace(FULL, precision="fp32"), layer()).eval()
    state = seeded_state(REFERENCE / "network_state_dict_keys.json")
    network.load_state_dict({our_name(name): tensor for name, tensor in state.items()})
    data = np.load(REFERENCE / "network.npz")
    image = torch.tensor(data["image"])
    with torch.no_grad():
        stem, first = network.first_maps(image)
        seen = map_images(torch.tensor(data["stage2_joint_uvd"]), torch.tensor(data["stage2_model_image"]), 64)
        second = network.second_maps(stem, first, seen)
        params = [network.stage(k).head.linear(s.pooled) for k, s in enumerate((first, second))]  # type: ignore[operator]
    maps, maps2 = first.maps, second.maps
    assert np.allclose(maps[..., ::8, ::8], data["maps1"], atol=1e-3, rtol=1e-4)
    assert np.allclose(params[0], data["params1"], atol=1e-3, rtol=1e-4)
    assert np.allclose(maps2[..., ::8, ::8], data["maps2"], atol=1e-3, rtol=1e-4)
    assert np.allclose(params[1], data["params2"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_maps_of_foreground_cells_equal_the_slow_ones(dtype):
    cells = Cells.of(crops(2).depth, 32)
    joints = torch.rand(2, 21, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    offset = joints.unsqueeze(1) - cells.uvd.unsqueeze(2)  # (b, cells, 21, 3), everywhere and masked at the end
    distance = (offset.square().sum(-1) + 1e-8).sqrt()
    closeness = 1 - distance / 0.8
    inside = (closeness >= 0) & cells.foreground.unsqueeze(-1)
    offset = offset / distance.unsqueeze(-1) * inside.unsqueeze(-1)
    slow = torch.cat([offset.flatten(-2), closeness * inside], -1)
    maps = write_maps(joints, cells, dtype=dtype)
    assert maps.dtype == (dtype or torch.float32)
    assert torch.allclose(maps.float(), slow, atol=1e-6 if dtype is None else 4e-3)
    images = map_images(joints, crops(2).depth, 32, dtype)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images.flatten(2).transpose(1, 2), maps)


def test_both_heads_at_once_say_what_each_says():
    branch = DualBranchNetwork(COMPACT, layer()).stage(0).pixel
    features = torch.randn(2, COMPACT.widths[-1], 4, 4, generator=torch.Generator().manual_seed(5))
    decoded, maps = branch(features)
    assert torch.allclose(maps, torch.cat([branch.offsets(decoded), branch.closeness(decoded)], 1), atol=1e-6)


def test_written_maps_read_back_the_joints():
    crop = crops(3)
    cells = Cells.of(crop.depth, 32)
    joints = torch.rand(3, 21, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    back = read_rows(cells.at_seen(write_maps(joints, cells)), cells)
    assert (back - joints).abs().max() < 1e-3


def test_maps_gradient_in_float64():
    crop = crops(1)
    cells = Cells.of(crop.depth, 4)
    cells = cells._replace(uvd=cells.uvd.double())
    joints = (torch.rand(1, 21, 3, dtype=torch.float64) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda j: write_maps(j, cells), (joints,))
    rows = (0.1 * torch.randn(len(cells.seen), 84, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: read_rows(r, cells), (rows,))
    maps = (0.1 * torch.randn(1, 16, 84, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: read_maps(m, cells), (maps,))


def test_reading_foreground_rows_agrees_with_a_softmax_over_masked_maps():
    cells = Cells.of(crops(2).depth, 32)
    maps = torch.randn(2, 1024, 84, generator=torch.Generator().manual_seed(4)).requires_grad_()
    joints = read_rows(cells.at_seen(maps), cells)
    for k in range(2):
        own = maps[k][cells.foreground[k]]
        weight = (30 * own[:, 63:]).softmax(0)
        reach = 0.8 * (1 - own[:, 63:])
        point = cells.uvd[k][cells.foreground[k]].unsqueeze(1) + reach.unsqueeze(-1) * own[:, :63].unflatten(
            -1, (21, 3)
        )
        slow = (weight.unsqueeze(-1) * point).sum(0)
        assert torch.allclose(joints[k], slow, atol=1e-4)
        push = torch.randn(21, 3, generator=torch.Generator().manual_seed(5))
        ours, its = (torch.autograd.grad(read, maps, push, retain_graph=True)[0] for read in (joints[k], slow))
        assert torch.allclose(ours, its, atol=1e-4 * float(its.abs().max()))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_convolutions_keep_their_memory_format_and_precision(precision):
    network = DualBranchNetwork(replace(COMPACT, precision=precision), layer())
    seen: list[torch.Tensor] = []

    def remember(module: torch.nn.Module, given: object, answer: torch.Tensor) -> None:
        seen.append(answer)

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d)):
            module.register_forward_hook(remember)
    network(crops(2))
    assert len(seen) > 80
    assert all(answer.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32) for answer in seen)
    assert all(answer.is_contiguous(memory_format=torch.channels_last) for answer in seen)


def test_outputs_split_as_their_crops_do():
    network = DualBranchNetwork(COMPACT, layer()).eval()
    crop = crops(3)
    with torch.no_grad():
        first, rest = network(crop)[-1].split(1)
        alone = network(crop.select(torch.tensor([1, 2])))[-1]
    assert len(first.pixel_uvd) == 1
    assert torch.allclose(rest.pixel_uvd, alone.pixel_uvd, atol=1e-3)
    assert torch.equal(rest.cells.seen, alone.cells.seen) and rest.rows.shape == alone.rows.shape
    assert rest.cells.counts == alone.cells.counts and sum(first.cells.counts) == len(first.rows)


def test_a_crop_without_foreground_reads_finite_joints():
    network = DualBranchNetwork(COMPACT, layer()).eval()
    crop = crops(1)
    outputs = network(crop.with_depth(torch.ones_like(crop.depth)))
    for output in outputs:
        assert torch.isfinite(output.pixel_uvd).all() and torch.isfinite(output.vertices_xyz).all()


@pytest.mark.parametrize(
    "config",
    [
        COMPACT,
        replace(COMPACT, stages=1, model_head="linear", foreground_softmax=False),
        replace(COMPACT, backbone="resnet50", widths=(8, 8, 16, 16), second_widths=(8, 8, 16, 16)),
        replace(COMPACT, backbone="resnet101", widths=(8, 8, 8, 8), stages=1),
    ],
)
def test_variants_answer_and_learn(config):
    network = DualBranchNetwork(config, layer())
    outputs = network(crops(2))
    assert len(outputs) == config.stages
    total = torch.zeros(())
    for output in outputs:
        assert output.rows.shape == (len(output.cells.seen), 84) and output.vertices_xyz.shape == (2, 779, 3)
        assert output.hand.params().vector().shape == (2, 62)
        total = (
            total + output.rows.square().mean() + output.joints_xyz.square().mean() + output.pixel_xyz.square().mean()
        )
    total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_compact_weights_fit_into_ten_megabytes_at_half_precision():
    state = DualBranchNetwork(COMPACT, layer()).state_dict()
    assert sum(2 * tensor.numel() for tensor in state.values()) < 10_000_000
