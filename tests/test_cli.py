"""The command line as a user meets it: a mistake is one sentence on stderr and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from config import DEFAULT, EXPERIMENTS
from util.cli import parse_launch
from util.errors import UserError
from util.run_folder import RunFolder


def command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train_render.py", *words], cwd=root, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--optim.stepz", "5"], ["--optim.stepz"]),
        (["smoke", "--data.rot", "x"], ["--data.rot", "did you mean --data.root"]),
        (["--seed", "many"], ["--seed", "int", "'many'"]),
        (["--seed"], ["--seed"]),
        (["--data.name", "imagenet"], ["imagenet", "shrec"]),
        (["smok"], ["smok", "did you mean smoke", *EXPERIMENTS]),
        (["--seed", "3", "smoke"], ["comes first"]),
        (["smoke", "more"], ["more"]),
        (["shrec-train", "--data.root", "absent/folder"], ["--data.root", "absent/folder", "does not exist"]),
        (["--load-model", "absent.safetensors"], ["--load-model", "absent.safetensors", "does not exist"]),
        (["--run-dir", "README.md"], ["--run-dir", "README.md"]),
        (["--resume"], ["--resume", "--run-dir"]),
        (["--resume", "--run-dir", "absent/run"], ["absent/run", "no run"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_mistake_is_one_sentence(root: Path, words: list[str], parts: list[str]) -> None:
    done = command(root, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.endswith(".\n"), done.stderr
    assert ". " not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_used_run_folder_is_one_sentence(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command(root, "smoke", "--run-dir", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path) in done.stderr


def test_help_names_experiments_and_options_without_torch(root: Path) -> None:
    code = "import sys, train_render\ntry: train_render.main(['--help'])\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.stdout.rstrip().endswith("False")
    for word in (*EXPERIMENTS, "--run-dir", "--resume", "--load-model", "--seed", "--device", "--data.root"):
        assert word in done.stdout


def test_no_words_give_the_default() -> None:
    launch = parse_launch([])
    assert launch.experiment == EXPERIMENTS[DEFAULT]
    assert (launch.run_dir, launch.resume, launch.load_model) == (None, False, None)
    assert launch.folder.parts[0] == "runs"
    assert launch.folder.name.startswith(DEFAULT)


def test_overrides_reach_their_setting(tmp_path: Path) -> None:
    launch = parse_launch(
        ["shrec-train", "--data.root", str(tmp_path), "--seed", "3", "--run-dir", str(tmp_path / "r")]
    )
    assert launch.experiment.data.root == tmp_path
    assert launch.experiment.seed == 3
    assert launch.experiment.sampler == EXPERIMENTS["shrec-train"].sampler
    assert launch.folder == tmp_path / "r"


def test_resume_takes_the_runs_own_settings(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    started = parse_launch(["smoke", "--seed", "11", "--run-dir", folder])
    RunFolder.open(started.folder, started.experiment)
    resumed = parse_launch(["--resume", "--run-dir", folder, "--device", "cpu"])
    assert resumed.experiment.name == "smoke"
    assert (resumed.experiment.seed, resumed.experiment.device) == (11, "cpu")
    with pytest.raises(UserError, match="smoke"):
        parse_launch(["demo", "--resume", "--run-dir", folder])


def test_names_are_those_of_the_table() -> None:
    assert all(name == experiment.name for name, experiment in EXPERIMENTS.items())
    assert DEFAULT in EXPERIMENTS
    assert all(experiment.about for experiment in EXPERIMENTS.values())
