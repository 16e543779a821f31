"""The training command on tiny data sets in the real layouts: results, selection, resume, mistakes in a sentence."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from config_gesture import (
    DEFAULT,
    EXPERIMENTS,
    GestureDataConfig,
    GestureExperiment,
    GestureOptimConfig,
    RecogniserConfig,
)
from dataloader.datasets import shrec
from dataloader.datasets.gestures import Gesture
from gesture.bank import skeleton_bank
from gesture.launch import parse_launch
from gesture.measure import Scores, measure
from gesture.recognisers import make_recogniser
from gesture.run import run
from gesture.splits import make_split
from gesture.train import GestureTraining, batch_of
from tests.gestures import synthetic, write_world
from tests.recordings import hand_image, write_recording
from util.checkpoint import fill_module, read_checkpoint
from util.errors import UserError
from util.files import read_json

SUBJECTS, REPETITIONS = 5, 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SHREC'17's layout: eight gestures by five subjects, whose hands follow paths between postures."""
    folder, rows = tmp_path_factory.mktemp("shrec"), []
    sequences, labels = synthetic(REPETITIONS, 6)
    for k, (sequence, of) in enumerate(zip(sequences, labels, strict=True)):
        gesture = Gesture(of + 1, 1, 2 + k % REPETITIONS, 1, 6)
        write_world(folder, shrec.LAYOUT, gesture, sequence.numpy())
        rows.append(f"{of + 1} 1 {gesture.subject} 1 {gesture.label14} {gesture.label28} 6\n")
    (folder / shrec.LISTS["train"]).write_text("".join(rows))
    return folder


def _smoke(root: Path, **settings: object) -> GestureExperiment:
    smoke = EXPERIMENTS["smoke"]
    return replace(smoke, data=replace(smoke.data, root=root), **settings)  # type: ignore[arg-type]


def _command(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train_gesture.py", *words], cwd=repository, capture_output=True, text=True, timeout=300
    )


def test_a_run_leaves_all_that_it_says(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run(_smoke(root), tmp_path / "run")
    assert read_json(tmp_path / "run" / "results.json") == json.loads(json.dumps(results))
    assert results["subjects"] == {"train": [3, 4, 6], "validation": [5], "test": [2]}
    assert results["sequences"] == {"learned": 24, "selected_on": 8, "tested": 8}
    assert results["selected_on"] == "validation" and results["parameters"] == 267_022
    tested = results["test"]
    confusion = np.array(tested["confusion"])
    assert confusion.shape == (14, 14) and confusion.sum() == tested["sequences"] == 8
    assert tested["accuracy"] == np.trace(confusion) / 8 and tested["classes"]["shake"] is None
    assert (tmp_path / "run/pictures/confusion.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run/tensorboard").iterdir()) and "of 8 sequences" in capsys.readouterr().out
    assert {"best.safetensors", "last.safetensors", "last.pt", "config.json"} <= {
        file.name for file in (tmp_path / "run").iterdir()
    }


def test_resuming_goes_on_as_the_run_would_have(root: Path, tmp_path: Path) -> None:
    experiment = _smoke(root)
    whole = run(experiment, tmp_path / "whole")
    update = GestureTraining._update

    def interrupted(training: GestureTraining, step: int) -> tuple[torch.Tensor, float]:
        if step == 3:  # the last checkpoint is that of two steps
            raise KeyboardInterrupt
        return update(training, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GestureTraining, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(experiment, tmp_path / "half")
    resumed = run(experiment, tmp_path / "half", resume=True)
    a, b = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "half"))
    assert a["step"] == b["step"] == 4 and a["best"] == b["best"]
    for name, weights in a["weights"].items():
        assert weights.equal(b["weights"][name]), name
    assert resumed["test"] == whole["test"]
    with pytest.raises(UserError, match="is not empty: add --resume"):
        run(experiment, tmp_path / "half")


def test_selection_on_the_test_set_is_an_option_and_says_so(root: Path, tmp_path: Path) -> None:
    assert {experiment.select for experiment in EXPERIMENTS.values()} == {"validation"}
    results = run(_smoke(root, select="test"), tmp_path)
    assert results["selected_on"] == "test" and results["subjects"]["validation"] == []
    assert results["sequences"] == {"learned": 32, "selected_on": 8, "tested": 8}
    assert results["selected"]["accuracy"] == results["test"]["accuracy"]


def test_the_best_checkpoint_is_the_one_tested(root: Path, tmp_path: Path) -> None:
    results = run(_smoke(root, optim=GestureOptimConfig(steps=3, batch=4, check_every=1, warmup=1)), tmp_path)
    about = read_json(tmp_path / "best.json")
    assert about["classes"] == 14 and about["joints"] == "shrec22" and about["recogniser"]["name"] == "dg_sta"
    network = make_recogniser(RecogniserConfig(), 14)
    fill_module(network, read_checkpoint(tmp_path / "best.safetensors").state, tmp_path)
    data = GestureDataConfig(root=root, validation_subjects=1)
    for name, part in (("selected", make_split(data).validation), ("test", make_split(data).test)):
        scores = measure(network, skeleton_bank(data, part, learn=False), RecogniserConfig(), 14)
        assert scores.accuracy == results[name]["accuracy"] and scores.loss == pytest.approx(results[name]["loss"])


