"""Phase transfer from end to end, resumed, refused, and its generator at work in the other phases."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from config import EXPERIMENTS, WEIGHTS, DataConfig, Experiment
from dataloader.crop import FOREGROUND_BELOW
from model.generator import ResidualGenerator
from model.transfer import anchored_to, load_generator, translate
from training.parts import Ready
from training.run import run
from training.setup import make_fabric, make_rendered
from training.transfer_loop import TransferLoop, TransferNetworks
from training.translation import Translation
from util.checkpoint import load_weights, save_weights
from util.convert import convert
from util.errors import UserError
from util.published import GeneratorSize
from util.run_folder import RunFolder
from util.training_state import load_training_state

SMOKE = replace(EXPERIMENTS["smoke"], phase="transfer")
TINY = replace(SMOKE, optim=replace(SMOKE.optim, steps=2, batch=2, real_batch=2))
MEASURES = {
    "joints_bias_mm", "joints_moved_mm", "joints_mm_before", "joints_mm_after", "iou", "lost", "gained", "depth_mm",
    "depth_bias_mm", "roughness_mm_synthetic", "roughness_mm_translated", "roughness_mm_real",
}  # fmt: skip


def with_transfer(experiment: Experiment = TINY, **changes) -> Experiment:
    return replace(experiment, transfer=replace(experiment.transfer, **changes))


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run by the command."""
    folder = tmp_path_factory.mktemp("transfer") / "run"
    words = [sys.executable, "train_render.py", "smoke", "--phase", "transfer", "--run-dir", str(folder)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "joints_moved_mm" in done.stdout and "TensorBoard" in done.stdout
    return folder


def test_a_run_leaves_a_generator_its_measures_and_pictures(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())["transfer"]
    assert set(results) == MEASURES and all(value is not None for value in results.values())
    assert results["joints_mm_before"] < 20, "the reader reads"
    assert 0 <= results["iou"] <= 1 and results["roughness_mm_synthetic"] < results["roughness_mm_real"]
    generator = load_generator(finished / "last.safetensors")
    assert generator.size == GeneratorSize(SMOKE.transfer.filters, SMOKE.transfer.blocks, correcting=True)
    state = load_training_state(finished / "last.pt")
    assert state["step"] == 4 and len(state["pools"]["real"]) == 16 and len(state["optimizers"]) == 2
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, state["weights"][name])
    assert (finished / "pictures" / "translated.png").is_file()
    logged = b"".join(file.read_bytes() for file in (finished / "tensorboard").iterdir())
    for name in ("adversarial", "matching", "cycle", "silhouette", "depth"):
        for way in ("to_real", "to_rendered"):
            assert f"loss/{way}/{name}".encode() in logged
    assert b"loss/to_real/joints" in logged and b"loss/to_real/features" in logged
    assert b"loss/to_rendered/joints" not in logged, "nothing is read off real crops"
    for name in (b"loss/discriminator/real", b"loss/discriminator/rendered", b"synthetic", b"training/rate"):
        assert name in logged


def test_each_term_has_a_weight_and_can_be_left_out(tmp_path: Path) -> None:
    bare = with_transfer(
        silhouette=0.0, depth=0.0, joints=0.0, features=0.0, identity=5.0, reader=None, clean=False, pool=0, average=0.0
    )
    results = run(bare, tmp_path / "bare")["transfer"]
    assert results["joints_moved_mm"] != results["joints_moved_mm"], "nobody reads joints"
    assert results["iou"] >= 0
    logged = b"".join(file.read_bytes() for file in (tmp_path / "bare" / "tensorboard").iterdir())
    assert b"to_real/identity" in logged and b"to_real/depth" not in logged and b"to_real/joints" not in logged
    judged = with_transfer(bare, judge=WEIGHTS / "compact.safetensors")
    assert run(judged, tmp_path / "judged")["transfer"]["joints_moved_mm"] > 0


