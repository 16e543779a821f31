"""The engine of predict.py: folding norms changes nothing, answers are in the crops' cameras, mistakes are told."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.scene import Scene
from config import COMPACT, EXPERIMENTS
from dataloader.crop import HandCrop
from model.folded import folded
from model.network import DualBranchNetwork
from predicting.engine import SHIPPED, EngineAnswer, TorchEngine, answer_of, chosen_device, load_network
from render.hand_layer import HandLayer, HandParams
from render.hand_model import load_hand_model
from util.checkpoint import save_weights
from util.errors import UserError
from util.settings import to_plain


@pytest.fixture(scope="module")
def crop() -> HandCrop:
    return Scene.of(EXPERIMENTS["pretrain-compact"], 7, 1).sample.crop


@pytest.fixture(scope="module")
def network() -> DualBranchNetwork:
    return load_network(SHIPPED)


def nearly(answer: EngineAnswer, other: EngineAnswer, within_mm: float) -> bool:
    return all(float((a - b).abs().max()) <= within_mm for a, b in zip(answer[:3], other[:3], strict=True))


def test_folded_norms_change_nothing(network: DualBranchNetwork, crop: HandCrop) -> None:
    names = list(network.state_dict())
    ours = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.modules())
    assert list(network.state_dict()) == names  # the network itself is left as it is
    with torch.inference_mode():
        plain, quick = (answer_of(n, crop, n(crop)[-1]) for n in (network, ours))
    assert nearly(plain, quick, 0.02)
    assert torch.allclose(plain.params, quick.params, atol=1e-3)


def test_folding_reaches_bottlenecks(crop: HandCrop) -> None:
    config = replace(
        COMPACT, backbone="resnet50", widths=(8, 8, 8, 8), second_widths=(8, 8, 8, 8), precision="fp32", fusion_width=8
    )
    network = DualBranchNetwork(config, HandLayer(load_hand_model()))
    network.train()
    for _ in range(3):  # norms that do something
        network.first_maps(crop.depth)
    network.eval()
    ours = folded(network)
    with torch.inference_mode():
        plain, quick = (n.first_maps(crop.depth)[1].maps for n in (network, ours))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.modules())
    assert torch.allclose(plain, quick, atol=1e-4 * float(plain.abs().max()))


def test_bf16_keeps_weights_cast_and_stays_near(crop: HandCrop) -> None:
    exact, quick = TorchEngine(device="cpu", precision="fp32"), TorchEngine(device="cpu", precision="bf16")
    kinds = {m.weight.dtype for m in quick.network.modules() if isinstance(m, torch.nn.Conv2d)}
    assert kinds == {torch.bfloat16}
    apart = (exact(crop).joints_mm - quick(crop).joints_mm).norm(dim=-1).mean(1)
    assert 0 < apart.median() < 4  # of crops: a hand that hardly shows may come out another way


def test_params_are_those_of_the_surface(crop: HandCrop) -> None:
    engine = TorchEngine(device="cpu", precision="fp32")
    answer = engine(crop)
    params = HandParams.from_vector(answer.params)
    mesh = engine.layer(params.rotation, params.pose, params.shape)
    vertices, joints = mesh.placed(params.scale, params.translation, crop.cube_mm[:, 2:] / 2)
    assert torch.allclose(crop.mm_from_xyz(vertices)[:, :778], answer.vertices_mm, atol=0.02)
    assert torch.allclose(crop.mm_from_xyz(joints), answer.joints_mm, atol=0.02)
    assert engine.faces.max() == 777 and len(engine.faces) == len(load_hand_model().faces)


def test_scale_counts_from_the_hand_as_modelled_whatever_the_unit(tmp_path: Path, crop: HandCrop) -> None:
    config = replace(COMPACT, stages=1, model_head="linear", unit_mm=125.0)
    network = DualBranchNetwork(config, HandLayer(load_hand_model())).eval()
    file = tmp_path / "published-unit.safetensors"
    with torch.no_grad():
        network.stage(0).head.linear.bias[58] = 1.0  # type: ignore[union-attr, index]  (the scale)
    save_weights(file, network.state_dict(), to_plain(config))
    engine = TorchEngine(file, device="cpu", precision="fp32")
    answer = engine(crop)
    params = HandParams.from_vector(answer.params)
    mesh = engine.layer(params.rotation, params.pose, params.shape)
    vertices, _ = mesh.placed(params.scale, params.translation, crop.cube_mm[:, 2:] / 2)
    assert torch.allclose(crop.mm_from_xyz(vertices)[:, :778], answer.vertices_mm, atol=0.02)


def test_the_first_stage_alone(network: DualBranchNetwork, crop: HandCrop) -> None:
    with torch.inference_mode():
        first = answer_of(network, crop, network(crop, 1)[-1])
    engine = TorchEngine(device="cpu", precision="fp32", stages=1)
    assert len(engine.network.stages) == 1
    assert nearly(engine(crop), first, 0.02)


def test_one_crop_is_read_as_in_a_batch(crop: HandCrop) -> None:
    engine = TorchEngine(device="cpu", precision="fp32")
    alone, together = engine(crop.select(torch.tensor([1]))), engine(crop)
    assert nearly(alone, EngineAnswer(*(part[1:2] for part in together)), 0.02)


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not exist"):
        TorchEngine(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="no stage 3"):
        TorchEngine(stages=3)
    with pytest.raises(UserError, match="choose auto"):
        chosen_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cpu"):
            chosen_device("cuda")
        assert chosen_device("auto").type == "cpu"
