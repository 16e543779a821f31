"""Weights from one kind of file to the other and back, through the command and through the network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from bench.reference_weights import seeded, seeded_state
from config import COMPACT, EXPERIMENTS, FULL, NetworkConfig
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from tests.shared import REFERENCE, needs_reference
from training.setup import make_fabric, make_network
from util.checkpoint import load_weights, save_weights
from util.convert import convert
from util.errors import UserError
from util.files import read_json
from util.published import network_shapes, our_name
from util.settings import from_plain, to_plain

TINY = replace(
    FULL, widths=(4, 6, 8, 10), second_widths=(5, 6, 7, 9), decoder_widths=(9, 7, 6), fusion_width=12, fusion_kernel=1
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.pth"
    state = {name: seeded(name, shape) for name, shape in network_shapes(TINY).items()}
    torch.save({"model": state, "optimizer": {}, "epoch": 14}, path)
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(
        torch.equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one
    )


def ours(path: Path, config: NetworkConfig) -> Path:
    network = DualBranchNetwork(config, HandLayer(load_hand_model()))
    save_weights(path, network.state_dict(), to_plain(config))
    return path


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        convert(*arguments)
    return str(caught.value)


@needs_reference
def test_published_weights_reach_the_network_and_come_back_unchanged(tmp_path: Path, capsys):
    state = seeded_state(REFERENCE / "network_state_dict_keys.json")
    first, between, last = (tmp_path / name for name in ("a.pth", "b.safetensors", "c.pth"))
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 9}, first)
    experiment = replace(EXPERIMENTS["smoke"], device="cpu")
    network, _ = make_network(experiment, make_fabric(experiment), first)
    assert f"{first}: published checkpoint, resnet18, 2 stages, hand unit 125 mm, epoch 9\n" in capsys.readouterr().err
    assert network.config == FULL
    filled = network.state_dict()
    assert all(torch.equal(filled[our_name(name)], tensor) for name, tensor in state.items())
    convert(first, between)
    first.unlink()
    assert from_plain(NetworkConfig, read_json(tmp_path / "b.json"), "b.json") == FULL
    convert(between, last)
    between.unlink()
    content = torch.load(last, weights_only=True)
    last.unlink()
    assert content.keys() == {"model", "epoch"} and content["epoch"] == 9
    assert same(content["model"], state)


def test_the_command_converts_both_ways(tiny: Path, root: Path, tmp_path: Path):
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "util.checkpoint", *words]
        return subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)

    between, last = tmp_path / "b.safetensors", tmp_path / "c.pth"
    done = command("convert", str(tiny), str(between))
    assert done.returncode == 0 and "resnet18, 2 stages, hand unit 125 mm, epoch 14\n" in done.stdout
    again = command("convert", str(tiny), str(between))
    assert (again.returncode, again.stderr) == (
        2,
        f"{between} exists: add --force to overwrite it, or give OUT another name.\n",
    )
    assert command("convert", str(between), str(last), "--force").returncode == 0
    assert same(torch.load(last, weights_only=True)["model"], torch.load(tiny, weights_only=True)["model"])
    for words, part in ((["turn"], "convert IN OUT"), (["convert", str(tiny)], "IN OUT"), ([], "convert IN OUT")):
        wrong = command(*words)
        assert wrong.returncode == 2 and part in wrong.stderr and wrong.stderr.count("\n") == 1
    assert "--half" in command("convert", "--help").stdout


def test_half_precision_and_back_to_single(tiny: Path, tmp_path: Path):
    half = convert(tiny, tmp_path / "h.safetensors", True).state
    state, _ = load_weights(tmp_path / "h.safetensors")
    assert {t.dtype for t in state.values()} == {torch.float16, torch.int64}
    assert all(torch.equal(state[name], tensor.to(state[name].dtype)) for name, tensor in half.items())
    convert(tmp_path / "h.safetensors", tmp_path / "h.pth")
    convert(tmp_path / "h.safetensors", tmp_path / "hh.pth", True)
    for file, dtype in (("h.pth", torch.float32), ("hh.pth", torch.float16)):
        stored = torch.load(tmp_path / file, weights_only=True)["model"]
        assert stored["pre.0.weight"].dtype == dtype
        assert torch.equal(stored["pre.0.weight"].half(), state["stem.0.weight"])


def test_nothing_is_overwritten_unasked_and_nothing_half_written(tiny: Path, tmp_path: Path):
    target = tmp_path / "b.safetensors"
    target.with_suffix(".json").write_text("mine")
    assert "b.json exists" in refusal(tiny, target)
    assert not target.exists()
    convert(tiny, target, False, True)
    assert "would replace" in refusal(target, target, False, True)
    before = target.read_bytes()
    (tmp_path / "torn.pth").write_bytes(tiny.read_bytes()[:5000])
    assert "truncated" in refusal(tmp_path / "torn.pth", target, False, True)
    assert target.read_bytes() == before
    assert "no known ending" in refusal(tiny, tmp_path / "b.onnx")
    assert "cannot be written" in refusal(tiny, tiny / "b.safetensors")
    (tmp_path / "folder.pth").mkdir()
    assert "folder.pth" in refusal(target, tmp_path / "folder.pth", False, True)
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.pth", "torn.pth", "b.safetensors", "b.json", "folder.pth"}


def test_what_a_published_file_cannot_hold_is_refused(tmp_path: Path):
    compact = ours(tmp_path / "a.safetensors", replace(COMPACT, widths=(4, 4, 4, 4), second_widths=(4, 4, 4, 4)))
    assert "model head 'joints'" in refusal(compact, tmp_path / "a.pth")
    other = ours(tmp_path / "b.safetensors", replace(TINY, stem_stride=2, unit_mm=None, foreground_softmax=True))
    sentence = refusal(other, tmp_path / "b.pth")
    for part in ("stem_stride 1, not 2", "foreground_softmax False, not True", "unit_mm 125.0, not None"):
        assert part in sentence
    state, config = load_weights(ours(tmp_path / "c.safetensors", TINY))
    del state["stem.0.weight"]
    save_weights(tmp_path / "c.safetensors", state, config)
    assert "lack pre.0.weight" in refusal(tmp_path / "c.safetensors", tmp_path / "c.pth")
    state["extra"] = torch.zeros(1)
    save_weights(tmp_path / "c.safetensors", state, config)
    assert "extra" in refusal(tmp_path / "c.safetensors", tmp_path / "c.pth")
    assert not list(tmp_path.glob("*.pth"))


def test_the_epoch_stays_with_converted_weights(tiny: Path, tmp_path: Path):
    convert(tiny, tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == "14"
    assert convert(tmp_path / "b.safetensors", tmp_path / "c.pth").about().endswith("125 mm, epoch 14")
    assert convert(ours(tmp_path / "d.safetensors", TINY), tmp_path / "d.pth").epoch is None
    assert "epoch" not in torch.load(tmp_path / "d.pth", weights_only=True)