def test_the_rate_is_constant_and_then_falls_to_nothing(tmp_path: Path) -> None:
    experiment = with_transfer(replace(TINY, optim=replace(TINY.optim, steps=100)))
    networks = TransferNetworks.new(experiment.transfer, torch.device("cpu"))
    loop = TransferLoop(experiment, Fabric(accelerator="cpu"), networks, RunFolder.open(tmp_path / "a", experiment))
    rate = experiment.transfer.learning_rate
    assert [loop.rate(step) for step in (0, 49, 75, 100)] == pytest.approx([rate, rate, rate / 2, 0])
    before = [parameter.clone() for parameter in networks.to_real.parameters()]
    with pytest.raises(UserError, match=r"to_real/depth.*transfer\.learning-rate"):
        loop.run(lambda step, part: Ready(lambda counts: {"to_real/depth": before[0].sum() * float("nan")}), 1)
    for old, new in zip(before, networks.to_real.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_translation_has_exact_background_and_its_sources_depth() -> None:
    torch.manual_seed(0)
    generator = ResidualGenerator(4, 1)
    source = torch.ones(2, 1, 32, 32)
    source[0, :, 8:20, 8:20], source[1, :, 8:20, 8:20] = 0.3, -0.4
    answer = torch.where(source < 1, 0.2, 0.992)
    anchored = anchored_to(source, answer)
    assert torch.allclose(anchored[:, :, 8:20, 8:20], source[:, :, 8:20, 8:20])
    assert torch.allclose(anchored_to(torch.ones_like(source), answer), answer), "nothing to go by"
    # pushed towards the back of the cube, a hand looks the same to the generator; not so what comes of its answer
    pushed = 1 - 0.8 * (1 - source)
    with torch.no_grad():
        generator.model[1].weight.mul_(100)  # type: ignore[operator]  (the rounding of a normalisation shows no more)
    assert torch.allclose(generator(source), generator(pushed), atol=1e-3)
    depth = source.clone().requires_grad_()
    with torch.no_grad():
        generator.model[-2].bias.fill_(2.5)  # type: ignore[union-attr]
    for anchor in (True, False):
        translated = translate(generator, depth, anchor)
        assert (
            bool(((translated == 1) | (translated < FOREGROUND_BELOW)).all()) and float(translated.detach().min()) >= -1
        )
    assert bool((translated == 1).any()) and bool((translated < 1).any())
    translated.sum().backward()
    assert depth.grad is not None
    assert translate(generator, source, bf16=True).dtype == torch.float32


def test_pre_training_and_self_supervision_learn_from_translated_crops(finished: Path, tmp_path: Path) -> None:
    path = finished / "last.safetensors"
    experiment = replace(SMOKE, phase="pretrain", transfer_net=path, optim=TINY.optim)
    fabric = make_fabric(experiment)
    sample = make_rendered(experiment).batch(3, torch.Generator().manual_seed(0))
    plain = replace(experiment, rendered=replace(experiment.rendered, noise=False), transfer_net=None)
    assert torch.equal(make_rendered(plain).batch(3, torch.Generator().manual_seed(0)).crop.depth, sample.crop.depth)
    translated = Translation.of(experiment, fabric)(sample)
    expected = translate(load_generator(path).to(memory_format=torch.channels_last), sample.crop.depth, bf16=True)  # type: ignore[call-overload]
    assert torch.equal(translated.crop.depth, expected) and not translated.crop.depth.requires_grad
    assert not torch.equal(translated.crop.depth, sample.crop.depth)
    assert sample.joints_mm is not None and torch.equal(sample.joints_mm, translated.joints_mm)  # type: ignore[arg-type]
    assert torch.equal(Translation.of(plain, fabric)(sample).crop.depth, sample.crop.depth)
    results = run(experiment, tmp_path / "pretrain")
    assert run(replace(experiment, transfer_net=None), tmp_path / "without") != results
    with pytest.raises(UserError, match="correcting generator, for which there are no published names"):
        convert(path, tmp_path / "published.pth")
    residual = ResidualGenerator(4, 1)
    save_weights(tmp_path / "ours.safetensors", residual.state_dict(), {"generator": residual.size._asdict()})
    convert(tmp_path / "ours.safetensors", tmp_path / "published.pth")
    weights = tmp_path / "pretrain" / "last.safetensors"
    learner = replace(experiment, phase="train", transfer_net=tmp_path / "published.pth")
    run(learner, tmp_path / "train", load_model=weights)
    run(replace(learner, source="rendered"), tmp_path / "control", load_model=weights)
    assert len(load_weights(tmp_path / "train" / "last.safetensors")[0]) > 0


def test_training_starts_from_a_generator(finished: Path, tmp_path: Path) -> None:
    experiment = with_transfer(filters=8, learning_rate=0.0, average=0.0)
    run(experiment, tmp_path / "again", load_model=finished / "last.safetensors")
    first, again = (load_generator(folder / "last.safetensors") for folder in (finished, tmp_path / "again"))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_refusals(finished: Path, tmp_path: Path) -> None:
    network = WEIGHTS / "compact.safetensors"
    absent = tmp_path / "absent.safetensors"
    pretrain = replace(TINY, phase="pretrain")
    odd = replace(pretrain.rendered, size=126)
    save_weights(
        tmp_path / "other.safetensors", ResidualGenerator(4, 2).state_dict(), {"generator": {"filters": 4, "blocks": 3}}
    )
    cases: tuple[tuple[Experiment, str], ...] = (
        (with_transfer(reader=None), "--transfer.reader"),
        (with_transfer(reader=absent), "absent.safetensors does not exist: give --transfer.reader"),
        (with_transfer(judge=absent), "--transfer.judge"),
        (with_transfer(reader=finished / "last.safetensors"), "sees no hand pose"),
        (replace(TINY, data=DataConfig(name="shrec")), "root"),
        (replace(TINY, data=DataConfig(name="frames", root=absent)), "absent"),
        (replace(TINY, rendered=odd), "--rendered.size"),
        (replace(pretrain, transfer_net=absent), "absent.safetensors does not exist: give --transfer-net"),
        (replace(pretrain, transfer_net=network), "translates no images"),
        (replace(pretrain, transfer_net=tmp_path / "other.safetensors"), "lack"),
        (replace(pretrain, transfer_net=finished / "last.safetensors", rendered=odd), "multiple of 4"),
    )
    for k, (experiment, words) in enumerate(cases):
        with pytest.raises(UserError, match=words) as error:
            run(experiment, tmp_path / f"run{k}")
        assert str(error.value).count(". ") == 0 and str(error.value).endswith("."), "one sentence"
    with pytest.raises(UserError, match="translates no images"):
        run(TINY, tmp_path / "start", load_model=network)
