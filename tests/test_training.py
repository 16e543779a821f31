"""The entry itself: every phase for a few steps, resume, and what a run leaves behind."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from config import EXPERIMENTS, DataConfig
from evaluate import main as evaluate
from tests.shared import REFERENCE, needs_reference
from training.finite import FiniteTerms
from training.loop import Loop
from training.parts import Ready
from training.run import run
from training.setup import make_network
from util.errors import UserError
from util.run_folder import RunFolder

SMOKE = EXPERIMENTS["smoke"]
BRANCHES = {"stage1_pixel", "stage1_model", "stage2_pixel", "stage2_model"}


def command(root: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "train_render.py", *words], cwd=root, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory) -> Path:
    """The folder of one whole smoke run: pre-training, test, self-supervision, test."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    done = command(root, "smoke", "--run-dir", str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "before" in done.stdout and "after" in done.stdout and "TensorBoard" in done.stdout
    return folder


def test_a_run_leaves_results_pictures_and_checkpoints(finished):
    results = json.loads((finished / "results.json").read_text())
    assert set(results["before"]) == set(results["after"]) == BRANCHES
    model = results["after"]["stage2_model"]
    for measure in ("surface_mm", "coverage", "depth_mm", "iou", "surface_mm_predbox", "iou_predbox", "mean_mm"):
        assert set(model[measure]) == {"mean", "median"}, measure
    assert 0 <= model["share_ok"] <= 1 and model["n_frames"] == SMOKE.demo.test_frames
    for name in ("last.safetensors", "best.safetensors", "last.pt", "config.json", "run.json", "pictures/after.png"):
        assert (finished / name).is_file(), name
    assert list((finished / "tensorboard").iterdir())
    rows = (finished / "predictions" / "after_stage2_pixel_xyz.txt").read_text().splitlines()
    assert len(rows) == SMOKE.demo.test_frames and len(rows[0].split()) == 63


def test_the_test_phase_repeats_the_scores_of_saved_weights(finished, tmp_path):
    again = run(replace(SMOKE, phase="test"), tmp_path / "test", load_model=finished / "last.safetensors")
    first = json.loads((finished / "results.json").read_text())
    one, other = again["after"]["stage2_pixel"]["mean_mm"]["mean"], first["after"]["stage2_pixel"]["mean_mm"]["mean"]
    assert one == pytest.approx(other, abs=1e-3)


def test_self_supervision_resumes_and_keeps_what_was_scored_before(finished, tmp_path):
    whole = replace(SMOKE, optim=replace(SMOKE.optim, steps=4, schedule="step"))
    start = finished / "pretrain" / "last.safetensors"
    undisturbed = run(whole, tmp_path / "whole", load_model=start)
    run(replace(whole, optim=replace(whole.optim, steps=2)), tmp_path / "parts", load_model=start)
    file = tmp_path / "parts" / "results.json"
    marked = json.loads(file.read_text())
    marked["before"]["stage1_pixel"]["mean_mm"]["mean"] = 12345.0
    file.write_text(json.dumps(marked))
    resumed = run(whole, tmp_path / "parts", resume=True, load_model=start)
    assert resumed["before"]["stage1_pixel"]["mean_mm"]["mean"] == 12345.0
    one, other = (r["after"]["stage2_pixel"]["mean_mm"]["mean"] for r in (undisturbed, resumed))
    assert one == pytest.approx(other, abs=0.05)


def test_the_control_learns_from_rendered_hands_alone(finished, tmp_path):
    control = replace(SMOKE, source="rendered", optim=replace(SMOKE.optim, steps=2))
    results = run(control, tmp_path / "control", load_model=finished / "last.safetensors")
    assert set(results["after"]) == BRANCHES


def test_refusals(root, finished, tmp_path):
    with pytest.raises(UserError, match="--load-model"):
        run(replace(SMOKE, phase="test"), tmp_path / "b")
    with pytest.raises(UserError, match="not empty"):
        run(SMOKE, finished)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((finished / "last.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match="torn"):
        run(replace(SMOKE, phase="test"), tmp_path / "c", load_model=torn)
    done = command(root, "shrec-train", "--run-dir", str(tmp_path / "d"), "--start", "None")
    assert done.returncode == 2 and "root" in done.stderr


def test_a_loss_that_is_not_finite_stops_with_its_name(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1)
    network, _ = make_network(SMOKE, fabric)
    loop = Loop(SMOKE, fabric, network, RunFolder.open(tmp_path / "run", SMOKE))
    weight = network.stage(0).pixel.offsets.weight
    before = weight.detach().clone()
    with pytest.raises(UserError, match="stage1/maps"):
        loop.run(lambda step, part: Ready(lambda counts: {"stage1/maps": weight.sum() * float("nan")}), 1)
    assert torch.equal(before, weight)


def test_a_loss_that_is_not_finite_reaches_no_weights_where_nobody_looks_at_once(tmp_path):
    """As on a GPU, which is looked at when something is logged; here it is only told apart by a switch."""
    fabric = Fabric(accelerator="cpu", devices=1)
    network, _ = make_network(SMOKE, fabric)
    loop = Loop(SMOKE, fabric, network, RunFolder.open(tmp_path / "run", SMOKE))
    loop.finite = FiniteTerms(fabric.device, at_once=False)
    weight = network.stage(0).pixel.offsets.weight
    steps, kept = [], []

    def losses(step, part):
        steps.append(step)
        kept.append(weight.detach().clone())
        wrong = (1.0, float("nan"))[step % 2]
        return Ready(lambda counts: {"stage1/joints": weight.square().sum(), "stage1/maps": weight.sum() * wrong})

    with pytest.raises(UserError, match=r"Step 1: stage1/maps is not finite.*--resume"):
        loop.run(losses, 1)
    assert steps == list(range(SMOKE.optim.log_every)), "it is looked for when something is logged"
    assert not torch.equal(kept[0], kept[1]), "good steps are taken"
    assert torch.equal(kept[1], weight)
    assert all(bool(value.isfinite().all()) for value in loop.averaged.state.values() if value.is_floating_point())
    assert not (tmp_path / "run" / "last.pt").exists()


@needs_reference
@pytest.mark.parametrize("data_set", ["nyu", "icvl", "msra"])
def test_predictions_of_the_test_phase_are_what_evaluate_scores(data_set, tmp_path, capsys):
    data = DataConfig(name=data_set, root=REFERENCE / "datasets" / data_set, keep=False)
    weights = EXPERIMENTS["demo"].start
    results = run(replace(SMOKE, phase="test", data=data), tmp_path / "run", load_model=weights)["after"]
    for branch in ("stage1_pixel", "stage2_model"):
        for kind in ("uvd", "xyz"):
            file = tmp_path / "run" / "predictions" / f"after_{branch}_{kind}.txt"
            capsys.readouterr()
            evaluate([data_set, str(file), "--root", str(data.root), "--format", kind, "--json"])
            scored = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][file.stem]
            assert scored["mean_mm"] == pytest.approx(results[branch]["mean_mm"]["mean"], abs=0.01)
            if data_set == "nyu":
                expected = results[branch]["mean_first_11_mm"]["mean"]
                assert scored["mean_first_11_mm"] == pytest.approx(expected, abs=0.01)
