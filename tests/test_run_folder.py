"""A run folder says what ran, refuses to be overwritten, and can be gone on with."""

import dataclasses
from pathlib import Path

import pytest
import torch

from config import EXPERIMENTS
from util.checkpoint import load_weights
from util.errors import UserError
from util.files import read_json
from util.run_folder import RunFolder
from util.settings import saved_experiment

SMOKE = EXPERIMENTS["smoke"]


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "a" / "b", dataclasses.replace(SMOKE, seed=7))
    assert saved_experiment(run.path) == dataclasses.replace(SMOKE, seed=7)
    assert "seed = 7\n" in (run.path / "config.txt").read_text()
    session = read_json(run.path / "run.json")["sessions"][0]
    assert {"started", "command", "versions", "commit", "changed_files"} <= session.keys()
    assert session["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert run.pictures.is_dir()


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("")
    with pytest.raises(UserError, match="not empty"):
        RunFolder.open(tmp_path, SMOKE)
    with pytest.raises(UserError, match="not empty"):
        RunFolder.open(tmp_path / "precious.txt", SMOKE)
    with pytest.raises(UserError, match="no run"):
        RunFolder.open(tmp_path, SMOKE, True)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_folder_in_which_nothing_came_about_is_free(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", SMOKE)
    again = RunFolder.open(tmp_path / "run", dataclasses.replace(SMOKE, seed=2))
    assert saved_experiment(again.path).seed == 2
    (run.pictures / "before.png").write_bytes(b"")
    with pytest.raises(UserError, match="not empty"):
        RunFolder.open(tmp_path / "run", SMOKE)


def test_a_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", SMOKE)
    weights = {"w": torch.arange(3.0)}
    run.save_last(weights, {"width": 1}, {"step": 5})
    run.save_best(weights, {"width": 1})
    again = RunFolder.open(tmp_path / "run", SMOKE, resume=True)
    state = again.load_last()
    assert state["step"] == 5
    assert torch.equal(state["weights"]["w"], weights["w"])
    assert load_weights(again.best_weights)[1] == {"width": 1}
    assert len(read_json(again.path / "run.json")["sessions"]) == 2


def test_a_run_without_a_checkpoint_cannot_go_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        RunFolder.open(tmp_path / "run", SMOKE).load_last()


def test_results_are_json(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", SMOKE)
    run.write_results({"after": {"stage2_model": {"mean_mm": {"mean": 1.0, "median": float("nan")}}}})
    assert read_json(run.results_file)["after"]["stage2_model"]["mean_mm"] == {"mean": 1.0, "median": None}


def test_tensorboard_files_land_in_the_folder(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", SMOKE)
    with run.tensorboard() as writer:
        writer.add_scalar("loss/total", 1.0, 0)
    assert list((run.path / "tensorboard").glob("events.*"))
