"""Checkpoints come back whole, and anything else is refused in one sentence."""

from pathlib import Path

import pytest
import torch
from torch import nn

from util.checkpoint import fill_module, load_weights, save_weights
from util.errors import UserError
from util.files import read_json
from util.training_state import load_training_state, save_training_state

CONFIG = {"width": 8, "heads": ["pixel", "model"], "parts": {"stages": 2}}


def network(width: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(width, 2))


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_weights_and_settings_come_back(tmp_path: Path) -> None:
    net = network()
    net[0].weight.data = torch.randn(8, 1, 3, 3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "a.safetensors", net.state_dict(), CONFIG)
    state, config = load_weights(tmp_path / "a.safetensors")
    assert config == CONFIG == read_json(tmp_path / "a.json")
    other = network()
    fill_module(other, state, "a")
    for name, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_tensors_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    tensor = torch.arange(6.0)
    save_weights(tmp_path / "a.safetensors", {"one": tensor, "part": tensor[2:4]}, {})
    state, _ = load_weights(tmp_path / "a.safetensors")
    assert state["part"].tolist() == [2, 3]


def test_half_precision_keeps_integers_and_what_is_too_large(tmp_path: Path) -> None:
    tensors = {"small": torch.tensor([1 / 3]), "large": torch.tensor([1e6]), "count": torch.tensor(7)}
    save_weights(tmp_path / "a.safetensors", tensors, {}, True)
    state, _ = load_weights(tmp_path / "a.safetensors")
    assert {name: t.dtype for name, t in state.items()} == {
        "small": torch.float16,
        "large": torch.float32,
        "count": torch.int64,
    }
    module = nn.Linear(1, 1)
    fill_module(module, {"weight": state["small"][None], "bias": state["small"]}, "a")
    assert module.weight.dtype == torch.float32
    assert module.weight.item() == pytest.approx(1 / 3, abs=1e-3)


def test_absent_torn_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    assert str(file) in refusal(load_weights, file)
    save_weights(file, network().state_dict(), CONFIG)
    whole = file.read_bytes()
    for length in (0, 4, 200, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert "truncated" in refusal(load_weights, file)
    file.write_bytes(b"<html>not found</html>")
    assert str(file) in refusal(load_weights, file)
    assert str(tmp_path) in refusal(load_weights, tmp_path)


def test_weights_without_settings_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "network" in refusal(load_weights, tmp_path / "a.safetensors")


def test_another_networks_weights_are_refused_by_name_and_nothing_is_loaded() -> None:
    net = network()
    extra = {f"extra.{k:02}": torch.zeros(1) for k in range(12)}
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    wrong = {**network(4).state_dict(), **extra}
    del wrong["2.bias"]
    sentence = refusal(fill_module, net, wrong, "w.safetensors")
    for part in ("w.safetensors", "2.bias", "extra.00", "0.weight (4, 1, 3, 3) for (8, 1, 3, 3)", "and 2 more"):
        assert part in sentence
    for name, tensor in net.state_dict().items():
        assert torch.equal(before[name], tensor)


def test_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    def steps(net: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            net(torch.randn(4, 3, generator=generator)).square().mean().backward()
            optimiser.step()

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, torch.Generator]:
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        return net, torch.optim.AdamW(net.parameters()), torch.Generator().manual_seed(1)

    straight = fresh()
    steps(*straight, 4)

    first = fresh()
    steps(*first, 2)
    state = {
        "net": first[0].state_dict(),
        "optimiser": first[1].state_dict(),
        "random": first[2].get_state(),
        "step": 2,
    }
    save_training_state(tmp_path / "last.pt", state)

    second = fresh()
    back = load_training_state(tmp_path / "last.pt")
    second[0].load_state_dict(back["net"])
    second[1].load_state_dict(back["optimiser"])
    second[2].set_state(back["random"])
    steps(*second, 2)
    assert back["step"] == 2
    assert torch.equal(second[0].weight, straight[0].weight)  # pyright: ignore[reportArgumentType]


def test_torn_and_foreign_training_states_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    assert "--resume" in refusal(load_training_state, file)
    save_training_state(file, {"weights": torch.zeros(1000)})
    whole = file.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        file.write_bytes(content)
        assert str(file) in refusal(load_training_state, file)
    torch.save([1, 2], file)
    assert str(file) in refusal(load_training_state, file)


def test_a_training_state_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"path": tmp_path.joinpath}, tmp_path / "last.pt")
    assert "last.pt" in refusal(load_training_state, tmp_path / "last.pt")
