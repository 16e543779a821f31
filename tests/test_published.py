"""Published checkpoints: names both ways, what a state dict is, and every kind of damaged file."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.reference_weights import seeded
from config import COMPACT, FULL, NetworkConfig
from model.generator import ResidualGenerator
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from tests.shared import REFERENCE, needs_reference
from util.checkpoint import load_weights, read_checkpoint, read_generator
from util.errors import UserError
from util.published import GeneratorSize, Shapes, generator_shapes, network_shapes, our_name, published_name
from util.recognise import generator_of, kind_of, network_of
from util.settings import to_plain

TINY = replace(
    FULL,
    widths=(4, 6, 8, 10),
    second_widths=(5, 6, 7, 9),
    decoder_widths=(9, 7, 6),
    fusion_width=12,
)
CONFIGS = (
    TINY,
    replace(FULL, stages=1, widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4)),
    replace(TINY, fusion_kernel=1),
    *(replace(TINY, backbone=name) for name in ("resnet34", "resnet50", "resnet101", "resnet152")),
)


def state_of(shapes: Shapes) -> dict[str, Tensor]:
    return {name: seeded(name, shape) for name, shape in shapes.items()}


def shapes_of(state: dict[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pth"
    torch.save({"model": state_of(network_shapes(TINY)), "optimizer": {"lr": 1e-3}, "epoch": 14}, path)
    return path


@needs_reference
def test_names_and_shapes_are_the_published_ones():
    for file, shapes in (("network", network_shapes(FULL)), ("transfer", generator_shapes(GeneratorSize()))):
        wanted = json.loads((REFERENCE / f"{file}_state_dict_keys.json").read_text())
        assert list(shapes.items()) == [(name, tuple(shape)) for name, shape in wanted.items()]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.backbone}-{config.stages}")
def test_names_and_shapes_are_those_of_our_network_and_name_it(config: NetworkConfig):
    network = DualBranchNetwork(config, HandLayer(load_hand_model()))
    shapes = network_shapes(config)
    assert {our_name(name): shape for name, shape in shapes.items()} == shapes_of(network.state_dict())
    assert [published_name(our_name(name)) for name in shapes] == list(shapes)
    found = network_of(shapes)
    if config.stages == 1:
        found = replace(found, second_widths=config.second_widths)
    assert kind_of(shapes) == "network" and found == config


@pytest.mark.parametrize("size", [GeneratorSize(), GeneratorSize(8, 3)])
def test_names_and_shapes_are_those_of_our_generator_and_tell_its_size(size: GeneratorSize):
    shapes = generator_shapes(size)
    with torch.device("meta"):
        assert shapes == shapes_of(ResidualGenerator(*size[:2]).state_dict())
    assert kind_of(shapes) == "generator" and generator_of(shapes) == size


@pytest.mark.parametrize("name", ["backbone.conv1.weight", "layer5.0.conv1.weight", "finals.2.bias", "fc.weight"])
def test_other_names_have_no_counterpart(name: str):
    for rename in (our_name, published_name):
        with pytest.raises(KeyError, match=name):
            rename(name)


def test_a_published_file_says_what_it_is(tiny: Path):
    checkpoint = read_checkpoint(tiny)
    assert checkpoint.about() == f"{tiny}: published checkpoint, resnet18, 2 stages, hand unit 125 mm, epoch 14"
    state, config = load_weights(tiny)
    assert config == to_plain(TINY)
    for name, tensor in state_of(network_shapes(TINY)).items():
        assert torch.equal(state[our_name(name)], tensor)


def test_plain_parallel_old_and_half_precision_files_are_read(tmp_path: Path):
    state = state_of(network_shapes(replace(TINY, stages=1)))
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"model": parallel, "epoch": 3}, tmp_path / "a.tar", _use_new_zipfile_serialization=False)
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "b.pt")
    one, other = read_checkpoint(tmp_path / "a.tar"), read_checkpoint(tmp_path / "b.pt")
    assert "1 stage, hand unit 125 mm, epoch 3" in one.about() and other.about().endswith("125 mm")
    for name, tensor in state.items():
        assert torch.equal(one.state[our_name(name)], tensor)
        assert torch.equal(other.state[our_name(name)], tensor.half())


def test_missing_unknown_and_misshapen_tensors_are_named_as_published(tmp_path: Path):
    state = state_of(network_shapes(TINY))
    for name in ("layer3_s2.0.conv1.weight", "mano_regress.2.bias"):
        del state[name]
    state["backbone.weight"] = torch.zeros(1)
    state["finals.0.weight"] = torch.zeros(60, 6, 1, 1)
    state["layer1.0.conv1.weight"] = torch.zeros(9, 4, 3, 3)
    torch.save({"model": state}, tmp_path / "a.pth")
    sentence = refusal(load_weights, tmp_path / "a.pth")
    assert str(tmp_path / "a.pth") in sentence and "resnet18, 2 stages" in sentence
    assert "lack layer3_s2.0.conv1.weight, mano_regress.2.bias;" in sentence
    assert "unknown backbone.weight;" in sentence
    shapes = "finals.0.weight (60, 6, 1, 1) for (63, 6, 1, 1), layer1.0.conv1.weight (9, 4, 3, 3) for (4, 4, 3, 3)"
    assert sentence.endswith(f"{shapes}: fetch them anew.")

    generator = state_of(generator_shapes(GeneratorSize(4, 2)))
    del generator["model.10.conv_block.5.bias"]
    torch.save(generator, tmp_path / "b.pth")
    assert "lack model.10.conv_block.5.bias:" in refusal(read_generator, tmp_path / "b.pth")


def test_a_generator_is_no_network_nor_the_reverse(tiny: Path, tmp_path: Path):
    torch.save(state_of(generator_shapes(GeneratorSize(4, 2))), tmp_path / "g.pth")
    assert "2 residual blocks, 4 filters" in read_checkpoint(tmp_path / "g.pth").about()
    assert "g.pth holds an image-translation generator" in refusal(load_weights, tmp_path / "g.pth")
    assert "tiny.pth holds a hand pose network" in refusal(read_generator, tiny)


class Command:
    """An object whose pickle asks for a command to be run on load."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, zipped: bool):
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"model": {"pre.0.weight": Command(f"touch {mark}")}}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    torch.load(file, weights_only=False)  # it would run, did we let it
    assert mark.is_file()
    mark.unlink()
    sentence = refusal(load_weights, file)
    assert str(file) in sentence and "system" in sentence and "nothing of it was run" in sentence
    assert not mark.exists()