def test_the_better_scores_are_chosen() -> None:
    scores = Scores(np.diag([3, 1]), 0.5)
    assert scores.accuracy == 1.0 and scores.better_than((0.9, 0.1)) and scores.better_than((1.0, 0.6))
    assert not scores.better_than((1.0, 0.5)) and not scores.better_than((1.0, 0.4))


def test_every_sequence_is_learned_from_as_often(root: Path) -> None:
    seen = torch.cat([batch_of(step, 7, 10, 3) for step in range(10)])
    assert torch.bincount(seen).tolist() == [7] * 10
    assert batch_of(4, 7, 10, 3).equal(batch_of(4, 7, 10, 3)) and not batch_of(4, 7, 10, 4).equal(batch_of(4, 7, 10, 3))
    assert batch_of(0, 7, 2, 0).bincount().tolist() in ([3, 4], [4, 3]), "a batch may be larger than the data set"


def test_points_are_learned_from_too(tmp_path: Path) -> None:
    rows = []
    for subject in range(1, 6):
        frames = [(hand_image(200 + 10 * subject, 150), f"0 {200 + 10 * subject} 150 150 120")] * 2
        write_recording(tmp_path, shrec.LAYOUT, f"1 1 {subject} 1", frames)
        rows.append(f"1 1 {subject} 1 1 1 2\n")
    (tmp_path / shrec.LISTS["train"]).write_text("".join(rows))
    config = RecogniserConfig("pointlstm", frames=2, points=16)
    optim = GestureOptimConfig(steps=1, batch=2)
    data = GestureDataConfig(root=tmp_path, points=24, validation_subjects=1)
    results = run(GestureExperiment(recogniser=config, optim=optim, data=data), tmp_path / "run")
    assert results["test"]["sequences"] == 1 and results["recogniser"] == "pointlstm"
    with pytest.raises(UserError, match=r"recogniser\.points 16 is more than data\.points 8"):
        run(GestureExperiment(recogniser=config, data=replace(data, points=8)), tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["dgsta"], ["dgsta", "did you mean dg-sta", *EXPERIMENTS]),
        (["--data.fold", "x"], ["--data.fold", "int"]),
        (["--data.classes", "20"], ["--data.classes", "14"]),
        (["--recogniser.name", "lstm"], ["lstm", "dg_sta"]),
        (["--optim.stepz", "4"], ["--optim.stepz"]),
        (["--data.skeletons", "absent/folder"], ["absent/folder", "no folder"]),
        (["--run-dir", "README.md"], ["--run-dir README.md is a file"]),
        (["--resume"], ["--resume needs --run-dir"]),
        (["--resume", "--run-dir", "absent/run"], ["absent/run", "no run"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_mistake_is_one_sentence(words: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_launch(words)
    sentence = str(error.value)
    assert sentence.endswith(".") and ". " not in sentence
    for part in parts:
        assert part in sentence


def test_the_command_tells_a_mistake_and_ends_with_2(root: Path, tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[1]
    done = _command(repository, "smoke", "--data.root", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert str(tmp_path / shrec.LISTS["train"]) in done.stderr


def test_overrides_and_the_default() -> None:
    assert parse_launch([]).experiment == EXPERIMENTS[DEFAULT]
    launch = parse_launch(["st-gcn", "--select", "test", "--data.classes", "28", "--seed", "3", "--data.fold", "2"])
    experiment = launch.experiment
    assert (experiment.recogniser.name, experiment.select, experiment.seed) == ("st_gcn", "test", 3)
    assert (experiment.data.classes, experiment.data.fold) == (28, 2)
    assert launch.folder.parent == Path("runs") and launch.folder.name.startswith("gesture-st-gcn-")


def test_a_run_is_resumed_with_its_own_settings(root: Path, tmp_path: Path) -> None:
    run(_smoke(root, seed=7), tmp_path)
    launch = parse_launch(["--resume", "--run-dir", str(tmp_path)])
    assert launch.experiment == _smoke(root, seed=7)
    with pytest.raises(UserError, match="holds a run of 'smoke', not of 'dg-sta'"):
        parse_launch(["dg-sta", "--resume", "--run-dir", str(tmp_path)])


def test_help_needs_no_torch(root: Path) -> None:
    code = "import sys, train_gesture\ntry: train_gesture.main(['--help'])\nfinally: print('torch' in sys.modules)"
    repository = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.stdout.rstrip().endswith("False"), done.stderr
