"""The ladder: its rows are commands that exist, it runs each once, and its table says what came out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import ladder
from bench.ladder import Ladder, check, main
from bench.ladder_rows import BENCHMARK, ROWS, RUNS
from bench.ladder_table import BENCHMARK_SHEET, NOTHING
from config import EXPERIMENTS, DataConfig, Experiment, SupervisedConfig
from dataloader.store import FrameStore
from model.network import DualBranchNetwork
from render.hand_layer import HandLayer
from render.hand_model import load_hand_model
from training.labelled import frame_errors, known_mean, labelled_terms, learn_labelled
from training.loop import Loop
from training.run import run
from training.setup import make_fabric, make_network
from training.show import ROWS as ROWS_SHOWN, outputs_picture
from training.sources import load_frames
from util.checkpoint import load_weights
from util.cli import parse_launch
from util.errors import UserError
from util.run_folder import RunFolder

TINY = (
    "--optim.steps 2 --optim.batch 4 --optim.real-batch 4 --optim.warmup 1 --optim.first-stage-steps 0 "
    "--optim.check-every 2 --optim.check-frames 4 --optim.final-frames 4 --network.widths 8 8 16 16 "
    "--network.second-widths 8 8 8 8 --network.decoder-widths 16 16 16 --network.fusion-width 16 "
    "--network.head-width 32 --benchmark.train-frames 24 --benchmark.test-frames 8 --data.no-keep"
)
SMOKE = replace(EXPERIMENTS["smoke"], data=DataConfig(name="benchmark", keep=False), source="labelled", first=None)


def launch(runs: Path, name: str, seed: int) -> Experiment:
    return parse_launch(BENCHMARK.words(runs, name, seed)).experiment


def test_every_row_is_a_command(tmp_path):
    for name in (*RUNS, "stage-2"):
        weights = BENCHMARK.folder(tmp_path, name, 3) / "last.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
    known = {name: launch(tmp_path, name, 3) for name in (*RUNS, *ROWS)}
    assert all(experiment.data.name == "benchmark" for experiment in known.values())
    assert {experiment.phase for experiment in known.values()} == {"pretrain", "transfer", "train", "test"}
    assert known["awr"].source == known["supervised"].source == "labelled"
    assert known["awr"].supervised.branches == "pixel" and known["supervised"].supervised.branches == "both"
    assert known["transfer-consistent"].seed == 0 and known["adapt-consistent"].seed == 3
    plain, consistent = known["transfer-plain"].transfer, known["transfer-consistent"].transfer
    assert plain.silhouette == plain.depth == plain.joints == plain.features == 0
    assert consistent.reader == plain.reader == tmp_path / "seed-0" / "pretrain" / "last.safetensors"
    assert known["stage-2"].transfer_net == tmp_path / "seed-0" / "transfer-consistent" / "last.safetensors"
    assert known["adapt-clean"].transfer_net is None
    assert known["fitted"].source == "fitted" and known["fitted"].transfer_net == known["stage-2"].transfer_net


def test_each_row_adds_one_thing():
    climb = [launch_of(name) for name in ("self", "parts", "to-model", "both-ways", "stage-2")]
    weights = [(e.unlabelled.parts, e.unlabelled.pixel_to_model, e.unlabelled.model_to_pixel) for e in climb]
    assert [tuple(w > 0 for w in row) for row in weights] == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (True, True, True),
    ]
    assert [e.network.stages for e in climb] == [1, 1, 1, 1, 2]
    same = {replace(e, unlabelled=climb[0].unlabelled, network=climb[0].network) for e in climb}
    assert len(same) == 1


def launch_of(name: str) -> Experiment:
    run = ROWS[name].run
    return parse_launch([run.experiment, *run.words]).experiment


def test_what_a_row_needs_comes_before_it():
    steps = list(dict.fromkeys(BENCHMARK.chain("stage-2", 1)))
    assert steps[-1] == ("stage-2", 1)
    assert steps.index(("pretrain", 0)) < steps.index(("transfer-consistent", 0))
    assert steps.index(("transfer-consistent", 0)) < steps.index(("adapt-consistent", 1))
    with pytest.raises(UserError, match="choose synthetic"):
        list(BENCHMARK.chain("synthetics", 0))


@pytest.fixture(scope="module")
def climbed(tmp_path_factory) -> Ladder:
    """A ladder on which two tiny rows are finished."""
    place = tmp_path_factory.mktemp("ladder")
    document = place / "benchmark.md"
    document.write_text("# Before\n\n{}\nold\n{}\n\nAfter.\n".format(*BENCHMARK_SHEET.markers))
    main(options(place, document, "--rows", "synthetic", "awr"))
    return Ladder(place / "runs", place / "ladder.jsonl", document, tuple(TINY.split()))


def options(place: Path, document: Path, *line: str) -> list[str]:
    where = ["--runs", str(place / "runs"), "--results", str(place / "ladder.jsonl"), "--document", str(document)]
    return [*line, *where, f"--more={TINY}"]


def test_a_finished_row_leaves_a_line_weights_and_a_place_in_the_table(climbed):
    lines = [json.loads(text) for text in climbed.results.read_text().splitlines()]
    assert [(line["row"], line["seed"], line["stage"]) for line in lines] == [
        ("synthetic", 0, "stage1"),
        ("awr", 0, "stage1"),
    ]
    assert all(line["frames"] == 8 and line["pixel"]["mean_mm"] > 0 for line in lines)
    assert lines[0]["model"]["iou"] >= 0 and "model" not in lines[1], "AWR has no model branch"
    assert "ladder-supervised --supervised.branches pixel" in lines[1]["command"]
    text = climbed.document.read_text()
    assert text.startswith("# Before") and text.endswith("After.\n") and "old" not in text
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 4 and rows[2].startswith("| synthetic only |") and "AWR" in rows[3] and " - " in rows[3]
    state, config = load_weights(climbed.kept("synthetic", 0))
    assert config["stages"] == 2, "as pre-trained: the row only leaves the second stage away"
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float16}


def test_a_finished_row_is_not_run_again(climbed, monkeypatch, capsys):
    before = climbed.results.read_text()
    monkeypatch.setattr(ladder.subprocess, "run", None)
    main(options(climbed.results.parent, climbed.document, "--rows", "synthetic", "awr"))
    assert capsys.readouterr().out.count("finished before") == 2
    assert climbed.results.read_text() == before
    climbed.run("pretrain", 0)  # nor is what rows share


def test_an_interrupted_row_goes_on(climbed, monkeypatch):
    called: list[list[str]] = []

    class Stopped:
        returncode = 130

    monkeypatch.setattr(ladder.subprocess, "run", lambda line, cwd: called.append(line) or Stopped())
    place = BENCHMARK.folder(climbed.runs, "supervised", 0)
    place.mkdir(parents=True)
    (place / "last.pt").touch()
    (place / "results.json").write_text('{"before": {}}')
    with pytest.raises(UserError, match="run the ladder again"):
        climbed.climb("supervised", 0)
    assert called[0][-1] == "--resume"
    (place / "last.pt").unlink()
    with pytest.raises(UserError, match="run the ladder again"):
        climbed.climb("supervised", 0)
    assert "--resume" not in called[1] and not place.exists(), "what has no checkpoint starts anew"


def test_the_list_names_every_row_and_its_commands(climbed, capsys):
    main(options(climbed.results.parent, climbed.document, "--list"))
    text = capsys.readouterr().out
    assert "synthetic: synthetic only (finished with seed 0)" in text and "stage-2: + stage 2 (to do)" in text
    assert all(f"{name}: " in text for name in ROWS) and "python train_render.py ladder-pretrain" in text


def test_the_check_tests_shipped_weights(climbed, tmp_path, monkeypatch, capsys):
    weights = climbed.kept("synthetic", 0)
    monkeypatch.setattr(ladder, "SHIPPED", {name: (row, weights) for name, (row, _) in ladder.SHIPPED.items()})
    with monkeypatch.context() as one_is_absent:
        one_is_absent.setitem(ladder.SHIPPED, "final_mm", ("stage-2", tmp_path / "absent.safetensors"))
        with pytest.raises(UserError, match=r"absent\.safetensors is absent"):
            check()
    experiment = replace(EXPERIMENTS["ladder-self"], benchmark=SMOKE.benchmark, data=SMOKE.data)
    monkeypatch.setitem(EXPERIMENTS, "ladder-self", experiment)
    main(["--check"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["synthetic_only_mm", "final_mm", "supervised_mm"]
    assert len(set(found.values())) == 1 and found["final_mm"] > 0


def test_refusals(tmp_path):
    with pytest.raises(UserError, match="choose synthetic"):
        main(["--rows", "sintetic"])
    with pytest.raises(UserError, match="--help"):
        main([])
    with pytest.raises(UserError, match="put them in"):
        BENCHMARK_SHEET.write(tmp_path / "absent.md", [])
    (tmp_path / "bad.jsonl").write_text('{"row": 1}\n')
    with pytest.raises(UserError, match="damaged line"):
        main(["--table", "--results", str(tmp_path / "bad.jsonl")])
    assert BENCHMARK_SHEET.text([]) == NOTHING


@pytest.fixture(scope="module")
def frames() -> FrameStore:
    return load_frames(SMOKE, "train")


def test_labels_teach(frames):
    torch.manual_seed(0)
    network = DualBranchNetwork(SMOKE.network, HandLayer(load_hand_model()))
    sample = frames.batch(range(8))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    totals: list[float] = []
    for _ in range(25):
        terms = labelled_terms(network(sample.crop), sample, SupervisedConfig())
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]
    names = {name.split("/")[1] for name in terms}
    assert names == {"maps", "pixel_joints", "model_joints", "vertices", "shape", "scale"}
    pixel = labelled_terms(network(sample.crop), sample, SupervisedConfig(branches="pixel"))
    assert {name.split("/")[1] for name in pixel} == {"maps", "pixel_joints"}


def test_many_frames_stand_side_by_side_in_a_picture(frames):
    network = DualBranchNetwork(SMOKE.network, HandLayer(load_hand_model())).eval()
    shapes = [outputs_picture(network, frames.batch(range(n)), n, zoom=1).shape for n in (ROWS_SHOWN, ROWS_SHOWN + 2)]
    (tall, width, _), (short, wide, _) = shapes
    assert wide > 1.9 * width and short == pytest.approx(tall * (ROWS_SHOWN + 2) / 2 / ROWS_SHOWN, rel=0.05)


def test_unknown_joints_teach_nothing(frames):
    torch.manual_seed(0)
    network = DualBranchNetwork(SMOKE.network, HandLayer(load_hand_model()))
    sample = frames.batch(range(4))
    outputs = network(sample.crop)
    some = sample.joints_mm[:, [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]]
    icvl = replace(sample, joints_mm=some, vertices_mm=None, joint_set="icvl16")
    terms = labelled_terms(outputs, icvl, SupervisedConfig())
    assert "stage1/vertices" not in terms and all(torch.isfinite(value) for value in terms.values())
    gradient = torch.autograd.grad(torch.stack(list(terms.values())).sum(), outputs[0].rows)[0]
    assert torch.isfinite(gradient).all()
    tips = gradient[:, 3 * 16 : 63]
    assert float(tips.abs().max()) == 0 and float(gradient[:, : 3 * 16].abs().max()) > 0, "no tip is labelled"
    known = torch.tensor([0.0, float("nan"), 1.0])
    assert float(known_mean(torch.zeros(3), known)) == pytest.approx(0.01 * 0.995 / 2)
    assert float(known_mean(torch.zeros(1), torch.full((1,), float("nan")))) == 0


def test_full_supervision_is_a_run(tmp_path, frames):
    results = run(SMOKE, tmp_path / "run")
    assert set(results["after"]) == {"stage1_pixel", "stage1_model", "stage2_pixel", "stage2_model"}
    assert (tmp_path / "run" / "best.safetensors").is_file()
    fabric = make_fabric(SMOKE)
    network, _ = make_network(SMOKE, fabric)
    loop = Loop(SMOKE, fabric, network, RunFolder.open(tmp_path / "other", SMOKE))
    with pytest.raises(UserError, match="no labels"):
        learn_labelled(SMOKE, loop, replace(frames, joints_mm=None))
    # weights of two stages, asked for with one: the first stage as it was
    one = replace(SMOKE, network=replace(SMOKE.network, stages=1))
    path, store = tmp_path / "run" / "last.safetensors", load_frames(SMOKE, "test")
    both, first = (make_network(e, fabric, path)[0].eval() for e in (SMOKE, one))
    two_mm, one_mm = frame_errors(both, store), frame_errors(first, store)
    assert set(one_mm) == {"stage1_pixel", "stage1_model"}
    assert one_mm["stage1_pixel"].mean_mm == pytest.approx(two_mm["stage1_pixel"].mean_mm, abs=1e-3)