def test_torn_empty_and_foreign_files_get_a_sentence_each(tiny: Path, tmp_path: Path):
    assert "no state dict" in refused(tmp_path, [1, 2])
    assert "no state dict" in refused(tmp_path, {})
    assert "empty state dict" in refused(tmp_path, {"model": {}})
    assert "a, b, which are no tensors" in refused(tmp_path, {"a": 1, "b": {"c": torch.zeros(1)}})
    assert "neither a published hand pose network" in refused(tmp_path, {"conv1.weight": torch.zeros(1)})
    resnet = {name: seeded(name, shape) for name, shape in network_shapes(TINY).items() if name.startswith("layer")}
    assert "neither a published hand pose network" in refused(tmp_path, resnet)
    state = {"weights": {"stem.0.weight": torch.zeros(1)}, "step": 3, "optimizer": {}}
    assert "training state of a run" in refused(tmp_path, state)
    file, whole = tmp_path / "x.pth", tiny.read_bytes()
    for content, words in ((b"", "is empty"), (b"<html>not found</html>", "no checkpoint"), (b"\x80abc", "truncated")):
        file.write_bytes(content)
        assert words in refusal(load_weights, file)
    for length in (4, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert "truncated" in refusal(load_weights, file)
    assert "do not exist" in refusal(load_weights, tmp_path / "absent.pth")
    assert "do not exist" in refusal(load_weights, tmp_path)


def refused(folder: Path, content: object) -> str:
    torch.save(content, folder / "x.pth")
    sentence = refusal(load_weights, folder / "x.pth")
    assert str(folder / "x.pth") in sentence
    return sentence


def test_the_compact_network_has_tensors_without_published_names():
    names = DualBranchNetwork(COMPACT, HandLayer(load_hand_model())).state_dict()
    with pytest.raises(KeyError, match=r"stages\.0\.head\.layers"):
        [published_name(name) for name in names]
